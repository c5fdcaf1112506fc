from . import executors as executors
from .config import SweepConfig as SweepConfig
from .driver import Shard as Shard
from .driver import Sweep as Sweep
from .driver import collect as collect
from .driver import run_sweep as run_sweep
from .jobs import TrainAndProbe as TrainAndProbe
