"""A selective state space layer whose state matrix need not be diagonal.

Glossary, code to paper (Cooper, Diakonikolas, Ma, Sala 2026, arXiv 2603.08859, Appendix B, *Mamba Layer*):
B batch, T new tokens, G heads, N = d_state; ``dt`` is the step size Delta(x_t) in (0, 1), one for each head;
``A`` is A (G, N, N), the state matrix; ``B``, ``C`` and ``D`` are B, C and the skip D; ``h`` is the state (B, G, N).

Mamba keeps its state matrix diagonal, so that a scan can run in parallel.  Some machines cannot be had that way:
a shift register's matrix is nilpotent, hence not diagonalisable.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from boundprobe.checks import check_integer
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer

DT_MIN, DT_MAX = 1e-3, 1e-1  # range of sigmoid(step.bias) at the start, that of Mamba's step sizes


class SelectiveSSM(AbstractMixer):
    """General selective state space layer, in first-order discretisation.

    ``h_t = (1 - dt_t) h_{t-1} + dt_t (A h_{t-1} + B x_t)`` in each of G heads, with ``dt_t = sigmoid(w x_t + bias)``,
    and ``y_t = C h_t + D x_t`` from all heads.  A step size of 0 holds the state, one of 1 replaces it.

    Parameters
    ----------
    d_model : int
        Width of input and output.
    n_heads : int
        G: heads with a state, a state matrix and a step size of their own.
    d_state : int
        N: state entries of a head.

    Raises
    ------
    ValueError
        If a size is below 1.

    Notes
    -----
    The state has G * N entries.  A starts orthogonal, so the state neither dies out nor blows up; the steps
    start spread over the decades from ``DT_MIN`` to ``DT_MAX``, so heads remember for 10 to 1000 tokens.

    References
    ----------
    Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Appendix B: the first-order form of S6 (Gu and Dao 2023,
    arXiv 2312.00752), with constant B and C.

    Examples
    --------
    >>> layer = SelectiveSSM(d_model=4, n_heads=2, d_state=3)
    >>> y, state = layer(torch.zeros(1, 5, 4))
    >>> y.shape, [(tensor.name, tensor.kind, tuple(tensor.value.shape)) for tensor in state]
    (torch.Size([1, 5, 4]), [('h', 'recurrent', (1, 2, 3))])
    """

    state_names = ("h",)

    def __init__(self, d_model: int, n_heads: int, d_state: int) -> None:
        super().__init__()
        check_integer("d_model", d_model, 1)
        self.n_heads, self.d_state = check_integer("n_heads", n_heads, 1), check_integer("d_state", d_state, 1)
        self.step = NarrowLinear(d_model, n_heads)
        self.A = nn.Parameter(torch.empty(n_heads, d_state, d_state))
        self.B = NarrowLinear(d_model, n_heads * d_state, bias=False)
        self.C = NarrowLinear(n_heads * d_state, d_model, bias=False)
        self.D = nn.Parameter(torch.ones(d_model))
        self._initialise()

    def _initialise(self) -> None:
        for matrix in self.A.data:
            nn.init.orthogonal_(matrix)
        low, high = math.log(DT_MIN), math.log(DT_MAX)
        dt = torch.exp(torch.rand_like(self.step.bias) * (high - low) + low)
        with torch.no_grad():
            self.step.bias.copy_(torch.logit(dt))

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is ``h`` (B, G, N).  Half-precision inputs are added up in float32.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        # Time first, so that a step is one product of G matrices; batch last, so that it runs along long rows.
        dt = torch.sigmoid(self.step(x).to(wide)).permute(1, 2, 0).unsqueeze(2)  # (T, G, 1, B)
        driven = self.B(x).to(wide).unflatten(-1, (self.n_heads, self.d_state)).permute(1, 2, 3, 0)  # (T, G, N, B)
        a, driven = self.A.to(wide), driven.contiguous()
        h = state[0].value.to(wide).permute(1, 2, 0) if state else torch.zeros_like(driven[0])  # (G, N, B)
        steps = []
        for dt_t, driven_t in zip(dt.unbind(0), driven.unbind(0), strict=True):
            # (1 - dt) h + dt (A h + B x); lerp returns its ends exactly, so steps of 0 and 1 hold and replace exactly
            h = torch.lerp(h, torch.baddbmm(driven_t, a, h), dt_t)
            steps.append(h)
        states = torch.stack(steps).permute(3, 0, 1, 2).flatten(2).to(x.dtype)  # (B, T, G * N)
        return self.C(states) + self.D * x, (StateTensor("h", "recurrent", h.permute(2, 0, 1).to(x.dtype)),)
