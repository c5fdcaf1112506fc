"""States and answers of which the stated premises are true, or false in a known way and by a known amount."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.channels import (
    AbstractChannel,
    signs_of,
)
from counting.channels import GroupedStorage

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Rng = np.random.Generator

SEED = 2028
IGNORE = -100
N_ENTRIES = 16


@dataclass(frozen=True)
class Given:
    """What a user gives.

    Attributes
    ----------
    states, answers : arrays (N, d), (N, n)
    stated : dict
        Keywords of ``certify_states``: the prior, which answers are defined, groups.
    """

    states: NDArray[Any]
    answers: IntArray
    stated: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PremiseSample:
    """How states and answers are drawn, and how much the states know.

    Attributes
    ----------
    name : str
    premise : str
        "true", or the kind that is false.
    draw : function
        Of the number of units and a generator.
    truth_bits : float
        I(Y;S) of the distribution that is certified.
    n_reports : int
        Whole reports that are counted at each size.
    """

    name: str
    premise: str
    draw: Callable[[int, Rng], Given]
    truth_bits: float = 0.0
    n_reports: int = 20

    def given(self, n_units: int, repetition: int) -> Given:
        """Fresh states and answers of one repetition."""
        return self.draw(n_units, np.random.default_rng([SEED, zlib.crc32(self.name.encode()), n_units, repetition]))


def noise(n: int, rng: Rng, d: int = N_ENTRIES) -> NDArray[np.float32]:
    """States that know nothing."""
    return rng.standard_normal((n, d)).astype(np.float32)


def uniform(n_answers: int, n_values: int) -> Callable[[int, Rng], Given]:
    """Independent uniform answers, states of noise."""
    return lambda n, rng: Given(noise(n, rng), rng.integers(n_values, size=(n, n_answers)), {"n_values": n_values})


def of_channel(channel: AbstractChannel, **stated: Any) -> Callable[[int, Rng], Given]:
    """A channel's own states; absent answers are marked."""

    def draw(n: int, rng: Rng) -> Given:
        states, answers = channel.draw(n, rng)
        absent = {"defined": answers != IGNORE} if (answers == IGNORE).any() else {}
        return Given(states, answers, {**stated, **absent})

    return draw


def of_groups(channel: GroupedStorage) -> Callable[[int, Rng], Given]:
    """All sequences of some groups, named."""

    def draw(n: int, rng: Rng) -> Given:
        states, answers, groups = channel.draw_groups(n, rng)
        return Given(states, answers, {"n_values": channel.n_values, "groups": groups})

    return draw


def absent(share: float) -> Callable[[int, Rng], Given]:
    """Answers of which each is absent at random."""

    def draw(n: int, rng: Rng) -> Given:
        answers = rng.integers(16, size=(n, 8))
        return Given(noise(n, rng), answers, {"n_values": 16, "defined": rng.random(answers.shape) >= share})

    return draw


# Biased answers: 0 half of the time, else one of 15 others.

BIASED_ANSWERS = 8
BIASED_BITS = BIASED_ANSWERS * (1 + 0.5 * math.log2(15))


def biased(above_bits: float, *, stored: bool = False) -> Callable[[int, Rng], Given]:
    """Biased answers whose stated entropy is too high by so many bits; states of noise, or that store the answers."""

    def draw(n: int, rng: Rng) -> Given:
        size = (n, BIASED_ANSWERS)
        answers = np.where(rng.random(size) < 0.5, 0, rng.integers(1, 16, size=size))
        states = signs_of(answers, 16) if stored else noise(n, rng)
        return Given(states, answers, {"n_values": 16, "entropy_bits": BIASED_BITS + above_bits})

    return draw


