"""A Mamba layer whose step size depends on attention.

Glossary: as in ``mamba``; w window of the attention.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.scan.operation import SELECTIVE_SCAN
from boundprobe.kernels.window.operation import WINDOWED_ATTENTION
from boundprobe.models.attention import SlidingWindowAttention
from boundprobe.models.mamba import Mamba
from boundprobe.models.memory import LayerState
from boundprobe.models.mixer import AbstractMixer


class MambaAttentionStep(AbstractMixer):
    """Mamba with ``Delta = softplus(dt_proj(x_proj(u)_dt) + W attn(x))``.

    The step size decides how much of the past a channel keeps and how much of the token it writes (Gu and Dao
    2023, arXiv 2312.00752, section 3.5.1).  In Mamba it sees the last ``d_conv`` tokens through the convolution; here
    it sees what a query finds in the last ``window`` tokens as well.  With ``W = 0`` this is Mamba.

    Parameters
    ----------
    d_model, d_state, d_conv, expand : int
        As in ``Mamba``.
    n_heads, window, position : int, int, str
        As in ``SlidingWindowAttention``.
    backend : str
        Backend of the selective scan or the attention; an operation that has none of that name takes ``auto``.
    n_kv_heads : int
        As in ``SlidingWindowAttention``.

    Examples
    --------
    >>> import torch
    >>> layer = MambaAttentionStep(4, 3, 2, 2, n_heads=1, window=3, position="rope", backend="reference")
    >>> _, state = layer(torch.zeros(1, 6, 4))
    >>> [(tensor.name, tuple(tensor.value.shape)) for tensor in state]
    [('inputs', (1, 1, 8)), ('h', (1, 8, 3)), ('keys', (1, 1, 2, 4)), ('values', (1, 1, 2, 4))]
    """

    state_names = ("inputs", "h", "keys", "values")

    def __init__(
        self,
        d_model: int,
        d_state: int,
        d_conv: int,
        expand: int,
        n_heads: int,
        window: int,
        position: str,
        backend: str,
        n_kv_heads: int = 0,
    ) -> None:
        super().__init__()
        check_backend(backend, SELECTIVE_SCAN, WINDOWED_ATTENTION)
        of_scan, of_attention = (of.own_or_auto(backend) for of in (SELECTIVE_SCAN, WINDOWED_ATTENTION))
        self.mamba = Mamba(d_model, d_state, d_conv, expand, of_scan)
        self.attention = SlidingWindowAttention(d_model, n_heads, window, position, of_attention, n_kv_heads)
        self.step = nn.Linear(d_model, expand * d_model, bias=False)  # W; dt_proj has the bias

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is Mamba's (``inputs``, ``h``) and the attention's (``keys``, ``values``).
        """
        buffer, h = (tensor.value for tensor in state[:2]) if state else (None, None)
        attended, cache = self.attention(x, state[2:])
        u, gate, buffer = self.mamba.enter(x, buffer)
        dt, b, c = self.mamba.select(u)
        y, h = self.mamba.recur(u, F.softplus(dt + self.step(attended)), b, c, h)
        return self.mamba.leave(y, u, gate), (*self.mamba.as_state(buffer, h), *cache)
