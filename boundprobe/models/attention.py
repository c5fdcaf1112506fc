"""Causal sliding-window attention with rotary positions.

Glossary: B batch, T new tokens, P cached tokens, H heads, E = d_model / H width of a head, w window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.models.memory import LayerState, StateTensor

ROTARY_BASE = 10_000.0


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary encoding (Su et al. 2021, arXiv 2104.09864, eq. 34), halves convention of GPT-NeoX.

    Parameters
    ----------
    x : Tensor (..., T, E), E even
    positions : Tensor (T,)

    Returns
    -------
    Tensor (..., T, E)
        Each pair (x_i, x_{i+E/2}) turned by ``positions * base^(-2i/E)``; inner products of rotated vectors
        depend on the difference of their positions alone.
    """
    half = x.shape[-1] // 2
    exponents = torch.arange(half, device=x.device, dtype=torch.float32) / half
    angles = positions.to(torch.float32)[:, None] * ROTARY_BASE ** (-exponents)[None, :]  # (T, E/2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class SlidingWindowAttention(nn.Module):
    """Softmax attention in which a position sees itself and the ``window - 1`` before it.

    The cache holds keys *before* rotation: rotary scores depend on differences of positions alone, so keys
    can be rotated by their place in the window when they are read.  The state then needs no position counter,
    and its bits are exactly those of its tensors.

    Parameters
    ----------
    d_model, n_heads, window : int
        ``d_model / n_heads`` must be even.
    """

    def __init__(self, d_model: int, n_heads: int, window: int) -> None:
        super().__init__()
        self.n_heads, self.window = n_heads, window
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the cache of at most ``window - 1`` tokens: keys and values (B, H, P, E).
        """
        batch, n_new, d_model = x.shape
        qkv = self.qkv(x).reshape(batch, n_new, 3, self.n_heads, d_model // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, E)
        if state:
            k, v = (torch.cat([cached.value, new], dim=2) for cached, new in zip(state, (k, v), strict=True))
        n_keys = k.shape[2]
        keys_at = torch.arange(n_keys, device=x.device)
        queries_at = keys_at[n_keys - n_new :]
        distance = queries_at[:, None] - keys_at[None, :]
        visible = (distance >= 0) & (distance < self.window)
        y = F.scaled_dot_product_attention(
            rotate(q, queries_at), rotate(k, keys_at), v, attn_mask=visible
        )  # (B, H, T, E)
        y = self.out(y.transpose(1, 2).reshape(batch, n_new, d_model))
        # The next token sees window - 1 tokens before it, and no later one sees further back.
        first = max(n_keys - (self.window - 1), 0)
        return y, (
            StateTensor("keys", "cache", k[:, :, first:]),
            StateTensor("values", "cache", v[:, :, first:]),
        )
