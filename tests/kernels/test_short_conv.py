"""The short convolution against that of torch, with every backend, forward, backward and in ensembles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boundprobe.kernels.backends import Backend, choose, usable
from boundprobe.kernels.conv import BACKENDS, OPERATION, numba_cpu, short_convolution
from boundprobe.kernels.conv.reference import short_convolution_reference
from boundprobe.kernels.simd.vectors import LANES

T, D = 6, 3
HERE = usable(BACKENDS, "cpu")
NAMES = ("x", "taps", "bias", "before")
#: float32 adds some ten numbers in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
Convolve = Callable[..., Tensor]

each_backend = pytest.mark.parametrize("backend", HERE)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
each_width = pytest.mark.parametrize("width", [1, 2, 4, 9])
each_bias = pytest.mark.parametrize("bias", [True, False])
#: B, T, D, c: fewer inputs than taps and more, channels up to and beyond the lanes that are computed together.
sizes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 2 * LANES + 3), st.integers(1, 5))
seeds = st.integers(0, 2**31)


def convolution_of(backend: str) -> Convolve:
    return BACKENDS[backend].load()


def make_inputs(
    size: tuple[int, int, int, int], seed: int, dtype: torch.dtype = torch.float64, members: tuple[int, ...] = ()
) -> list[Tensor]:
    """x, taps, bias and the inputs before x, of B, T, D, c = size, in front of them the axes of members."""
    batch, time, channels, width = size
    rng = torch.Generator().manual_seed(seed)
    shapes = (batch, time, channels), (channels, width), (channels,), (batch, width - 1, channels)
    return [torch.randn(*members, *shape, generator=rng, dtype=torch.float64).to(dtype) for shape in shapes]


def gradients(convolve: Convolve, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(convolve(*leaves).sin().sum(), leaves)


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    tolerance = TOLERANCE[expected.dtype]
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    torch.testing.assert_close(
        found, expected, atol=tolerance, rtol=tolerance, equal_nan=True, msg=lambda m: f"{what}: {m}"
    )


def assert_agrees(backend: str, inputs: list[Tensor]) -> None:
    """Output and gradients are those of the reference."""
    convolve = convolution_of(backend)
    assert_close(convolve(*inputs), short_convolution_reference(*inputs), "y")
    found, expected = gradients(convolve, inputs), gradients(short_convolution_reference, inputs)
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert_close(x, y, f"gradient of {name}")


def test_every_cpu_backend_is_tested() -> None:
    assert HERE == ("numba", "reference")
    assert choose(OPERATION, BACKENDS, "auto", "cpu") == "numba"


@each_backend
@each_width
@each_bias
def test_it_is_a_causal_convolution_and_a_silu(backend: str, width: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(D, D, width, groups=D, bias=bias).double()
    x = torch.randn(2, T, D).double()
    y, buffer = short_convolution(conv, x, None, backend=backend)
    padded = F.pad(x.transpose(1, 2), (width - 1, 0))
    torch.testing.assert_close(y, F.silu(conv(padded)).transpose(1, 2), atol=1e-12, rtol=1e-12)
    assert torch.equal(buffer, padded.transpose(1, 2)[:, T:])


@each_backend
@each_dtype
@settings(max_examples=25)
@given(size=sizes, seed=seeds)
def test_agreement_with_the_reference(
    backend: str, dtype: torch.dtype, size: tuple[int, int, int, int], seed: int
) -> None:
    inputs = make_inputs(size, seed, dtype)
    before = [x.clone() for x in inputs]
    assert_agrees(backend, inputs)
    assert all(torch.equal(x, y) for x, y in zip(before, inputs, strict=True)), "an input was written to"


def test_the_check_of_agreement_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: taps in the other order."""

    def turned(x: Tensor, taps: Tensor, *rest: Tensor) -> Tensor:
        return short_convolution_reference(x, taps.flip(1), *rest)

    monkeypatch.setitem(BACKENDS, "numba", Backend(lambda: turned))
    with pytest.raises(AssertionError, match="y: "):
        assert_agrees("numba", make_inputs((2, 5, 3, 4), seed=0))


