"""Ranks of RWKV-7's low-rank maps; torch-free, as parameters are counted from them before a model is built."""

from __future__ import annotations


def rate_rank(d_model: int) -> int:
    """Rank of the maps of decays and of in-context learning rates: 1.8 sqrt(d), as in RWKV-LM, and at most d.

    Examples
    --------
    >>> rate_rank(768), rate_rank(8)
    (64, 8)
    """
    return _rounded(1.8 * d_model**0.5, d_model)


def gate_rank(d_model: int) -> int:
    """Rank of the map of the gate: 0.6 d^0.8, as in RWKV-LM, and at most d.

    Examples
    --------
    >>> gate_rank(768), gate_rank(8)
    (128, 8)
    """
    return _rounded(0.6 * d_model**0.8, d_model)


def _rounded(rank: float, most: int) -> int:
    """To the nearest multiple of 32, at least 32, and at most ``most``."""
    return min(max(32, round(rank / 32) * 32), most)