def dependent(channel: AbstractChannel, above_bits: float, *, stored: bool = False) -> Callable[[int, Rng], Given]:
    """Uniform answers that depend on each other, entropy too high by so many bits; states of noise, or of answers."""

    def draw(n: int, rng: Rng) -> Given:
        stated = {"n_values": channel.n_values, "entropy_bits": channel.entropy_bits + above_bits}
        answers = channel.draw(n, rng)[1]
        return Given(signs_of(answers, channel.n_values) if stored else noise(n, rng), answers, stated)

    return draw


def last_of_all(above_bits: float) -> Callable[[int, Rng], Given]:
    """Six answers of 4 values, the last of them a fixed random function of the others (10 bits), stored."""
    table = np.random.default_rng(SEED).integers(4, size=4**5)

    def draw(n: int, rng: Rng) -> Given:
        answers = rng.integers(4, size=(n, 6))
        answers[:, 5] = table[(answers[:, :5] * 4 ** np.arange(5)).sum(1)]
        return Given(signs_of(answers, 4), answers, {"n_values": 4, "entropy_bits": 10 + above_bits})

    return draw


# Dependent answers that are stated to be independent.


def shared_part(n_apart: int) -> Callable[[int, Rng], Given]:
    """Eight answers of 64 values: a shared one, and ``n_apart`` values of their own."""

    def draw(n: int, rng: Rng) -> Given:
        answers = (rng.integers(64, size=(n, 1)) + rng.integers(n_apart, size=(n, 8))) % 64
        return Given(noise(n, rng), answers, {"n_values": 64})

    return draw


def presence_tells(n: int, rng: Rng) -> Given:
    """Sixteen answers of 16 values; answer j is defined only where a seventeenth equals j."""
    answers = rng.integers(16, size=(n, 17))
    defined = np.concatenate([answers[:, -1:] == np.arange(16), np.ones((n, 1), bool)], axis=1)
    return Given(noise(n, rng), answers, {"n_values": 16, "defined": defined})


def answers_of(channel: AbstractChannel) -> Callable[[int, Rng], Given]:
    """A channel's answers as if they were independent and uniform, states of noise."""

    def draw(n: int, rng: Rng) -> Given:
        answers = channel.draw(n, rng)[1]
        absent = {"defined": answers != IGNORE} if (answers == IGNORE).any() else {}
        return Given(noise(n, rng), answers, {"n_values": channel.n_values, **absent})

    return draw


def token_stream(n_tokens: int, length: int) -> Callable[[int, Rng], Given]:
    """Answer v is the token after the last v of a uniform stream, absent if there is none."""

    def draw(n: int, rng: Rng) -> Given:
        tokens = rng.integers(n_tokens, size=(n, length))
        answers = np.full((n, n_tokens), IGNORE)
        for t in range(length - 1):
            answers[np.arange(n), tokens[:, t]] = tokens[:, t + 1]
        return Given(noise(n, rng), answers, {"n_values": n_tokens, "defined": answers != IGNORE})

    return draw


def weak_pair(share: float) -> Callable[[int, Rng], Given]:
    """Eight answers of 16 values, of which the second is the first so often."""

    def draw(n: int, rng: Rng) -> Given:
        answers = rng.integers(16, size=(n, 8))
        answers[:, 1] = np.where(rng.random(n) < share, answers[:, 0], answers[:, 1])
        return Given(noise(n, rng), answers, {"n_values": 16})

    return draw


def spread_pairs(n_answers: int, n_values: int, share: float) -> Callable[[int, Rng], Given]:
    """Each answer copies each earlier one so often, through a bijection of its own; states of noise."""

    def draw(n: int, rng: Rng) -> Given:
        law = np.random.default_rng(SEED)
        answers = rng.integers(n_values, size=(n, n_answers))
        for i in range(1, n_answers):
            which = (rng.random(n) / share).astype(int)
            for j in range(i):
                answers[which == j, i] = law.permutation(n_values)[answers[which == j, j]]
        return Given(noise(n, rng), answers, {"n_values": n_values})

    return draw


