"""Lower bound on the number of states, from how often a frozen decoder gets nearly all answers right.

One state names one list of answers, and only sum_{j<=t} C(n,j) (K-1)^j rows of answers lie within t errors of a
list.  With independent uniform answers, M states are therefore within t errors with probability p_t at most M times
that share of all K^n rows, so

    log2 M >= n log2 K - log2 sum_{j<=t} C(n,j) (K-1)^j + log2 p_t.

This bounds log2 |supp S|, the number of states that occur, and is to be compared with the nominal size of a state.
It does not bound the information I(U;S), which may be far smaller: a state that is rarely right and mostly empty has
many values and little information.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, gammaln

from boundprobe.checks import check_integer, check_number
from boundprobe.probes.certificates.certified_bound import CertifiedBound

FloatArray = NDArray[np.float64]


def ball_bits(n_answers: int, n_values: int) -> FloatArray:
    """log2 of K^n / sum_{j<=t} C(n,j) (K-1)^j for t = 0..n: float64 (n + 1,), summed in logs.

    Parameters
    ----------
    n_answers : int
        n.
    n_values : int
        K.

    Examples
    --------
    >>> ball_bits(3, 2).round(6).tolist()
    [3.0, 1.0, 0.192645, 0.0]
    """
    check_integer("n_answers", n_answers, 1)
    check_integer("n_values", n_values, 2)
    j = np.arange(n_answers + 1)
    log_choose = gammaln(n_answers + 1) - gammaln(j + 1) - gammaln(n_answers - j + 1)
    # As shares of all rows the counts are a binomial distribution, so the sums stay below 1.
    log_share = log_choose + j * math.log1p(-1 / n_values) - (n_answers - j) * math.log(n_values)
    bits: FloatArray = np.maximum(0.0, -np.logaddexp.accumulate(log_share) / math.log(2))
    bits[-1] = 0.0
    return bits


def states_certificate(wrong: NDArray[np.bool_], n_values: int, threshold: int, alpha: float) -> CertifiedBound:
    """Lower bound of log2 |supp S|, with probability at least 1 - alpha; not a bound of I(U;S).

    Parameters
    ----------
    wrong : bool array (N, n)
        Whether each answer was wrong, of independent evaluation sequences; all n answers of a sequence are defined,
        independent and uniform, and the decoder was frozen before.
    n_values : int
        Values of each answer, K.
    threshold : int
        Errors that are allowed, t, frozen before: see ``choose_threshold``.
    alpha : float

    Returns
    -------
    CertifiedBound
        0 says nothing (vacuous).

    Raises
    ------
    ValueError
        For an argument of the wrong shape or outside its limits.

    References
    ----------
    List decoding form of ball packing, S3; Clopper and Pearson 1934 for p_t, one-sided.

    Examples
    --------
    >>> certificate = states_certificate(np.zeros((1000, 16), bool), 16, 0, 0.05)
    >>> round(certificate.lower, 4), certificate.estimate
    (63.9957, 64.0)
    """
    n_sequences, n_answers = _shape(wrong)
    check_integer("threshold", threshold, 0, n_answers, why="; allow so many errors")
    check_number("alpha", alpha, above=0, below=1, why="; take e.g. 0.05")
    within = int(np.count_nonzero(wrong.sum(axis=1) <= threshold))
    bits = ball_bits(n_answers, n_values)[threshold]
    lower, estimate = (
        float(max(0.0, bits + math.log2(p))) if p > 0 else 0.0
        for p in (float(_lowest(within, n_sequences, alpha)), within / n_sequences)
    )
    return CertifiedBound(lower, "lower", estimate, 1 - alpha, "list decoding", "clopper-pearson", threshold=threshold)


def choose_threshold(wrong: NDArray[np.bool_], n_values: int, n_evaluation: int, alpha: float) -> int:
    """The number of errors t whose certificate is the best expected, on calibration sequences.

    Parameters
    ----------
    wrong : bool array (N, n)
        Of calibration sequences, none of which is evaluated.
    n_values : int
    n_evaluation : int
        Sequences that will be evaluated.
    alpha : float
        Of the certificate.

    Returns
    -------
    int

    Examples
    --------
    >>> wrong = np.zeros((100, 16), bool)
    >>> wrong[:50, 0] = True
    >>> choose_threshold(wrong, 16, 1000, 0.05)
    0
    """
    n_sequences, n_answers = _shape(wrong)
    check_integer("n_evaluation", n_evaluation, 1)
    check_number("alpha", alpha, above=0, below=1, why="; take e.g. 0.05")
    errors = np.bincount(wrong.sum(axis=1), minlength=n_answers + 1)
    share = np.cumsum(errors) / n_sequences
    with np.errstate(divide="ignore"):
        expected = ball_bits(n_answers, n_values) + np.log2(_lowest(share * n_evaluation, n_evaluation, alpha))
    return int(np.argmax(expected))


def _lowest(successes: float | FloatArray, n_sequences: int, alpha: float) -> FloatArray:
    """One-sided exact lower bound of a binomial proportion; 0 without a success."""
    count = np.asarray(successes, np.float64)
    lower: FloatArray = np.where(
        count > 0, betaincinv(np.maximum(count, 1e-300), np.maximum(n_sequences - count, 0) + 1, alpha), 0.0
    )
    return lower


def _shape(wrong: NDArray[np.bool_]) -> tuple[int, int]:
    if wrong.ndim != 2 or not wrong.size or wrong.dtype != np.bool_:
        raise ValueError(
            f"`wrong` must be bool (sequences, answers), both at least 1; got shape {wrong.shape}, type {wrong.dtype}."
        )
    return wrong.shape[0], wrong.shape[1]
