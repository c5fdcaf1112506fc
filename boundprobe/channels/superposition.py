"""Sums of random vectors, with an upper bound on their information that decoders do not reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boundprobe.channels import base
from boundprobe.channels.base import AbstractChannel, Answers, Logits, States
from boundprobe.checks import MOST_SEED, check_integer, check_number

#: For one answer without noise, which is read without error at any variance as small.
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Superposition(AbstractChannel):
    """The sum of one random vector per answer, S = sum_i E_i[Y_i] + noise: I(Y;S) has no closed form.

    ``true_bits`` is certainly no less: min(n log2 K, 1/2 log2 det(1 + C / noise^2)), C the covariance of the sum.  The
    second is the entropy of a Gaussian of the same covariance less that of the noise (Cover and Thomas 2006, Theorem
    8.6.5).  ``ideal_logits`` is a matched filter that takes the other answers for Gaussian noise: it is not ideal.

    Parameters
    ----------
    n_answers, n_values : int
    summed_entries : int
        Entries of the state, d; those of E are Gaussian of variance 1/d.
    noise : float
        Standard deviation of Gaussian noise on every entry.
    seed : int
        Of the vectors, which are part of the distribution.

    Examples
    --------
    >>> Superposition(16, 16, 256).true_bits, round(Superposition(16, 16, 16, 1.0).true_bits, 2)
    (64.0, 7.63)
    """

    n_answers: int
    n_values: int
    summed_entries: int
    noise: float = 0.0
    seed: int = 0
    truth_is_upper_bound = True

    def __post_init__(self) -> None:
        base.check_sizes(self)
        check_integer("summed_entries", self.summed_entries, 1)
        check_number("noise", self.noise, least=0)
        check_integer("seed", self.seed, 0, MOST_SEED)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.summed_entries

    @cached_property
    def vectors(self) -> NDArray[np.float64]:
        """E (n, K, d)."""
        rng = np.random.default_rng([self.seed, self.n_answers, self.n_values, self.summed_entries])
        shape = (self.n_answers, self.n_values, self.summed_entries)
        vectors: NDArray[np.float64] = rng.standard_normal(shape) / math.sqrt(self.summed_entries)
        return vectors

    @property
    def ideal_bits(self) -> float:
        """Not known; the matched filter sees at most ``true_bits``."""
        return math.nan

    def _information_bits(self) -> float:
        if self.noise == 0:
            return self.entropy_bits
        centred = (self.vectors - self.vectors.mean(axis=1, keepdims=True)).reshape(-1, self.summed_entries)
        covariance = centred.T @ centred / self.n_values  # the answers are independent: covariances add up
        _, log_det = np.linalg.slogdet(np.eye(self.summed_entries) + covariance / self.noise**2)
        return min(self.entropy_bits, 0.5 * float(log_det) / math.log(2))

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        total = np.zeros((n_sequences, self.summed_entries))
        for i, vectors in enumerate(self.vectors):
            total += vectors[answers[:, i]]
        return (total + self.noise * rng.standard_normal(total.shape)).astype(np.float32), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """The matched filter: -|S - mean of the others - E_i[y]|^2 / (2 (noise^2 + (n - 1) / d)), normalised."""
        means = self.vectors.mean(axis=1)  # (n, d)
        variance = max(self.noise**2 + (self.n_answers - 1) / self.summed_entries, _LEAST_VARIANCE)
        scores = np.empty((len(states), self.n_answers, self.n_values))
        for i, vectors in enumerate(self.vectors):
            rest = states - (means.sum(axis=0) - means[i])
            scores[:, i] = (rest @ vectors.T - (vectors**2).sum(axis=1) / 2) / variance
        scores -= scores.max(axis=-1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=-1, keepdims=True))
        return np.maximum(scores, base.LOG_OF_ZERO, out=scores)
