"""Mamba's selective state space layer (S6) with its causal convolution.

Glossary, code to paper (Gu and Dao 2023, arXiv 2312.00752, Algorithm 2 and Figure 3):
B batch, T new tokens, D = expand * d_model inner channels, N = d_state, c = d_conv; ``dt`` is Delta,
``a`` is A (D, N), ``b`` and ``c`` are B and C (B, T, N), ``h`` is the recurrent state (B, D, N).
Parameter names are those of the mamba-ssm package, so that weights can be exchanged.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.scan import selective_scan

DT_MIN, DT_MAX = 1e-3, 1e-1  # range of softplus(dt_proj.bias) at the start, as in mamba-ssm


class Mamba(nn.Module):
    """Selective state space layer: project, convolve, scan, gate, project.

    Parameters
    ----------
    d_model, d_state, d_conv, expand : int
    scan : str
        Backend of the selective scan, a key of ``boundprobe.models.scan.BACKENDS``.
    """

    def __init__(self, d_model: int, d_state: int, d_conv: int, expand: int, scan: str) -> None:
        super().__init__()
        d_inner, dt_rank = expand * d_model, math.ceil(d_model / 16)
        self.d_state, self.d_conv, self.dt_rank, self.scan = d_state, d_conv, dt_rank, scan
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner)
        self.x_proj = nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        # S4D-real: A_n = -n for n = 1..N
        a = torch.arange(1, d_state + 1, dtype=torch.float32).repeat(d_inner, 1)
        self.A_log = nn.Parameter(a.log())
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)
        self._init_dt()

    def _init_dt(self) -> None:
        """Start with time constants spread over the decades that the paper uses (its section 3.6)."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        low, high = math.log(DT_MIN), math.log(DT_MAX)
        dt = torch.exp(torch.rand_like(self.dt_proj.bias) * (high - low) + low)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the convolution's last ``d_conv - 1`` inputs (B, c-1, D) and ``h`` (B, D, N).
        """
        u, gate = self.in_proj(x).chunk(2, dim=-1)  # (B, T, D) each
        if state:
            buffer, h = (tensor.value for tensor in state)
        else:
            buffer = u.new_zeros(u.shape[0], self.d_conv - 1, u.shape[2])
            h = u.new_zeros(u.shape[0], u.shape[2], self.d_state)
        u, buffer = self._convolve(torch.cat([buffer, u], dim=1))
        dt, b, c = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        dt = F.softplus(self.dt_proj(dt))  # (B, T, D)
        y, h = selective_scan(u, dt, -torch.exp(self.A_log), b, c, h, backend=self.scan)
        y = (y + u * self.D) * F.silu(gate)
        return self.out_proj(y), (StateTensor("inputs", "conv", buffer), StateTensor("h", "recurrent", h))

    def _convolve(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Depthwise causal convolution of (B, c-1+T, D): SiLU of (B, T, D), and the next buffer (B, c-1, D).

        A sum of c shifted products: for layers this small it is several times faster on a CPU than a
        grouped convolution, and it stays in the layout of its neighbours.
        """
        n_new = padded.shape[1] - (self.d_conv - 1)
        taps = self.conv1d.weight[:, 0, :]  # (D, c)
        assert self.conv1d.bias is not None
        u = self.conv1d.bias.expand(1, n_new, -1)
        for i in range(self.d_conv):
            u = u + padded[:, i : i + n_new] * taps[:, i]
        return F.silu(u), padded[:, n_new:]
