"""The scan's backends on a CUDA device: the reference on the CPU, forward, backward, in pieces and in ensembles."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from boundprobe.kernels import SELECTIVE_SCAN, find_problem
from boundprobe.kernels.scan.mamba_ssm_cuda import load_kernel
from tests.helpers.kernels import CASES, READ, Inputs, assert_close, gradients, loss_of

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SCAN = CASES["selective scan"]
ON_CUDA = [name for name, backend in SELECTIVE_SCAN.backends.items() if DEVICE in backend.devices]
SIZES = [  # the last is two of mamba-ssm's chunks
    {"B": 2, "T": 100, "D": 32, "N": 16},
    {"B": 3, "T": 7, "D": 5, "N": 2},
    {"B": 1, "T": 1, "D": 1, "N": 1},
    {"B": 2, "T": 2100, "D": 4, "N": 2},
]


@pytest.fixture(params=ON_CUDA)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "mamba-ssm":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed")
            load_kernel()
        assert find_problem(SELECTIVE_SCAN.backends[name], DEVICE) is None
    return name


def to_device(inputs: Inputs) -> Inputs:
    return tuple(x.to(DEVICE) for x in inputs)


def assert_all_close(found: Inputs, expected: Inputs) -> None:
    """Sums over as many as 2100 steps in float32, in another order: relative to the largest entry."""
    for x, y in zip(found, expected, strict=True):
        scale = max(float(y.abs().max()), 1.0)
        assert_close(x.cpu() / scale, y / scale, "value")


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("n_inputs", [5, 6], ids=["from zeros", "from a state"])
def test_agreement_with_the_reference(backend: str, sizes: dict[str, int], read: str, n_inputs: int) -> None:
    inputs = SCAN.draw(0, torch.float32, **sizes)[:n_inputs]
    scan = SCAN.of_backend(backend)
    assert_all_close(scan(*to_device(inputs)), SCAN.reference(*inputs))
    assert_all_close(gradients(scan, to_device(inputs), read), gradients(SCAN.reference, inputs, read))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_ensembles_agree_one_by_one(backend: str) -> None:
    stacked = SCAN.draw(0, torch.float32, members=(3,), T=20, D=6, N=4)
    scan = SCAN.of_backend(backend)

    def value(*inputs: Tensor) -> Tensor:
        return loss_of(scan(*inputs))

    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(6))))(*to_device(stacked))
    for i in range(3):
        assert_all_close(tuple(x[i] for x in found), gradients(SCAN.reference, tuple(x[i] for x in stacked)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32(backend: str, dtype: torch.dtype) -> None:
    inputs, scan = to_device(SCAN.draw(0, dtype, T=20, D=6, N=4)), SCAN.of_backend(backend)
    for x, y in zip(scan(*inputs), scan(*(x.float() for x in inputs)), strict=True):
        assert torch.equal(x, y.to(dtype))


def test_double_precision(backend: str) -> None:
    inputs = SCAN.draw(0, T=20, D=6, N=4)
    for x, y in zip(SCAN.of_backend(backend)(*to_device(inputs)), SCAN.reference(*inputs), strict=True):
        assert_close(x.cpu(), y, "output")


def test_two_pieces_are_one_scan(backend: str) -> None:
    u, dt, a, b, c, initial = to_device(SCAN.draw(0, torch.float32, T=20, D=6, N=4))
    scan = SCAN.of_backend(backend)
    whole, last = scan(u, dt, a, b, c, initial)
    first, middle = scan(u[:, :8], dt[:, :8], a, b[:, :8], c[:, :8], initial)
    second, end = scan(u[:, 8:], dt[:, 8:], a, b[:, 8:], c[:, 8:], middle)
    assert_close(torch.cat([first, second], dim=1), whole, "y")
    assert_close(end, last, "final state")


def test_what_auto_takes() -> None:
    expected = "reference" if find_problem(SELECTIVE_SCAN.backends["mamba-ssm"], DEVICE) else "mamba-ssm"
    assert SELECTIVE_SCAN.choose("auto", DEVICE) == expected
