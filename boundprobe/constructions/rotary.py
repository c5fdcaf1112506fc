"""Choice of the rotary pairs that tell the distances in a window apart, and by how much they do.

Glossary: E width of a head; ``theta_i = base^(-2i/E)`` the angle per token of pair i; k the distance asked for,
d a key's distance.  A query that holds ``e^(-j k theta_i)`` scores ``sum_i cos((d - k) theta_i)`` on a constant key.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from boundprobe.constructions.program import AtAngle

#: As in ``boundprobe.kernels.window.positions``, which needs torch; a test compares them.
ROTARY_BASE = 10_000.0
#: Unit roundoff: half of the distance from 1 to the next number.
FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53
#: Cosines are held on this grid, so that a Mamba layer carries them without rounding.
GRID = 2.0**-16
#: Added to each cosine, so that what is held is in [1, 3].
SHIFT = 2.0


def angles(head_width: int) -> np.ndarray:
    """theta_i of each pair, in radians per token: float64 (E/2,)."""
    return ROTARY_BASE ** (-np.arange(head_width // 2) / (head_width // 2))


def gap(pairs: Sequence[int], head_width: int, farthest: int) -> float:
    """Least lead of the distance asked for: ``min_{1 <= j <= farthest} sum_i (1 - cos(j theta_i))``.

    Parameters
    ----------
    pairs : sequence of int
        The rotary pairs i that are used.
    head_width : int
        E.
    farthest : int, in tokens
        Greatest difference between a distance in the window and one that is asked for.

    Returns
    -------
    float

    Examples
    --------
    >>> round(gap((0,), head_width=10, farthest=10), 6), round(gap((1,), head_width=10, farthest=10), 6)
    (0.03983, 0.012533)
    """
    return float(_leads(head_width, farthest)[:, list(pairs)].sum(axis=1).min())


def rounding(pairs: Sequence[int], head_width: int, seq_len: int, unit: float = FLOAT32) -> float:
    """Most by which arithmetic of a unit roundoff changes the difference of two scores.

    An angle ``t theta``, at most ``seq_len theta``, is rounded by ``unit`` of itself on the query's side and on the
    key's, and theta by 4 units of itself at most; cosines that are held by half the grid; products by 16 units.
    """
    theta = angles(head_width)[list(pairs)]
    return float(2.0 * np.sum(seq_len * theta * 6.0 * unit + GRID / 2.0 + 16.0 * unit))


def choose_pairs(head_width: int, farthest: int, seq_len: int, n_pairs: int, unit: float = FLOAT32) -> AtAngle | None:
    """The criterion on ``n_pairs`` pairs, each chosen for the greatest gap; None where rounding takes half of it."""
    chosen, lead = _widest(head_width, farthest, n_pairs)
    lost = rounding(chosen, head_width, seq_len, unit)
    if lost > lead / 2.0:
        return None
    return AtAngle("offset", SHIFT, chosen, lead - lost, float32=unit == FLOAT32)


@functools.lru_cache(maxsize=256)
def _widest(head_width: int, farthest: int, n_pairs: int) -> tuple[tuple[int, ...], float]:
    """Pairs chosen one after the other for the greatest gap, and that gap."""
    leads = _leads(head_width, farthest)
    total = np.zeros(len(leads))
    chosen: list[int] = []
    for _ in range(n_pairs):
        gaps = (total[:, None] + leads).min(axis=0)
        gaps[chosen] = -1.0
        chosen.append(int(gaps.argmax()))
        total += leads[:, chosen[-1]]
    return tuple(chosen), float(total.min())


def held_angles(criterion: AtAngle, head_width: int, distances: Sequence[int]) -> np.ndarray:
    """Contents of the register for each distance: shift + (cos k theta_i, -sin k theta_i) of each pair, on the grid."""
    turned = np.outer(distances, angles(head_width)[list(criterion.pairs)])  # (n, pairs)
    values = criterion.shift + np.stack([np.cos(turned), -np.sin(turned)], axis=-1).reshape(len(turned), -1)
    return np.round(values / GRID) * GRID


def _leads(head_width: int, farthest: int) -> np.ndarray:
    """1 - cos(j theta_i) for j = 1 .. farthest: (farthest, E/2); without cancellation where it is small."""
    return 2.0 * np.sin(np.outer(np.arange(1, farthest + 1), angles(head_width)) / 2.0) ** 2
