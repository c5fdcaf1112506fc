"""Position encodings of attention, as functions from queries and keys to scores.

Glossary, code to paper (Su et al. 2021, arXiv 2104.09864; Shaw et al. 2018, arXiv 1803.02155):
T queries, S keys, E width of a head, w window; the last query stands where the last key stands, so query i and
key j are ``d = S - T + i - j`` apart.  ``relative[d]`` is r_d, Shaw's a^K.

Every score depends on differences of positions alone.  A sliding window asks for that: an absolute position would
be a counter in the state.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    wide = torch.promote_types(x.dtype, torch.float32)  # a half-precision angle is off by whole turns
    exponents = torch.arange(half, device=x.device, dtype=wide) / half
    angles = positions.to(wide)[:, None] * ROTARY_BASE ** (-exponents)[None, :]  # (T, E/2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class AbstractPosition(nn.Module):
    """The score of a query on a key, before the scale ``1 / sqrt(E)`` and before the mask."""

    @abstractmethod
    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Scores (..., T, S) of queries (..., T, E) on keys (..., S, E), S at least T."""


class NoPosition(AbstractPosition):
    """q_t . k_s: attention that cannot tell the places in its window apart."""

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Scores (..., T, S)."""
        return q @ k.transpose(-1, -2)


class RotaryPosition(AbstractPosition):
    """(R_t q_t) . (R_s k_s) = q_t . R_{s-t} k_s, with R_t the rotation of ``rotate``.

    Parameters
    ----------
    head_width : int
        E, even: rotations turn pairs.

    Raises
    ------
    ValueError
        If it is odd.
    """

    def __init__(self, head_width: int) -> None:
        super().__init__()
        if head_width % 2:
            raise ValueError(
                "`d_model / n_heads` must be even for position 'rope', because rotations turn pairs; got "
                f"{head_width}. Change d_model or n_heads, or take position 'learned'."
            )

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Scores (..., T, S)."""
        n_keys = k.shape[-2]
        places = torch.arange(n_keys, device=k.device)
        return rotate(q, places[n_keys - q.shape[-2] :]) @ rotate(k, places).transpose(-1, -2)


class LearnedPosition(AbstractPosition):
    """q_t . (k_s + r_{t-s}): learned relative key vectors r_0 .. r_{w-1}, shared by the heads.

    Shaw et al. 2018 (arXiv 1803.02155, eq. 4), the part on keys.  Relative, although learned positions are often
    absolute: with a sliding window an absolute position would put a counter into the state.  Their clipping
    distance is the window here, beyond which nothing is seen.

    Parameters
    ----------
    head_width, window : int
    """

    def __init__(self, head_width: int, window: int) -> None:
        super().__init__()
        self.relative = nn.Parameter(torch.randn(window, head_width) * head_width**-0.5)  # norm about 1

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Scores (..., T, S); where the distance is outside 0..w-1 they mean nothing, and a mask hides them."""
        return q @ k.transpose(-1, -2) + by_distance(q, self.relative, k.shape[-2])


def by_distance(q: Tensor, relative: Tensor, n_keys: int) -> Tensor:
    """q_t . r_d at each pair of a query and a key that are d apart, without an index.

    The products (T, w) by distance are laid out by key with one change of shape: padded to rows of T + w and
    read in rows of T + w - 1, each row moves one place to the right of the row above (the skewing of
    Huang et al. 2018, arXiv 1809.04281, section 3.4.1).

    Parameters
    ----------
    q : Tensor (..., T, E)
    relative : Tensor (w, E)
    n_keys : int
        S, at most T + w - 1 or at most w.

    Returns
    -------
    Tensor (..., T, S)
        Zero or another pair's value where d is outside 0..w-1.
    """
    n_new, n_seen = q.shape[-2], min(len(relative), n_keys)
    products = q @ relative[:n_seen].flip(0).t()  # (..., T, w), the farthest first
    width = n_new + n_seen - 1
    padded = F.pad(products, (0, n_new)).flatten(-2)  # (..., T * (T + w))
    skewed: Tensor = padded[..., : n_new * width].unflatten(-1, (n_new, width))
    return skewed[..., width - n_keys :]


#: Position encodings by name: built from the width of a head and the window.
POSITIONS: dict[str, Callable[[int, int], AbstractPosition]] = {
    "rope": lambda head_width, window: RotaryPosition(head_width),
    "learned": LearnedPosition,
    "none": lambda head_width, window: NoPosition(),
}
