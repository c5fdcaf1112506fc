"""Selective scan by the CUDA kernels of the mamba-ssm package (Gu and Dao 2023, sec. 3.3.2).

Its ``selective_scan_fn`` starts from zeros, returns a final state whose gradient it leaves out ("the gradient of the
last state is not considered in the backward pass"), computes in float32 with at most 256 state entries, adds up
gradients in an order that differs from run to run, and cannot be used under functorch.  What is done about each:

- The recurrence is linear in h, so an initial state h_0 adds ``c_t (exp(a s_t) h_0)`` to y_t and ``exp(a s_T) h_0`` to
  the final state, with ``s_t = dt_1 + ... + dt_t``.  In plain torch, (B, T, D, N) at once: a cut makes suffixes short.
- A step with ``dt = 0`` leaves the state as it is, and with ``c = e_n`` it reads the n-th entry.  So where a gradient
  comes in through the final state, the backward pass appends N such steps, whose y is the final state.
- float64, more state entries, and ``torch.use_deterministic_algorithms`` go through the reference.
- It is wrapped in a function that folds members of an ensemble into the kernels' groups of channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.members import fold, size_of, unfold
from boundprobe.kernels.scan.reference import selective_scan_reference

MOST_STATES = 256

# Where the members of an ensemble are folded in: u, dt, a, b, c, and the gradients of y and of the final state.
_AXES = (1, 1, 0, 1, 1, 1, 1)


@cache
def load_kernel() -> Callable[..., Any]:
    """The package's scan; raises ``ImportError`` where it is not installed, or not built for this torch."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    function: Callable[..., Any] = selective_scan_fn
    return function


class _Scan(torch.autograd.Function):
    """u, dt (B, G D, T); a (G D, N); b, c (B, G, N, T) -> y (B, G D, T), final state (B, G D, N), from zeros.

    Each of G groups of channels has its own b and c; G is 1, or the number of members that were folded in.
    """

    @staticmethod
    def forward(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        y, final_state = load_kernel()(u, dt, a, b, c, return_last_state=True)
        return y, final_state.contiguous()  # which is a view of what the kernel keeps for its backward pass

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, grad_final: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_y is None and grad_final is None:
            return (None,) * 5
        if grad_y is None:
            grad_y = torch.zeros_like(ctx.saved_tensors[0])
        gradients: tuple[Tensor, ...] = _ScanBackward.apply(*ctx.saved_tensors, grad_y, grad_final)  # type: ignore[no-untyped-call]
        return gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        outputs = _Scan.apply(*_fold_all(info.batch_size, in_dims, inputs))  # type: ignore[no-untyped-call]
        return tuple(unfold(x, 1, info.batch_size) for x in outputs), (1, 1)


class _ScanBackward(torch.autograd.Function):
    """Gradients of the five inputs of ``_Scan``; differentiable no further.

    The scan runs once more, so that what the package keeps for its backward pass need not be known here.
    """

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, grad_y: Tensor, grad_final: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (u, dt, a, b, c)]
            inputs = leaves
            if grad_final is not None:
                inputs = _append_reading_steps(*leaves)
                grad_y = torch.cat([grad_y, grad_final], dim=-1)
            y = load_kernel()(*inputs)
        return torch.autograd.grad(y, leaves, grad_y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor | None) -> tuple[Any, ...]:
        outputs = _ScanBackward.apply(*_fold_all(info.batch_size, in_dims, inputs))  # type: ignore[no-untyped-call]
        axes = _AXES[:5]
        return tuple(unfold(x, axis, info.batch_size) for x, axis in zip(outputs, axes, strict=True)), axes


def _fold_all(
    n_members: int, in_dims: tuple[int | None, ...], inputs: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Members folded into the channels, or groups of channels, of each input."""
    return [
        None if x is None else fold(x, dim, axis, n_members, size_of(x, axis, dim))
        for x, dim, axis in zip(inputs, in_dims, _AXES, strict=False)
    ]


def _append_reading_steps(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """The inputs with N more steps that leave the state as it is and read it, entry by entry."""
    n = a.shape[1]
    reading = torch.eye(n, dtype=c.dtype, device=c.device).expand(*c.shape[:2], n, n)
    return [F.pad(u, (0, n)), F.pad(dt, (0, n)), a, F.pad(b, (0, n)), torch.cat([c, reading], dim=-1)]


def selective_scan_mamba_ssm(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The selective scan by mamba-ssm's kernels.  Arguments and result as in ``selective_scan``."""
    if u.dtype != torch.float32 or a.shape[1] > MOST_STATES or torch.are_deterministic_algorithms_enabled():
        return selective_scan_reference(u, dt, a, b, c, initial_state)
    inputs = (*(x.transpose(1, 2).contiguous() for x in (u, dt)), a.contiguous())
    b_and_c = (x.transpose(1, 2)[:, None].contiguous() for x in (b, c))  # (B, 1, N, T)
    y, final_state = _Scan.apply(*inputs, *b_and_c)  # type: ignore[no-untyped-call]
    y = y.transpose(1, 2)
    if initial_state is None:
        return y, final_state
    elapsed = dt.cumsum(dim=1)  # s_t, (B, T, D)
    remaining = torch.exp(elapsed[..., None] * a) * initial_state[:, None]  # (B, T, D, N)
    return y + torch.einsum("btdn,btn->btd", remaining, c), final_state + remaining[:, -1]
