"""boundprobe: memory lower bounds for sequence models, from the proof to the trained model and back.

``tasks`` and ``bounds`` need numpy alone; what needs torch is imported when it is first asked for.

>>> import boundprobe as bp
>>> task = bp.build_task("selective-copying", {})
>>> round(bp.bounds_report(task, error=1 / 3).state.fano_bits, 3)
25.419
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from boundprobe.bounds import bounds_report as bounds_report
from boundprobe.models.spec import ModelSpec as ModelSpec
from boundprobe.tasks import TASKS as TASKS
from boundprobe.tasks import AssociativeRecallDecoding as AssociativeRecallDecoding
from boundprobe.tasks import SelectiveCopying as SelectiveCopying
from boundprobe.tasks import build_task as build_task
from boundprobe.training.config import Schedule as Schedule
from boundprobe.training.config import TrainConfig as TrainConfig

if TYPE_CHECKING:
    from boundprobe.models.stack import SequenceModel as SequenceModel
    from boundprobe.probes.ladder import measure as measure
    from boundprobe.probes.settings import DecoderConfig as DecoderConfig
    from boundprobe.probes.settings import ProbeConfig as ProbeConfig
    from boundprobe.probes.settings import StatesConfig as StatesConfig
    from boundprobe.probes.states_report import certify_states as certify_states
    from boundprobe.runs.store import load_run as load_run
    from boundprobe.training.loop import train as train
    from boundprobe.training.weights import load_models as load_models

#: What needs torch, by the module that has it.
_LAZY = {
    "SequenceModel": "boundprobe.models.stack",
    "DecoderConfig": "boundprobe.probes.settings",
    "ProbeConfig": "boundprobe.probes.settings",
    "StatesConfig": "boundprobe.probes.settings",
    "certify_states": "boundprobe.probes.states_report",
    "load_models": "boundprobe.training.weights",
    "load_run": "boundprobe.runs.store",
    "measure": "boundprobe.probes.ladder",
    "train": "boundprobe.training.loop",
}

__all__ = [  # noqa: PLE0604 - the lazy names are strings
    "TASKS",
    "AssociativeRecallDecoding",
    "ModelSpec",
    "Schedule",
    "SelectiveCopying",
    "TrainConfig",
    "bounds_report",
    "build_task",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'boundprobe' has no attribute {name!r}")
