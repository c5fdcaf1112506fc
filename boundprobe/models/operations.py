"""Operations of each mixer, and the backend of each operation on a device."""

from __future__ import annotations

from boundprobe.checks import check_word
from boundprobe.kernels.backends import AUTO, Operation, check_backend
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION
from boundprobe.kernels.linear.generalised import GENERALISED_DELTA_RULE
from boundprobe.kernels.linear.operations import DELTA_RULE
from boundprobe.kernels.operations import OPERATIONS
from boundprobe.kernels.scan.operation import SELECTIVE_SCAN
from boundprobe.kernels.window.operation import WINDOWED_ATTENTION, attention_at
from boundprobe.models.spec import ModelSpec

#: Mixers that are not in the table are plain torch.
OPERATIONS_OF: dict[str, tuple[Operation, ...]] = {
    "attn": (WINDOWED_ATTENTION,),
    "gated-attn": (WINDOWED_ATTENTION,),
    "mamba": (SELECTIVE_SCAN, SHORT_CONVOLUTION),
    "mamba+chunks": (SELECTIVE_SCAN, SHORT_CONVOLUTION),
    "mamba+attnstep": (SELECTIVE_SCAN, SHORT_CONVOLUTION, WINDOWED_ATTENTION),
    "mamba2": (DELTA_RULE, SHORT_CONVOLUTION),
    "gla": (DELTA_RULE,),
    "deltanet": (DELTA_RULE, SHORT_CONVOLUTION),
    "gated-deltanet": (DELTA_RULE, SHORT_CONVOLUTION),
    "kda": (DELTA_RULE, SHORT_CONVOLUTION),
    "rwkv7": (GENERALISED_DELTA_RULE,),
}


def check_any_backend(name: str) -> str:
    """Return the name of a backend of any operation, or raise ``ValueError`` that lists them."""
    return check_backend(name, *OPERATIONS.values())


def check_backend_of(spec: ModelSpec, name: str) -> str:
    """Return ``name`` if some operation of the model has such a backend, or raise ``ValueError`` that lists them.

    ``auto`` and ``reference`` suit every model: what has no other backend is plain torch.
    """
    check_any_backend(name)
    has = dict.fromkeys(key for mixer in spec.mixers for of in OPERATIONS_OF.get(mixer, ()) for key in of.backends)
    of = f" of {spec.architecture}"
    return check_word("backend", name, dict.fromkeys((AUTO, *has, "reference")), of=of)


def backend_for(mixer: str, name: str) -> str:
    """``name`` where one of a mixer's operations has such a backend, else ``auto``."""
    return name if any(name in operation.backends for operation in OPERATIONS_OF.get(mixer, ())) else AUTO


def chosen_backends(spec: ModelSpec, name: str, device_type: str) -> dict[str, str]:
    """The backend of each operation that a model uses on a device, for the record of a run.

    Raises
    ------
    ValueError
        If no operation of the model has such a backend: another one would run in its place.
    MissingDependencyError
        If the one that was named cannot be used here.
    """
    check_backend_of(spec, name)
    chosen: dict[str, str] = {}
    for of_mixer in (of_mixer for mixer in spec.mixers for of_mixer in OPERATIONS_OF.get(mixer, ())):
        # The order of the backends of attention depends on sizes.
        at_size = of_mixer is WINDOWED_ATTENTION
        operation = attention_at(spec.window, spec.d_model // spec.n_heads) if at_size else of_mixer
        # Where functions of one name differ in their backends, the record has the one that was asked for.
        if chosen.get(operation.name) != name:
            chosen[operation.name] = operation.choose(operation.own_or_auto(name), device_type)
    return chosen
