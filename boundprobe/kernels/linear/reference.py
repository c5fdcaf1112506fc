"""The recurrences as they are defined, one token after the other: the oracles of every other backend."""

from __future__ import annotations

import torch
from torch import Tensor


def decayed_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """S_t = diag(exp g_t) S_{t-1} + k_t v_t^T;  o_t = S_t^T q_t.  Shapes as in ``decayed_attention``."""
    state, outputs = initial_state, []
    for t in range(q.shape[1]):
        state = log_decay[:, t, :, :, None].exp() * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append((state * q[:, t, :, :, None]).sum(-2))  # (B, H, V)
    return torch.stack(outputs, dim=1), state


def delta_rule_reference(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """S' = diag(exp g_t) S_{t-1};  S_t = S' + beta_t k_t (v_t - S'^T k_t)^T;  o_t = S_t^T q_t."""
    state, outputs = initial_state, []
    for t in range(q.shape[1]):
        state = log_decay[:, t, :, :, None].exp() * state
        found = (state * k[:, t, :, :, None]).sum(-2)  # (B, H, V), what the key brings up
        error = beta[:, t, :, None] * (v[:, t] - found)
        state = state + k[:, t, :, :, None] * error[:, :, None, :]
        outputs.append((state * q[:, t, :, :, None]).sum(-2))  # (B, H, V)
    return torch.stack(outputs, dim=1), state


def generalised_delta_rule_reference(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """S' = diag(exp g_t) S_{t-1};  S_t = S' - b_t (S'^T a_t)^T + k_t v_t^T;  o_t = S_t^T q_t."""
    state, outputs = initial_state, []
    for t in range(q.shape[1]):
        state = log_decay[:, t, :, :, None].exp() * state
        found = (state * a[:, t, :, :, None]).sum(-2)  # (B, H, V), what the removal key brings up
        state = state - b[:, t, :, :, None] * found[:, :, None, :] + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append((state * q[:, t, :, :, None]).sum(-2))  # (B, H, V)
    return torch.stack(outputs, dim=1), state
