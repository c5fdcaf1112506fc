"""Answers stored in combinations, which linear decoders or decoders of single answers cannot read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boundprobe.channels import base, codes
from boundprobe.channels.base import AbstractChannel, Answers, Logits, States
from boundprobe.checks import MOST_SEED, check_integer


@dataclass(frozen=True)
class XorStorage(AbstractChannel):
    """Each bit as two signs, of a random bit r and of r xor the bit: I(Y;S) = n.

    Neither sign alone, and so no linear function of the state, tells anything about the bit; their product does.

    Examples
    --------
    >>> XorStorage(16).true_bits
    16.0
    """

    n_answers: int
    n_values: int = field(default=2, init=False)
    letters = (-1.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return 2 * self.n_answers

    def _information_bits(self) -> float:
        return float(self.n_answers)

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        r = rng.integers(2, size=answers.shape)
        return codes.signs_of(np.concatenate([r, r ^ answers], axis=1), 2), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Certainty: r xor (r xor y)."""
        r, masked = np.split(codes.values_of(states, 2), 2, axis=1)
        return base.logarithms(base.one_hot(r ^ masked, 2))


@dataclass(frozen=True)
class XorPairs(AbstractChannel):
    """Of every two answers only the sum modulo K is stored (K = 2: their xor): I(Y;S) = (n/2) log2 K.

    Every single answer is independent of the state, so only a decoder that is told the earlier ones sees it.

    Examples
    --------
    >>> XorPairs(8, 4).true_bits
    8.0
    """

    n_answers: int
    n_values: int
    needs_chain = True
    letters = (-1.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        if self.n_answers % 2:
            raise ValueError(f"`n_answers` must be even, because answers are stored in pairs; got {self.n_answers}.")

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers // 2 * codes.signs_per_value(self.n_values)

    def _information_bits(self) -> float:
        return self.n_answers / 2 * math.log2(self.n_values)

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        return codes.signs_of((answers[:, ::2] + answers[:, 1::2]) % self.n_values, self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S, Y_<i): no idea of the first of a pair, certainty of the second."""
        told = np.full(answers.shape, -1)
        told[:, 1::2] = (codes.values_of(states, self.n_values) - answers[:, ::2]) % self.n_values
        return base.logarithms(base.one_hot(told, self.n_values))


@dataclass(frozen=True)
class LinearHash(AbstractChannel):
    """M y over GF(2) as signs, M a random matrix (rank, n) of full rank: I(Y;S) = rank.

    Parameters
    ----------
    n_answers : int
        Bits that are hashed, n.
    rank : int, 1 to n
    seed : int
        Of the matrix, which is part of the distribution.

    Examples
    --------
    >>> LinearHash(8, 4).true_bits
    4.0
    """

    n_answers: int
    rank: int
    seed: int = 0
    n_values: int = field(default=2, init=False)
    needs_chain = True
    letters = (-1.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        check_integer("rank", self.rank, 1, self.n_answers)
        check_integer("seed", self.seed, 0, MOST_SEED)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.rank

    @cached_property
    def matrix(self) -> NDArray[np.int64]:
        """M (rank, n), of 0 and 1: the first of a seeded stream of uniform matrices that has full rank."""
        rng = np.random.default_rng([self.seed, self.n_answers, self.rank])
        while True:  # a uniform matrix has full rank with probability above 0.288
            matrix = rng.integers(2, size=(self.rank, self.n_answers))
            if len(_reduced(matrix)[1]) == self.rank:
                return matrix

    def _information_bits(self) -> float:
        return float(self.rank)

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        return codes.signs_of(answers @ self.matrix.T % 2, 2), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S, Y_<i): certainty where a sum of rows of M ends in column i, no idea elsewhere."""
        rows, last = _reduced(self.matrix)
        equations, told_by = rows[:, : self.n_answers], rows[:, self.n_answers :]
        right = codes.values_of(states, 2) @ told_by.T  # (N, rank)
        told = np.full(answers.shape, -1)
        for row, column in enumerate(last):
            told[:, column] = (right[:, row] + answers[:, :column] @ equations[row, :column]) % 2
        return base.logarithms(base.one_hot(told, 2))


def _reduced(matrix: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Echelon form of [M | 1] over GF(2) by last columns, and the last column of M in each row that has one.

    No two rows end in the same column: given the hash and all bits before that column, its bit is determined; a
    bit in whose column no row ends is uniform, because then no sum of rows does.
    """
    n_rows, n_columns = matrix.shape
    rows = np.concatenate([matrix, np.eye(n_rows, dtype=np.int64)], axis=1)
    last: list[int] = []
    for column in range(n_columns - 1, -1, -1):
        below = np.flatnonzero(rows[len(last) :, column]) + len(last)
        if not len(below):
            continue
        top = len(last)
        rows[[top, below[0]]] = rows[[below[0], top]]
        others = np.flatnonzero(rows[top + 1 :, column]) + top + 1
        rows[others] ^= rows[top]
        last.append(column)
        if len(last) == n_rows:
            break
    return rows, last
