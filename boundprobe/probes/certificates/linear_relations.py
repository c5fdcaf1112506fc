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

#: Digits that are looked at: of bits, and of digits of other primes.
MOST_BITS, MOST_DIGITS = 2048, 512
#: Rows beyond the number of digits; more would only make the evidence larger.
MORE_ROWS = 64


def relation_log_e(answers: IntArray, n_values: int) -> tuple[float, int]:
    """Log of an e-value, at the sharpest prime, and that prime; minus infinity where no relation holds.

    Parameters
    ----------
    answers : int64 array (N, n)
        ``IGNORE`` where undefined.  Rows in which an answer is absent are left out; so are the answers that are absent
        most often, until enough rows are left.
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
    best, of = -math.inf, 2
    factors = _factors(n_values)
    for prime, power in factors:
        most = (MOST_BITS if prime == 2 else MOST_DIGITS) // power
        known = _complete(answers, most, power)
        if not known.size:
            continue
        digits = [known // prime**e % prime for e in range(power)]
        columns = np.stack(digits, 2).reshape(len(known), -1)
        rows = np.concatenate([columns, np.ones((len(columns), 1), np.int64)], axis=1)
        rows = rows[: rows.shape[1] + MORE_ROWS]
        log_e = (len(rows) - rows.shape[1]) * math.log(prime) + math.log(prime - 1)
        log_e -= math.log(len(factors))  # the mean over primes, of which the others may give nothing
        if log_e > best and rank(rows, prime) < rows.shape[1]:
            best, of = log_e, prime
    return best, of


def _complete(answers: IntArray, most: int, power: int) -> IntArray:
    """Rows and columns without an absent answer, chosen by which are absent alone."""
    absent = answers == IGNORE
    seldom = np.argsort(absent.mean(0), kind="stable")[:most]
    n_columns = len(seldom)
    # Fewer columns, the most often absent left out first, until there are rows enough.
    while n_columns and (~absent[:, seldom[:n_columns]].any(1)).sum() < n_columns * power + 1 + MORE_ROWS:
        n_columns = n_columns * 3 // 4
    kept = np.sort(seldom[: n_columns or len(seldom)])
    whole: IntArray = answers[np.ix_(~absent[:, kept].any(1), kept)]
    return whole


def rank(rows: IntArray, prime: int) -> int:
    """Rank of a matrix over GF(p), by elimination.

    >>> rank(np.array([[1, 2], [2, 4], [0, 1]]), 3), rank(np.array([[1, 1], [1, 1]]), 2)
    (2, 1)
    """
    return _rank_of_bits(rows) if prime == 2 else _rank_of_digits(rows, prime)


def _rank_of_bits(rows: IntArray) -> int:
    """Eight bits of a row in a byte."""
    left, found = np.packbits(rows % 2 == 1, axis=1), 0
    for column in range(rows.shape[1]):
        has = left[found:, column // 8] & (128 >> column % 8) > 0
        if not has.any():
            continue
        pivot = found + int(has.argmax())
        left[[found, pivot]] = left[[pivot, found]]
        has[[0, pivot - found]] = False, has[0]  # the pivot itself stays; what stood first is where it was
        below = found + np.flatnonzero(has)
        left[below] ^= left[found]
        found += 1
        if found == len(left):
            break
    return found


def _rank_of_digits(rows: IntArray, prime: int) -> int:
    left, found = rows % prime, 0
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
