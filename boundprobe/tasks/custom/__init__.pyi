from .read import PrefixSampler as PrefixSampler
from .read import UserTask as UserTask
from .task import CustomTask as CustomTask
from .task import load_task as load_task
from .task import wrap_task as wrap_task
