"""Every operation that has backends, in one table: how inputs are drawn, how it is called, what the oracle is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels import (
    DECAYED_ATTENTION,
    DELTA_RULE,
    GENERALISED_DELTA_RULE,
    SELECTIVE_SCAN,
    SHORT_CONVOLUTION,
    WINDOWED_ATTENTION,
    Operation,
    decayed_attention,
    delta_rule,
    generalised_delta_rule,
    selective_scan,
    windowed_attention,
)
from boundprobe.kernels.window import POSITIONS, AbstractPosition

Inputs = tuple[Tensor, ...]
#: From the inputs of an operation to its outputs.
Function = Callable[..., Inputs]

#: Sums of some ten to a hundred float32 in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@dataclass(frozen=True)
class Case:
    """One operation.

    Attributes
    ----------
    operation : Operation
    axes : mapping of str to str
        Name of an input to the letters of its axes: {"u": "BTD"}; "1" is an axis of length 1.
    of_backend : callable
        From the name of a backend to the function of the inputs.
    sizes : mapping of str to int
        Length of each axis, in tests that need one size.
    largest : mapping of str to int
        Greatest length of each axis in tests that draw sizes, beyond what is computed together.
    borders : sequence of mappings
        Sizes at and around the lengths of what is computed at once.
    transforms : mapping of str to callable
        From normal numbers to numbers that the input may take, such as step sizes above 0.
    derive : callable
        Sizes of axes that follow from others.
    half_oracle : str
        What half precision is, bit for bit: "float32", the same in float32 and rounded, or the name of a backend.
    """

    operation: Operation
    axes: Mapping[str, str]
    of_backend: Callable[[str], Function]
    sizes: Mapping[str, int]
    largest: Mapping[str, int]
    borders: Sequence[Mapping[str, int]] = ()
    transforms: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    derive: Callable[[dict[str, int]], dict[str, int]] = lambda sizes: sizes
    half_oracle: str = "float32"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(self.axes)

    @property
    def reference(self) -> Function:
        """The oracle."""
        return self.of_backend("reference")

    def draw(
        self,
        seed: int,
        dtype: torch.dtype = torch.float64,
        members: tuple[int, ...] = (),
        **sizes: int,
    ) -> Inputs:
        """Inputs, in front of them the axes of members."""
        lengths = self.derive({**self.sizes, **sizes, "1": 1})
        rng = torch.Generator().manual_seed(seed)
        inputs = []
        for name, axes in self.axes.items():
            shape = *members, *(lengths[axis] for axis in axes)
            x = torch.randn(shape, generator=rng, dtype=torch.float64)
            inputs.append(self.transforms.get(name, lambda x: x)(x).to(dtype))
        return tuple(inputs)


class _Attention(torch.nn.Module):
    """Windowed attention as a function of its position's parameters, which ``functional_call`` replaces."""

    def __init__(self, position: AbstractPosition) -> None:
        super().__init__()
        self.position = position

    def forward(self, q: Tensor, k: Tensor, v: Tensor, window: int, backend: str) -> Tensor:
        return windowed_attention(q, k, v, window, self.position, backend=backend)


def attention_of(position: str) -> Callable[[str], Function]:
    """From a backend to a function of q, k, v and learned vectors (w, E), which other positions leave alone."""
    module = _Attention(POSITIONS[position](2, 1))

    def of_backend(backend: str) -> Function:
        def attention(q: Tensor, k: Tensor, v: Tensor, relative: Tensor) -> Inputs:
            arguments = q, k, v, relative.shape[-2], backend
            if position != "learned":
                return (module(*arguments) + 0 * relative.sum(),)
            return (torch.func.functional_call(module, {"position.relative": relative}, arguments),)

        return attention

    return of_backend


def _convolution_of(backend: str) -> Function:
    convolve = SHORT_CONVOLUTION.function(backend, "cpu")
    return lambda *inputs: (convolve(*inputs),)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _decay(x: Tensor) -> Tensor:
    return -F.softplus(x)


_RECURRENCE_SIZES = {"B": 2, "T": 19, "H": 2, "K": 3, "V": 2}
_RECURRENCE_LARGEST = {"B": 2, "T": 37, "H": 2, "K": 4, "V": 3}
_RECURRENCE_BORDERS = [{"T": t} for t in (15, 16, 17, 33)]


def _recurrence(operation: Operation, function: Function, *, beta: bool, decay: str) -> Case:
    axes = {"q": "BTHK", "k": "BTHK", "v": "BTHV", "beta": "BTH", "log_decay": decay, "initial_state": "BHKV"}
    return Case(
        operation,
        {name: letters for name, letters in axes.items() if beta or name != "beta"},
        lambda backend: lambda *inputs: function(*inputs, backend=backend),
        _RECURRENCE_SIZES,
        _RECURRENCE_LARGEST,
        _RECURRENCE_BORDERS,
        {"k": _unit, "beta": torch.sigmoid, "log_decay": _decay},
    )


