"""Evidence against a uniform prior from sequences that are like earlier ones: copies, and dependence of any shape.

A bettor who thinks that sequence t is like one of those before it spreads his bet over them: with probability w he
copies one, drawn at random, and each of its answers with probability lambda, else he draws uniformly.  On the answers
that are defined in both, his wealth is multiplied by

    1 - w + w / (t - 1) sum_{s < t} (1 + lambda (K - 1))^a (1 - lambda)^(c - a)

with a of c answers equal.  That is a likelihood ratio, so its mean is 1 if answers are independent and uniform given
which are defined, whatever came before, and the mean of the wealths over lambda and w is an e-value.  Copies show in a
few sequences that agree nearly everywhere (lambda near 1, w small); dependence that is spread thin over many answers in
a slight excess of agreement over all (lambda small), long before any pair of answers shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Answers that are compared in all; where there are more, sequences are thinned at random.
MOST_COMPARED = 10**9
#: Sequences that are compared with all before them at a time.
BLOCK = 256
#: Lambda and w that are bet on.
COPIED = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95])
SHARES = np.array([1.0, 0.1, 0.01])


def likeness_log_e(answers: IntArray, n_values: int) -> float:
    """Log of the e-value.

    Parameters
    ----------
    answers : int64 array (N, n)
        ``IGNORE`` where undefined.
    n_values : int
        K.

    Examples
    --------
    >>> rows = np.random.default_rng(0).integers(4, size=(300, 8))
    >>> likeness_log_e(rows, 4) < 3, likeness_log_e(np.repeat(rows, 2, axis=0), 4) > 100
    (True, True)
    """
    n_rows = int(math.sqrt(MOST_COMPARED / answers.shape[1]))
    chosen = np.sort(generator(0, "split", 3).permutation(len(answers))[:n_rows])
    wealth = np.zeros((len(COPIED), len(SHARES)))
    for means in _mean_ratios(answers[chosen], n_values):
        with np.errstate(divide="ignore"):  # all may be lost
            wealth += np.log1p(SHARES * (means[..., None] - 1)).sum(1)
    return float(logsumexp(wealth) - math.log(wealth.size))


def _mean_ratios(rows: IntArray, n_values: int) -> Iterator[FloatArray]:
    """Mean likelihood ratios of blocks of rows over all earlier ones, for each lambda: (lambdas, rows)."""
    more, less = (np.log1p(each).astype(np.float32) for each in (COPIED * (n_values - 1), -COPIED))
    for start in range(0, len(rows), BLOCK):
        stop = min(start + BLOCK, len(rows))
        equal, both = agreement(rows, start, stop)
        later = np.arange(stop) >= np.arange(start, stop)[:, None]
        equal[later], both[later] = -np.inf, 0.0
        n_earlier = np.arange(start, stop)
        with np.errstate(over="ignore"):  # evidence without end
            sums = [np.exp(equal * (m - f) + both * f).sum(1) for m, f in zip(more, less, strict=True)]
        # The first is like none before it.
        yield np.where(n_earlier == 0, 1.0, np.stack(sums) / np.maximum(n_earlier, 1))


def agreement(rows: IntArray, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Numbers of equal answers, and of those that both have, of each row from ``start`` on with each up to ``stop``."""
    equal = np.zeros((stop - start, stop), np.int16)
    absent = np.zeros_like(equal)
    for column in rows[:stop].T:
        equal += column[start:, None] == column
        if (missing := column == IGNORE).any():
            absent += missing[start:, None] | missing
            equal -= missing[start:, None] & missing
    return equal.astype(np.float32), (rows.shape[1] - absent).astype(np.float32)
