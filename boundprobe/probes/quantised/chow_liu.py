"""Maximum spanning tree of mutual information (Chow and Liu 1968, IEEE Trans. Inf. Theory 14:462)."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def chow_liu_parents(symbols: IntArray) -> IntArray:
    """Parent of each column in the tree of greatest pairwise information: int64 (d,), -1 for the first column.

    Parameters
    ----------
    symbols : int64 array (N, d)
        Small numbers from 0 on.

    Examples
    --------
    >>> draws = np.random.default_rng(0).integers(0, 2, (500, 2))
    >>> chow_liu_parents(np.stack([draws[:, 0], draws[:, 1], draws[:, 0]], axis=1)).tolist()[2]
    0
    """
    information = pairwise_information(symbols)
    n_entries = len(information)
    parents = np.full(n_entries, -1)
    nearest = np.zeros(n_entries, np.int64)
    strength = information[0].copy()
    strength[0] = -np.inf
    for _ in range(n_entries - 1):  # Prim's algorithm
        new = int(np.argmax(strength))
        parents[new] = nearest[new]
        closer = (information[new] > strength) & (strength > -np.inf)
        strength[closer], nearest[closer] = information[new][closer], new
        strength[new] = -np.inf
    return parents


def pairwise_information(symbols: IntArray) -> FloatArray:
    """Plug-in mutual information of each pair of columns (N, d), in bits: float64 (d, d).

    >>> pairwise_information(np.array([[0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]]))[0].round(9).tolist()
    [1.0, 1.0, 0.0]
    """
    n = len(symbols)
    one_hot = [np.ascontiguousarray(symbols == s, np.float32) for s in range(int(symbols.max()) + 1)]
    marginals = [hot.mean(axis=0, dtype=np.float64) for hot in one_hot]
    entropy = sum(_bits(p) for p in marginals)
    joint = np.zeros((symbols.shape[1],) * 2)
    for s, r in itertools.combinations_with_replacement(range(len(one_hot)), 2):
        term = _bits((one_hot[s].T @ one_hot[r]).astype(np.float64) / n)
        joint += term if s == r else term + term.T
    information: FloatArray = np.maximum(0.0, np.add.outer(entropy, entropy) - joint)
    return information


def _bits(p: FloatArray) -> FloatArray:
    """-p log2 p, 0 at 0."""
    logs: FloatArray = np.log2(np.where(p > 0, p, 1.0))
    return -p * logs
