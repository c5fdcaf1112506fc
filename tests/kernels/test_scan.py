"""Every scan backend is the recurrence as it is defined, forward, backward and in ensembles."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.kernels.backends import choose, usable
from boundprobe.kernels.scan import BACKENDS, check_backend, selective_scan
from boundprobe.kernels.scan.numba_kernels import CHUNK
from boundprobe.kernels.scan.reference import selective_scan_reference
from boundprobe.kernels.simd.vectors import LANES

Inputs = tuple[Tensor, ...]
Scan = Callable[..., tuple[Tensor, Tensor]]
NAMES = ("u", "dt", "a", "b", "c", "initial_state")
HERE = usable(BACKENDS, "cpu")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
#: What the loss reads: a backend sees None in place of the gradient of an output that it leaves out.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "y and final state": lambda y, h: y.sin().sum() + h.cos().sum(),
    "y only": lambda y, h: y.sin().sum(),
    "final state only": lambda y, h: h.cos().sum(),
}

each_backend = pytest.mark.parametrize("backend", HERE)
each_loss = pytest.mark.parametrize("loss", LOSSES)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
#: Some operations have no batching rule in functorch: slow under vmap, and right.
slow_vmap = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
#: B, T, D, N; D up to and beyond the lanes that are computed together.
sizes = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, LANES + 2), st.integers(1, 3))
seeds = st.integers(0, 2**31)


def scan_of(backend: str) -> Scan:
    return partial(selective_scan, backend=backend)


def make_inputs(
    size: tuple[int, int, int, int], seed: int, dtype: torch.dtype = torch.float64, members: tuple[int, ...] = ()
) -> Inputs:
    """Inputs of B, T, D, N = size with a non-zero initial state, in front of them the axes of members."""
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


def gradients(scan: Scan, inputs: Inputs, loss: str) -> Inputs:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = LOSSES[loss](*scan(*leaves))
    return torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    tolerance = TOLERANCE[expected.dtype]
    assert found.shape == expected.shape, what
    assert found.dtype == expected.dtype, what
    torch.testing.assert_close(
        found, expected, atol=tolerance, rtol=tolerance, equal_nan=True, msg=lambda m: f"{what}: {m}"
    )


def assert_agrees(backend: str, inputs: Inputs, loss: str = "y and final state") -> None:
    """Outputs and gradients are those of the reference."""
    for name, x, y in zip(
        ("y", "final state"), scan_of(backend)(*inputs), selective_scan_reference(*inputs), strict=True
    ):
        assert_close(x, y, name)
    found, expected = gradients(scan_of(backend), inputs, loss), gradients(selective_scan_reference, inputs, loss)
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert_close(x, y, f"gradient of {name}")


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


def test_every_cpu_backend_is_tested() -> None:
    assert tuple(name for name, backend in BACKENDS.items() if "cpu" in backend.devices) == HERE


@each_backend
@pytest.mark.parametrize("size", [(2, 5, 3, 2), (1, 1, 1, 1)])
def test_the_recurrence_by_hand(backend: str, size: tuple[int, int, int, int]) -> None:
    inputs = make_inputs(size, seed=0)
    for found, expected in zip(selective_scan(*inputs, backend=backend), by_hand(*inputs), strict=True):
        assert_close(found, expected, backend)


@each_backend
@each_dtype
@each_loss
@settings(max_examples=15)
@given(size=sizes, seed=seeds)
def test_agreement_with_the_reference(
    backend: str, dtype: torch.dtype, loss: str, size: tuple[int, int, int, int], seed: int
) -> None:
    inputs = make_inputs(size, seed, dtype)
    before = [x.clone() for x in inputs]
    assert_agrees(backend, inputs, loss)
    assert all(torch.equal(x, y) for x, y in zip(before, inputs, strict=True)), "an input was written to"


@each_backend
@pytest.mark.parametrize("time", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_sequences_longer_than_what_is_held_at_once(backend: str, time: int) -> None:
    assert_agrees(backend, make_inputs((2, time, LANES + 1, 3), seed=1))


@each_backend
@each_loss
def test_no_initial_state_is_zeros(backend: str, loss: str) -> None:
    inputs = make_inputs((2, 5, 3, 2), seed=2)
    zeros = torch.zeros_like(inputs[-1])
    for found, expected in zip(scan_of(backend)(*inputs[:-1]), scan_of(backend)(*inputs[:-1], zeros), strict=True):
        assert torch.equal(found, expected)
    found = gradients(scan_of(backend), inputs[:-1], loss)
    expected = gradients(scan_of(backend), (*inputs[:-1], zeros), loss)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=False))


@each_backend
def test_memory_order_does_not_matter(backend: str) -> None:
    inputs = make_inputs((2, 5, LANES, 3), seed=3)
    turned = tuple(x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs)
    sliced = tuple(torch.stack([x, x], dim=-1)[..., 0] for x in inputs)
    assert not any(x.is_contiguous() for x in (*turned, *sliced))
    assert_agrees(backend, turned)
    assert_agrees(backend, sliced)
    expanded = tuple(x[:1].expand_as(x) for x in inputs)
    assert_agrees(backend, expanded)


@each_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32(backend: str, dtype: torch.dtype) -> None:
    inputs = make_inputs((2, 6, 3, 2), seed=4, dtype=dtype)
    found = scan_of(backend)(*inputs)
    for x, y in zip(found, scan_of(backend)(*(x.float() for x in inputs)), strict=True):
        assert torch.equal(x, y.to(dtype))
    assert all(x.dtype == dtype for x in gradients(scan_of(backend), inputs, "y and final state"))


@each_backend
def test_the_result_has_the_type_of_u(backend: str) -> None:
    """As under mixed precision, where weights stay in float32."""
    u, *others = make_inputs((2, 3, 3, 2), seed=5, dtype=torch.float32)
    for x in scan_of(backend)(u.bfloat16(), *others):
        assert x.dtype == torch.bfloat16


@each_backend
@each_dtype
def test_states_that_are_forgotten_at_once(backend: str, dtype: torch.dtype) -> None:
    """Decays from 1 to far below the smallest number."""
    u, dt, a, *rest = make_inputs((2, 6, 4, 3), seed=6, dtype=dtype)
    a = -torch.tensor([[0, 1e-6, 1.0], [40, 80, 87], [88, 100, 150], [1e3, 1e6, 1e30]], dtype=dtype)
    assert_agrees(backend, (u, dt, a, *rest))


@each_backend
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", range(6), ids=NAMES)
def test_what_is_not_finite_shows(backend: str, which: int, value: float) -> None:
    """A model that diverges shows it where the reference does."""
    inputs = make_inputs((1, 5, 3, 2), seed=7, dtype=torch.float32)
    inputs[which].view(-1)[inputs[which].numel() // 2] = value
    found, expected = scan_of(backend)(*inputs), selective_scan_reference(*inputs)
    for x, y in zip(found, expected, strict=True):
        assert_close(x, y, NAMES[which])
    assert which == 2 or not all(x.isfinite().all() for x in found)  # a = -inf is a state that is forgotten at once


@each_backend
@pytest.mark.parametrize("size", [(2, 4, 2, 2), (1, 1, 2, 3)])
@pytest.mark.parametrize("outputs", [slice(0, 2), slice(0, 1), slice(1, 2)], ids=["both", "y", "state"])
def test_gradients_are_those_of_finite_differences(
    backend: str, size: tuple[int, int, int, int], outputs: slice
) -> None:
    inputs = [x.requires_grad_() for x in make_inputs(size, seed=3)]
    assert torch.autograd.gradcheck(lambda *x: scan_of(backend)(*x)[outputs], inputs)


@each_backend
@pytest.mark.parametrize("which", range(6), ids=NAMES)
def test_gradient_when_one_input_alone_needs_it(backend: str, which: int) -> None:
    def gradient(scan: Scan) -> Tensor:
        inputs = list(make_inputs((2, 4, 3, 2), seed=4))
        inputs[which].requires_grad_()
        return torch.autograd.grad(LOSSES["y and final state"](*scan(*inputs)), inputs[which])[0]

    assert_close(gradient(scan_of(backend)), gradient(selective_scan_reference), NAMES[which])


@each_backend
@pytest.mark.parametrize("size", [(2, 4, 2, 2), (1, 1, 2, 2)])
def test_second_derivatives_are_right_or_refused(backend: str, size: tuple[int, int, int, int]) -> None:
    """A backward pass written by hand may not be differentiable, but then it must say so."""
    inputs = [x.requires_grad_() for x in make_inputs(size, seed=5)]
    try:
        right = torch.autograd.gradgradcheck(scan_of(backend), inputs, raise_exception=False)
    except RuntimeError:
        return
    assert right


@slow_vmap
@each_backend
@each_loss
def test_ensembles_agree_one_by_one(backend: str, loss: str) -> None:
    """Under vmap over members, every input has its own values in each member."""
    stacked = make_inputs((2, 5, 3, 2), seed=6, members=(3,))
    scan = scan_of(backend)

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
@pytest.mark.parametrize("own", range(5), ids=NAMES[:5])
@pytest.mark.parametrize("at", [0, -1])
def test_ensembles_may_share_inputs(backend: str, own: int, at: int) -> None:
    """Members with their own ``a`` on the same sequences, as in a sweep over models, and every other one of them."""
    shared, stacked = make_inputs((2, 5, 3, 2), seed=7), make_inputs((2, 5, 3, 2), seed=8, members=(3,))
    inputs = [*shared[:own], stacked[own].movedim(0, at), *shared[own + 1 : 5]]
    in_dims = tuple(at if i == own else None for i in range(5))
    found = torch.func.vmap(scan_of(backend), in_dims=in_dims)(*inputs)
    for i in range(3):
        expected = selective_scan_reference(*shared[:own], stacked[own][i], *shared[own + 1 : 5], None)
        for x, y in zip(found, expected, strict=True):
            assert_close(x[i], y, f"member {i}")


@slow_vmap
@each_backend
def test_ensembles_of_ensembles(backend: str) -> None:
    stacked = make_inputs((2, 5, 3, 2), seed=9, members=(2, 3))

    def value(*inputs: Tensor) -> Tensor:
        return LOSSES["y and final state"](*scan_of(backend)(*inputs))

    found = torch.func.vmap(torch.func.vmap(torch.func.grad(value, argnums=tuple(range(6)))))(*stacked)
    for i in range(2):
        for j in range(3):
            member = tuple(x[i, j] for x in stacked)
            expected = gradients(selective_scan_reference, member, "y and final state")
            for name, x, y in zip(NAMES, found, expected, strict=True):
                assert_close(x[i, j], y, f"gradient of {name}, member {i}, {j}")


@each_backend
@settings(max_examples=15)
@given(size=sizes, seed=seeds, cut=st.integers(1, 6))
def test_two_pieces_are_one_scan(backend: str, size: tuple[int, int, int, int], seed: int, cut: int) -> None:
    """The final state is all that the rest of the sequence needs."""
    u, dt, a, b, c, initial = make_inputs((size[0], cut + size[1], *size[2:]), seed)
    scan = scan_of(backend)
    whole, last = scan(u, dt, a, b, c, initial)
    first, middle = scan(u[:, :cut], dt[:, :cut], a, b[:, :cut], c[:, :cut], initial)
    second, end = scan(u[:, cut:], dt[:, cut:], a, b[:, cut:], c[:, cut:], middle)
    assert_close(torch.cat([first, second], dim=1), whole, "y")
    assert_close(end, last, "final state")


@each_backend
def test_the_same_twice(backend: str) -> None:
    inputs = make_inputs((2, 70, 5, 3), seed=10, dtype=torch.float32)
    runs = [gradients(scan_of(backend), inputs, "y and final state") for _ in range(2)]
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))


def test_an_unknown_backend_is_refused_in_one_line() -> None:
    inputs = make_inputs((1, 1, 1, 1), seed=0)
    for refuse in (lambda: check_backend("fast"), lambda: selective_scan(*inputs, backend="fast")):
        with pytest.raises(ValueError, match="backend 'fast' is not known; allowed: ") as caught:
            refuse()
        assert "\n" not in str(caught.value)
        assert all(name in str(caught.value) for name in ("auto", *BACKENDS))
    assert all(check_backend(name) == name for name in ("auto", *BACKENDS))


@pytest.mark.parametrize("which", range(1, 6), ids=NAMES[1:])
def test_shapes_that_disagree_are_refused(which: int) -> None:
    """Compiled loops would read beyond the end of an array."""
    inputs = list(make_inputs((2, 5, 3, 2), seed=0))
    inputs[which] = inputs[which][:-1]
    with pytest.raises(ValueError, match=rf"^{NAMES[which]} has shape .*; allowed: .*; change it$"):
        selective_scan(*inputs)


def test_auto_takes_the_compiled_loops_on_a_cpu() -> None:
    assert choose("selective scan", BACKENDS, "auto", "cpu") == "numba"
    inputs = make_inputs((2, 5, 3, 2), seed=0)
    for x, y in zip(selective_scan(*inputs), selective_scan(*inputs, backend="numba"), strict=True):
        assert torch.equal(x, y)


def test_auto_does_without_numba() -> None:
    code = """
