"""Contract checks that anyone can run on a task, a bound or a mixer, and hypothesis strategies for tiny tasks.

``check_task`` holds a task against its own definition, ``check_bound`` a lower bound against every machine on
random tiny answer tables: a bound that is too high is caught by the machine that beats it.  ``check_mixer`` holds a
sequence mixer against the contract of ``boundprobe.models.mixer.AbstractMixer``; it alone needs torch.
``boundprobe.channels`` has states whose information is known, to test whatever claims to measure it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boundprobe.bounds.machines import Machine, machines
from boundprobe.testing.bounds import check_bound, encoders, tiny_tasks
from boundprobe.testing.tasks import check_task

if TYPE_CHECKING:
    from boundprobe.testing.mixers import check_mixer

__all__ = ["Machine", "check_bound", "check_mixer", "check_task", "encoders", "machines", "tiny_tasks"]


def __getattr__(name: str) -> Any:
    if name == "check_mixer":
        from boundprobe.testing.mixers import check_mixer

        return check_mixer
    raise AttributeError(f"module 'boundprobe.testing' has no attribute {name!r}")
