"""The selective scan as it is defined, one step after the other: the oracle of every other backend."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_scan_reference(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t a) h_{t-1} + dt_t b_t u_t;  y_t = c_t h_t.  Shapes as in ``selective_scan``."""
    h = u.new_zeros(u.shape[0], *a.shape) if initial_state is None else initial_state
    outputs = []
    for t in range(u.shape[1]):
        decay = torch.exp(dt[:, t, :, None] * a)  # (B, D, N)
        h = decay * h + (dt[:, t] * u[:, t])[:, :, None] * b[:, t, None, :]
        outputs.append((h * c[:, t, None, :]).sum(-1))  # (B, D)
    return torch.stack(outputs, dim=1), h