def _attention(position: str) -> Case:
    return Case(
        WINDOWED_ATTENTION,
        {"q": "BHTE", "k": "BHSE", "v": "BHSE", "relative": "WE"},
        attention_of(position),
        {"B": 2, "H": 2, "T": 5, "P": 1, "W": 3, "F": 1},
        {"B": 3, "H": 4, "T": 9, "P": 7, "W": 12, "F": 3},
        # rows (B times H) around the 8 lanes
        [{"B": rows, "H": 1} for rows in (1, 7, 8, 9)],
        derive=lambda s: {**s, "S": s["T"] + min(s["P"] - 1, s["W"] - 1), "E": 2 * s["F"]},
        half_oracle="blocks",
    )


CASES: dict[str, Case] = {
    "selective scan": Case(
        SELECTIVE_SCAN,
        {"u": "BTD", "dt": "BTD", "a": "DN", "b": "BTN", "c": "BTN", "initial_state": "BDN"},
        lambda backend: lambda *inputs: selective_scan(*inputs, backend=backend),
        {"B": 2, "T": 5, "D": 3, "N": 2},
        {"B": 3, "T": 7, "D": 10, "N": 3},
        [{"T": t, "D": 9, "N": 3} for t in (63, 64, 65, 131)],
        {"dt": F.softplus, "a": lambda x: -x.exp()},
    ),
    "decayed attention, one decay a head": _recurrence(DECAYED_ATTENTION, decayed_attention, beta=False, decay="BTH1"),
    "decayed attention, one a row": _recurrence(DECAYED_ATTENTION, decayed_attention, beta=False, decay="BTHK"),
    "delta rule, one decay a head": _recurrence(DELTA_RULE, delta_rule, beta=True, decay="BTH1"),
    "delta rule, one a row": _recurrence(DELTA_RULE, delta_rule, beta=True, decay="BTHK"),
    "generalised delta rule": Case(
        GENERALISED_DELTA_RULE,
        {"q": "BTHK", "k": "BTHK", "v": "BTHV", "a": "BTHK", "b": "BTHK", "log_decay": "BTHK", "initial_state": "BHKV"},
        lambda backend: lambda *inputs: generalised_delta_rule(*inputs, backend=backend),
        _RECURRENCE_SIZES,
        _RECURRENCE_LARGEST,
        _RECURRENCE_BORDERS,
        # So little is removed that the state does not grow much where removal adds to it.
        {"a": _unit, "b": lambda x: 0.5 * _unit(x), "log_decay": _decay},
    ),
    "short convolution": Case(
        SHORT_CONVOLUTION,
        {"x": "BTD", "taps": "DC", "bias": "D", "before": "BPD"},
        _convolution_of,
        {"B": 2, "T": 5, "D": 3, "C": 3},
        {"B": 3, "T": 7, "D": 19, "C": 5},
        [{"D": d, "C": c} for d in (7, 8, 9, 17) for c in (1, 4)],
        derive=lambda s: {**s, "P": s["C"] - 1},
        half_oracle="reference",
    ),
    **{f"windowed attention, {position}": _attention(position) for position in POSITIONS},
}

#: Which outputs a loss reads: a backend sees None in place of the gradient of an output that is left out.
READ = {"all": slice(None), "first": slice(0, 1), "last": slice(-1, None)}


def loss_of(outputs: Inputs, read: str = "all") -> Tensor:
    """A number that depends on every entry of the outputs that are read."""
    total: Tensor = sum((i + x).sin().sum() for i, x in enumerate(outputs[READ[read]]))  # type: ignore[assignment]
    return total


def gradients(function: Function, inputs: Inputs, read: str = "all") -> Inputs:
    """Of the loss, for every input."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    loss = loss_of(function(*leaves), read)
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


def assert_close(found: Tensor, expected: Tensor, what: str, tolerance: float | None = None) -> None:
    """Raise ``AssertionError`` unless shape and type are the same, and values to the tolerance of the type."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    tolerance = TOLERANCE[expected.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(
        found, expected, atol=tolerance, rtol=tolerance, equal_nan=True, msg=lambda m: f"{what}: {m}"
    )


def assert_agrees(
    function: Function, oracle: Function, inputs: Inputs, names: Sequence[str], read: str = "all"
) -> None:
    """Raise ``AssertionError`` unless outputs and gradients are those of the oracle."""
    for i, (x, y) in enumerate(zip(function(*inputs), oracle(*inputs), strict=True)):
        assert_close(x, y, f"output {i}")
    found, expected = gradients(function, inputs, read), gradients(oracle, inputs, read)
    for name, x, y in zip(names, found, expected, strict=True):
        assert_close(x, y, f"gradient of {name}")
