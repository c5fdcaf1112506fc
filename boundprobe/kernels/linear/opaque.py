"""Operations written without functorch in mind, made usable under it: members of an ensemble become batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundprobe.kernels.members import fold, size_of, unfold

Operation = Callable[..., tuple[Tensor, ...]]


def apply_opaque(operation: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
    """``operation(*inputs)``, with a derivative and a batching rule that functorch understands.

    Parameters
    ----------
    operation : callable
        From tensors to tensors, all with the batch first; rows of the batch do not mix.  It may be a custom
        autograd function of any kind.
    *inputs : Tensor (B, ...)

    Returns
    -------
    tuple of Tensor (B, ...)
        What ``operation`` returns.  The backward pass runs ``operation`` once more, because what it keeps for its own
        backward pass cannot be kept here.
    """
    outputs: tuple[Tensor, ...] = _Forward.apply(operation, *inputs)  # type: ignore[no-untyped-call]
    return outputs


class _Forward(torch.autograd.Function):
    """operation, *inputs -> outputs."""

    @staticmethod
    def forward(operation: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(operation(*inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.operation, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = _Backward.apply(ctx.operation, len(gradients), *gradients, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return None, *found

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], operation: Operation, *inputs: Tensor) -> tuple[Any, ...]:
        folded = _fold_all(info.batch_size, in_dims[1:], inputs)
        return _unfold_all(info.batch_size, _Forward.apply(operation, *folded))  # type: ignore[no-untyped-call]


class _Backward(torch.autograd.Function):
    """operation, number of its outputs, their gradients, inputs -> gradients of the inputs; no second derivative."""

    @staticmethod
    def forward(operation: Operation, n_outputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        gradients, inputs = tensors[:n_outputs], tensors[n_outputs:]
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in inputs]
            outputs = operation(*leaves)
        return torch.autograd.grad(outputs, leaves, gradients, allow_unused=True, materialize_grads=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], operation: Operation, n_outputs: int, *tensors: Tensor
    ) -> tuple[Any, ...]:
        folded = _fold_all(info.batch_size, in_dims[2:], tensors)
        return _unfold_all(info.batch_size, _Backward.apply(operation, n_outputs, *folded))  # type: ignore[no-untyped-call]


def _fold_all(n_members: int, in_dims: tuple[int | None, ...], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    return [fold(x, dim, 0, n_members, size_of(x, 0, dim)) for x, dim in zip(inputs, in_dims, strict=True)]


def _unfold_all(n_members: int, outputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    return tuple(unfold(x, 0, n_members) for x in outputs), (0,) * len(outputs)
