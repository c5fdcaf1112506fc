"""Causal sliding-window attention with rotary, learned or no positions.

Glossary: B batch, T new tokens, P cached tokens, H heads, E = d_model / H width of a head, w window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boundprobe.checks import check_integer, check_word
from boundprobe.kernels.backends import AUTO, check_backend
from boundprobe.kernels.window.operation import WINDOWED_ATTENTION, windowed_attention
from boundprobe.kernels.window.positions import POSITIONS
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer


def check_heads(d_model: int, n_heads: int) -> int:
    """Return the width of a head, or raise ``ValueError`` unless ``n_heads`` divides ``d_model``."""
    if d_model % check_integer("n_heads", n_heads, 1):
        raise ValueError(
            f"`d_model` must be a multiple of n_heads={n_heads}, because heads share the width equally; got {d_model}."
        )
    return d_model // n_heads


class SlidingWindowAttention(AbstractMixer):
    """Softmax attention in which a position sees itself and the ``window - 1`` before it.

    ``y_t = out(sum_s softmax_s(score(q_t, k_s) / sqrt(E)) v_s)`` over ``t - window < s <= t``, in H heads
    (Vaswani et al. 2017, arXiv 1706.03762, eq. 1).  From a few windows' length on it costs time and memory
    proportional to ``T * window``.

    The cache holds keys *before* their position is applied: scores depend on differences of positions alone, so
    keys can be rotated by their place in the window when they are read.  The state then needs no position
    counter, and its bits are exactly those of its tensors.

    Parameters
    ----------
    d_model, n_heads, window : int
        ``n_heads`` divides ``d_model``.
    position : "rope" | "learned" | "none"
        A key of ``kernels.window.positions.POSITIONS``: rotations (``d_model / n_heads`` must be even), learned
        vectors for each distance, or nothing.
    backend : str
        Of ``boundprobe.kernels.window.windowed_attention``.

    Raises
    ------
    ValueError
        If a size is not allowed, or there is no such position encoding or backend.

    Examples
    --------
    >>> layer = SlidingWindowAttention(d_model=8, n_heads=2, window=4, position="rope")
    >>> y, state = layer(torch.zeros(1, 6, 8))
    >>> [(tensor.name, tuple(tensor.value.shape)) for tensor in state]
    [('keys', (1, 2, 3, 4)), ('values', (1, 2, 3, 4))]
    """

    state_names = ("keys", "values")

    def __init__(self, d_model: int, n_heads: int, window: int, position: str, backend: str = AUTO) -> None:
        super().__init__()
        head_width = check_heads(d_model, n_heads)
        self.n_heads, self.window = n_heads, check_integer("window", window, 1)
        self.backend = check_backend(backend, WINDOWED_ATTENTION)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.position = POSITIONS[check_word("position", position, POSITIONS)](head_width, window)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the cache of at most ``window - 1`` tokens: keys and values (B, H, P, E).
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, E)
        if state:
            k, v = (torch.cat([cached.value, new], dim=2) for cached, new in zip(state, (k, v), strict=True))
        y = windowed_attention(q, k, v, self.window, self.position, backend=self.backend)  # (B, H, T, E)
        # The next token sees window - 1 tokens before it, and no later one sees further back.
        first = max(k.shape[2] - (self.window - 1), 0)
        return self.out(y.transpose(1, 2).flatten(2)), (
            StateTensor("keys", "cache", k[:, :, first:]),
            StateTensor("values", "cache", v[:, :, first:]),
        )
