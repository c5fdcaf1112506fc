"""The channel: a distribution of answers and states whose mutual information is known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boundprobe.checks import check_integer, check_number

States = NDArray[np.float32]
Answers = NDArray[np.int64]
Logits = NDArray[np.float64]

#: Finite natural logarithm used for the probability 0, so that sums of scores stay finite.
LOG_OF_ZERO = -700.0


class AbstractChannel(ABC):
    """A distribution of answers Y and states S with I(Y;S) known: concrete channels are frozen dataclasses.

    Attributes
    ----------
    n_answers : int
        Answers of one sequence, n.
    n_values : int
        Values that each answer can take, K: 0..K-1.
    needs_chain : bool
        Whether ``ideal_logits`` looks at earlier answers: P(Y_i | S, Y_<i) in place of P(Y_i | S).
    truth_is_upper_bound : bool
        Whether ``true_bits`` is only known to be no less than I(Y;S).
    letters : tuple of float
        Values that an entry of the state can have; empty where it can be any number.
    """

    n_answers: int
    n_values: int
    needs_chain: bool = False
    truth_is_upper_bound: bool = False
    letters: tuple[float, ...] = ()

    @property
    def entropy_bits(self) -> float:
        """H(Y), in bits; where answers can be undefined, H(Y | which are defined)."""
        return self.n_answers * math.log2(self.n_values)

    @cached_property
    def true_bits(self) -> float:
        """I(Y;S), in bits: at most this, and no less than ``noise_loss_bits`` below it."""
        return self._information_bits()

    @property
    def noise_loss_bits(self) -> float:
        """Most that I(Y;S) can be below ``true_bits`` because of noise on the stored values."""
        return 0.0

    @property
    def ideal_bits(self) -> float:
        """H(Y) minus the expected code length of ``ideal_logits``: the bits visible through that decoder.

        ``true_bits``, unless the channel says otherwise: answers that stand or fall together without a sign of
        it are not seen whole by a decoder that reads them one by one.
        """
        return self.true_bits

    @abstractmethod
    def _information_bits(self) -> float:
        """I(Y;S), computed once."""

    @property
    @abstractmethod
    def n_entries(self) -> int:
        """Entries of the state, d."""

    @abstractmethod
    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """States float32 (N, d) and answers int64 (N, n) of independent sequences, ``IGNORE`` where undefined."""

    @abstractmethod
    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Natural logarithms (N, n, K) of the posterior of each answer, from the channel's distribution.

        Scores are at least ``LOG_OF_ZERO``.  Only channels that need a chain look at ``answers``, and for answer i
        only at those before it.
        """


def logarithms(probabilities: NDArray[np.float64]) -> Logits:
    """Natural logarithms, at least ``LOG_OF_ZERO``.

    >>> logarithms(np.array([1.0, 0.0])).tolist()
    [0.0, -700.0]
    """
    scores: Logits = np.log(np.maximum(probabilities, math.exp(LOG_OF_ZERO)))
    return scores


def symmetric_posterior(weights: NDArray[np.float64], kept: float) -> NDArray[np.float64]:
    """Posterior of an answer that was kept, or else replaced by a uniform value, given that of what was stored."""
    posterior: NDArray[np.float64] = kept * weights + (1 - kept) / weights.shape[-1]
    return posterior


def one_hot(values: NDArray[np.int64], n_values: int) -> NDArray[np.float64]:
    """Probability 1 for each value, with one axis more; uniform where the value is negative (unknown)."""
    hot = np.equal(values[..., None], np.arange(n_values)).astype(np.float64)
    return np.where(values[..., None] < 0, 1 / n_values, hot)


def uniform_answers(channel: AbstractChannel, n_sequences: int, rng: np.random.Generator) -> Answers:
    """Independent uniform answers (N, n)."""
    check_integer("n_sequences", n_sequences, 1)
    answers: Answers = rng.integers(channel.n_values, size=(n_sequences, channel.n_answers))
    return answers


def check_sizes(channel: AbstractChannel) -> None:
    """Raise ``ValueError`` unless there are answers and each has a choice."""
    check_integer("n_answers", channel.n_answers, 1, why="; give an answer for each sequence")
    check_integer("n_values", channel.n_values, 2, why="; one value alone is no answer: give the number of values")


def check_share(name: str, value: float) -> None:
    """Raise ``ValueError`` unless a probability is one."""
    if not 0 <= check_number(name, value) <= 1:
        raise ValueError(f"`{name}` must lie in [0, 1]; got {value!r}.")
