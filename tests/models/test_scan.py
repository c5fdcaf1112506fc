"""Every scan backend is the recurrence as it is defined, forward, backward and in ensembles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.models.scan import BACKENDS, check_backend, selective_scan
from boundprobe.models.scan.reference import selective_scan_reference

Inputs = tuple[Tensor, ...]
NAMES = ("u", "dt", "a", "b", "c", "initial_state")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
#: What the loss reads: a backend sees None in place of the gradient of an output that it leaves out.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "y and final state": lambda y, h: y.sin().sum() + h.cos().sum(),
    "y only": lambda y, h: y.sin().sum(),
    "final state only": lambda y, h: h.cos().sum(),
}

each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_loss = pytest.mark.parametrize("loss", LOSSES)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
#: Some operations have no batching rule in functorch: slow under vmap, and right.
slow_vmap = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
sizes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))


def make_inputs(
    size: tuple[int, int, int, int], seed: int, dtype: torch.dtype = torch.float64, members: tuple[int, ...] = ()
) -> Inputs:
    """Inputs of B, T, D, N = size with a non-zero initial state, in front of them the axis of members."""
    batch, time, channels, states = size
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*members, *shape, generator=rng, dtype=torch.float64).to(dtype)

    return (
        draw(batch, time, channels),
        F.softplus(draw(batch, time, channels)),
        -draw(channels, states).exp(),
        draw(batch, time, states),
        draw(batch, time, states),
        draw(batch, channels, states),
    )


def gradients(scan: Callable[..., tuple[Tensor, Tensor]], inputs: Inputs, loss: str) -> Inputs:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = LOSSES[loss](*scan(*leaves))
    return torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    tolerance = TOLERANCE[expected.dtype]
    assert found.shape == expected.shape, what
    assert found.dtype == expected.dtype, what
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance, msg=lambda m: f"{what}: {m}")


def by_hand(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Scalar loops, sharing nothing with the package."""
    h, y = h.clone(), torch.zeros_like(u)
    batch, time, channels = u.shape
    for i in range(batch):
        for t in range(time):
            for d in range(channels):
                for n in range(a.shape[1]):
                    decay = torch.exp(dt[i, t, d] * a[d, n])
                    h[i, d, n] = decay * h[i, d, n] + dt[i, t, d] * b[i, t, n] * u[i, t, d]
                    y[i, t, d] += c[i, t, n] * h[i, d, n]
    return y, h


@each_backend
@pytest.mark.parametrize("size", [(2, 5, 3, 2), (1, 1, 1, 1)])
def test_the_recurrence_by_hand(backend: str, size: tuple[int, int, int, int]) -> None:
    inputs = make_inputs(size, seed=0)
    for found, expected in zip(selective_scan(*inputs, backend=backend), by_hand(*inputs), strict=True):
        assert_close(found, expected, backend)


@each_backend
@each_dtype
@settings(max_examples=25)
@given(size=sizes, seed=st.integers(0, 2**31))
def test_outputs_agree_with_the_reference(
    backend: str, dtype: torch.dtype, size: tuple[int, int, int, int], seed: int
) -> None:
    inputs = make_inputs(size, seed, dtype)
    before = [x.clone() for x in inputs]
    found = BACKENDS[backend](*inputs)
    for name, x, y in zip(("y", "final state"), found, selective_scan_reference(*inputs), strict=True):
        assert_close(x, y, name)
    assert all(torch.equal(x, y) for x, y in zip(before, inputs, strict=True)), "an input was written to"


@each_backend
@each_dtype
@each_loss
@settings(max_examples=15)
@given(size=sizes, seed=st.integers(0, 2**31))
def test_gradients_agree_with_the_reference(
    backend: str, dtype: torch.dtype, loss: str, size: tuple[int, int, int, int], seed: int
) -> None:
    inputs = make_inputs(size, seed, dtype)
    found = gradients(BACKENDS[backend], inputs, loss)
    expected = gradients(selective_scan_reference, inputs, loss)
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert_close(x, y, f"gradient of {name}")


@each_backend
@pytest.mark.parametrize("size", [(2, 4, 2, 2), (1, 1, 2, 3)])
@pytest.mark.parametrize("outputs", [slice(0, 2), slice(0, 1), slice(1, 2)], ids=["both", "y", "state"])
def test_gradients_are_those_of_finite_differences(
    backend: str, size: tuple[int, int, int, int], outputs: slice
) -> None:
    inputs = [x.requires_grad_() for x in make_inputs(size, seed=3)]
    assert torch.autograd.gradcheck(lambda *x: BACKENDS[backend](*x)[outputs], inputs)


