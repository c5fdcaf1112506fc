from .base import AbstractExecutor as AbstractExecutor
from .base import Outcome as Outcome
from .base import available_cores as available_cores
from .local import LocalExecutor as LocalExecutor
from .ray import RayExecutor as RayExecutor
from .registry import EXECUTORS as EXECUTORS
from .registry import build_executor as build_executor
from .slurm import SlurmExecutor as SlurmExecutor
