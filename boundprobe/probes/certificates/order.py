"""Independent sequences may come in any order: neighbours in a file are no more alike than others (A1).

Sequences of one source, and a process that drifts, mostly lie side by side, or a fixed number of rows apart (all first
cuts, then all second ones).  Of four independent sequences a, b, c, d

    likeness(a, b) + likeness(c, d)    and    likeness(a, d) + likeness(c, b)

have the same distribution, as exchanging b and d shows, so their difference is positive as often as negative.  With b a
fixed number of rows after a, and d after c, a sign test over disjoint fours is exact for every distribution and every
number of sequences.  Likeness is the number of equal answers, or the closeness of the states.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from boundprobe.probes.certificates.sample import FloatArray, IntArray
from boundprobe.tasks.base import IGNORE

#: Copies of a whole file one after the other, up to which row i of one is compared with row i of the next.
MOST_COPIES = 8


def check_order(points: FloatArray, answers: IntArray, level: float) -> str:
    """Refuse sequences that are alike because of where they stand in the file; return what was tested.

    Parameters
    ----------
    points : float array (N, d)
        States, or coordinates in which they are near each other where the states are.
    answers : int64 array (N, n)
        ``IGNORE`` where undefined.
    level : float
        Probability, at most, that independent sequences are refused.

    Raises
    ------
    ValueError
        If they are; says how far apart.
    """
    n_rows = len(answers)
    gaps = [1, *(n_rows // m for m in range(2, MOST_COPIES + 1) if n_rows % m == 0 and n_rows // m > 1)]
    for gap in gaps:
        a, b, c, d = _fours(n_rows, gap)
        differences = {
            "answers": _equal(answers[a], answers[b]) + _equal(answers[c], answers[d])
            - _equal(answers[a], answers[d]) - _equal(answers[c], answers[b]),
            # Squared distances; all squares of single states cancel.
            "states": ((points[a] - points[c]) * (points[b] - points[d])).sum(1),
        }  # fmt: skip
        for what, difference in differences.items():
            more, fewer = int((difference > 0).sum()), int((difference < 0).sum())
            if more + fewer and binomtest(more, more + fewer).pvalue < level / (2 * len(gaps)):
                where = "next to each other" if gap == 1 else f"{gap} rows apart"
                raise ValueError(
                    f"sequences must be independent; got {what} that are {'more' if more > fewer else 'less'} alike "
                    f"{where} than elsewhere in {max(more, fewer)} of {more + fewer} comparisons (sign test): "
                    "sequences that share a source must be one group (`groups`, --groups); shuffle rows that are "
                    "independent and were only sorted"
                )
    return "rows near each other are no more alike than others"


def _fours(n_rows: int, gap: int) -> NDArray[np.int64]:
    """Disjoint fours of rows (4, n): b is ``gap`` rows after a, d as many after c, and c far from a."""
    first = np.arange(n_rows - gap)
    first = first[first // gap % 2 == 0]
    half = len(first) // 2
    a, c = first[:half], first[half : 2 * half]
    return np.stack([a, a + gap, c, c + gap])


def _equal(one: IntArray, other: IntArray) -> IntArray:
    """Number of equal answers of each pair of rows."""
    equal: IntArray = ((one == other) & (one != IGNORE)).sum(1, dtype=np.int64)
    return equal
