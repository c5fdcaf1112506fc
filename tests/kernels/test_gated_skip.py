"""Skip connection and gate with every backend, forward, backward and in ensembles."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.kernels.backends import Backend, choose, usable
from boundprobe.kernels.gated_skip import BACKENDS, OPERATION, gated_skip
from boundprobe.kernels.gated_skip.reference import gated_skip_reference
from boundprobe.kernels.simd.vectors import LANES

HERE = usable(BACKENDS, "cpu")
NAMES = ("y", "u", "d", "gate")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
GatedSkip = Callable[..., Tensor]

each_backend = pytest.mark.parametrize("backend", HERE)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
#: B, T, D; D up to and beyond the lanes that are computed together.
sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 2 * LANES + 3))
seeds = st.integers(0, 2**31)


def function_of(backend: str) -> GatedSkip:
    return BACKENDS[backend].load()


def make_inputs(
    size: tuple[int, int, int], seed: int, dtype: torch.dtype = torch.float64, members: tuple[int, ...] = ()
) -> list[Tensor]:
    """y, u, d and the gate of B, T, D = size, in front of them the axes of members."""
    rng = torch.Generator().manual_seed(seed)
    shapes = size, size, size[2:], size
    return [torch.randn(*members, *shape, generator=rng, dtype=torch.float64).to(dtype) for shape in shapes]


def gradients(function: GatedSkip, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(function(*leaves).sin().sum(), leaves)


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    tolerance = TOLERANCE[expected.dtype]
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    torch.testing.assert_close(
        found, expected, atol=tolerance, rtol=tolerance, equal_nan=True, msg=lambda m: f"{what}: {m}"
    )


def assert_agrees(backend: str, inputs: list[Tensor]) -> None:
    """Output and gradients are those of the reference."""
    function = function_of(backend)
    assert_close(function(*inputs), gated_skip_reference(*inputs), "output")
    found, expected = gradients(function, inputs), gradients(gated_skip_reference, inputs)
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert_close(x, y, f"gradient of {name}")


def test_every_cpu_backend_is_tested() -> None:
    assert HERE == ("numba", "reference")
    assert choose(OPERATION, BACKENDS, "auto", "cpu") == "numba"


@each_backend
def test_the_formula_by_hand(backend: str) -> None:
    y, u, d, gate = inputs = make_inputs((2, 3, 5), seed=0)
    found = gated_skip(*inputs, backend=backend)
    for i, t, j in ((0, 0, 0), (1, 2, 4), (0, 1, 3)):
        g = float(gate[i, t, j])
        expected = (float(y[i, t, j]) + float(d[j]) * float(u[i, t, j])) * g / (1 + math.exp(-g))
        assert float(found[i, t, j]) == pytest.approx(expected, rel=1e-12)


@each_backend
@each_dtype
@settings(max_examples=25)
@given(size=sizes, seed=seeds)
def test_agreement_with_the_reference(backend: str, dtype: torch.dtype, size: tuple[int, int, int], seed: int) -> None:
    inputs = make_inputs(size, seed, dtype)
    before = [x.clone() for x in inputs]
    assert_agrees(backend, inputs)
    assert all(torch.equal(x, y) for x, y in zip(before, inputs, strict=True)), "an input was written to"


def test_the_check_of_agreement_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: y and u changed over."""
    monkeypatch.setitem(BACKENDS, "numba", Backend(lambda: lambda y, u, d, g: gated_skip_reference(u, y, d, g)))
    with pytest.raises(AssertionError, match="output: "):
        assert_agrees("numba", make_inputs((2, 5, 3), seed=0))


@each_backend
def test_gradients_are_those_of_finite_differences(backend: str) -> None:
    inputs = [x.requires_grad_() for x in make_inputs((2, 3, LANES + 1), seed=3)]
    assert torch.autograd.gradcheck(function_of(backend), inputs)


@each_backend
def test_memory_order_does_not_matter(backend: str) -> None:
    inputs = make_inputs((2, 5, LANES + 1), seed=3)
    assert_agrees(backend, [x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs])
    assert_agrees(backend, [torch.cat([x, x], dim=-1)[..., x.shape[-1] :] for x in inputs])  # parts of projections
    assert_agrees(backend, [x[:1].expand_as(x) for x in inputs])


