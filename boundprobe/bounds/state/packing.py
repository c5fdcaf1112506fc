"""S3, ball packing: the least error of any machine with a given number of states, exact for finite n."""

from __future__ import annotations

import functools
import math

import numpy as np

from boundprobe.bounds.information import FloatArray, Floats, error_rates, like, state_sizes
from boundprobe.checks import check_integer

#: Bits this close to n log2 q, relatively, are all of them: n log2 q in floats is off by that much.
_ROUNDING = 4.0 * float(np.finfo(np.float64).eps)


def packing_error_floor(state_bits: Floats, n_coordinates: int, n_values: int) -> Floats:
    """Lower bound on the mean error of any machine with 2^state_bits states on n uniform coordinates.

    floor = B(c) / (n c), c = q^n / M the words per state, B(c) the sum of the c smallest Hamming distances
    from one word, of which N_d = C(n, d) (q - 1)^d are d; linear for fractional c; 0 for c <= 1.

    Parameters
    ----------
    state_bits : float or array of any shape, in bits
        log2 of the number of states M, at least 0.
    n_coordinates : int, at least 1
        n.
    n_values : int, at least 1
        Size of each coordinate's alphabet, q.

    Returns
    -------
    float or array of the same shape, a probability in [0, 1 - 1/q]

    Raises
    ------
    ValueError
        If a number of bits is negative or a count is below 1.

    References
    ----------
    Statement S3; the one-shot form of Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3.

    Examples
    --------
    >>> [round(packing_error_floor(math.log2(m), 3, 2), 6) for m in (2, 3, 4)]
    [0.25, 0.208333, 0.166667]
    """
    check_integer("n_coordinates", n_coordinates, 1)
    check_integer("n_values", n_values, 1)
    bits = state_sizes(state_bits)
    if n_values == 1:
        return like(np.zeros_like(bits), state_bits)
    log_cumulative, log_sum = _log_tables(n_coordinates, n_values)
    guess = 1.0 - 1.0 / n_values
    all_bits = n_coordinates * math.log2(n_values)
    # Cells hold a share c / q^n = 2^-bits of all words; the last distance in a cell is the first whose
    # cumulative share reaches that.
    log_share = -np.minimum(bits, all_bits) * math.log(2.0)
    distance = np.minimum(np.searchsorted(log_cumulative, log_share), n_coordinates)
    # sum_{d<D} d N_d + D (c - C_{D-1}) = D c - sum_{d<D} C_d: no two large terms are subtracted.
    floor = (distance - np.exp(log_sum[distance] - log_share)) / n_coordinates
    floor = np.where(bits == 0.0, guess, np.clip(floor, 0.0, guess))
    return like(np.where(bits >= all_bits * (1.0 - _ROUNDING), 0.0, floor), state_bits)


def packing_bits(error: Floats, n_coordinates: int, n_values: int) -> Floats:
    """Fewest bits of state with which a mean error can be had: the inverse of ``packing_error_floor``.

    On the stretch that fills distance D the floor is (D - G / c) / n with G = sum_{d<D} C_d, C_d the number
    of words within d, so c = G / (D - n e) and the bits are log2(q^n / c), in closed form.

    Parameters
    ----------
    error : float or array of any shape, in [0, 1]
        Mean error over the coordinates, e.
    n_coordinates : int, at least 1
        n.
    n_values : int, at least 1
        Size of each coordinate's alphabet, q.

    Returns
    -------
    float or array of the same shape, in bits, in [0, n log2 q]

    Raises
    ------
    ValueError
        If an error is outside [0, 1] or a count is below 1.

    References
    ----------
    Statement S3; the one-shot form of Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3.

    Examples
    --------
    >>> round(packing_bits(0.25, 3, 2), 6)
    1.0
    >>> round(packing_bits(0.1, 16, 16), 3)
    54.759
    """
    check_integer("n_coordinates", n_coordinates, 1)
    check_integer("n_values", n_values, 1)
    e = error_rates(error)
    if n_values == 1:
        return like(np.zeros_like(e), error)
    log_cumulative, log_sum = _log_tables(n_coordinates, n_values)
    all_bits = n_coordinates * math.log2(n_values)
    distances = np.arange(1, n_coordinates + 1)
    # Floor where distance D is just filled, for D = 1..n; past the peak it rises by less than rounding.
    at_filled = np.maximum.accumulate(distances - np.exp(log_sum[1:] - log_cumulative[1:])) / n_coordinates
    distance = np.minimum(np.searchsorted(at_filled, e) + 1, n_coordinates)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_share = log_sum[distance] - np.log(distance - n_coordinates * e)
    # At a step the difference D - n e is all rounding; the stretch itself says where the share must lie.
    log_share = np.fmin(np.maximum(log_share, log_cumulative[distance - 1]), log_cumulative[distance])
    bits = np.clip(-log_share / math.log(2.0), 0.0, all_bits)
    bits = np.where(e == 0.0, all_bits, np.where(e >= 1.0 - 1.0 / n_values, 0.0, bits))
    return like(bits, error)


@functools.lru_cache(maxsize=8)
def _log_tables(n_coordinates: int, n_values: int) -> tuple[FloatArray, FloatArray]:
    """Natural logs of C_d / q^n for d = 0..n, and of the sums of the first d of them for d = 0..n.

    As shares of all q^n words the counts are a binomial distribution with success 1 - 1/q: its logs are near 0 around
    the peak, where many terms add up, and the far tail grows by large factors, so rounding does not pile up.
    """
    n = n_coordinates
    log_factorial = np.array([math.lgamma(d + 1.0) for d in range(n + 1)])
    d = np.arange(n + 1)
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    log_share = log_choose + d * math.log1p(-1.0 / n_values) - (n - d) * math.log(n_values)
    log_cumulative = np.logaddexp.accumulate(log_share)
    log_sum = np.concatenate([[-np.inf], np.logaddexp.accumulate(log_cumulative)[:-1]])
    log_cumulative.setflags(write=False)
    log_sum.setflags(write=False)
    return log_cumulative, log_sum