def one_latent(n_answers: int, n_values: int, asked: float) -> Callable[[int, Rng], Given]:
    """All answers are bijections of one value, which the state holds; each is asked seldom."""
    law = np.random.default_rng(SEED)
    of = np.array([law.permutation(n_values) for _ in range(n_answers)])

    def draw(n: int, rng: Rng) -> Given:
        value = rng.integers(n_values, size=n)
        answers = of[:, value].T
        return Given(
            np.eye(n_values)[value], answers, {"n_values": n_values, "defined": rng.random(answers.shape) < asked}
        )

    return draw


def support(in_use: int) -> Callable[[int, Rng], Given]:
    """Five answers, of which fewer than the stated 1,000 values are in use."""
    return lambda n, rng: Given(noise(n, rng), rng.integers(in_use, size=(n, 5)), {"n_values": 1000})


# Sequences that share a source: states are a random code of it, and know nothing that a new source would show.


def copies(
    times: int, *, changed: int = 0, state_noise: float = 0.0, named: bool = False, flips: float = 0.0
) -> Callable[[int, Rng], Given]:
    """So many cuts of each source, ``changed`` of 8 values drawn anew in each; states may be noisy, or bits flipped."""

    def draw(n: int, rng: Rng) -> Given:
        n_sources = n // times if not named else n
        source = np.repeat(np.arange(n_sources), times)
        answers = rng.integers(16, size=(n_sources, 8))[source]
        for _ in range(changed):
            where = rng.integers(8, size=len(source))
            answers[np.arange(len(source)), where] = rng.integers(16, size=len(source))
        states = np.sign(rng.standard_normal((n_sources, 64)))[source]
        states = np.where(rng.random(states.shape) < flips, -states, states)
        states = states + state_noise * rng.standard_normal(states.shape)
        stated: dict[str, Any] = {"n_values": 16, "groups": source} if named else {"n_values": 16}
        return Given(states.astype(np.float32), answers, stated)

    return draw


def some_copied(share: float) -> Callable[[int, Rng], Given]:
    """Some of the sequences have a second cut, a value changed; states are noisy codes wide enough to memorise."""

    def draw(n: int, rng: Rng) -> Given:
        n_pairs = int(n * share) // 2
        source = rng.permutation(np.concatenate([np.repeat(np.arange(n_pairs), 2), np.arange(n_pairs, n - n_pairs)]))
        answers = rng.integers(16, size=(n - n_pairs, 8))[source]
        answers[np.arange(n), rng.integers(8, size=n)] = rng.integers(16, size=n)
        states = np.sign(rng.standard_normal((n - n_pairs, 512)))[source] + 0.1 * rng.standard_normal((n, 512))
        return Given(states.astype(np.float32), answers, {"n_values": 16})

    return draw


# Sequences of one document that share its answers and a noisy note of them.

DOCUMENT_ANSWERS, ONES, FLIPPED = 6, 0.3, 0.1


def bits_of(p: float) -> float:
    """Entropy of a bit."""
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


DOCUMENT_BITS = DOCUMENT_ANSWERS * (bits_of(ONES * (1 - FLIPPED) + (1 - ONES) * FLIPPED) - bits_of(FLIPPED))


def documents(n_documents: int, times: int) -> Callable[[int, Rng], Given]:
    """So many sequences of each document, one after the other, at least ``times``; entropy stated rightly."""

    def draw(n: int, rng: Rng) -> Given:
        source = np.sort(np.arange(max(n, n_documents * times)) % n_documents)
        answers = (rng.random((n_documents, DOCUMENT_ANSWERS)) < ONES).astype(np.int64)
        notes = answers ^ (rng.random(answers.shape) < FLIPPED)
        states = notes[source] + 0.15 * rng.standard_normal((len(source), DOCUMENT_ANSWERS))
        return Given(states, answers[source], {"n_values": 2, "entropy_bits": DOCUMENT_ANSWERS * bits_of(ONES)})

    return draw
