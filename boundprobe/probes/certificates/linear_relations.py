"""Evidence against a uniform prior from exact linear relations among answers, such as a parity bit of any of them.

No pair and no small set of answers shows a relation of many.  But the digits of independent uniform answers, base a
prime p that divides K, are independent and uniform over GF(p), and m rows of c such digits and a constant satisfy one
of the p^c linear relations with probability below p^(c + 1 - m) / (p - 1): a rank below c + 1 is an e-value of its
inverse.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from boundprobe.tasks.base import IGNORE

IntArray = NDArray[np.int64]

#: Digits that are looked at.
MOST_DIGITS = 512
#: Rows beyond the number of digits; more would only make the evidence larger.
MORE_ROWS = 64


def relation_log_e(answers: IntArray, n_values: int) -> tuple[float, int]:
    """Log of an e-value, at the sharpest prime, and that prime; minus infinity where no relation holds.

    Parameters
    ----------
    answers : int64 array (N, n)
        Columns with an ``IGNORE`` are left out.
    n_values : int
        K.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rows = rng.integers(4, size=(200, 5))
    >>> relation_log_e(rows, 4)[0]
    -inf
    >>> rows[:, 4] = -rows[:, [0, 2]].sum(1) % 4
    >>> relation_log_e(rows, 4)[0] > 40
    True
    """
    known = answers[:, (answers != IGNORE).all(0)]
    best, of = -math.inf, 2
    factors = _factors(n_values)
    for prime, power in factors:
        digits = [known // prime**e % prime for e in range(power)]
        columns = np.stack(digits, 2).reshape(len(known), -1)[:, :MOST_DIGITS]
        rows = np.concatenate([columns, np.ones((len(columns), 1), np.int64)], axis=1)
        rows = rows[: rows.shape[1] + MORE_ROWS]
        log_e = (len(rows) - rows.shape[1]) * math.log(prime) + math.log(prime - 1)
        log_e -= math.log(len(factors))  # the mean over primes, of which the others may give nothing
        if columns.shape[1] and log_e > best and rank(rows, prime) < rows.shape[1]:
            best, of = log_e, prime
    return best, of


def rank(rows: IntArray, prime: int) -> int:
    """Rank of a matrix over GF(p), by elimination.

    >>> rank(np.array([[1, 2], [2, 4], [0, 1]]), 3), rank(np.array([[1, 1], [1, 1]]), 2)
    (2, 1)
    """
    left = rows % prime
    found = 0
    for column in range(left.shape[1]):
        pivots = np.flatnonzero(left[found:, column])
        if not len(pivots):
            continue
        pivot = found + int(pivots[0])
        left[[found, pivot]] = left[[pivot, found]]
        left[found] = left[found] * pow(int(left[found, column]), -1, prime) % prime
        below = left[found + 1 :]
        below[:] = (below - below[:, column : column + 1] * left[found]) % prime
        found += 1
        if found == len(left):
            break
    return found


def _factors(n: int) -> list[tuple[int, int]]:
    """Primes that divide a number, and how often."""
    factors, prime = [], 2
    while n > 1:
        prime = prime if prime * prime <= n else n
        power = 0
        while n % prime == 0:
            n, power = n // prime, power + 1
        if power:
            factors.append((prime, power))
        prime += 1
    return factors
