"""Channels that the methods were not developed on: answers that depend on each other, and groups of sequences."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds import fano_loss_bits
from boundprobe.channels import AbstractChannel, signs_of

States = NDArray[np.float32]
Answers = NDArray[np.int64]
Logits = NDArray[np.float64]

LEAST_PROBABILITY = math.exp(-700.0)  # scores stay finite
LARGEST_GROUP = 20


def values_of(states: States, n_values: int) -> Answers:
    """Values (N, n) whose signs a state has; -1 where they are lost."""
    n_signs = (n_values - 1).bit_length()
    parts = states.reshape(len(states), -1, n_signs)
    return np.where((parts != 0).any(-1), (parts > 0) @ (1 << np.arange(n_signs)[::-1]), -1)


def scores(probabilities: NDArray[np.float64]) -> Logits:
    """Natural logarithms of probabilities (N, n, K), normalised."""
    total = probabilities.sum(-1, keepdims=True)
    logits: Logits = np.log(np.maximum(probabilities / total, LEAST_PROBABILITY))
    return logits


def at(values: Answers, n_values: int) -> NDArray[np.float64]:
    """1 at each value, (N, n, K)."""
    return np.equal(values[..., None], np.arange(n_values)).astype(np.float64)


@dataclass(frozen=True)
class SharedPart(AbstractChannel):
    """Answers Y_i = (Z + E_i) mod K with a shared uniform Z and E_i uniform over m < K values; each is lost or known.

    Each answer is uniform, and they depend on each other.  I(Y;S) is the mean joint entropy of those that are known.

    Examples
    --------
    >>> round(SharedPart(2, 4, 1, 0.0).true_bits, 6)
    2.0
    """

    n_answers: int
    n_values: int
    n_apart: int
    lost: float

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * (self.n_values - 1).bit_length()

    def joint_bits(self, n_known: int) -> float:
        """Joint entropy of some of the answers, by enumeration."""
        if not n_known:
            return 0.0
        apart = itertools.product(range(self.n_apart), repeat=n_known)
        rows = Counter(tuple((z + e) % self.n_values for e in each) for each in apart for z in range(self.n_values))
        total = sum(rows.values())
        return -sum(c / total * math.log2(c / total) for c in rows.values())

    @property
    def entropy_bits(self) -> float:
        """H(Y)."""
        return self.joint_bits(self.n_answers)

    def _information_bits(self) -> float:
        n, lost = self.n_answers, self.lost
        return sum(math.comb(n, a) * (1 - lost) ** a * lost ** (n - a) * self.joint_bits(a) for a in range(n + 1))

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        shared = rng.integers(self.n_values, size=(n_sequences, 1))
        answers = (shared + rng.integers(self.n_apart, size=(n_sequences, self.n_answers))) % self.n_values
        return signs_of(np.where(rng.random(answers.shape) < self.lost, -1, answers), self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S)."""
        stored = values_of(states, self.n_values)
        by_state = self._possible(stored).all(1)[:, None]
        return self._posterior(stored, np.broadcast_to(by_state, (*stored.shape, self.n_values)))

    def chain_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S, Y_<i)."""
        stored = values_of(states, self.n_values)
        by_state = self._possible(stored).all(1)[:, None]
        earlier = np.logical_and.accumulate(self._possible(answers), axis=1)
        before = np.concatenate([np.ones_like(earlier[:, :1]), earlier[:, :-1]], axis=1)
        return self._posterior(stored, by_state & before)

    def _possible(self, values: Answers) -> NDArray[np.bool_]:
        """Shared parts that each value leaves possible, (N, n, K)."""
        apart = (values[..., None] - np.arange(self.n_values)) % self.n_values
        return (apart < self.n_apart) | (values[..., None] < 0)

    def _posterior(self, stored: Answers, shared: NDArray[np.bool_]) -> Logits:
        """Probabilities of each answer, for shared parts that are possible and then equally likely, (N, n, K)."""
        spread = np.zeros(shared.shape)
        for apart in range(self.n_apart):
            spread += np.roll(shared, apart, axis=-1)
        return scores(np.where(stored[..., None] < 0, spread, at(stored, self.n_values)))


@dataclass(frozen=True)
class Parity(AbstractChannel):
    """Answers of which the sum is 0 mod K, any others of them independent; the whole state is known or lost.

    I(Y;S) = (1 - lost) (n - 1) log2 K.

    Examples
    --------
    >>> Parity(3, 4, 0.5).true_bits
    2.0
    """

    n_answers: int
    n_values: int
    lost: float

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * (self.n_values - 1).bit_length()

    @property
    def entropy_bits(self) -> float:
        """H(Y)."""
        return (self.n_answers - 1) * math.log2(self.n_values)

    def _information_bits(self) -> float:
        return (1 - self.lost) * self.entropy_bits

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = rng.integers(self.n_values, size=(n_sequences, self.n_answers))
        answers[:, -1] = -answers[:, :-1].sum(1) % self.n_values
        return signs_of(np.where(rng.random((n_sequences, 1)) < self.lost, -1, answers), self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Certainty, or no idea."""
        stored = values_of(states, self.n_values)
        return scores(np.where(stored[..., None] < 0, 1.0, at(stored, self.n_values)))

    def chain_logits(self, states: States, answers: Answers) -> Logits:
        """The last answer follows from those before, whatever the state."""
        logits = self.ideal_logits(states, answers)
        last = -answers[:, :-1].sum(1, keepdims=True) % self.n_values
        logits[:, -1:] = scores(at(last, self.n_values))
        return logits


