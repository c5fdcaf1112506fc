"""RWKV-7: a matrix-valued state for each head, from which one key removes and to which another writes.

Glossary, code to paper (Peng et al. 2025, arXiv 2503.14456, section 4):
B batch, T new tokens, H heads, K = d_state key width of a head, V = d_model / H value width of a head; ``r`` is the
receptance, ``log_decay`` is log w (B, T, H, K), ``remove`` is kappa, the removal key of length 1, ``rate`` is a, the
in-context learning rate, ``s`` is S transposed, the recurrent state (B, H, K, V).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.linear.generalised import GENERALISED_DELTA_RULE, generalised_delta_rule
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.models.gates import sigmoid
from boundprobe.models.heads import KeyValueHeads
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer
from boundprobe.models.ranks import gate_rank, rate_rank

FASTEST_DECAY = math.exp(-0.5)  # -log w is at most this
GROUP_NORM_EPS = 64e-5


class RWKV7(AbstractMixer):
    """The generalised delta rule of RWKV-7: S_t = S_{t-1} (diag(w_t) - kappa_t^T (a_t * kappa_t)) + v_t^T k_t.

    Every input is x_t + (x_{t-1} - x_t) mu with a mu of its own; w_t = exp(-exp(-1/2) sigmoid(d_t)) is between 0.545
    and 1; kappa_t is xi * k_t brought to length 1, and k_t is written times 1 + (a_t - 1) alpha.  The output is
    (GroupNorm(S_t r_t) + (r_t . (rho * k_t)) v_t) * g_t, times W_O.

    This is the layer as the first one of a stack has it: the value residual of later layers, which mixes in the first
    layer's values, would make a mixer read more than its input.  As published K is V; here ``d_state`` may be another
    width, and ranks are at most ``d_model``.

    The state has d_state * d_model recurrent entries, whatever n_heads is, and the last input, d_model entries, which
    counts as the buffer of a convolution of width 2.

    Parameters
    ----------
    d_model, n_heads, d_state : int
        ``n_heads`` must divide ``d_model``; ``d_state`` is the width of the keys of one head.
    backend : str
        Of ``boundprobe.kernels.linear.generalised_delta_rule``.

    Raises
    ------
    ValueError
        If ``n_heads`` does not divide, or no backend has that name.
    """

    state_names = ("inputs", "s")

    def __init__(self, d_model: int, n_heads: int, d_state: int, backend: str = "auto") -> None:
        super().__init__()
        heads = KeyValueHeads.of(d_model, n_heads, d_state)
        self.n_heads, self.backend = n_heads, check_backend(backend, GENERALISED_DELTA_RULE)
        n_rows, along = heads.n_keys, torch.arange(d_model) / d_model
        # Coefficients for r, w, k, v, a and g: channels mix in the token before them from wholly to not at all.
        self.mix = nn.Parameter(torch.stack([1 - along**power for power in (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)]))
        self.r_proj, self.k_proj = (nn.Linear(d_model, n_rows, bias=False) for _ in range(2))
        self.v_proj = nn.Linear(d_model, d_model, bias=False)
        self.decay = _LowRank(d_model, rate_rank(d_model), n_rows, torch.tanh)
        self.rate = _LowRank(d_model, rate_rank(d_model), n_rows)
        self.gate = _LowRank(d_model, gate_rank(d_model), d_model, sigmoid)
        # Half-lives of a head's rows between some four and some five hundred tokens.
        self.decay_bias = nn.Parameter(torch.linspace(-6, -1, d_state).repeat(n_heads))
        self.rate_bias = nn.Parameter(torch.zeros(n_rows))
        self.remove_scale = nn.Parameter(torch.full((n_rows,), 0.85))  # xi
        self.rate_scale = nn.Parameter(torch.ones(n_rows))  # alpha
        self.bonus = nn.Parameter(torch.zeros(n_heads, d_state))  # rho
        self.norm = nn.GroupNorm(n_heads, d_model, eps=GROUP_NORM_EPS)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the last input (B, 1, d_model) and ``s`` (B, H, K, V).
        """
        last, s = (tensor.value for tensor in state) if state else (torch.zeros_like(x[:, :1]), None)
        step = torch.cat([last, x[:, :-1]], dim=1) - x
        of_r, of_w, of_k, of_v, of_a, of_g = (x + step * mix for mix in self.mix)
        r, k, v = self.r_proj(of_r), self.k_proj(of_k), self.v_proj(of_v)
        rate = sigmoid(self.rate_bias + self.rate(of_a))
        decay = self.decay(of_w)
        wide = torch.promote_types(decay.dtype, torch.float32)  # a decay rounded to half precision is another decay
        log_decay = -FASTEST_DECAY * sigmoid(self.decay_bias.to(wide) + decay.to(wide))
        remove = self._heads(k * self.remove_scale)
        k = k * (1 + (rate - 1) * self.rate_scale)
        r, k, v, rate, log_decay = (self._heads(part) for part in (r, k, v, rate, log_decay))
        remove = F.normalize(remove, dim=-1)
        # The kernel's removal key reads the memory after its decay, that of the paper before it.
        before_decay = remove.to(wide) * (-log_decay).exp()
        o, s = generalised_delta_rule(r, k, v, before_decay, remove * rate, log_decay, s, backend=self.backend)
        normed = self.norm(o.flatten(-2).flatten(0, 1)).unflatten(0, x.shape[:2])
        bonus = (r * k * self.bonus).sum(-1, keepdim=True) * v
        out: Tensor = self.out_proj((normed + bonus.flatten(-2)) * self.gate(of_g))
        return out, (StateTensor("inputs", "conv", x[:, -1:]), StateTensor("s", "recurrent", s))

    def _heads(self, x: Tensor) -> Tensor:
        each: Tensor = x.unflatten(-1, (self.n_heads, -1))
        return each


class _LowRank(nn.Module):
    """W_2 f(W_1 x)."""

    def __init__(self, d_in: int, rank: int, d_out: int, activation: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.down, self.up = NarrowLinear(d_in, rank, bias=False), NarrowLinear(rank, d_out, bias=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        inner = self.down(x)
        up: Tensor = self.up(inner if self.activation is None else self.activation(inner))
        return up
