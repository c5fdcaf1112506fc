"""Tasks with exact answers and hard cases; numpy only."""

from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding as AssociativeRecallDecoding
from boundprobe.tasks.base import DISTRIBUTIONS as DISTRIBUTIONS
from boundprobe.tasks.base import IGNORE as IGNORE
from boundprobe.tasks.base import AbstractTask as AbstractTask
from boundprobe.tasks.base import Batch as Batch
from boundprobe.tasks.base import CutBatch as CutBatch
from boundprobe.tasks.cases import StateCase as StateCase
from boundprobe.tasks.cases import WindowCase as WindowCase
from boundprobe.tasks.convert import build_task as build_task
from boundprobe.tasks.copying import Copying as Copying
from boundprobe.tasks.mkar import MultiKeyRecall as MultiKeyRecall
from boundprobe.tasks.mqar import MultiQueryRecall as MultiQueryRecall
from boundprobe.tasks.needle import Needle as Needle
from boundprobe.tasks.ngram_retrieval import NgramRetrieval as NgramRetrieval
from boundprobe.tasks.position_retrieval import PositionRetrieval as PositionRetrieval
from boundprobe.tasks.selective_copying import SelectiveCopying as SelectiveCopying

#: Every task by the name that the command line and TOML use.
TASKS: dict[str, type[AbstractTask]] = {
    task.name: task
    for task in (
        SelectiveCopying,
        AssociativeRecallDecoding,
        MultiKeyRecall,
        Needle,
        MultiQueryRecall,
        Copying,
        NgramRetrieval,
        PositionRetrieval,
    )
}
