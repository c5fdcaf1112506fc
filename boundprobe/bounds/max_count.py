"""Expected count of the most frequent value: the inner expectation of statement W2."""

from __future__ import annotations

import functools
import math

import numpy as np

from boundprobe.bounds.information import FloatArray
from boundprobe.checks import check_integer

#: Up to so many balls the transform is as long as the largest sum, and the value is right to about 1e-11.
MOST_EXACT = 2000
#: Unit roundoff of double precision.
_ROUNDOFF = 2.0**-53


@functools.lru_cache(maxsize=256)
def expected_max_count(n_balls: int, n_bins: int) -> float:
    """Expected largest count when balls fall independently and uniformly into bins.

    E = sum_{m>=0} P(max > m), and P(max <= m) = n! / q^n [x^n] (sum_{k<=m} x^k / k!)^q: the chance that q
    Poisson counts of mean n / q, each cut off at m, add up to n, over the same chance without the cut.

    Up to 2,000 balls it is exact but for rounding, about 1e-11.  Beyond, it is an upper bound, because it enters
    ceilings of accuracy: a shorter transform, plus what folding and rounding may have taken, which is below
    1e-7 n up to 65,536 balls.

    Parameters
    ----------
    n_balls : int, at least 0
        n.
    n_bins : int, at least 1
        q.

    Returns
    -------
    float, in balls, between n / q and n

    Raises
    ------
    ValueError
        If a count is too small.

    References
    ----------
    The inner expectation of statement W2.  Rounding of the transform: Higham 2002, Theorem 24.2.

    Examples
    --------
    >>> expected_max_count(2, 2)
    1.5
    >>> round(expected_max_count(10, 26) / 10, 6)
    0.201518
    """
    check_integer("n_balls", n_balls, 0)
    check_integer("n_bins", n_bins, 1)
    if n_balls < 2 or n_bins == 1:
        return float(n_balls)
    if n_balls <= MOST_EXACT:
        # A sum of 3 n + 256 or more, which would fold back onto n, has a chance far below 1e-100.
        return _expectation(n_balls, n_bins, 1 << (2 * n_balls + 255).bit_length())[0]
    # A sum that is 14 sqrt(n) from its mean n folds back: its chance is below 1e-35.
    expected, slack = _expectation(n_balls, n_bins, 1 << (14 * math.isqrt(n_balls) + 255).bit_length())
    return min(float(n_balls), expected + slack)


def _expectation(n_balls: int, n_bins: int, size: int) -> tuple[float, float]:
    """The expectation by transforms of a size, and a bound on what rounding, folding and the tail may have taken."""
    mean = n_balls / n_bins
    fewest = -(-n_balls // n_bins)  # some bin holds at least the mean, so smaller maxima cannot be
    last = _last_maximum(n_balls, n_bins, fewest)
    k = np.arange(1, last + 1)
    log_poisson = k * math.log(mean) - mean - np.array([math.lgamma(each + 1.0) for each in k])
    poisson = np.exp(log_poisson)
    folded = np.zeros(size)
    folded[0] = math.expm1(-mean)
    np.add.at(folded, k % size, poisson)
    uncut = _chance_of_sum(folded, n_balls, n_bins)
    expected, folded = float(fewest), np.zeros(size)
    folded[0] = math.expm1(-mean)
    np.add.at(folded, k[:fewest] % size, poisson[:fewest])
    for most in range(fewest, last):
        expected += max(0.0, 1.0 - _chance_of_sum(folded, n_balls, n_bins) / uncut)
        folded[(most + 1) % size] += poisson[most]
    # Rounding of one chance: of the transform, of its power, and of the probabilities that go in, each q times.
    norm = 1.0 + float(np.linalg.norm(poisson))
    transform = 8.0 * _ROUNDOFF * math.log2(size) * math.sqrt(size) * norm + 16.0 * _ROUNDOFF
    inputs = 4.0 * _ROUNDOFF * float(np.max(np.abs(k * math.log(mean)) + mean + np.abs(log_poisson) + 1.0))
    of_one = 2.0 * n_bins * (transform / uncut + 2.0 * inputs) + 1e-30 / uncut
    return expected, (last - fewest) * of_one + 1e-14


def _last_maximum(n_balls: int, n_bins: int, fewest: int) -> int:
    """A maximum beyond which all others together add less than 1e-14 to the expectation, or n.

    By P(max > m) <= q C(n, m+1) q^-(m+1), a union bound, which falls faster than geometrically beyond the mean.
    """
    for most in range(fewest, n_balls):
        log_choose = math.lgamma(n_balls + 1) - math.lgamma(most + 2) - math.lgamma(n_balls - most)
        ratio = (n_balls - most - 1) / ((most + 2) * n_bins)
        if ratio < 1.0 and log_choose - most * math.log(n_bins) < math.log(1e-16 * min(1.0, 50.0 * (1.0 - ratio))):
            return most
    return n_balls


def _chance_of_sum(folded: FloatArray, total: int, n_terms: int) -> float:
    """Probability that i.i.d. truncated Poisson counts add up to ``total``.

    By the inverse Fourier transform of phi^q, phi the characteristic function of one count.

    ``folded`` holds the probabilities of counts by their remainder modulo its length, that of 0 less one: the
    transform is that of phi - 1, so that rounding is relative to the mean of one count, not to 1, and the power q
    does not blow it up.
    """
    size = len(folded)
    less_one = np.fft.rfft(folded)
    x, y = less_one.real, less_one.imag
    with np.errstate(divide="ignore"):
        log_modulus = 0.5 * np.log1p(np.maximum(2.0 * x + x * x + y * y, -1.0))
    turns = np.arange(len(x)) * total % size / size
    terms = np.exp(n_terms * log_modulus) * np.cos(n_terms * np.arctan2(y, 1.0 + x) + 2.0 * math.pi * turns)
    # The half spectrum counts twice, but for its two ends.
    return float(2.0 * terms.sum() - terms[0] - terms[-1]) / size