@each_backend
@pytest.mark.parametrize("which", range(6), ids=NAMES)
def test_gradient_when_one_input_alone_needs_it(backend: str, which: int) -> None:
    def gradient(scan: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
        inputs = list(make_inputs((2, 4, 3, 2), seed=4))
        inputs[which].requires_grad_()
        return torch.autograd.grad(LOSSES["y and final state"](*scan(*inputs)), inputs[which])[0]

    assert_close(gradient(BACKENDS[backend]), gradient(selective_scan_reference), NAMES[which])


@each_backend
@pytest.mark.parametrize("size", [(2, 4, 2, 2), (1, 1, 2, 2)])
def test_second_derivatives_are_right_or_refused(backend: str, size: tuple[int, int, int, int]) -> None:
    """A backward pass written by hand may not be differentiable, but then it must say so."""
    inputs = [x.requires_grad_() for x in make_inputs(size, seed=5)]
    try:
        right = torch.autograd.gradgradcheck(BACKENDS[backend], inputs, raise_exception=False)
    except RuntimeError:
        return
    assert right


@slow_vmap
@each_backend
@each_loss
def test_ensembles_agree_one_by_one(backend: str, loss: str) -> None:
    """Under vmap over members, every input has its own values in each member."""
    stacked = make_inputs((2, 5, 3, 2), seed=6, members=(3,))
    scan = BACKENDS[backend]

    def value(*inputs: Tensor) -> Tensor:
        return LOSSES[loss](*scan(*inputs))

    outputs = torch.func.vmap(scan)(*stacked)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(6))))(*stacked)
    for i in range(3):
        member = tuple(x[i] for x in stacked)
        for x, y in zip(outputs, selective_scan_reference(*member), strict=True):
            assert_close(x[i], y, f"member {i}")
        expected = gradients(selective_scan_reference, member, loss)
        for name, x, y in zip(NAMES, found, expected, strict=True):
            assert_close(x[i], y, f"gradient of {name}, member {i}")


@slow_vmap
@each_backend
def test_ensembles_may_share_inputs(backend: str) -> None:
    """Members with their own ``a`` on the same sequences, as in a sweep over models."""
    shared, stacked = make_inputs((2, 5, 3, 2), seed=7), make_inputs((2, 5, 3, 2), seed=8, members=(3,))
    inputs = (*shared[:2], stacked[2], *shared[3:])
    in_dims = (None, None, 0, None, None, None)
    found = torch.func.vmap(BACKENDS[backend], in_dims=in_dims)(*inputs)
    for i in range(3):
        expected = selective_scan_reference(*shared[:2], stacked[2][i], *shared[3:])
        for x, y in zip(found, expected, strict=True):
            assert_close(x[i], y, f"member {i}")


@each_backend
@settings(max_examples=15)
@given(size=sizes, seed=st.integers(0, 2**31), cut=st.integers(1, 6))
def test_two_pieces_are_one_scan(backend: str, size: tuple[int, int, int, int], seed: int, cut: int) -> None:
    """The final state is all that the rest of the sequence needs."""
    u, dt, a, b, c, initial = make_inputs((size[0], cut + size[1], *size[2:]), seed)
    scan = BACKENDS[backend]
    whole, last = scan(u, dt, a, b, c, initial)
    first, middle = scan(u[:, :cut], dt[:, :cut], a, b[:, :cut], c[:, :cut], initial)
    second, end = scan(u[:, cut:], dt[:, cut:], a, b[:, cut:], c[:, cut:], middle)
    assert_close(torch.cat([first, second], dim=1), whole, "y")
    assert_close(end, last, "final state")


def test_an_unknown_backend_is_refused_in_one_line() -> None:
    inputs = make_inputs((1, 1, 1, 1), seed=0)
    for refuse in (lambda: check_backend("fast"), lambda: selective_scan(*inputs, backend="fast")):
        with pytest.raises(ValueError, match="scan 'fast' is not known; allowed: ") as caught:
            refuse()
        assert "\n" not in str(caught.value)
        assert all(name in str(caught.value) for name in BACKENDS)
    assert all(check_backend(name) == name for name in BACKENDS)
