"""Selective scan on a CPU in compiled loops that keep one state in ``CHUNK``, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.models.scan.members import fold, size_of, unfold
from boundprobe.models.scan.numba_kernels import CHUNK, Array, backward_kernel, forward_kernel
from boundprobe.models.scan.numba_lanes import LANES


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
        forward_kernel(_name_of_type(u))(
            *a.shape[:2], _lanes(u), _lanes(dt), _lanes(a), _array(b), _array(c), _lanes(initial_state),
            _lanes(y), _lanes(starts), _lanes(final_state),
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
        outputs = _Scan.apply(*_fold_all(info.batch_size, in_dims, inputs))  # type: ignore[no-untyped-call]
        return tuple(unfold(x, 0, info.batch_size) for x in outputs), (0,) * len(outputs)


class _ScanBackward(torch.autograd.Function):
    """Gradients of the six inputs of ``_Scan``; differentiable no further."""

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor, grad_y: Tensor, grad_final: Tensor
    ) -> tuple[Tensor, ...]:
        grad_u, grad_dt, grad_b, grad_c, grad_initial = (u.new_empty(x.shape) for x in (u, dt, b, c, grad_final))
        grad_a = a.new_zeros(a.shape)
        backward_kernel(_name_of_type(u))(
            *a.shape[:2], _lanes(u), _lanes(dt), _lanes(a), _array(b), _array(c), _lanes(starts),
            _lanes(grad_y), _lanes(grad_final),
            _lanes(grad_u), _lanes(grad_dt), _lanes(grad_a), _array(grad_b), _array(grad_c), _lanes(grad_initial),
        )  # fmt: skip
        return grad_u, grad_dt, grad_a, grad_b, grad_c, grad_initial

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        outputs = _ScanBackward.apply(*_fold_all(info.batch_size, in_dims, inputs))  # type: ignore[no-untyped-call]
        return tuple(unfold(x, 0, info.batch_size) for x in outputs), (0,) * len(outputs)


def _fold_all(n_members: int, in_dims: tuple[int | None, ...], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Members folded into the first axis of each input, whatever its length."""
    return [fold(x, dim, 0, n_members, size_of(x, 0, dim)) for x, dim in zip(inputs, in_dims, strict=True)]


def _name_of_type(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _array(x: Tensor) -> Array:
    """The memory of a tensor as an array."""
    array: Array = x.detach().numpy()
    return array


def _lanes(x: Tensor) -> Array:
    """The same as one contiguous vector."""
    return _array(x.contiguous().view(-1))


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
