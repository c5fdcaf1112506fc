"""Streams in which answers can be undefined, or depend on each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boundprobe.channels import base, codes
from boundprobe.channels.base import AbstractChannel, Answers, Logits, States
from boundprobe.checks import check_integer
from boundprobe.tasks.base import IGNORE

#: Most tokens of a token stream: the distribution of its answers has (n + 1)^n entries.
MOST_TOKENS = 5


@dataclass(frozen=True)
class KeyValueStream(AbstractChannel):
    """Pairs of a uniform key, with replacement, and a uniform value; the state holds the last value of each key.

    An answer is undefined where the key never came.  With p = 1 - (1 - 1/n)^L the share of keys that came,
    H(Y | which are defined) = n p log2 K and I(Y;S | which are defined) = n p (1 - lost) log2 K: no more than I(U;S).

    Parameters
    ----------
    n_answers : int
        Keys, n.
    n_values : int
    n_pairs : int
        L.
    lost : float
        Probability that the value of a key is lost, which then looks as if the key had not come.

    Examples
    --------
    >>> KeyValueStream(2, 4, 2).entropy_bits
    3.0
    """

    n_answers: int
    n_values: int
    n_pairs: int
    lost: float = 0.0
    letters = (-1.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        check_integer("n_pairs", self.n_pairs, 1)
        base.check_share("lost", self.lost)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * codes.signs_per_value(self.n_values)

    @property
    def entropy_bits(self) -> float:
        """H(Y | which are defined) = n p log2 K, in bits."""
        came = 1 - (1 - 1 / self.n_answers) ** self.n_pairs
        return self.n_answers * came * math.log2(self.n_values)

    def _information_bits(self) -> float:
        return (1 - self.lost) * self.entropy_bits

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        check_integer("n_sequences", n_sequences, 1)
        keys = rng.integers(self.n_answers, size=(n_sequences, self.n_pairs))
        values = rng.integers(self.n_values, size=keys.shape)
        answers = np.full((n_sequences, self.n_answers), IGNORE)
        for t in range(self.n_pairs):
            answers[np.arange(n_sequences), keys[:, t]] = values[:, t]
        stored = np.where(rng.random(answers.shape) < self.lost, IGNORE, answers)
        return codes.signs_of(stored, self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Certainty, or no idea."""
        return base.logarithms(base.one_hot(codes.values_of(states, self.n_values), self.n_values))


@dataclass(frozen=True)
class TokenStream(AbstractChannel):
    """Uniform tokens x_1..x_L; Y_v is the token after the last v among x_1..x_{L-1}, undefined if there is none.

    The answers depend on each other.  The state holds them all, so I(Y;S | which are defined) is
    H(Y | which are defined), which is computed from the exact distribution of Y.

    Parameters
    ----------
    n_tokens : int, 2 to 5
        Tokens, n; also the number of answers and of their values.
    seq_len : int, at least 2
        L.

    Examples
    --------
    >>> stream = TokenStream(3, 12)
    >>> round(stream.joint_entropy_bits, 3), round(stream.entropy_bits, 3)
    (4.17, 3.898)
    """

    n_tokens: int
    seq_len: int
    n_answers: int = field(init=False)
    n_values: int = field(init=False)
    letters = (-1.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        why = ": the distribution of the answers is kept as a table; take fewer tokens"
        check_integer("n_tokens", self.n_tokens, 2, MOST_TOKENS, why=why)
        check_integer("seq_len", self.seq_len, 2)
        object.__setattr__(self, "n_answers", self.n_tokens)
        object.__setattr__(self, "n_values", self.n_tokens)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_tokens * codes.signs_per_value(self.n_tokens)

    @cached_property
    def answer_pmf(self) -> NDArray[np.float64]:
        """Probability of each table of answers ((n + 1)^n,); digit v of its number is 1 + Y_v, 0 if undefined."""
        n = self.n_tokens
        tables = np.arange((n + 1) ** n)
        pmf = np.zeros((len(tables), n))  # of the answers so far and the last token
        pmf[0] = 1 / n
        for _ in range(self.seq_len - 1):
            after = np.zeros_like(pmf)
            for last in range(n):
                place = (n + 1) ** last
                cleared = tables - tables // place % (n + 1) * place
                for token in range(n):
                    moved = np.bincount(cleared + (token + 1) * place, pmf[:, last] / n, minlength=len(tables))
                    after[:, token] += moved
            pmf = after
        whole: NDArray[np.float64] = pmf.sum(axis=1)
        return whole

    @property
    def joint_entropy_bits(self) -> float:
        """H(Y), including which answers are undefined, in bits."""
        return _entropy_bits(self.answer_pmf)

    @cached_property
    def entropy_bits(self) -> float:
        """H(Y | which are defined) = H(Y) - H(which are defined), in bits."""
        n, tables = self.n_tokens, np.arange(len(self.answer_pmf))
        came = tables[:, None] // (n + 1) ** np.arange(n) % (n + 1) > 0  # (tables, n)
        which_came: NDArray[np.float64] = np.bincount(came @ (1 << np.arange(n)), self.answer_pmf).astype(np.float64)
        return self.joint_entropy_bits - _entropy_bits(which_came)

    def _information_bits(self) -> float:
        return self.entropy_bits

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        check_integer("n_sequences", n_sequences, 1)
        tokens = rng.integers(self.n_tokens, size=(n_sequences, self.seq_len))
        answers = np.full((n_sequences, self.n_tokens), IGNORE)
        for t in range(self.seq_len - 1):
            answers[np.arange(n_sequences), tokens[:, t]] = tokens[:, t + 1]
        return codes.signs_of(answers, self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Certainty."""
        return base.logarithms(base.one_hot(codes.values_of(states, self.n_values), self.n_values))


def _entropy_bits(pmf: NDArray[np.float64]) -> float:
    """Entropy of a distribution, in bits."""
    positive = pmf[pmf > 0]
    return float(-(positive @ np.log2(positive)))