@each_backend
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("which", range(4), ids=NAMES)
def test_what_is_not_finite_shows(backend: str, which: int, value: float) -> None:
    inputs = make_inputs((1, 5, 3), seed=7, dtype=torch.float32)
    inputs[which].view(-1)[inputs[which].numel() // 2] = value
    assert_close(function_of(backend)(*inputs), gated_skip_reference(*inputs), NAMES[which])


@each_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_other_types_take_the_reference(backend: str, dtype: torch.dtype) -> None:
    """Bit for bit, alone and beside a weight in float32, as under mixed precision."""
    inputs = make_inputs((2, 5, 3), seed=8, dtype=torch.float32)
    half = [x.to(dtype) for x in inputs]
    for values in (half, [*half[:2], inputs[2], half[3]]):
        assert torch.equal(function_of(backend)(*values), gated_skip_reference(*values))


@each_backend
@pytest.mark.parametrize("shared", [(), (0,), (1, 2), (3,)], ids=str)
def test_ensembles_agree_one_by_one(backend: str, shared: tuple[int, ...]) -> None:
    """Under vmap over members, which may share inputs."""
    function = function_of(backend)
    stacked, one = make_inputs((2, 5, 3), seed=6, members=(3,)), make_inputs((2, 5, 3), seed=7)
    inputs = [one[i] if i in shared else stacked[i] for i in range(4)]
    in_dims = tuple(None if i in shared else 0 for i in range(4))

    def value(*own: Tensor) -> Tensor:
        return function(*own).sin().sum()

    outputs = torch.func.vmap(function, in_dims)(*inputs)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(4))), in_dims)(*inputs)
    for i in range(3):
        member = [x if axis is None else x[i] for x, axis in zip(inputs, in_dims, strict=True)]
        assert_close(outputs[i], gated_skip_reference(*member), f"member {i}")
        for name, x, y in zip(NAMES, found, gradients(gated_skip_reference, member), strict=True):
            assert_close(x[i], y, f"gradient of {name}, member {i}")


def test_a_member_does_not_depend_on_the_others_bit_for_bit() -> None:
    size = (3, 70, LANES + 3)

    def outputs(n_members: int, at: int) -> list[Tensor]:
        members = [make_inputs(size, seed=11 if i == at else 100 + i) for i in range(n_members)]
        leaves = [torch.stack(values).float().requires_grad_() for values in zip(*members, strict=True)]
        out = torch.func.vmap(function_of("numba"))(*leaves)
        return [value[at] for value in (out, *torch.autograd.grad(out.sin().sum(), leaves))]

    leaves = [x.float().requires_grad_() for x in make_inputs(size, seed=11)]
    out = function_of("numba")(*leaves)
    alone = [out, *torch.autograd.grad(out.sin().sum(), leaves)]
    for n_members, at in ((1, 0), (2, 0), (5, 0), (5, 3)):
        for name, x, y in zip(("output", *NAMES), outputs(n_members, at), alone, strict=True):
            assert torch.equal(x, y), f"{name} of member {at} of {n_members}"
    # the negative control: torch's own sum over batch and time comes out another way round
    assert not torch.equal(gradients(gated_skip_reference, [x.detach() for x in leaves])[2], alone[3])


@pytest.mark.parametrize("which", [0, 2, 3], ids=[NAMES[i] for i in (0, 2, 3)])
def test_shapes_that_disagree_are_refused(which: int) -> None:
    """Compiled loops would read beyond the end of an array."""
    inputs = make_inputs((2, 5, 3), seed=0)
    inputs[which] = inputs[which][:-1]
    with pytest.raises(ValueError, match=rf"^{NAMES[which]} has shape .*; allowed: .*, as u has it; change it$"):
        gated_skip(*inputs)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^gated skip 'fast' is not known; allowed: auto, numba, reference"):
        gated_skip(*make_inputs((1, 1, 1), seed=0), backend="fast")
