"""Numbers of a document that follow from counts of errors, given how many sequences were evaluated.

An error on N sequences is k / N with a whole k, and its exact confidence bounds follow from k, N and the level alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from boundprobe.bounds.information import fano_loss_bits
from boundprobe.probes.certificates.binomial import AnswerErrors, clopper_pearson, clopper_pearson_upper
from boundprobe.probes.certificates.list_decoding import ball_bits
from boundprobe.probes.certificates.retention import RetainedGroup

FloatArray = NDArray[np.float64]

#: Sequences of which every possible count is gone through.
MOST_COUNTS = 10**6


def whole_counts(shares: FloatArray | float, n_sequences: int, name: str) -> NDArray[np.int64]:
    """Counts whose shares of ``n_sequences`` these are.

    Raises
    ------
    ValueError
        If a share is that of no count.
    """
    exact = np.asarray(shares, np.float64) * n_sequences
    counts = np.round(exact).astype(np.int64)
    wrong = np.abs(exact - counts) > 1e-6
    if wrong.any():
        share = np.asarray(shares)[wrong].flat[0] if wrong.ndim else shares
        raise ValueError(f"`{name}` must be shares of {n_sequences} sequences; got {float(share)!r}")
    return counts


def errors_of(estimate: FloatArray, n_sequences: int, level: float) -> AnswerErrors:
    """Errors with the confidence bounds that ``binomial.answer_errors`` gives them."""
    counts = whole_counts(estimate, n_sequences, "answer_errors.estimate")
    lower, upper = clopper_pearson(counts, n_sequences, level / len(counts))
    return AnswerErrors(counts / n_sequences, lower, upper, 1 - level)


def retained_bits(group: RetainedGroup, n_values: int, level: float) -> float:
    """Certified bits of a group's answers, as ``retention.retention`` computes them from its count of errors."""
    n_wrong = whole_counts(group.error, group.n_sequences, "retention.groups.error")
    upper = float(clopper_pearson_upper(n_wrong, group.n_sequences, level))
    return math.log2(n_values) - fano_loss_bits(upper, n_values)


def states_by_count(n_answers: int, n_values: int, threshold: int, n_sequences: int, level: float) -> FloatArray:
    """Estimate and certificate of list decoding, by the number of sequences within ``threshold`` errors: (N + 1, 2)."""
    counts = np.arange(1.0, n_sequences + 1)
    lowest = betaincinv(counts, n_sequences - counts + 1, level)
    shares = np.stack([np.r_[0.0, counts / n_sequences], np.r_[0.0, lowest]], axis=1)
    with np.errstate(divide="ignore"):
        bits: FloatArray = np.maximum(0.0, ball_bits(n_answers, n_values)[threshold] + np.log2(shares))
    return bits


def widths(n_sequences: int, level: float) -> tuple[float, float]:
    """Least and greatest distance of a one-sided exact bound from its error, over all counts."""
    counts = np.arange(n_sequences + 1)
    distance = clopper_pearson_upper(counts, n_sequences, level) - counts / n_sequences
    return float(distance.min()), float(distance.max())


def most_certified_bits(
    entropy_bits: float, n_answers: int, n_values: int, n_units: int, level: float, *, fano: bool
) -> float:
    """Bits that no certificate T1 of so many units exceeds, whatever they show.

    Values of 0 alone are likely to the level where the mean of values in [0, 1] is e = 1 - level^(1/N), so no upper
    bound of a mean is below e.  With Fano's form that is an error of each answer; in the other forms code lengths are
    in [0, B] with B at least n log2 K.
    """
    if fano:
        error = -math.expm1(math.log(level / n_answers) / n_units)
        return max(0.0, entropy_bits - n_answers * fano_loss_bits(error, n_values))
    return max(0.0, entropy_bits + n_answers * math.log2(n_values) * math.expm1(math.log(level) / n_units))
