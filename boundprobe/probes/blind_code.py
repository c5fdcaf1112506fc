"""Code length of answers without any state, by counts over the other rows: their entropy, estimated from above.

Each row is coded by the contexts of ``decoders.contexts``, counted over all other rows: nothing is seen of the row
itself, so the mean length is at least H(Y), up to the choice of a context and a doubt for each answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from boundprobe.probes.decoders.contexts import DOUBTS, contexts_of
from boundprobe.tasks.base import IGNORE

IntArray = NDArray[np.int64]


def blind_bits(answers: IntArray, n_values: int, undefined_bits: float = 0.0) -> float:
    """Mean code length of a row given all other rows, bits.

    Parameters
    ----------
    answers : int64 array (N, n)
        Independent rows; ``IGNORE`` where undefined.
    n_values : int
        K.
    undefined_bits : float
        What an undefined answer costs (``Prior.undefined_bits``).

    Examples
    --------
    The third of three fair bits is the exclusive or of the others:

    >>> bits = np.random.default_rng(0).integers(2, size=(4000, 2))
    >>> rows = np.concatenate([bits, bits[:, :1] ^ bits[:, 1:]], axis=1)
    >>> abs(blind_bits(rows, 2) - 2.0) < 0.01
    True
    """
    total = undefined_bits * float((answers == IGNORE).sum())
    for column, contexts in zip(answers.T, contexts_of(answers, n_values), strict=True):
        defined = column != IGNORE
        total += _shortest(column[defined], [each[defined] for each in contexts.values()], n_values)
    return total / len(answers)


def _shortest(values: IntArray, contexts: list[IntArray], n_values: int) -> float:
    """Bits of all values with the context and doubt that make them fewest."""
    if not len(values):
        return 0.0
    marginals = (np.bincount(values, minlength=n_values)[values] - 0.5) / (len(values) - 1 + n_values / 2)
    best = -float(np.log2(marginals).sum())
    for named in contexts:
        context = _numbered(named)
        cells = _numbered(context * n_values + values)
        alike, seen = (np.bincount(each)[each] - 1 for each in (cells, context))
        if not seen.any():
            continue
        for doubt in DOUBTS:
            best = min(best, -float(np.log2((alike + doubt * marginals) / (seen + doubt)).sum()))
    return best


def _numbered(codes: IntArray) -> IntArray:
    """Codes as 0, 1, .. in order of size."""
    index: IntArray = np.unique(codes, return_inverse=True)[1]
    return index
