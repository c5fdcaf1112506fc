from .config import SweepConfig as SweepConfig
from .driver import Shard as Shard
from .driver import Sweep as Sweep
from .jobs import TrainAndProbe as TrainAndProbe
