"""Answers stored one by one, and lost one by one or all together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from boundprobe.bounds.information import fano_loss_bits
from boundprobe.channels import base, codes
from boundprobe.channels.base import AbstractChannel, Answers, Logits, States
from boundprobe.channels.gaussian import letters_loss_bits
from boundprobe.checks import check_integer, check_number

_SIGNS = (-1.0, 1.0)

#: Below this noise, in units of a sign, posteriors are those without noise to the last digit of a float.
_LEAST_NOISE = 0.05


def _symmetric_bits(n_answers: int, n_values: int, kept: float) -> float:
    """Information of n answers, each kept or else replaced by a uniform value: n (log K - Phi(e))."""
    # Given what is stored, the answer is that with probability 1 - e and uniform over the others: Fano is tight.
    error = (1 - kept) * (1 - 1 / n_values)
    return n_answers * (math.log2(n_values) - fano_loss_bits(error, n_values))


@dataclass(frozen=True)
class SymmetricStorage(AbstractChannel):
    """Each answer kept, or else replaced by a uniform value, its own among them; Fano is tight.

    I(Y;S) = n (log2 K - Phi(e)), e = (1 - kept)(1 - 1/K), less what the noise takes.

    Parameters
    ----------
    n_answers, n_values : int
    kept : float, in [0, 1]
    rotated_entries : int | None
        Entries of the state, into which the signs of the stored values are rotated; None: the signs themselves.
    noise : float
        Standard deviation of Gaussian noise on every entry; the signs are -1 and 1.

    Examples
    --------
    >>> channel = SymmetricStorage(16, 16, 0.9, 64, 0.1)
    >>> round(channel.true_bits, 2), channel.noise_loss_bits < 1e-20
    (50.96, True)
    """

    n_answers: int
    n_values: int
    kept: float
    rotated_entries: int | None = None
    noise: float = 0.0
    letters: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        base.check_share("kept", self.kept)
        check_number("noise", self.noise, least=0)
        codes.check_room(self.n_entries, self._n_signs)
        plain = self.rotated_entries is None and self.noise == 0
        object.__setattr__(self, "letters", _SIGNS if plain else ())

    @property
    def _n_signs(self) -> int:
        return self.n_answers * codes.signs_per_value(self.n_values)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self._n_signs if self.rotated_entries is None else self.rotated_entries

    @property
    def noise_loss_bits(self) -> float:
        """At most H(stored signs | state): each sign costs E log2(1 + exp(-2 (1 + noise g) / noise^2)).

        I(Y;V) - I(Y;S) = I(Y;V|S) <= H(V|S) for Y -> V -> S, V the stored values.
        """
        return self._n_signs * letters_loss_bits(_SIGNS, self.noise)

    def _information_bits(self) -> float:
        return _symmetric_bits(self.n_answers, self.n_values, self.kept)

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        others = rng.integers(self.n_values, size=answers.shape)
        signs = codes.signs_of(np.where(rng.random(answers.shape) < self.kept, answers, others), self.n_values)
        if self.rotated_entries is not None:
            return codes.rotate(signs, self.rotated_entries, self.noise, rng), answers
        return (signs + self.noise * rng.standard_normal(signs.shape)).astype(np.float32), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S), the noise taken into account: stored values v weigh exp(<z_i, code v> / noise^2)."""
        plain = states if self.rotated_entries is None else codes.rotate_back(states, self._n_signs)
        z = plain.reshape(len(states), self.n_answers, -1).astype(np.float64)  # (N, n, b)
        scores = z @ codes.code_book(self.n_values).T / max(self.noise, _LEAST_NOISE) ** 2
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return base.logarithms(base.symmetric_posterior(weights, self.kept))


