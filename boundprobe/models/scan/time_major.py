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


class _SelectiveScan(torch.autograd.Function):
    generate_vmap_rule = True  # ensembles stack many copies of one model with torch.func.vmap

    @staticmethod
    def forward(
        u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y (T, B, D), every state h (T, N, B, D), decays p (T, N, B, D).

        From u, dt (T, B, D); a (N, D); b, c (T, N, B); initial_state (N, B, D).
        """
        p = (dt[:, None] * a[:, None, :]).exp_()
        h = (dt * u)[:, None] * b[..., None]
        previous = initial_state
        for state, decay in zip(h.unbind(0), p.unbind(0), strict=True):
            previous = state.addcmul_(decay, previous)
        return (h * c[..., None]).sum(1), h, p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, output[1], output[2])
        ctx.mark_non_differentiable(output[2])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, grad_h: Tensor | None, _grad_p: None) -> tuple[Tensor, ...]:
        u, dt, a, b, c, initial_state, h, p = ctx.saved_tensors
        if grad_y is None:
            g, grad_c = torch.zeros_like(h), torch.zeros_like(c)
        else:
            g = grad_y[:, None] * c[..., None]
            grad_c = (grad_y[:, None] * h).sum(-1)
        if grad_h is not None:
            g = g + grad_h
        gradients, decays = g.unbind(0), p.unbind(0)
        for t in range(len(gradients) - 2, -1, -1):
            gradients[t].addcmul_(decays[t + 1], gradients[t + 1])
        grad_initial = decays[0] * gradients[0]
        grad_dtu = (g * b[..., None]).sum(1)
        grad_b = (g * (dt * u)[:, None]).sum(-1)
        q = g.mul_(p) * torch.cat([initial_state[None], h[:-1]])  # g is not read again
        grad_a = (q * dt[:, None]).sum((0, 2))
        grad_dt = (q * a[:, None, :]).sum(1) + grad_dtu * u
        return grad_dtu * dt, grad_dt, grad_a, grad_b, grad_c, grad_initial


def selective_scan_time_major(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """The selective scan, time first.  Arguments and result as in ``selective_scan``."""
    # Contiguous, because elementwise results inherit the memory order of what they are made from.
    u, dt = (x.transpose(0, 1).contiguous() for x in (u, dt))  # (T, B, D)
    b, c = (x.permute(1, 2, 0).contiguous() for x in (b, c))  # (T, N, B)
    initial_state = initial_state.permute(2, 0, 1).contiguous()  # (N, B, D)
    y, h, _ = _SelectiveScan.apply(u, dt, a.t().contiguous(), b, c, initial_state)  # type: ignore[no-untyped-call]
    return y.transpose(0, 1), h[-1].permute(1, 2, 0)
