"""Gated attention: softmax attention in a window, whose output passes a gate.

Glossary: as in ``attention``.
"""

from __future__ import annotations

from torch import Tensor, nn

from boundprobe.checks import check_integer, check_word
from boundprobe.kernels.backends import AUTO, check_backend
from boundprobe.kernels.window.operation import WINDOWED_ATTENTION
from boundprobe.kernels.window.positions import POSITIONS
from boundprobe.models.attention import attend_from_cache, check_heads
from boundprobe.models.gates import sigmoid
from boundprobe.models.heads import check_shared
from boundprobe.models.memory import LayerState
from boundprobe.models.mixer import AbstractMixer


class GatedAttention(AbstractMixer):
    """Attention with a sigmoid gate on its output, and with queries and keys of fixed root mean square.

    ``y_t = out(sigmoid(g_t) * sum_s softmax_s(score(q_t, k_s) / sqrt(E)) v_s)`` with a gate for each channel, made from
    the token itself (Qiu et al. 2025, arXiv 2505.06708).  Each head of q and k is RMS-normed before positions are
    applied, and no projection has a bias: this is the attention of Qwen3-Next.

    The cache holds keys after their norm and *before* their position is applied, as in ``SlidingWindowAttention``.

    Parameters
    ----------
    d_model, n_heads, window, position, backend, n_kv_heads
        As in ``SlidingWindowAttention``.

    Raises
    ------
    ValueError
        If a size is not allowed, or there is no such position encoding or backend.

    Examples
    --------
    >>> import torch
    >>> layer = GatedAttention(d_model=8, n_heads=4, window=4, position="rope", n_kv_heads=1)
    >>> y, state = layer(torch.zeros(1, 6, 8))
    >>> [(tensor.name, tuple(tensor.value.shape)) for tensor in state]
    [('keys', (1, 1, 3, 2)), ('values', (1, 1, 3, 2))]
    """

    state_names = ("keys", "values")

    def __init__(
        self, d_model: int, n_heads: int, window: int, position: str, backend: str = AUTO, n_kv_heads: int = 0
    ) -> None:
        super().__init__()
        head_width = check_heads(d_model, n_heads)
        self.n_heads, self.n_kv_heads = n_heads, check_shared("n_kv_heads", n_kv_heads, n_heads)
        self.window = check_integer("window", window, 1)
        self.backend = check_backend(backend, WINDOWED_ATTENTION)
        self.qkv = nn.Linear(d_model, d_model + 2 * self.n_kv_heads * head_width, bias=False)
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.q_norm = nn.RMSNorm(head_width, eps=1e-6)
        self.k_norm = nn.RMSNorm(head_width, eps=1e-6)
        self.position = POSITIONS[check_word("position", position, POSITIONS)](head_width, window)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the cache of at most ``window - 1`` tokens: keys and values (B, G, P, E).
        """
        heads = self.qkv(x).unflatten(-1, (self.n_heads + 2 * self.n_kv_heads, -1)).transpose(1, 2)
        q, k, v = heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)  # each (B, H or G, T, E)
        q, k = self.q_norm(q), self.k_norm(k)
        y, state = attend_from_cache(q, k, v, state, self.window, self.position, self.backend)
        return self.out(sigmoid(self.gate(x)) * y), state
