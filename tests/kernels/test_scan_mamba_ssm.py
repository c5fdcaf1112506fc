"""What is built around mamba-ssm's kernels, with a stand-in that has their layouts and limits and runs on a CPU.

The kernels themselves are tested in tests/gpu.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from boundprobe.kernels.scan import mamba_ssm_cuda
from boundprobe.kernels.scan.mamba_ssm_cuda import selective_scan_mamba_ssm
from tests.helpers.kernels import CASES, READ, Inputs, assert_agrees, assert_close, gradients, loss_of

SCAN = CASES["selective scan"]
each_start = pytest.mark.parametrize("n_inputs", [5, 6], ids=["from zeros", "from a state"])


def draw(n_inputs: int = 6, members: tuple[int, ...] = (), dtype: torch.dtype = torch.float32, seed: int = 0) -> Inputs:
    return SCAN.draw(seed, dtype, members)[:n_inputs]


def scan(*inputs: Tensor) -> Inputs:
    return selective_scan_mamba_ssm(*inputs[:5], inputs[5] if len(inputs) > 5 else None)


def plain(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The package's selective_scan_ref in a few lines: u, dt (B, D, T); a (D, N); b, c (B, G, N, T)."""
    b, c = (x.repeat_interleave(u.shape[1] // x.shape[1], dim=1) for x in (b, c))  # (B, D, N, T)
    h, rows = u.new_zeros(*u.shape[:2], a.shape[1]), []
    for t in range(u.shape[2]):
        h = torch.exp(dt[:, :, t, None] * a) * h + (dt * u)[:, :, t, None] * b[..., t]
        rows.append((h * c[..., t]).sum(-1))
    return torch.stack(rows, dim=-1), h


class StandIn(torch.autograd.Function):
    """As in mamba-ssm 2.3: no setup_context, so not for functorch; no gradient through the final state."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, return_last_state: bool) -> Any:
        assert all(x.dtype == torch.float32 and (x.stride(-1) == 1 or x.shape[-1] == 1) for x in (u, dt, b, c))
        assert (b.ndim, c.ndim, a.shape[1] <= 256) == (4, 4, True)
        ctx.save_for_backward(u, dt, a, b, c)
        y, h = plain(u, dt, a, b, c)
        return (y, h) if return_last_state else y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, *_ignored: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            y, _ = plain(*leaves)
        return *torch.autograd.grad(y, leaves, grad_y), None


def stand_in(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: None = None, z: None = None,  # noqa: N803
    delta_bias: None = None, delta_softplus: bool = False, return_last_state: bool = False,
) -> Any:  # fmt: skip
    """The signature of the package's selective_scan_fn."""
    assert (D, z, delta_bias, delta_softplus) == (None, None, None, False)
    return StandIn.apply(u, delta, A, B, C, return_last_state)


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mamba_ssm_cuda, "load_kernel", lambda: stand_in)


@each_start
@pytest.mark.parametrize("read", READ)
def test_agreement_with_the_reference(n_inputs: int, read: str) -> None:
    assert_agrees(scan, SCAN.reference, draw(n_inputs), SCAN.names[:n_inputs], read)


def test_the_kernel_leaves_out_the_gradient_of_the_final_state() -> None:
    """The negative control: what would silently be wrong without the steps that read the state."""

    def naive(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Inputs:
        b, c = (x.transpose(1, 2)[:, None].contiguous() for x in (b, c))
        y, h = stand_in(*(x.transpose(1, 2).contiguous() for x in (u, dt)), a, b, c, return_last_state=True)
        return y.transpose(1, 2), h

    inputs = draw(5)
    for x, y in zip(naive(*inputs), SCAN.reference(*inputs), strict=True):
        assert_close(x, y, "output")
    assert all((x == 0).all() for x in gradients(naive, inputs, "last"))
    assert not any((x == 0).all() for x in gradients(scan, inputs, "last")[:4])


@each_start
@pytest.mark.parametrize("read", READ)
def test_ensembles_agree_one_by_one(n_inputs: int, read: str) -> None:
    stacked = draw(n_inputs, members=(3,))

    def value(*inputs: Tensor) -> Tensor:
        return loss_of(scan(*inputs), read)

    with pytest.raises(RuntimeError, match="setup_context"):  # the negative control: the kernel alone is refused
        torch.func.vmap(lambda u: stand_in(u, u, u[0], u[:, None], u[:, None]))(torch.ones(2, 1, 1, 1))
    outputs = torch.func.vmap(scan)(*stacked)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(n_inputs))))(*stacked)
    for i in range(3):
        member = tuple(x[i] for x in stacked)
        expected = *SCAN.reference(*member), *gradients(SCAN.reference, member, read)
        for x, y in zip((*outputs, *found), expected, strict=True):
            assert_close(x[i], y, f"member {i}")


@pytest.mark.parametrize("own", range(5), ids=SCAN.names[:5])
def test_ensembles_may_share_inputs(own: int) -> None:
    shared, stacked = draw(5), draw(5, members=(3,), seed=1)
    inputs = (*shared[:own], stacked[own], *shared[own + 1 :])
    found = torch.func.vmap(scan, in_dims=tuple(0 if i == own else None for i in range(5)))(*inputs)
    for i in range(3):
        expected = SCAN.reference(*shared[:own], stacked[own][i], *shared[own + 1 :])
        for x, y in zip(found, expected, strict=True):
            assert_close(x[i], y, f"member {i}")


def test_double_precision_does_not_reach_the_kernel() -> None:
    inputs = draw(dtype=torch.float64)
    for x, y in zip(scan(*inputs), SCAN.reference(*inputs), strict=True):
        assert_close(x, y, "output")


def test_more_states_than_the_kernel_has_do_not_reach_it() -> None:
    inputs = SCAN.draw(0, torch.float32, N=257)
    for x, y in zip(scan(*inputs), SCAN.reference(*inputs), strict=True):
        assert_close(x, y, "output")


def test_deterministic_algorithms_do_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradients differ in the last bits from run to run."""

    def refuse() -> None:
        raise AssertionError("the kernel was called")

    monkeypatch.setattr(mamba_ssm_cuda, "load_kernel", refuse)
    inputs = draw()
    with pytest.raises(AssertionError, match="was called"):
        scan(*inputs)
    torch.use_deterministic_algorithms(True)
    try:
        assert all(torch.equal(x, y) for x, y in zip(scan(*inputs), SCAN.reference(*inputs), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)
