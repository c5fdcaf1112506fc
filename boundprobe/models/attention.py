"""Causal sliding-window attention with rotary, learned or no positions.

Glossary: B batch, T new tokens, P cached tokens, H heads, G heads of keys and values, E = d_model / H width of a head,
w window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boundprobe.checks import check_integer, check_word
from boundprobe.kernels.backends import AUTO, check_backend
from boundprobe.kernels.window.operation import WINDOWED_ATTENTION, windowed_attention
from boundprobe.kernels.window.positions import POSITIONS, AbstractPosition
from boundprobe.models.heads import check_shared
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
    n_kv_heads : int
        Heads of keys and values, G; head h of the queries reads number ``h G // H`` (Ainslie et al. 2023, arXiv
        2305.13245).  0: ``n_heads``.

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

    def __init__(
        self, d_model: int, n_heads: int, window: int, position: str, backend: str = AUTO, n_kv_heads: int = 0
    ) -> None:
        super().__init__()
        head_width = check_heads(d_model, n_heads)
        self.n_heads, self.n_kv_heads = n_heads, check_shared("n_kv_heads", n_kv_heads, n_heads)
        self.window = check_integer("window", window, 1)
        self.backend = check_backend(backend, WINDOWED_ATTENTION)
        self.qkv = nn.Linear(d_model, d_model + 2 * self.n_kv_heads * head_width)
        self.position = POSITIONS[check_word("position", position, POSITIONS)](head_width, window)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the cache of at most ``window - 1`` tokens: keys and values (B, G, P, E).
        """
        heads = self.qkv(x).unflatten(-1, (self.n_heads + 2 * self.n_kv_heads, -1)).transpose(1, 2)
        q, k, v = heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)  # each (B, H or G, T, E)
        y, state = attend_from_cache(q, k, v, state, self.window, self.position, self.backend)
        return self.out(y), state


def attend_from_cache(
    q: Tensor, k: Tensor, v: Tensor, cache: LayerState, window: int, position: AbstractPosition, backend: str
) -> tuple[Tensor, LayerState]:
    """Attend in a window that begins in a cache.

    Parameters
    ----------
    q : Tensor (B, H, T, E)
    k, v : Tensor (B, G, T, E)
        G divides H.
    cache : LayerState
        Keys and values (B, G, P, E) of the tokens before; empty at the start.
    window : int
    position : AbstractPosition
    backend : str
        Of ``boundprobe.kernels.window.windowed_attention``.

    Returns
    -------
    y : Tensor (B, T, H E)
    cache : LayerState
        Keys and values of the last ``window - 1`` tokens, or of all.
    """
    if cache:
        k, v = (torch.cat([cached.value, new], dim=2) for cached, new in zip(cache, (k, v), strict=True))
    n_heads = q.shape[1]
    y = windowed_attention(q, _for_heads(k, n_heads), _for_heads(v, n_heads), window, position, backend=backend)
    # The next token sees window - 1 tokens before it, and no later one sees further back.
    first = max(k.shape[2] - (window - 1), 0)
    return y.transpose(1, 2).flatten(2), (
        StateTensor("keys", "cache", k[:, :, first:]),
        StateTensor("values", "cache", v[:, :, first:]),
    )


def _for_heads(x: Tensor, n_heads: int) -> Tensor:
    """Keys or values (B, G, P, E) for each head of queries: (B, H, P, E)."""
    if (n_shared := x.shape[1]) == n_heads:
        return x
    return x[:, :, None].expand(-1, -1, n_heads // n_shared, -1, -1).flatten(1, 2)
