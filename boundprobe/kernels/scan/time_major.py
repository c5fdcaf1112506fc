"""Selective scan with a hand-written backward pass and one fused operation a step.

Glossary: B batch, T time, D channels, N state entries.  Arrays of states are (T, N, B, D): time first, so that
one step is one contiguous block and the recurrence a single ``addcmul_`` on it; channels last, so that every
broadcast and every sum over the few state entries runs along long contiguous rows.  With ``p = exp(dt a)``:

    h_t = p_t h_{t-1} + dt_t u_t b_t            y_t = c_t h_t
    g_t = gy_t c_t + p_{t+1} g_{t+1}            the gradient of h_t
    q_t = g_t p_t h_{t-1}                       so d(dt) gets sum_n q_t a, d(a) gets sum_{t,batch} q_t dt_t
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundprobe.kernels.members import fold, size_of, unfold

# Where the batch axis of each argument is.  Members of an ensemble (torch.func.vmap) are folded into it, so that one
# pass serves all of them and nothing inside needs a batching rule.
_BATCH_AXES = {"u": 1, "dt": 1, "a": 1, "b": 2, "c": 2, "initial_state": 1, "h": 2, "p": 2}
_INPUTS = ("u", "dt", "a", "b", "c", "initial_state")


class _Scan(torch.autograd.Function):
    """u, dt (T, B, D); a (N, 1 or B, D); b, c (T, N, B); initial_state (N, B, D) -> y, final state, all h, all p."""

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """y (T, B, D), final state (N, B, D), every state h and every decay p (T, N, B, D)."""
        p = (dt[:, None] * a).exp_()
        h = (dt * u)[:, None] * b[..., None]
        previous = initial_state
        for state, decay in zip(h.unbind(0), p.unbind(0), strict=True):
            previous = state.addcmul_(decay, previous)
        return (h * c[..., None]).sum(1), h[-1].clone(), h, p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, *output[2:])
        ctx.mark_non_differentiable(*output[2:])

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_final: Tensor, _grad_h: Tensor, _grad_p: Tensor) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = _ScanBackward.apply(grad_y, grad_final, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        batch = size_of(inputs[0], 1, in_dims[0])
        folded = [
            fold(value, dim, _BATCH_AXES[name], info.batch_size, batch)
            for name, value, dim in zip(_INPUTS, inputs, in_dims, strict=True)
        ]
        outputs = _Scan.apply(*folded)  # type: ignore[no-untyped-call]
        axes = (1, 1, 2, 2)
        return tuple(unfold(x, axis, info.batch_size) for x, axis in zip(outputs, axes, strict=True)), axes


class _ScanBackward(torch.autograd.Function):
    """Gradients of the six inputs of ``_Scan``; differentiable no further."""

    @staticmethod
    def forward(
        grad_y: Tensor, grad_final: Tensor, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor,
        initial_state: Tensor, h: Tensor, p: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        g = grad_y[:, None] * c[..., None]
        gradients, decays = g.unbind(0), p.unbind(0)
        gradients[-1].add_(grad_final)
        for t in range(len(gradients) - 2, -1, -1):
            gradients[t].addcmul_(decays[t + 1], gradients[t + 1])
        grad_c = (grad_y[:, None] * h).sum(-1)
        grad_dtu = (g * b[..., None]).sum(1)
        grad_b = (g * (dt * u)[:, None]).sum(-1)
        grad_initial = decays[0] * gradients[0]
        q = g.mul_(p) * torch.cat([initial_state[None], h[:-1]])  # g is not read again
        grad_a = (q * dt[:, None]).sum(0).sum_to_size(a.shape)
        grad_dt = (q * a).sum(1) + grad_dtu * u
        return grad_dtu * dt, grad_dt, grad_a, grad_b, grad_c, grad_initial

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, ...]:
        batch = size_of(inputs[2], 1, in_dims[2])
        axes = (1, 1, *_BATCH_AXES.values())
        folded = [
            fold(value, dim, axis, info.batch_size, batch)
            for value, dim, axis in zip(inputs, in_dims, axes, strict=True)
        ]
        outputs = _ScanBackward.apply(*folded)  # type: ignore[no-untyped-call]
        unfolded = [unfold(x, _BATCH_AXES[name], info.batch_size) for name, x in zip(_INPUTS, outputs, strict=True)]
        if size_of(inputs[4], 1, in_dims[4]) == 1:  # one a for the whole batch of a member
            unfolded[2] = unfolded[2].sum(2, keepdim=True)
        return tuple(unfolded), tuple(_BATCH_AXES[name] for name in _INPUTS)


def selective_scan_time_major(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The selective scan, time first.  Arguments and result as in ``selective_scan``."""
    if initial_state is None:
        initial_state = u.new_zeros(u.shape[0], *a.shape)
    # Contiguous, because elementwise results inherit the memory order of what they are made from.
    u, dt = (x.transpose(0, 1).contiguous() for x in (u, dt))  # (T, B, D)
    b, c = (x.permute(1, 2, 0).contiguous() for x in (b, c))  # (T, N, B)
    initial_state = initial_state.permute(2, 0, 1).contiguous()  # (N, B, D)
    a = a.t().contiguous()[:, None]  # (N, 1, D)
    y, final_state, _, _ = _Scan.apply(u, dt, a, b, c, initial_state)  # type: ignore[no-untyped-call]
    return y.transpose(0, 1), final_state.permute(1, 2, 0)
