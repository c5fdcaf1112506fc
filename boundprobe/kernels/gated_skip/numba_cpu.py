"""Skip connection and gate on a CPU in one compiled loop, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.gated_skip.numba_kernels import backward_kernel, forward_kernel
from boundprobe.kernels.gated_skip.reference import gated_skip_reference
from boundprobe.kernels.members import fold_first, unfold_first
from boundprobe.kernels.simd.compilation import SCALARS, array, name_of_type, rows
from boundprobe.kernels.simd.vectors import LANES


class _GatedSkip(torch.autograd.Function):
    """y, u (B, T, D); d (M, D); gate (B, T, D) -> (B, T, D).  M is 1, or the number of members folded into B."""

    @staticmethod
    def forward(y: Tensor, u: Tensor, d: Tensor, gate: Tensor) -> Tensor:
        out = u.new_empty(u.shape)
        forward_kernel(name_of_type(u))(rows(y), rows(u), array(d.contiguous()), rows(gate), array(out))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = _GatedSkipBackward.apply(*ctx.saved_tensors, grad_out)  # type: ignore[no-untyped-call]
        return gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        (out,), (axis,) = unfold_first(info, (_GatedSkip.apply(*fold_first(info, in_dims, inputs)),))  # type: ignore[no-untyped-call]
        return out, axis


class _GatedSkipBackward(torch.autograd.Function):
    """Gradients of the four inputs of ``_GatedSkip``; differentiable no further."""

    @staticmethod
    def forward(y: Tensor, u: Tensor, d: Tensor, gate: Tensor, grad_out: Tensor) -> tuple[Tensor, ...]:
        gradients = tuple(x.new_empty(x.shape) for x in (y, u, d, gate))
        backward_kernel(name_of_type(u))(
            rows(y), rows(u), array(d.contiguous()), rows(gate), rows(grad_out), *map(array, gradients)
        )
        return gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        return unfold_first(info, _GatedSkipBackward.apply(*fold_first(info, in_dims, inputs)))  # type: ignore[no-untyped-call]


def gated_skip_numba(y: Tensor, u: Tensor, d: Tensor, gate: Tensor) -> Tensor:
    """Skip connection and gate in one compiled loop on one core.  Arguments and result as in ``gated_skip``.

    Half precision, and types that differ, take the reference.
    """
    n_channels = u.shape[2]
    if name_of_type(u) not in SCALARS or not y.dtype == u.dtype == d.dtype == gate.dtype:
        return gated_skip_reference(y, u, d, gate)
    n_missing = max(LANES - n_channels, 0)  # channels of zeros; autograd drops their gradients
    if n_missing:
        y, u, d, gate = (F.pad(x, (0, n_missing)) for x in (y, u, d, gate))
    out: Tensor = _GatedSkip.apply(y, u, d[None], gate)  # type: ignore[no-untyped-call]
    return out[..., :n_channels] if n_missing else out