@each_backend
def test_gradients_are_those_of_finite_differences(backend: str) -> None:
    inputs = [x.requires_grad_() for x in make_inputs((2, 4, 3, 3), seed=3)]
    assert torch.autograd.gradcheck(convolution_of(backend), inputs)


@each_backend
def test_memory_order_does_not_matter(backend: str) -> None:
    inputs = make_inputs((2, 5, LANES + 1, 3), seed=3)
    turned = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs]
    part_of_a_projection = [torch.cat([x, x], dim=-1)[..., : x.shape[-1]] for x in inputs]
    for others in (turned, part_of_a_projection):
        assert not all(x.is_contiguous() for x in others)
        assert_agrees(backend, others)
    assert_agrees(backend, [x[:1].expand_as(x) for x in inputs])


@each_backend
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("which", range(4), ids=NAMES)
def test_what_is_not_finite_shows(backend: str, which: int, value: float) -> None:
    """A model that diverges shows it where the reference does."""
    inputs = make_inputs((1, 5, 3, 3), seed=7, dtype=torch.float32)
    inputs[which].view(-1)[inputs[which].numel() // 2] = value
    found, expected = convolution_of(backend)(*inputs), short_convolution_reference(*inputs)
    assert_close(found, expected, NAMES[which])
    assert value != value or torch.equal(found.isfinite(), expected.isfinite())


@each_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_other_types_take_the_reference(backend: str, dtype: torch.dtype) -> None:
    """Bit for bit, alone and beside weights in float32, as under mixed precision."""
    inputs = make_inputs((2, 5, 3, 3), seed=8, dtype=torch.float32)
    half = [x.to(dtype) for x in inputs]
    mixed = [half[0], inputs[1], inputs[2], half[3]]
    for values in (half, mixed):
        assert torch.equal(convolution_of(backend)(*values), short_convolution_reference(*values))


@each_backend
@each_width
@torch.no_grad()
def test_the_buffer_is_all_that_later_tokens_need(backend: str, width: int) -> None:
    torch.manual_seed(1)
    conv = nn.Conv1d(D, D, width, groups=D)
    x = torch.randn(2, T, D)
    whole, last = short_convolution(conv, x, None, backend=backend)
    for length in (1, 2, 4):
        buffer, pieces = None, []
        for piece in x.split(length, dim=1):
            y, buffer = short_convolution(conv, piece, buffer, backend=backend)
            assert buffer.shape == (2, width - 1, D)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-6, rtol=1e-6)  # one float32 rounding or so
        assert torch.equal(buffer, last)


@each_backend
def test_gradients_go_through_the_buffer(backend: str) -> None:
    torch.manual_seed(2)
    conv, x = nn.Conv1d(D, D, 4, groups=D).double(), torch.randn(2, T, D).double()
    leaves = [x.requires_grad_(), conv.weight, conv.bias]
    whole = torch.autograd.grad(short_convolution(conv, x, None, backend=backend)[0].sin().sum(), leaves)
    first, buffer = short_convolution(conv, x[:, :2], None, backend=backend)
    second, _ = short_convolution(conv, x[:, 2:], buffer, backend=backend)
    for found, expected in zip(torch.autograd.grad(first.sin().sum() + second.sin().sum(), leaves), whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_width_one_scales_each_channel() -> None:
    torch.manual_seed(2)
    conv = nn.Conv1d(D, D, 1, groups=D)
    x = torch.randn(2, T, D)
    y, buffer = short_convolution(conv, x, None)
    torch.testing.assert_close(y, F.silu(x * conv.weight.flatten() + conv.bias))
    assert buffer.shape == (2, 0, D)


@each_backend
@pytest.mark.parametrize("shared", [(), (0,), (1, 2), (3,)], ids=str)
def test_ensembles_agree_one_by_one(backend: str, shared: tuple[int, ...]) -> None:
    """Under vmap over members, which may share inputs."""
    convolve = convolution_of(backend)
    stacked, one = make_inputs((2, 5, 3, 3), seed=6, members=(3,)), make_inputs((2, 5, 3, 3), seed=7)
    inputs = [one[i] if i in shared else stacked[i] for i in range(4)]
    in_dims = tuple(None if i in shared else 0 for i in range(4))

    def value(*own: Tensor) -> Tensor:
        return convolve(*own).sin().sum()

    outputs = torch.func.vmap(convolve, in_dims)(*inputs)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(4))), in_dims)(*inputs)
    for i in range(3):
        member = [x if axis is None else x[i] for x, axis in zip(inputs, in_dims, strict=True)]
        assert_close(outputs[i], short_convolution_reference(*member), f"member {i}")
        expected = gradients(short_convolution_reference, member)
        for name, x, y in zip(NAMES, found, expected, strict=True):
            assert_close(x[i], y, f"gradient of {name}, member {i}")


