"""Values as signs, and signs in a rotated space of more dimensions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from boundprobe.channels.base import States
from boundprobe.checks import check_integer

#: Rotations are part of a channel's distribution, not of a draw, so they have a seed of their own.
_ROTATION_SEED = 20_260


def signs_per_value(n_values: int) -> int:
    """Signs that tell K values apart, ceil(log2 K).

    >>> [signs_per_value(k) for k in (2, 3, 4, 5, 16)]
    [1, 2, 2, 3, 4]
    """
    return (n_values - 1).bit_length()


def code_book(n_values: int) -> NDArray[np.float64]:
    """Signs of each value (K, ceil(log2 K)): its binary digits, the most significant first, 0 as -1.

    >>> code_book(3).tolist()
    [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]]
    """
    n_signs = signs_per_value(n_values)
    digits = np.arange(n_values)[:, None] >> np.arange(n_signs)[::-1] & 1
    return np.where(digits == 1, 1.0, -1.0)


def signs_of(values: NDArray[np.int64], n_values: int) -> States:
    """Signs (N, m b) of values (N, m), b to each; all 0 for a value that is negative, i.e. not there."""
    known = code_book(n_values)[np.maximum(values, 0)] * (values[..., None] >= 0)
    return known.reshape(len(values), -1).astype(np.float32)


def values_of(signs: NDArray[np.floating], n_values: int) -> NDArray[np.int64]:
    """Values (N, m) that the signs (N, m b) say; -1 where they are all 0.

    >>> values_of(signs_of(np.array([[2, -1, 0]]), 3), 3).tolist()
    [[2, -1, 0]]
    """
    n_signs = signs_per_value(n_values)
    parts = np.asarray(signs).reshape(len(signs), -1, n_signs)
    values = (parts > 0) @ (1 << np.arange(n_signs)[::-1])
    return np.where(np.any(parts != 0, axis=-1), values, -1)


@lru_cache(maxsize=16)
def rotation(n_entries: int) -> NDArray[np.float64]:
    """A random orthogonal matrix (d, d), the same whenever d is the same.

    >>> q = rotation(5)
    >>> bool(np.allclose(q @ q.T, np.eye(5)))
    True
    """
    rng = np.random.default_rng([_ROTATION_SEED, n_entries])
    q, r = np.linalg.qr(rng.standard_normal((n_entries, n_entries)))
    # With positive diagonals of R, Q is uniformly distributed (Mezzadri 2007, arXiv math-ph/0609050, section 5).
    matrix: NDArray[np.float64] = q * np.sign(np.diag(r))
    matrix.flags.writeable = False
    return matrix


def rotate(plain: States, n_entries: int, noise: float, rng: np.random.Generator) -> States:
    """Entries (N, m) padded with zeros to d, rotated, with Gaussian noise of a standard deviation added."""
    rotated = plain @ rotation(n_entries)[: plain.shape[1]]
    noisy = rotated + noise * rng.standard_normal(rotated.shape) if noise else rotated
    return noisy.astype(np.float32)


def rotate_back(states: States, n_plain: int) -> NDArray[np.float64]:
    """The first m entries before the rotation, (N, m), with the noise they got."""
    return states.astype(np.float64) @ rotation(states.shape[1])[:n_plain].T


def check_room(n_entries: int, n_plain: int) -> None:
    """Raise ``ValueError`` unless so many entries have room for the signs that are stored."""
    check_integer("n_entries", n_entries, n_plain, why="; each stored sign takes an entry: give more")
