"""Gated linear attention: a matrix-valued state for each head, with a decay for each of its rows.

Glossary, code to paper (Yang et al. 2023, arXiv 2312.06635, section 4):
B batch, T new tokens, H heads, K = d_state key width of a head, V = d_model / H value width of a head;
``log_decay`` is log alpha (B, T, H, K), ``gate`` is r before its swish, ``s`` is S, the recurrent state (B, H, K, V).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.linear.operations import DECAYED_ATTENTION, decayed_attention
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer

DECAY_RANK = 16  # of the weights that make alpha
DECAY_TEMPERATURE = 16  # tau: alpha = sigmoid(.)^(1/tau), near 1 at the start


class GatedLinearAttention(AbstractMixer):
    """Linear attention with data-dependent decay: S_t = diag(alpha_t) S_{t-1} + k_t v_t^T;  o_t = S_t^T q_t.

    alpha_t = sigmoid(x_t W_1 W_2 + b)^(1/16); the output is (RMSNorm(o_t) * swish(r_t)) W_O.  The paper writes
    LayerNorm there; as in its authors' code the mean is kept.  Neither sees a constant factor of q, so q has none.

    The state has d_state * d_model recurrent entries, whatever n_heads is.

    Parameters
    ----------
    d_model, n_heads, d_state : int
        ``n_heads`` must divide ``d_model``; ``d_state`` is the width of the keys of one head.
    backend : str
        Of ``boundprobe.kernels.linear.decayed_attention``.

    Raises
    ------
    ValueError
        If ``n_heads`` does not divide, or no backend has that name.
    """

    state_names = ("s",)

    def __init__(self, d_model: int, n_heads: int, d_state: int, backend: str = "auto") -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"`n_heads` must divide d_model={d_model}; got {n_heads}.")
        self.n_heads, self.backend = n_heads, check_backend(backend, DECAYED_ATTENTION)
        d_keys, rank = n_heads * d_state, min(DECAY_RANK, d_model)
        self.widths = [d_keys, d_keys, d_model, d_model]
        self.in_proj = nn.Linear(d_model, sum(self.widths), bias=False)
        self.decay = nn.Sequential(NarrowLinear(d_model, rank, bias=False), NarrowLinear(rank, d_keys))
        self.norm = nn.RMSNorm(d_model // n_heads, eps=1e-5)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is ``s`` (B, H, K, V).
        """
        s = state[0].value if state else None
        *qkv, gate = self.in_proj(x).split(self.widths, dim=-1)
        logits = self.decay(x)
        # A decay rounded to half precision is another decay.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_decay = F.logsigmoid(logits) / DECAY_TEMPERATURE
        q, k, v, log_decay = (u.unflatten(-1, (self.n_heads, -1)) for u in (*qkv, log_decay))
        o, s = decayed_attention(q, k, v, log_decay, s, backend=self.backend)
        out: Tensor = self.out_proj(self.norm(o).flatten(-2) * F.silu(gate))
        return out, (StateTensor("s", "recurrent", s),)
