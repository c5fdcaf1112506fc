"""Attention in a sliding window on a CPU in compiled loops, forward and backward."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boundprobe.kernels.members import fold_first, unfold_first
from boundprobe.kernels.simd.compilation import SCALARS, Array, array, name_of_type
from boundprobe.kernels.window.blocked import attend_in_window
from boundprobe.kernels.window.numba_kernels import backward_kernel, forward_kernel
from boundprobe.kernels.window.positions import (
    ROTARY_BASE,
    AbstractPosition,
    LearnedPosition,
    NoPosition,
    RotaryPosition,
)

_POSITIONS = (NoPosition, RotaryPosition, LearnedPosition)


class _Attention(torch.autograd.Function):
    """q (B, H, T, E); k, v (B, H, S, E); relative (M, w or 0, E) -> (B, H, T, E).

    M is 1, or the number of members that were folded into B; ``rotary`` says whether q and k are turned.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, relative: Tensor, window: int, rotary: bool) -> Tensor:
        o = _empty(q)
        tables = _angles(k.shape[2], q.shape[3] // 2 * rotary, name_of_type(q))
        forward_kernel(name_of_type(q))(window, *map(array, (q, k, v)), *tables, array(relative), array(o))
        return o

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.window, ctx.rotary = inputs[4:]

    @staticmethod
    def backward(ctx: Any, grad_o: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _AttentionBackward.apply(*ctx.saved_tensors, grad_o, ctx.window, ctx.rotary)  # type: ignore[no-untyped-call]
        return *gradients, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        o = _Attention.apply(*fold_first(info, in_dims[:4], inputs[:4]), *inputs[4:])  # type: ignore[no-untyped-call]
        (o,), (axis,) = unfold_first(info, (o,))
        return o, axis


class _AttentionBackward(torch.autograd.Function):
    """Gradients of q, k, v and relative of ``_Attention``; differentiable no further."""

    @staticmethod
    def forward(
        q: Tensor, k: Tensor, v: Tensor, relative: Tensor, grad_o: Tensor, window: int, rotary: bool
    ) -> tuple[Tensor, ...]:
        gradients = *map(_empty, (q, k, v)), relative.new_zeros(relative.shape)
        tables = _angles(k.shape[2], q.shape[3] // 2 * rotary, name_of_type(q))
        backward_kernel(name_of_type(q))(
            window, *map(array, (q, k, v)), *tables, array(relative), array(grad_o), *map(array, gradients)
        )
        return gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, ...]:
        folded = fold_first(info, in_dims[:5], inputs[:5])
        return unfold_first(info, _AttentionBackward.apply(*folded, *inputs[5:]))  # type: ignore[no-untyped-call]


def _empty(x: Tensor) -> Tensor:
    """Room for values of x's shape (B, H, T, E), heads side by side as where projections are split into them."""
    batch, n_heads, n_places, width = x.shape
    return x.new_empty(batch, n_places, n_heads, width).transpose(1, 2)


@lru_cache(maxsize=64)
def _angles(n_places: int, half: int, dtype: str) -> tuple[Array, Array]:
    """Cosines and sines (places, E/2) of the angles of ``positions.rotate``, rounded once."""
    rates = ROTARY_BASE ** -(np.arange(half) / max(half, 1))
    angles = np.arange(n_places)[:, None] * rates
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def windowed_attention_numba(q: Tensor, k: Tensor, v: Tensor, window: int, position: AbstractPosition) -> Tensor:
    """Attention in compiled loops on one core.  Arguments and result as in ``attend_in_window``.

    Half precision, types that differ, and positions that the loops do not know take the blocks.
    """
    if name_of_type(q) not in SCALARS or not q.dtype == k.dtype == v.dtype or type(position) not in _POSITIONS:
        return attend_in_window(q, k, v, window, position)
    relative = position.relative if isinstance(position, LearnedPosition) else q.new_zeros(0, q.shape[3])
    rotary = isinstance(position, RotaryPosition)
    o: Tensor = _Attention.apply(q, k, v, relative[None], window, rotary)  # type: ignore[no-untyped-call]
    return o
