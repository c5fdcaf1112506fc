"""Frozen codes for answers: from a decoder's scores to code lengths in a fixed range.

    z_i                scores of answer i over its K values (natural logs, up to a constant)
    yhat_i             the value with the greatest score
    q_i(y)             w_i softmax(z_i / T_i)(y) + (1 - w_i) sym(y; yhat_i, a_i)
    sym(y; yhat, a)    1 - a where y = yhat, a / (K - 1) elsewhere
    l                  sum_i -log2 q_i(Y_i), over the answers that are defined

Temperature T, weight w and error a of each answer are fitted on the calibration split and then fixed (A3).

With w = 0 this is *tangent Fano*: -log2(1 - a) for a right answer and -log2(a / (K - 1)) for a wrong one is the tangent
at a of Phi(e) = h(e) + e log2(K - 1), so l is Fano's bound made linear, one bounded number per sequence.  At
a = 1 - 1/K the answer costs log2 K whatever is said: the cap of Phi.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.tasks.base import IGNORE

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Scores = NDArray[np.float32]

#: Values of 1 / T and of w that are tried.
INVERSE_TEMPERATURES = np.geomspace(0.02, 4.0, 20)
WEIGHTS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98])


@dataclass(frozen=True)
class AnswerCode:
    """A code for all answers of a sequence, given a decoder's scores.

    Attributes
    ----------
    form : str
        "cross-entropy", or "tangent-fano" where every weight is 0.
    n_values : int
        K.
    inverse_temperature, weight, error : float array (n,)
        1 / T, w and a of each answer.
    undefined_bits : float
        Cost of an undefined answer (``Prior.undefined_bits``), at most log2 K.
    """

    form: str
    n_values: int
    inverse_temperature: FloatArray
    weight: FloatArray
    error: FloatArray
    undefined_bits: float = 0.0

    @property
    def most_bits(self) -> float:
        """Longest code of a sequence, B; the shortest is no less than 0 (all answers may be undefined)."""
        least = (1 - self.weight) * self.error / (self.n_values - 1)
        return float(-np.log2(least).sum())

    def lengths_bits(self, scores: Scores, answers: IntArray) -> FloatArray:
        """Code length of each sequence, l, in bits.

        Parameters
        ----------
        scores : float array (N, n, K)
        answers : int64 array (N, n)
            0..K-1, or ``IGNORE`` where undefined: such answers cost ``undefined_bits``.
        """
        if scores.shape != (*answers.shape, self.n_values) or answers.shape[1] != len(self.weight):
            raise ValueError(
                f"`scores` and `answers` must have shapes (N, {len(self.weight)}, {self.n_values}) and "
                f"(N, {len(self.weight)}); got {scores.shape} and {answers.shape}."
            )
        right = right_answers(scores, answers)
        likely = self.error / (self.n_values - 1)
        q = (1 - self.weight) * np.where(right, 1 - self.error, likely)
        if self.weight.any():
            q += self.weight * _probability(scores, answers, self.inverse_temperature)
        bits = np.where(answers == IGNORE, self.undefined_bits, -np.log2(q))
        # Rounding can lift a probability an ulp above 1.
        lengths: FloatArray = np.clip(bits.sum(1), 0.0, self.most_bits)
        return lengths


def right_answers(scores: Scores, answers: IntArray) -> NDArray[np.bool_]:
    """Return True where the value with the greatest score is right, (N, n); False where undefined."""
    right: NDArray[np.bool_] = scores.argmax(-1) == answers
    return right


def fit_tangent_fano(scores: Scores, answers: IntArray, undefined_bits: float = 0.0) -> AnswerCode:
    """Tangents at the errors of a calibration split, for scores (N, n, K) and answers (N, n).

    >>> scores = np.array([[[2.0, 0.0]], [[0.0, 2.0]], [[2.0, 0.0]]], np.float32)
    >>> code = fit_tangent_fano(scores, np.array([[0], [1], [1]]))
    >>> code.error.tolist(), code.lengths_bits(scores, np.array([[0], [1], [1]])).round(3).tolist()
    ([0.375], [0.678, 0.678, 1.415])
    """
    k = scores.shape[2]
    zeros = np.zeros(answers.shape[1])
    return AnswerCode("tangent-fano", k, zeros + 1, zeros, _errors(scores, answers), undefined_bits)


def fit_cross_entropy(scores: Scores, answers: IntArray, undefined_bits: float = 0.0) -> AnswerCode:
    """Recalibrated cross-entropy: temperature and mixture weight of each answer with the shortest calibration code.

    Parameters
    ----------
    scores : float array (N, n, K)
        A decoder's scores on the calibration split.
    answers : int64 array (N, n)
    """
    k, error = scores.shape[2], _errors(scores, answers)
    defined = answers != IGNORE
    symmetric = np.where(right_answers(scores, answers), 1 - error, error / (k - 1))
    n = answers.shape[1]
    best, temperature, weight = np.full(n, np.inf), np.ones(n), np.zeros(n)
    for inverse in INVERSE_TEMPERATURES:
        soft = _probability(scores, answers, np.full(n, inverse))
        for w in WEIGHTS:
            cost = -np.log2(w * soft + (1 - w) * symmetric, where=defined, out=np.zeros(answers.shape)).sum(0)
            better = cost < best
            best, temperature, weight = (
                np.where(better, new, old) for new, old in ((cost, best), (inverse, temperature), (w, weight))
            )
    return AnswerCode("cross-entropy", k, temperature, weight, error, undefined_bits)


def _errors(scores: Scores, answers: IntArray) -> FloatArray:
    """Error of each answer (n,), never 0 so that every code word is finite, and at most 1 - 1/K (the cap of Phi)."""
    defined = answers != IGNORE
    wrong = (defined & ~right_answers(scores, answers)).sum(0)
    error: FloatArray = np.minimum((wrong + 0.5) / (defined.sum(0) + 1), 1 - 1 / scores.shape[2])
    return error


def _probability(scores: Scores, answers: IntArray, inverse_temperature: FloatArray) -> FloatArray:
    """Probability of each right answer under a softmax of scaled scores, (N, n); of value 0 where undefined."""
    # Scores so large that they would overflow are as certain as the largest that do not.
    z = np.clip(scores.astype(np.float32), -1e30, 1e30) * inverse_temperature[:, None].astype(np.float32)
    z -= z.max(-1, keepdims=True)
    chosen = np.take_along_axis(z, np.maximum(answers, 0)[..., None], axis=-1)[..., 0].astype(np.float64)
    np.exp(z, out=z)
    probability: FloatArray = np.exp(chosen) / z.sum(-1, dtype=np.float64)
    return probability


def calibration_penalty(lengths: FloatArray, most_bits: float, n_evaluation: int, alpha: float) -> float:
    """Approximate bits that an upper bound from ``n_evaluation`` sequences adds to the mean code length.

    Bernstein's width for the spread seen on the calibration split: to compare codes before evaluation, not a limit.
    """
    price = math.log(1 / alpha) / n_evaluation
    return math.sqrt(2 * float(lengths.var()) * price) + most_bits * price / 3
