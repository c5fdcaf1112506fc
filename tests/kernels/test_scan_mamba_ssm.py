"""What is built around mamba-ssm's kernels, with a stand-in that has their layouts and limits and runs on a CPU.

The kernels themselves are tested in tests/gpu.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.scan import mamba_ssm_cuda
from boundprobe.kernels.scan.mamba_ssm_cuda import selective_scan_mamba_ssm
from boundprobe.kernels.scan.reference import selective_scan_reference

Inputs = tuple[Tensor, ...]
NAMES = ("u", "dt", "a", "b", "c", "initial_state")
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "y and final state": lambda y, h: y.sin().sum() + h.cos().sum(),
    "y only": lambda y, h: y.sin().sum(),
    "final state only": lambda y, h: h.cos().sum(),
}
TOLERANCE = 1e-4  # float32, as for the other backends

each_loss = pytest.mark.parametrize("loss", LOSSES)
each_start = pytest.mark.parametrize("start", ["zeros", "given"])


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


def make_inputs(start: str, members: tuple[int, ...] = (), dtype: torch.dtype = torch.float32, seed: int = 0) -> Inputs:
    batch, time, channels, states = 2, 5, 3, 2
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*members, *shape, generator=rng, dtype=torch.float64).to(dtype)

    inputs = (
        draw(batch, time, channels),
        F.softplus(draw(batch, time, channels)),
        -draw(channels, states).exp(),
        draw(batch, time, states),
        draw(batch, time, states),
        draw(batch, channels, states),
    )
    return inputs if start == "given" else inputs[:-1]


def scan(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    return selective_scan_mamba_ssm(*inputs[:5], inputs[5] if len(inputs) > 5 else None)


def reference(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    return selective_scan_reference(*inputs[:5], inputs[5] if len(inputs) > 5 else None)


def gradients(function: Callable[..., tuple[Tensor, Tensor]], inputs: Inputs, loss: str) -> Inputs:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = LOSSES[loss](*function(*leaves))
    return torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)


def assert_all_close(found: Inputs, expected: Inputs, names: tuple[str, ...]) -> None:
    for name, x, y in zip(names, found, expected, strict=False):
        torch.testing.assert_close(x, y, atol=TOLERANCE, rtol=TOLERANCE, msg=lambda m, name=name: f"{name}: {m}")


@each_start
@each_loss
def test_agreement_with_the_reference(start: str, loss: str) -> None:
    inputs = make_inputs(start)
    assert_all_close(scan(*inputs), reference(*inputs), ("y", "final state"))
    assert_all_close(gradients(scan, inputs, loss), gradients(reference, inputs, loss), NAMES)


def test_the_kernel_leaves_out_the_gradient_of_the_final_state() -> None:
    """The negative control: what would silently be wrong without the steps that read the state."""

    def naive(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        b, c = (x.transpose(1, 2)[:, None].contiguous() for x in (b, c))
        y, h = stand_in(*(x.transpose(1, 2).contiguous() for x in (u, dt)), a, b, c, return_last_state=True)
        return y.transpose(1, 2), h

    inputs = make_inputs("zeros")
    assert_all_close(naive(*inputs), reference(*inputs), ("y", "final state"))
    assert all((x == 0).all() for x in gradients(naive, inputs, "final state only"))
    assert not any((x == 0).all() for x in gradients(scan, inputs, "final state only")[:4])


@each_start
@each_loss
def test_ensembles_agree_one_by_one(start: str, loss: str) -> None:
    stacked = make_inputs(start, members=(3,))

    def value(*inputs: Tensor) -> Tensor:
        return LOSSES[loss](*scan(*inputs))

    with pytest.raises(RuntimeError, match="setup_context"):  # the negative control: the kernel alone is refused
        torch.func.vmap(lambda u: stand_in(u, u, u[0], u[:, None], u[:, None]))(torch.ones(2, 1, 1, 1))
    outputs = torch.func.vmap(scan)(*stacked)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(len(stacked)))))(*stacked)
    for i in range(3):
        member = tuple(x[i] for x in stacked)
        assert_all_close(tuple(x[i] for x in outputs), reference(*member), ("y", "final state"))
        assert_all_close(tuple(x[i] for x in found), gradients(reference, member, loss), NAMES)


def test_gradients_without_members() -> None:
    inputs = make_inputs("given")
    found = torch.func.grad(lambda *x: LOSSES["y and final state"](*scan(*x)), argnums=tuple(range(6)))(*inputs)
    assert_all_close(found, gradients(reference, inputs, "y and final state"), NAMES)


@pytest.mark.parametrize("own", range(5), ids=NAMES[:5])
def test_ensembles_may_share_inputs(own: int) -> None:
    shared, stacked = make_inputs("zeros"), make_inputs("zeros", members=(3,), seed=1)
    inputs = (*shared[:own], stacked[own], *shared[own + 1 :])
    found = torch.func.vmap(scan, in_dims=tuple(0 if i == own else None for i in range(5)))(*inputs)
    for i in range(3):
        expected = reference(*shared[:own], stacked[own][i], *shared[own + 1 :])
        assert_all_close(tuple(x[i] for x in found), expected, ("y", "final state"))


def test_double_precision_does_not_reach_the_kernel() -> None:
    inputs = make_inputs("given", dtype=torch.float64)
    for x, y in zip(scan(*inputs), reference(*inputs), strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=1e-12)


def test_more_states_than_the_kernel_has_do_not_reach_it() -> None:
    u, dt, _, _, _ = make_inputs("zeros")
    a, b = -torch.rand(3, 257), torch.randn(2, 5, 257)
    for x, y in zip(scan(u, dt, a, b, b), reference(u, dt, a, b, b), strict=True):
        torch.testing.assert_close(x, y, atol=TOLERANCE, rtol=TOLERANCE)


def test_deterministic_algorithms_do_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradients differ in the last bits from run to run."""

    def refuse() -> None:
        raise AssertionError("the kernel was called")

    monkeypatch.setattr(mamba_ssm_cuda, "load_kernel", refuse)
    inputs = make_inputs("given")
    with pytest.raises(AssertionError, match="was called"):
        scan(*inputs)
    torch.use_deterministic_algorithms(True)
    try:
        assert_all_close(scan(*inputs), reference(*inputs), ("y", "final state"))
    finally:
        torch.use_deterministic_algorithms(False)