def test_ensembles_of_ensembles() -> None:
    stacked = make_inputs((2, 5, 3, 3), seed=9, members=(2, 3))
    found = torch.func.vmap(torch.func.vmap(convolution_of("numba")))(*stacked)
    for i in range(2):
        for j in range(3):
            assert_close(found[i, j], short_convolution_reference(*(x[i, j] for x in stacked)), f"member {i}, {j}")


def outputs_of_first(n_members: int, at: int) -> list[Tensor]:
    """Output and gradients, in float32, of the member with the seed 11, at a place among so many."""
    members = [make_inputs((3, 70, LANES + 3, 4), seed=11 if i == at else 100 + i) for i in range(n_members)]
    leaves = [torch.stack(values).float().requires_grad_() for values in zip(*members, strict=True)]
    y = torch.func.vmap(convolution_of("numba"))(*leaves)
    return [value[at] for value in (y, *torch.autograd.grad(y.sin().sum(), leaves))]


def test_a_member_does_not_depend_on_the_others_bit_for_bit() -> None:
    inputs = make_inputs((3, 70, LANES + 3, 4), seed=11)
    leaves = [x.float().requires_grad_() for x in inputs]
    y = convolution_of("numba")(*leaves)
    alone = [y, *torch.autograd.grad(y.sin().sum(), leaves)]
    for n_members, at in ((1, 0), (2, 0), (5, 0), (5, 3)):
        for name, x, y in zip(("y", *NAMES), outputs_of_first(n_members, at), alone, strict=True):
            assert torch.equal(x, y), f"{name} of member {at} of {n_members}"
    # the negative control: torch's own sum over batch and time comes out another way round
    assert not torch.equal(gradients(short_convolution_reference, [x.float() for x in inputs])[1], alone[2])


@pytest.mark.parametrize(
    ("x", "buffer", "said"),
    [
        ((2, 5, 4), None, r"^x has shape \(2, 5, 4\); allowed: \(2, 5, 3\), for weights \(D, c\) of shape \(3, 4\);"),
        ((2, 5, 3), (2, 2, 3), r"^buffer has shape \(2, 2, 3\); allowed: \(2, 3, 3\), .*; change it$"),
        ((2, 5, 3), (1, 3, 3), r"^buffer has shape \(1, 3, 3\); allowed: \(2, 3, 3\), .*; change it$"),
    ],
)
def test_shapes_that_disagree_are_refused(x: tuple[int, ...], buffer: tuple[int, ...] | None, said: str) -> None:
    """Compiled loops would read beyond the end of an array."""
    conv = nn.Conv1d(3, 3, 4, groups=3)
    with pytest.raises(ValueError, match=said):
        short_convolution(conv, torch.zeros(x), None if buffer is None else torch.zeros(buffer))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^short convolution 'fast' is not known; allowed: auto, numba, reference"):
        short_convolution(nn.Conv1d(3, 3, 4, groups=3), torch.zeros(1, 2, 3), None, backend="fast")


def test_nothing_but_the_inputs_is_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    inputs = [x.requires_grad_() for x in make_inputs((2, 9, LANES, 4), seed=0)]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        numba_cpu.short_convolution_numba(*inputs)
    assert {x.data_ptr() for x in kept} == {x.data_ptr() for x in inputs}
