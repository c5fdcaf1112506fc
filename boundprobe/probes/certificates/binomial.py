"""Binomial confidence bounds: from counts of wrong answers to bits of information.

The errors of answer i on N independent sequences are binomial, so Clopper-Pearson bounds at
level alpha / n hold for all n answers together with probability at least 1 - alpha, however the answers of one
sequence depend on each other (Bonferroni).  On that one event everything below holds at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainccinv

from boundprobe.bounds.state.fano import fano_bits, required_bits
from boundprobe.checks import check_number
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.mean_bounds import upper_confidence_bound
from boundprobe.tasks.cases import StateCase

FloatArray = NDArray[np.float64]


def clopper_pearson(errors: NDArray[np.int64], n_sequences: int, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Exact two-sided confidence bounds for binomial proportions, alpha / 2 on each side.

    Parameters
    ----------
    errors : int64 array, any shape
        Numbers of sequences with an error, each from 0 to ``n_sequences``.  One 0/1 event per sequence: on
        averages of several answers this is not a theorem.
    n_sequences : int
        Independent sequences, N.
    alpha : float
        Probability that a single interval misses.

    Returns
    -------
    lower, upper : float64 arrays of the same shape

    References
    ----------
    Clopper and Pearson 1934, Biometrika 26:404.

    Examples
    --------
    >>> lower, upper = clopper_pearson(np.array([0, 5]), 100, 0.05)
    >>> upper.round(6).tolist()
    [0.036217, 0.112835]
    """
    check_number("alpha", alpha, above=0, below=1, why="; take e.g. 0.05")
    upper = clopper_pearson_upper(errors, n_sequences, alpha / 2)
    return 1 - clopper_pearson_upper(n_sequences - np.asarray(errors), n_sequences, alpha / 2), upper


def clopper_pearson_upper(errors: NDArray[np.int64], n_sequences: int, alpha: float) -> FloatArray:
    """Exact one-sided upper confidence bounds for binomial proportions, each at level 1 - alpha.

    As ``clopper_pearson``, with all of alpha on one side.

    >>> round(float(clopper_pearson_upper(np.array(0), 100, 0.025)), 6)
    0.036217
    """
    errors = np.asarray(errors)
    check_number("alpha", alpha, above=0, below=1, why="; take e.g. 0.05")
    if n_sequences < 1 or (errors < 0).any() or (errors > n_sequences).any():
        raise ValueError(
            f"`errors` must lie in [0, n_sequences] with n_sequences={n_sequences}; got {errors.tolist()}."
        )
    # The complement takes alpha as it is: 1 - alpha is 1 from 1e-16 on.
    with np.errstate(invalid="ignore"):  # the end, where a beta parameter is 0, is set here
        return np.where(errors == n_sequences, 1.0, betainccinv(errors + 1, n_sequences - errors, alpha))


@dataclass(frozen=True)
class Proportion:
    """A share of 0 to 1, such as an accuracy, with its exact two-sided confidence bounds."""

    estimate: float
    lower: float
    upper: float


def proportion(right: NDArray[np.bool_], asked: NDArray[np.bool_], alpha: float) -> Proportion:
    """Mean accuracy of independent sequences with two-sided confidence bounds, alpha / 2 on each side.

    Clopper-Pearson where each sequence has one answer; the mean over several is no 0/1 event, so it takes a bound for
    means of values in [0, 1] (betting, in the order in which independent sequences were drawn).

    Parameters
    ----------
    right, asked : bool arrays (N, n)
        Which answers are right, and which there are; at least one in each sequence that counts.
    alpha : float

    Examples
    --------
    >>> every = np.ones((1000, 4), bool)
    >>> order = np.random.default_rng(0).permutation(1000)
    >>> held = proportion(order[:, None] >= 10 * every, every, 0.05)
    >>> held.estimate, 0.97 < held.lower < 0.99 < held.upper
    (0.99, True)
    """
    counts = asked.any(1)
    if asked.shape[1] == 1:
        correct, n_asked = int(right.sum()), int(counts.sum())
        lower, upper = clopper_pearson(np.array(correct), n_asked, alpha)
        return Proportion(correct / n_asked, float(lower), float(upper))
    share = right[counts].sum(1) / asked[counts].sum(1)
    upper_bounds = (upper_confidence_bound(values, alpha / 2, 0.0, 1.0) for values in (1 - share, share))
    error, accuracy = upper_bounds
    return Proportion(float(share.mean()), 1 - error, accuracy)


