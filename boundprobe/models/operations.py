"""The operations that have several backends, and which backend each takes on a device."""

from __future__ import annotations

from collections.abc import Mapping

from boundprobe.kernels import conv, linear, scan, window
from boundprobe.kernels import gated_skip as gate
from boundprobe.kernels.backends import AUTO, Backend, check_any, choose, meant_by
from boundprobe.models.spec import ModelSpec

SCAN, LINEAR = "selective scan", "linear recurrence"

#: Backends of each operation, in order of preference.
OPERATIONS: dict[str, Mapping[str, Backend]] = {
    SCAN: scan.BACKENDS,
    LINEAR: linear.BACKENDS,
    conv.OPERATION: conv.BACKENDS,
    gate.OPERATION: gate.BACKENDS,
    window.OPERATION: window.BACKENDS,
}
#: The operations that a mixer rests on; the others are plain torch.
OPERATIONS_OF: dict[str, tuple[str, ...]] = {
    "attn": (window.OPERATION,),
    "mamba": (SCAN, conv.OPERATION, gate.OPERATION),
    "mamba+chunks": (SCAN, conv.OPERATION, gate.OPERATION),
    "mamba+attnstep": (SCAN, conv.OPERATION, gate.OPERATION, window.OPERATION),
    "mamba2": (LINEAR, conv.OPERATION),
    "gla": (LINEAR,),
    "deltanet": (LINEAR, conv.OPERATION),
    "gated-deltanet": (LINEAR, conv.OPERATION),
}


def check_backend(name: str) -> str:
    """Return the name of a backend of any operation, or raise ``ValueError`` that lists them."""
    return check_any("backend", name, *OPERATIONS.values())


def backend_for(mixer: str, name: str) -> str:
    """What ``name`` means for one mixer: itself where one of its operations has such a backend, else ``auto``."""
    return name if any(name in OPERATIONS[operation] for operation in OPERATIONS_OF.get(mixer, ())) else AUTO


def chosen_backends(spec: ModelSpec, name: str, device_type: str) -> dict[str, str]:
    """The backend of each operation that a model uses on a device, for the record of a run.

    Raises
    ------
    ValueError
        If no operation has such a backend.
    MissingDependencyError
        If the one that was named cannot be used here.
    """
    check_backend(name)
    tables = OPERATIONS
    if "attn" in spec.mixers or "mamba+attnstep" in spec.mixers:  # whose order depends on their sizes
        tables = OPERATIONS | {window.OPERATION: window.in_order(spec.window, spec.d_model // spec.n_heads)}
    return {
        operation: choose(operation, tables[operation], meant_by(name, tables[operation]), device_type)
        for mixer in spec.mixers
        for operation in OPERATIONS_OF.get(mixer, ())
    }
