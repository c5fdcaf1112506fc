"""Selective scan on a CPU in compiled loops that keep one state in ``CHUNK``, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.members import fold_first, unfold_first
from boundprobe.kernels.scan.numba_kernels import CHUNK, backward_kernel, forward_kernel
from boundprobe.kernels.simd.compilation import array, name_of_type, vector
from boundprobe.kernels.simd.vectors import LANES


class _Scan(torch.autograd.Function):
    """u, dt (B, T, D); a (M, K, N, L); b, c (B, T, N); initial_state (B, K, N, L) -> y, final state, some states.

    L = LANES and D = K L.  M is 1, or the number of members that were folded into B.
    """

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y (B, T, D), final state (B, K, N, L), and the states (B, S, K, N, L) before each of S chunks."""
        y, final_state = u.new_empty(u.shape), u.new_empty(initial_state.shape)
        n_chunks = -(-u.shape[1] // CHUNK)
        starts = u.new_empty(u.shape[0], n_chunks, *initial_state.shape[1:])
        forward_kernel(name_of_type(u))(
            *a.shape[:2], vector(u), vector(dt), vector(a), array(b), array(c), vector(initial_state),
            vector(y), vector(starts), vector(final_state),
        )  # fmt: skip
        return y, final_state, starts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:-1], output[2])
        ctx.mark_non_differentiable(output[2])

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_final: Tensor, _grad_starts: Tensor) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = _ScanBackward.apply(*ctx.saved_tensors, grad_y, grad_final)  # type: ignore[no-untyped-call]
        return gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        return unfold_first(info, _Scan.apply(*fold_first(info, in_dims, inputs)))  # type: ignore[no-untyped-call]


class _ScanBackward(torch.autograd.Function):
    """Gradients of the six inputs of ``_Scan``; differentiable no further."""

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor, grad_y: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, ...]:
        grad_u, grad_dt, grad_b, grad_c, grad_initial = (u.new_empty(x.shape) for x in (u, dt, b, c, grad_final))
        grad_a = a.new_zeros(a.shape)
        backward_kernel(name_of_type(u))(
            *a.shape[:2], vector(u), vector(dt), vector(a), array(b), array(c), vector(starts),
            vector(grad_y), vector(grad_final),
            vector(grad_u), vector(grad_dt), vector(grad_a), array(grad_b), array(grad_c), vector(grad_initial),
        )  # fmt: skip
        return grad_u, grad_dt, grad_a, grad_b, grad_c, grad_initial

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        return unfold_first(info, _ScanBackward.apply(*fold_first(info, in_dims, inputs)))  # type: ignore[no-untyped-call]


def selective_scan_numba(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The selective scan in compiled loops.  Arguments and result as in ``selective_scan``; float32 or float64.

    It uses one core: where many runs share a machine, each has one thread.
    """
    d = u.shape[2]
    if initial_state is None:
        initial_state = u.new_zeros(u.shape[0], *a.shape)
    n_missing = -d % LANES  # channels of zeros that fill the last group of lanes; autograd drops their gradients
    if n_missing:
        u, dt = (F.pad(x, (0, n_missing)) for x in (u, dt))
        a, initial_state = (F.pad(x, (0, 0, 0, n_missing)) for x in (a, initial_state))
    a = a.unflatten(0, (-1, LANES)).transpose(1, 2)  # (K, N, L)
    initial_state = initial_state.unflatten(1, (-1, LANES)).transpose(2, 3)  # (B, K, N, L)
    y, final_state, _ = _Scan.apply(u, dt, a[None], b, c, initial_state)  # type: ignore[no-untyped-call]
    final_state = final_state.transpose(2, 3).flatten(1, 2)  # (B, D, N)
    return (y[..., :d], final_state[:, :d]) if n_missing else (y, final_state)