@dataclass(frozen=True, eq=False)
class AnswerErrors:
    """Error of each answer with confidence bounds that hold for all answers together.

    Attributes
    ----------
    estimate, lower, upper : float64 array (n_answers,)
        Observed error rates, and their simultaneous confidence bounds.
    confidence : float
        Probability, at least, that every bound holds.
    """

    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    confidence: float

    @property
    def mean_estimate(self) -> float:
        """Observed mean error over the answers."""
        return float(self.estimate.mean())

    @property
    def mean_lower(self) -> float:
        """Lower bound of the mean error: the mean of simultaneous bounds."""
        return float(self.lower.mean())

    @property
    def mean_upper(self) -> float:
        """Upper bound of the mean error: the mean of simultaneous bounds."""
        return float(self.upper.mean())

    @property
    def accuracy(self) -> Proportion:
        """Mean accuracy over the answers."""
        return Proportion(1 - self.mean_estimate, 1 - self.mean_upper, 1 - self.mean_lower)

    def _values(self) -> tuple[object, ...]:
        arrays = (self.estimate, self.lower, self.upper)
        return (*(tuple(array.tolist()) for array in arrays), self.confidence)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, AnswerErrors) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def to_json(self) -> dict[str, list[float]]:
        """``estimate``, ``lower`` and ``upper`` of each answer."""
        return {name: getattr(self, name).tolist() for name in ("estimate", "lower", "upper")}

    @classmethod
    def from_json(cls, document: Mapping[str, list[float]], confidence: float) -> AnswerErrors:
        """Read errors back whose bounds hold with a probability that the document does not have."""
        estimate, lower, upper = (np.array(document[name]) for name in ("estimate", "lower", "upper"))
        return cls(estimate, lower, upper, confidence)


def answer_errors(wrong: NDArray[np.bool_], alpha: float) -> AnswerErrors:
    """Simultaneous confidence bounds for the error of each answer (Clopper-Pearson with Bonferroni).

    Parameters
    ----------
    wrong : bool array (n_sequences, n_answers)
        Whether each answer was wrong; rows are independent sequences, answers within one may depend on each
        other in any way (assumption A5).
    alpha : float
        Probability, at most, that any bound fails.
    """
    if wrong.ndim != 2 or not wrong.size:
        raise ValueError(f"`wrong` must have shape (n_sequences, n_answers), both at least 1; got {wrong.shape}.")
    n_sequences, n_answers = wrong.shape
    counts = wrong.sum(0)
    lower, upper = clopper_pearson(counts, n_sequences, alpha / n_answers)
    return AnswerErrors(counts / n_sequences, lower, upper, 1 - alpha)


def used_information(case: StateCase, errors: AnswerErrors) -> CertifiedBound:
    """Information about the memory part that the answers show the state to hold (T1, Fano per answer).

    I(U;S) >= H(Y) - sum_i Phi(e_i), with e_i the simultaneous upper bounds.

    Parameters
    ----------
    case : StateCase
        The prior: the joint entropy of the answers must be known (assumption A2).
    errors : AnswerErrors
        Of answers that were all read from the same state S, by a decoder fixed beforehand (A3, A4).

    Returns
    -------
    CertifiedBound
        The value is 0 where nothing is certified.

    References
    ----------
    Statement S1 (Cooper et al. 2026, arXiv 2603.08859, Theorem 3.3 in exact form) at certified errors.

    Examples
    --------
    >>> case = StateCase(2, 2, 2.0, True, 2.0, "", "")
    >>> used = used_information(case, answer_errors(np.zeros((1000, 2), bool), alpha=0.05))
    >>> round(used.lower, 2), used.estimate
    (1.92, 2.0)
    """
    if len(errors.estimate) != case.n_answers:
        raise ValueError(f"errors has {len(errors.estimate)} answers; the case has {case.n_answers}")
    lower, estimate = (fano_bits(case.entropy_bits, case.n_values, e) for e in (errors.upper, errors.estimate))
    return CertifiedBound(lower, "lower", estimate, errors.confidence, "S1", "clopper-pearson")


def required_by(case: StateCase, errors: AnswerErrors) -> CertifiedBound:
    """Bits that log2 |S| of any machine with this error must have: S3 (and S1) at the mean error.

    The value is the theorem at the upper bound of the mean error, so it is certified.
    """
    lower, estimate = (float(required_bits(case, e)) for e in (errors.mean_upper, errors.mean_estimate))
    theorem = "S3" if case.independent_uniform else "S1"
    return CertifiedBound(lower, "lower", estimate, errors.confidence, theorem, "clopper-pearson")
