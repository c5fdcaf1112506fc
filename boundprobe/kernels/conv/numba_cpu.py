"""The short convolution on a CPU in compiled loops, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.conv.numba_kernels import backward_kernel, forward_kernel
from boundprobe.kernels.conv.reference import short_convolution_reference
from boundprobe.kernels.members import fold_first, unfold_first
from boundprobe.kernels.simd.compilation import SCALARS, array, name_of_type, rows
from boundprobe.kernels.simd.vectors import LANES


class _Convolution(torch.autograd.Function):
    """x (B, T, D); taps (M, D, c); bias (M, D); before (B, c-1, D) -> y (B, T, D).

    M is 1, or the number of members that were folded into B.
    """

    @staticmethod
    def forward(x: Tensor, taps: Tensor, bias: Tensor, before: Tensor) -> Tensor:
        y = x.new_empty(x.shape)
        forward_kernel(name_of_type(x))(rows(x), array(taps), array(bias), rows(before), array(y))
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = _ConvolutionBackward.apply(*ctx.saved_tensors, grad_y)  # type: ignore[no-untyped-call]
        return gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        (y,), (axis,) = unfold_first(info, (_Convolution.apply(*fold_first(info, in_dims, inputs)),))  # type: ignore[no-untyped-call]
        return y, axis


class _ConvolutionBackward(torch.autograd.Function):
    """Gradients of the four inputs of ``_Convolution``; differentiable no further."""

    @staticmethod
    def forward(x: Tensor, taps: Tensor, bias: Tensor, before: Tensor, grad_y: Tensor) -> tuple[Tensor, ...]:
        gradients = tuple(value.new_empty(value.shape) for value in (x, taps, bias, before))
        backward_kernel(name_of_type(x))(
            rows(x), array(taps), array(bias), rows(before), rows(grad_y), *(array(value) for value in gradients)
        )
        return gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        return unfold_first(info, _ConvolutionBackward.apply(*fold_first(info, in_dims, inputs)))  # type: ignore[no-untyped-call]


def short_convolution_numba(x: Tensor, taps: Tensor, bias: Tensor | None, before: Tensor) -> Tensor:
    """The short convolution in compiled loops on one core.  Arguments and result as in ``reference``.

    Half precision, and types that differ, take the reference.
    """
    n_channels = x.shape[2]
    if name_of_type(x) not in SCALARS or not x.dtype == taps.dtype == before.dtype:
        return short_convolution_reference(x, taps, bias, before)
    if bias is None:
        bias = taps.new_zeros(n_channels)
    n_missing = max(LANES - n_channels, 0)  # channels of zeros; autograd drops their gradients
    if n_missing:
        x, before = (F.pad(value, (0, n_missing)) for value in (x, before))
        taps, bias = F.pad(taps, (0, 0, 0, n_missing)), F.pad(bias, (0, n_missing))
    y: Tensor = _Convolution.apply(x, taps[None], bias[None], before)  # type: ignore[no-untyped-call]
    return y[..., :n_channels] if n_missing else y
