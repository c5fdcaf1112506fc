"""The scan's backends on a CUDA device: the reference on the CPU, forward, backward, in pieces and in ensembles."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels import SELECTIVE_SCAN, find_problem, selective_scan
from boundprobe.kernels.scan import selective_scan_reference
from boundprobe.kernels.scan.mamba_ssm_cuda import load_kernel

pytestmark = pytest.mark.gpu

Inputs = tuple[Tensor, ...]
NAMES = ("u", "dt", "a", "b", "c", "initial_state")
ON_CUDA = [name for name, backend in SELECTIVE_SCAN.backends.items() if "cuda" in backend.devices]
SIZES = [(2, 100, 32, 16), (3, 7, 5, 2), (1, 1, 1, 1), (2, 2100, 4, 2)]  # the last is two of mamba-ssm's chunks
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "y and final state": lambda y, h: y.sin().sum() + h.cos().sum(),
    "y only": lambda y, h: y.sin().sum(),
    "final state only": lambda y, h: h.cos().sum(),
}


@pytest.fixture(params=ON_CUDA)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "mamba-ssm":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed")
            load_kernel()
        assert find_problem(SELECTIVE_SCAN.backends[name], "cuda") is None
    return name


def make_inputs(size: tuple[int, int, int, int], members: tuple[int, ...] = ()) -> Inputs:
    batch, time, channels, states = size
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*members, *shape, generator=rng)

    return (
        draw(batch, time, channels),
        F.softplus(draw(batch, time, channels) - 2),
        -draw(channels, states).exp(),
        draw(batch, time, states),
        draw(batch, time, states),
        draw(batch, channels, states),
    )


def gradients(scan: Callable[..., tuple[Tensor, Tensor]], inputs: Inputs, loss: str) -> Inputs:
    leaves = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(LOSSES[loss](*scan(*leaves)), leaves, allow_unused=True, materialize_grads=True)


def assert_all_close(found: Inputs, expected: Inputs) -> None:
    for name, x, y in zip(NAMES, found, expected, strict=False):
        # Sums over as many as 2100 steps in float32, in another order: relative to the largest entry.
        tolerance = 1e-4 * max(float(y.abs().max()), 1.0)
        torch.testing.assert_close(x.cpu(), y, atol=tolerance, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("start", ["zeros", "given"])
def test_agreement_with_the_reference(backend: str, size: tuple[int, int, int, int], loss: str, start: str) -> None:
    inputs = make_inputs(size)[: 5 if start == "zeros" else 6]
    scan = partial(selective_scan, backend=backend)
    expected = partial(selective_scan, backend="reference")
    cuda = tuple(x.cuda() for x in inputs)
    assert_all_close(scan(*cuda), expected(*inputs))
    assert_all_close(gradients(scan, cuda, loss), gradients(expected, inputs, loss))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_ensembles_agree_one_by_one(backend: str) -> None:
    stacked = make_inputs((2, 20, 6, 4), members=(3,))

    def value(*inputs: Tensor) -> Tensor:
        return LOSSES["y and final state"](*selective_scan(*inputs, backend=backend))

    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(6))))(*(x.cuda() for x in stacked))
    for i in range(3):
        expected = gradients(selective_scan_reference, tuple(x[i] for x in stacked), "y and final state")
        assert_all_close(tuple(x[i] for x in found), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32(backend: str, dtype: torch.dtype) -> None:
    inputs = tuple(x.cuda().to(dtype) for x in make_inputs((2, 20, 6, 4)))
    found = selective_scan(*inputs, backend=backend)
    for x, y in zip(found, selective_scan(*(x.float() for x in inputs), backend=backend), strict=True):
        assert torch.equal(x, y.to(dtype))


def test_double_precision(backend: str) -> None:
    inputs = tuple(x.double() for x in make_inputs((2, 20, 6, 4)))
    found = selective_scan(*(x.cuda() for x in inputs), backend=backend)
    for x, y in zip(found, selective_scan_reference(*inputs), strict=True):
        torch.testing.assert_close(x.cpu(), y, atol=1e-10, rtol=1e-10)


def test_two_pieces_are_one_scan(backend: str) -> None:
    u, dt, a, b, c, initial = (x.cuda() for x in make_inputs((2, 20, 6, 4)))
    scan = partial(selective_scan, backend=backend)
    whole, last = scan(u, dt, a, b, c, initial)
    first, middle = scan(u[:, :8], dt[:, :8], a, b[:, :8], c[:, :8], initial)
    second, end = scan(u[:, 8:], dt[:, 8:], a, b[:, 8:], c[:, 8:], middle)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(end, last, atol=1e-4, rtol=1e-4)


def test_what_auto_takes() -> None:
    expected = "reference" if find_problem(SELECTIVE_SCAN.backends["mamba-ssm"], "cuda") else "mamba-ssm"
    assert SELECTIVE_SCAN.choose("auto", "cuda") == expected
