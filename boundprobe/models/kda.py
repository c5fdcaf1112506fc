"""Kimi Delta Attention: the delta rule on a memory in which each row decays at its own rate.

Glossary, code to paper (Kimi Team 2025, arXiv 2510.26692, section 3):
B batch, T new tokens, H heads in G groups that share queries and keys, K = d_state key width of a head, V = d_value
value width of a head (d_model / H unless given); ``log_decay`` is log alpha (B, T, H, K), ``beta`` the strength of a
correction (B, T, H), ``s`` is S, the recurrent state (B, H, K, V).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.checks import check_integer
from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION, short_convolution
from boundprobe.kernels.linear.operations import DELTA_RULE, delta_rule
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.models.deltanet import split_heads
from boundprobe.models.gates import sigmoid
from boundprobe.models.heads import KeyValueHeads
from boundprobe.models.mamba2 import initial_a_log, initial_dt_bias
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer


class KimiDeltaAttention(AbstractMixer):
    """The delta rule with a decay for each row: S' = diag(alpha_t) S_{t-1};  S_t = S' + beta_t k_t (v_t - S'^T k_t)^T.

    alpha_t = exp(A softplus(x_t W_1 W_2 + bias)), an entry for each row of each head, with A < 0 for each head; q, k
    and v are SiLU(convolution(x W)), q and k brought to length 1, q divided by sqrt(K); beta_t = beta_max sigmoid(x_t
    W_beta); the output is (RMSNorm(S_t^T q_t) * sigmoid(x_t W_3 W_4)) W_O.  W_1 and W_3 have V columns, as published.

    The state has H K V recurrent entries, d_state * d_model unless ``d_value`` is given, and
    (d_conv - 1) * (2 G K + H V) in the convolution's buffer.

    Parameters
    ----------
    d_model, n_heads, d_state, d_conv : int
        ``n_heads`` must divide ``d_model``; ``d_state`` is the width of the keys of one head.  With ``d_conv`` 1
        nothing is convolved and the buffer is empty.
    backend : str
        Of ``boundprobe.kernels.linear.delta_rule``, where "fla" refuses decays for each row, or of
        ``boundprobe.kernels.conv``.
    d_value, n_groups, beta_max : int
        As in ``DeltaNet``.

    Raises
    ------
    ValueError
        If heads or groups do not divide, or no backend has that name.
    """

    state_names = ("inputs", "s")

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_state: int,
        d_conv: int,
        backend: str = "auto",
        *,
        d_value: int = 0,
        n_groups: int = 0,
        beta_max: int = 1,
    ) -> None:
        super().__init__()
        self.heads = heads = KeyValueHeads.of(d_model, n_heads, d_state, d_value, n_groups)
        self.beta_max = check_integer("beta_max", beta_max, 1, 2)
        self.backend = check_backend(backend, DELTA_RULE, SHORT_CONVOLUTION)
        d_convolved, n_rows = heads.n_convolved, n_heads * d_state
        self.in_proj = nn.Linear(d_model, d_convolved, bias=False)
        self.conv1d = nn.Conv1d(d_convolved, d_convolved, d_conv, groups=d_convolved, bias=False)
        self.beta_proj = NarrowLinear(d_model, n_heads, bias=False)
        self.decay_proj = _low_rank(d_model, heads.d_value, n_rows)
        self.dt_bias = nn.Parameter(initial_dt_bias(n_rows))
        self.A_log = nn.Parameter(initial_a_log(n_heads))
        self.gate_proj = _low_rank(d_model, heads.d_value, heads.n_values)
        self.norm = nn.RMSNorm(heads.d_value, eps=1e-5)
        self.out_proj = nn.Linear(heads.n_values, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the convolution's last ``d_conv - 1`` inputs (B, d_conv - 1, 2GK + HV) and ``s`` (B, H, K, V).
        """
        buffer, s = (tensor.value for tensor in state) if state else (None, None)
        u, buffer = short_convolution(
            self.conv1d, self.in_proj(x), buffer, backend=SHORT_CONVOLUTION.own_or_auto(self.backend)
        )
        q, k, v = split_heads(u, self.heads)
        beta = sigmoid(self.beta_proj(x)) * self.beta_max  # (B, T, H)
        dt = self.decay_proj(x)
        wide = torch.promote_types(dt.dtype, torch.float32)  # a decay rounded to half precision is another decay
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide)).unflatten(-1, (self.heads.n_heads, -1))  # (B, T, H, K)
        log_decay = -self.A_log.to(wide).exp()[:, None] * dt
        o, s = delta_rule(
            q * self.heads.d_key**-0.5, k, v, beta, log_decay, s, backend=DELTA_RULE.own_or_auto(self.backend)
        )
        out: Tensor = self.out_proj(self.norm(o).flatten(-2) * sigmoid(self.gate_proj(x)))
        return out, (StateTensor("inputs", "conv", buffer), StateTensor("s", "recurrent", s))


def _low_rank(d_in: int, rank: int, d_out: int) -> nn.Sequential:
    return nn.Sequential(NarrowLinear(d_in, rank, bias=False), NarrowLinear(rank, d_out, bias=False))