@dataclass(frozen=True)
class Erasure(AbstractChannel):
    """Each answer kept, or known to be lost: zeros in place of its signs.

    I(Y;S) = n (1 - lost) log2 K; certificates from hard decisions see less (Fano is not tight here).

    Examples
    --------
    >>> Erasure(8, 8, 0.25).true_bits
    18.0
    """

    n_answers: int
    n_values: int
    lost: float
    letters = (-1.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        base.check_share("lost", self.lost)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * codes.signs_per_value(self.n_values)

    def _information_bits(self) -> float:
        return (1 - self.lost) * self.entropy_bits

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        stored = np.where(rng.random(answers.shape) < self.lost, -1, answers)
        return codes.signs_of(stored, self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Certainty, or no idea."""
        return base.logarithms(base.one_hot(codes.values_of(states, self.n_values), self.n_values))


@dataclass(frozen=True)
class WholeStateLoss(AbstractChannel):
    """The whole state kept, or known to be lost: the answers of a sequence stand or fall together.

    I(Y;S) = (1 - lost) n log2 K.  Methods that count answers as if they were independent fail here.

    Examples
    --------
    >>> WholeStateLoss(16, 8, 0.25).true_bits
    36.0
    """

    n_answers: int
    n_values: int
    lost: float
    letters = (-1.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        base.check_share("lost", self.lost)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * codes.signs_per_value(self.n_values)

    def _information_bits(self) -> float:
        return (1 - self.lost) * self.entropy_bits

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        stored = np.where(rng.random((n_sequences, 1)) < self.lost, -1, answers)
        return codes.signs_of(stored, self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """Certainty, or no idea."""
        return base.logarithms(base.one_hot(codes.values_of(states, self.n_values), self.n_values))


@dataclass(frozen=True)
class WholeStateSwap(AbstractChannel):
    """The whole state kept, or that of another sequence, with nothing to tell it by.

    Given S, the answers are its word with probability a = 1 - lost + lost/W and each other of the W = K^n words with
    probability b = lost/W, so I(Y;S) = log2 W + a log2 a + (W - 1) b log2 b.  Answer by answer only the information of
    symmetric storage is seen, ``ideal_bits``; ``chain_logits`` sees all of it.

    Examples
    --------
    >>> channel = WholeStateSwap(16, 16, 0.1)
    >>> round(channel.true_bits, 2), round(channel.ideal_bits, 2)
    (57.13, 50.96)
    """

    n_answers: int
    n_values: int
    lost: float
    letters = (-1.0, 1.0)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        base.check_share("lost", self.lost)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers * codes.signs_per_value(self.n_values)

    def _information_bits(self) -> float:
        bits = self.entropy_bits
        own = 2.0**-bits  # 1 / W; 0 where W is beyond floats, which changes nothing
        a = 1 - self.lost + self.lost * own
        known = a * math.log2(a) if a > 0 else 0.0
        return bits + known + (self.lost * (1 - own) * (math.log2(self.lost) - bits) if self.lost > 0 else 0.0)

    @property
    def ideal_bits(self) -> float:
        """The sum of I(Y_i;S): symmetric storage."""
        return _symmetric_bits(self.n_answers, self.n_values, 1 - self.lost)

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        others = rng.integers(self.n_values, size=answers.shape)
        stored = np.where(rng.random((n_sequences, 1)) < self.lost, others, answers)
        return codes.signs_of(stored, self.n_values), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S), which is that of symmetric storage."""
        stored = base.one_hot(codes.values_of(states, self.n_values), self.n_values)
        return base.logarithms(base.symmetric_posterior(stored, 1 - self.lost))

    def chain_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i | S, Y_<i): a state that was right i times is right again unless it was by chance, K^-i."""
        stored = codes.values_of(states, self.n_values)
        right = np.cumprod(stored == answers, axis=1)
        so_far = np.concatenate([np.ones((len(right), 1)), right[:, :-1]], axis=1)  # (N, n)
        by_chance = self.lost * float(self.n_values) ** -np.arange(self.n_answers)
        with np.errstate(invalid="ignore"):  # nothing is ever right by chance where nothing is swapped, 0 / 0
            trust = so_far * np.nan_to_num((1 - self.lost) / (1 - self.lost + by_chance))
        hot = base.one_hot(stored, self.n_values)
        return base.logarithms(trust[..., None] * hot + (1 - trust[..., None]) / self.n_values)


@dataclass(frozen=True)
class Null(AbstractChannel):
    """A Gaussian state that has nothing to do with the answers: I(Y;S) = 0."""

    n_answers: int
    n_values: int
    independent_entries: int

    def __post_init__(self) -> None:
        base.check_sizes(self)
        check_integer("independent_entries", self.independent_entries, 1)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.independent_entries

    def _information_bits(self) -> float:
        return 0.0

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        return rng.standard_normal((n_sequences, self.n_entries)).astype(np.float32), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """No idea."""
        return np.full((len(states), self.n_answers, self.n_values), -math.log(self.n_values))