import sys
sys.modules["numba"] = None  # importing it raises ImportError
import torch
from boundprobe.kernels.backends import choose, find_problem
from boundprobe.kernels.scan import BACKENDS, selective_scan
print(choose("selective scan", BACKENDS, "auto", "cpu"), selective_scan(*torch.ones(5, 1, 1, 1)[:2], torch.zeros(1, 1), *torch.ones(2, 1, 1, 1))[0].item())
print(find_problem(BACKENDS["numba"], "cpu"))
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "time-major 1.0"
    assert "numba" in second
    assert second.endswith("; pip install numba")


# The compiled loops.


def saved_numbers(backend: str, size: tuple[int, int, int, int]) -> int:
    """Numbers in the tensors that are kept for the backward pass, without those that share memory with inputs."""
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x
        return x

    inputs = [x.requires_grad_() for x in make_inputs(size, seed=0)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        scan_of(backend)(*inputs)
    return sum(x.numel() for at, x in kept.items() if at not in [x.data_ptr() for x in inputs])


def test_only_one_state_in_a_chunk_is_kept() -> None:
    batch, time, channels, states = size = (2, 3 * CHUNK, LANES, 16)
    assert saved_numbers("numba", size) == batch * 3 * channels * states
    assert saved_numbers("time-major", size) > batch * time * channels * states  # the negative control
