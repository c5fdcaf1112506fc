"""Mamba's selective state space layer (S6) with its causal convolution.

Glossary, code to paper (Gu and Dao 2023, arXiv 2312.00752, Algorithm 2 and Figure 3):
B batch, T new tokens, D = expand * d_model inner channels, N = d_state, R = dt_rank; ``dt`` is Delta,
``a`` is A (D, N), ``b`` and ``c`` are B and C (B, T, N), ``h`` is the recurrent state (B, D, N).
Parameter names are those of the mamba-ssm package, so that weights can be exchanged.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION, short_convolution
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.kernels.scan.operation import SELECTIVE_SCAN, selective_scan
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer

DT_MIN, DT_MAX = 1e-3, 1e-1  # range of softplus(dt_proj.bias) at the start, as in mamba-ssm


class Mamba(AbstractMixer):
    """Selective state space layer: project, convolve, scan, gate, project.

    ``forward`` is four steps that other layers share: ``enter``, ``select``, ``recur``, ``leave``.

    Parameters
    ----------
    d_model, d_state, d_conv, expand : int
        ``d_conv`` 1 is no convolution over time: a scale and a shift of each channel, and an empty buffer.
    backend : str
        Backend of the selective scan and, where it has one of that name, of the convolution.

    Raises
    ------
    ValueError
        If there is no such backend.

    Examples
    --------
    >>> layer = Mamba(d_model=4, d_state=3, d_conv=4, expand=2, backend="reference")
    >>> y, state = layer(torch.zeros(1, 6, 4))
    >>> [(tensor.name, tuple(tensor.value.shape)) for tensor in state]
    [('inputs', (1, 3, 8)), ('h', (1, 8, 3))]
    """

    state_names = ("inputs", "h")

    def __init__(self, d_model: int, d_state: int, d_conv: int, expand: int, backend: str) -> None:
        super().__init__()
        d_inner, dt_rank = expand * d_model, math.ceil(d_model / 16)
        self.d_state, self.dt_rank = d_state, dt_rank
        self.backend = check_backend(backend, SELECTIVE_SCAN)
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner)
        self.x_proj = nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = NarrowLinear(dt_rank, d_inner)
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

        The state is the convolution's last ``d_conv - 1`` inputs (B, d_conv - 1, D) and ``h`` (B, D, N).
        """
        buffer, h = (tensor.value for tensor in state) if state else (None, None)
        u, gate, buffer = self.enter(x, buffer)
        dt, b, c = self.select(u)
        y, h = self.recur(u, F.softplus(dt), b, c, h)
        return self.leave(y, u, gate), self.as_state(buffer, h)

    def enter(self, x: Tensor, buffer: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Project and convolve: u and the gate (B, T, D) each, and the next buffer (B, d_conv - 1, D)."""
        u, gate = self.in_proj(x).chunk(2, dim=-1)
        u, buffer = short_convolution(self.conv1d, u, buffer, backend=SHORT_CONVOLUTION.own_or_auto(self.backend))
        return u, gate, buffer

    def select(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The input-dependent parameters: dt (B, T, D) before its softplus, b and c (B, T, N)."""
        dt, b, c = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return self.dt_proj(dt), b, c

    def recur(self, u: Tensor, dt: Tensor, b: Tensor, c: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """The selective scan after ``h`` (None at the start): y (B, T, D) and the next h (B, D, N)."""
        # At least float32, as in mamba-ssm: an error in a is an error in every power of the decay.
        a = -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)))
        return selective_scan(u, dt, a, b, c, h, backend=self.backend)

    def leave(self, y: Tensor, u: Tensor, gate: Tensor) -> Tensor:
        """The gated skip ``(y_t + D u_t) SiLU(gate_t)``, entry by entry, projected to (B, T, d_model)."""
        out: Tensor = self.out_proj((y + u * self.D) * F.silu(gate))
        return out

    @staticmethod
    def as_state(buffer: Tensor, h: Tensor) -> LayerState:
        """The two tensors of the state under their names."""
        return StateTensor("inputs", "conv", buffer), StateTensor("h", "recurrent", h)