@dataclass(frozen=True)
class GroupedStorage(AbstractChannel):
    """Groups of 1 to 20 sequences that share a state and its fate: known, or lost for all of them.

    A group has a word of n values, and each answer of its sequences is the word's with probability ``kept``, or else
    uniform.  The distribution draws a group first, of any size with the same probability, and then one of its
    sequences: I(Y;S) = (1 - lost) n (log2 K - Phi(e)), e = (1 - kept) (1 - 1/K), with ``lost`` the mean over sizes,
    from ``lost_alone`` of groups of 1 linearly to ``lost_large`` of groups of 20.

    Examples
    --------
    >>> GroupedStorage(4, 8, 1.0, 0.5, 0.0).true_bits
    9.0
    """

    n_answers: int
    n_values: int
    kept: float
    lost_alone: float
    lost_large: float

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * (self.n_values - 1).bit_length()

    def _information_bits(self) -> float:
        error = (1 - self.kept) * (1 - 1 / self.n_values)
        known = 1 - (self.lost_alone + self.lost_large) / 2
        return known * self.n_answers * float(math.log2(self.n_values) - fano_loss_bits(error, self.n_values))

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """Sequences of as many groups, one each: independent draws of the distribution."""
        states, answers, groups = self.draw_groups(n_sequences, rng)
        # Sequences of a group are exchangeable, so that its first is as good as a random one.
        first = np.unique(groups, return_index=True)[1]
        return states[first], answers[first]

    def draw_groups(self, n_groups: int, rng: np.random.Generator) -> tuple[States, Answers, NDArray[np.int64]]:
        """States and answers of all sequences of some groups, and the group of each."""
        sizes = rng.integers(1, LARGEST_GROUP + 1, size=n_groups)
        lost = self.lost_alone + (self.lost_large - self.lost_alone) * (sizes - 1) / (LARGEST_GROUP - 1)
        words = rng.integers(self.n_values, size=(n_groups, self.n_answers))
        stored = np.where((rng.random(n_groups) < lost)[:, None], -1, words)
        groups = np.repeat(np.arange(n_groups), sizes)
        answers = words[groups]
        others = rng.integers(self.n_values, size=answers.shape)
        answers = np.where(rng.random(answers.shape) < self.kept, answers, others)
        return signs_of(stored, self.n_values)[groups], answers, groups

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S), of which the group is no part."""
        stored = values_of(states, self.n_values)
        known = self.kept * at(stored, self.n_values) + (1 - self.kept) / self.n_values
        return scores(np.where(stored[..., None] < 0, 1.0, known))
