"""The operations that have several backends, and which backend each takes on a device."""

from __future__ import annotations

from collections.abc import Mapping

from boundprobe.checks import check_word
from boundprobe.models import linear, scan
from boundprobe.models.backends import AUTO, Backend, choose
from boundprobe.models.spec import ModelSpec

#: Backends of each operation, in order of preference.
OPERATIONS: dict[str, Mapping[str, Backend]] = {
    "selective scan": scan.BACKENDS,
    "linear recurrence": linear.BACKENDS,
}
#: The operation that a mixer rests on; the others are plain torch.
OPERATION_OF = {
    "mamba": "selective scan",
    "mamba+chunks": "selective scan",
    "mamba+attnstep": "selective scan",
    "mamba2": "linear recurrence",
    "gla": "linear recurrence",
    "deltanet": "linear recurrence",
    "gated-deltanet": "linear recurrence",
}


def check_scan(name: str) -> str:
    """Return the name of a backend of any operation, or raise ``ValueError`` that lists them."""
    return check_word("scan", name, dict.fromkeys((AUTO, *(key for table in OPERATIONS.values() for key in table))))


def backend_for(mixer: str, name: str) -> str:
    """What ``name`` means for one mixer: itself where its operation has such a backend, else ``auto``."""
    return name if name in OPERATIONS.get(OPERATION_OF.get(mixer, ""), ()) else AUTO


def chosen_backends(spec: ModelSpec, name: str, device_type: str) -> dict[str, str]:
    """The backend of each operation that a model uses on a device, for the record of a run.

    Raises
    ------
    ValueError
        If no operation has such a backend.
    MissingDependencyError
        If the one that was named cannot be used here.
    """
    check_scan(name)
    return {
        operation: choose(operation, OPERATIONS[operation], backend_for(mixer, name), device_type)
        for mixer in spec.mixers
        if (operation := OPERATION_OF.get(mixer)) is not None
    }
