"""A random machine with few states, enumerated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.enumeration import encoder_information_bits
from boundprobe.channels import base
from boundprobe.channels.base import AbstractChannel, Answers, Logits, States
from boundprobe.checks import MOST_SEED, check_integer

#: Most words whose states are kept in a table.
MOST_WORDS = 65_536


@dataclass(frozen=True)
class EnumeratedMachine(AbstractChannel):
    """Each of the K^n words of answers has one of M states, at random: I(Y;S) = H(S), by enumeration.

    The state is one-hot.

    Parameters
    ----------
    n_answers, n_values : int
        At most 65,536 words.
    n_states : int, M
    seed : int
        Of the table, which is part of the distribution.

    Examples
    --------
    >>> machine = EnumeratedMachine(3, 2, 4)
    >>> machine.labels.tolist(), round(machine.true_bits, 3)
    ([3, 3, 2, 1, 3, 2, 1, 3], 1.5)
    """

    n_answers: int
    n_values: int
    n_states: int
    seed: int = 0
    needs_chain = True
    letters = (0.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        check_integer("n_states", self.n_states, 1)
        check_integer("seed", self.seed, 0, MOST_SEED)
        why = ": every word of answers has an entry in a table; take fewer answers or values"
        check_integer("n_values ** n_answers", self.n_values**self.n_answers, 2, MOST_WORDS, why=why)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_states

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """State of each word (K^n,), the first answer the most significant digit."""
        rng = np.random.default_rng([self.seed, self.n_answers, self.n_values, self.n_states])
        labels: NDArray[np.int64] = rng.integers(self.n_states, size=self.n_values**self.n_answers)
        return labels

    @cached_property
    def _counts(self) -> list[NDArray[np.int64]]:
        """Entry i: words (M, K^i, K) with each state, first i answers and answer i."""
        words, n, k = np.arange(len(self.labels)), self.n_answers, self.n_values
        counts = []
        for i in range(n):
            starts = words // k ** (n - i - 1)  # number of the first i + 1 answers
            found = np.bincount(self.labels * k ** (i + 1) + starts, minlength=self.n_states * k ** (i + 1))
            counts.append(found.reshape(self.n_states, k**i, k))
        return counts

    def _information_bits(self) -> float:
        return encoder_information_bits(self.labels.tolist())

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        digits = self.n_values ** np.arange(self.n_answers)[::-1]
        return np.eye(self.n_states, dtype=np.float32)[self.labels[answers @ digits]], answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S, Y_<i), by counting words; no idea where no word of the state starts so."""
        label = states.argmax(axis=1)
        start = np.zeros(len(states), dtype=np.int64)
        posterior = np.empty((*answers.shape, self.n_values))
        for i, counts in enumerate(self._counts):
            found = counts[label, start].astype(np.float64)  # (N, K)
            total = found.sum(axis=1, keepdims=True)
            posterior[:, i] = np.where(total > 0, found / np.maximum(total, 1), 1 / self.n_values)
            start = start * self.n_values + answers[:, i]
        return base.logarithms(posterior)
