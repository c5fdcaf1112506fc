"""Mamba-2: a selective state space layer with one decay for each head.

Glossary, code to paper (Dao and Gu 2024, arXiv 2405.21060, sections 6 and 7):
B batch, T new tokens, H heads, P = d_head channels of a head, D = expand * d_model = H P inner channels,
N = d_state; ``dt`` is Delta (B, T, H), ``A_log`` is log(-A) (H,), ``b`` and ``c`` are B and C (B, T, G, N), each shared
by the heads of one of G groups, ``h`` is the recurrent state (B, H, N, P).  In the words of attention c is q, b is k,
and dt x is v.
Parameter names are those of the mamba-ssm and transformers packages, so that weights can be exchanged.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION, short_convolution
from boundprobe.kernels.linear.operations import DECAYED_ATTENTION, decayed_attention
from boundprobe.models.heads import check_shared
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer

A_MIN, A_MAX = 1.0, 16.0  # range of -A at the start, as in mamba-ssm
DT_MIN, DT_MAX = 1e-3, 1e-1  # range of softplus(dt_bias) at the start, as in mamba-ssm


def initial_a_log(n_heads: int) -> Tensor:
    """Logarithms of -A (n_heads,), with -A uniform."""
    return torch.empty(n_heads).uniform_(A_MIN, A_MAX).log()


def initial_dt_bias(n_heads: int) -> Tensor:
    """Biases (n_heads,) whose softplus is a step size spread evenly over the decades from DT_MIN to DT_MAX."""
    dt = torch.empty(n_heads).uniform_(math.log(DT_MIN), math.log(DT_MAX)).exp()
    return dt + torch.log(-torch.expm1(-dt))  # inverse of softplus


class Mamba2(AbstractMixer):
    """State space duality layer: project, convolve, decay and write and read, norm with a gate, project.

    h_t = exp(dt_t A) h_{t-1} + dt_t b_t x_t^T;  y_t = h_t^T c_t + D x_t, for each head.

    The state has expand * d_model * d_state recurrent entries and (d_conv - 1) * (expand * d_model + 2 * G * d_state)
    in the convolution's buffer.  The norm before the output is over the channels of one group.

    Parameters
    ----------
    d_model, d_state, d_head, d_conv, expand : int
        ``d_head`` must divide ``expand * d_model``.  With ``d_conv`` 1 nothing is convolved and the buffer is empty.
    backend : str
        Of ``boundprobe.kernels.linear.decayed_attention`` or of ``boundprobe.kernels.conv``.
    n_groups : int
        Groups of heads that share b and c, G; 0: one.

    Raises
    ------
    ValueError
        If ``d_head`` or ``n_groups`` does not divide, or no backend has that name.
    """

    state_names = ("inputs", "h")

    def __init__(
        self,
        d_model: int,
        d_state: int,
        d_head: int,
        d_conv: int,
        expand: int,
        backend: str = "auto",
        n_groups: int = 0,
    ) -> None:
        super().__init__()
        d_inner = expand * d_model
        if d_inner % d_head:
            raise ValueError(f"`d_head` must divide expand * d_model = {d_inner}; got {d_head}.")
        self.d_state, self.n_heads = d_state, d_inner // d_head
        self.n_groups = check_shared("n_groups", n_groups, self.n_heads, default=1)
        self.backend = check_backend(backend, DECAYED_ATTENTION, SHORT_CONVOLUTION)
        d_convolved = d_inner + 2 * self.n_groups * d_state
        self.in_proj = nn.Linear(d_model, d_inner + d_convolved + self.n_heads, bias=False)
        self.conv1d = nn.Conv1d(d_convolved, d_convolved, d_conv, groups=d_convolved)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.n_heads))
        self.A_log = nn.Parameter(initial_a_log(self.n_heads))
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm = nn.RMSNorm(d_inner, eps=1e-5)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the convolution's last ``d_conv - 1`` inputs (B, d_conv - 1, D + 2GN) and ``h`` (B, H, N, P).
        """
        buffer, h = (tensor.value for tensor in state) if state else (None, None)
        n_inner = self.out_proj.in_features
        n_shared = self.n_groups * self.d_state
        gate, u, dt = self.in_proj(x).split([n_inner, n_inner + 2 * n_shared, self.n_heads], dim=-1)
        u, buffer = short_convolution(self.conv1d, u, buffer, backend=SHORT_CONVOLUTION.own_or_auto(self.backend))
        u, b, c = u.split([n_inner, n_shared, n_shared], dim=-1)
        b, c = (self._share(shared) for shared in (b, c))  # (B, T, H, N)
        u = u.unflatten(-1, (self.n_heads, -1))  # (B, T, H, P)
        wide = torch.promote_types(dt.dtype, torch.float32)  # a decay rounded to half precision is another decay
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide))[..., None]  # (B, T, H, 1)
        log_decay = -self.A_log.to(wide).exp()[:, None] * dt
        y, h = decayed_attention(
            c, b, (u * dt).to(u.dtype), log_decay, h, backend=DECAYED_ATTENTION.own_or_auto(self.backend)
        )
        y = (y + u * self.D[:, None]).flatten(-2)
        out: Tensor = self.out_proj(self._norm_groups(y * F.silu(gate)))
        return out, (StateTensor("inputs", "conv", buffer), StateTensor("h", "recurrent", h))

    def _share(self, x: Tensor) -> Tensor:
        """b or c of all groups (B, T, G N) for each head: (B, T, H, N)."""
        grouped = x.unflatten(-1, (self.n_groups, 1, self.d_state))
        of_heads: Tensor = grouped.expand(-1, -1, -1, self.n_heads // self.n_groups, -1).flatten(2, 3)
        return of_heads

    def _norm_groups(self, y: Tensor) -> Tensor:
        """(B, T, D), each group of channels divided by its root mean square."""
        if self.n_groups == 1:
            whole: Tensor = self.norm(y)
            return whole
        grouped = y.unflatten(-1, (self.n_groups, -1))
        normed = F.rms_norm(grouped, grouped.shape[-1:], eps=self.norm.eps).flatten(-2)
        return normed * self.norm.weight
