"""Inputs that a construction is checked on: all of a small case, and hand-made ones that are hard to get right.

Each family is a function of (task, number of sequences, generator) that returns tokens, int64 (n, seq_len).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.selective_copying import SelectiveCopying

Family = Callable[[AbstractTask, int, np.random.Generator], np.ndarray]


def every_sequence(n_token_ids: int, length: int, block: int = 4096) -> Iterator[np.ndarray]:
    """All ``n_token_ids ** length`` sequences, in blocks (m, length).

    >>> [part.tolist() for part in every_sequence(2, 2, block=3)]
    [[[0, 0], [0, 1], [1, 0]], [[1, 1]]]
    """
    sequences = itertools.product(range(n_token_ids), repeat=length)
    while rows := list(itertools.islice(sequences, block)):
        yield np.array(rows, np.int64)


def of_distribution(name: str) -> Family:
    """The task's own distribution of that name."""
    return lambda task, n, rng: task.sample(n, rng, name).tokens


def _uniform(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(low, high, shape)


# Selective copying: ids 0..n_numbers-1 are numbers, the others letters.


def numbers_only(task: SelectiveCopying, n: int, rng: np.random.Generator) -> np.ndarray:
    """No letters: every token is asked about, and asks anew."""
    return _uniform(rng, 0, task.n_numbers, (n, task.seq_len))


def one_number_repeated(task: SelectiveCopying, n: int, rng: np.random.Generator) -> np.ndarray:
    """One number at every position: the answer is that number."""
    return np.broadcast_to(_uniform(rng, 0, task.n_numbers, (n, 1)), (n, task.seq_len)).copy()


def one_number_first(task: SelectiveCopying, n: int, rng: np.random.Generator) -> np.ndarray:
    """One number in the first few places, then letters: it has to be held to the end."""
    tokens = _uniform(rng, task.n_numbers, task.vocab_size, (n, task.seq_len))
    place = _uniform(rng, 0, min(task.distances[-1] + 1, task.seq_len), (n,))
    tokens[np.arange(n), place] = _uniform(rng, 0, task.n_numbers, (n,))
    return tokens


def one_token_apart(task: SelectiveCopying, n: int, rng: np.random.Generator) -> np.ndarray:
    """One letter everywhere but at one place, after a number: off by one shows."""
    pair = _uniform(rng, task.n_numbers, task.vocab_size, (n, 2))
    tokens = np.repeat(pair[:, :1], task.seq_len, axis=1)
    tokens[np.arange(n), _uniform(rng, 1, task.seq_len, (n,))] = pair[:, 1]
    tokens[:, 0] = _uniform(rng, 0, task.n_numbers, (n,))
    return tokens


def two_tokens_near(task: SelectiveCopying, n: int, rng: np.random.Generator) -> np.ndarray:
    """Two tokens whose codes differ in one bit, or in all, at random, after numbers: the read-out's hardest case."""
    first = _uniform(rng, 0, task.vocab_size, (n,))
    n_bits = (task.vocab_size - 1).bit_length()
    flipped = first ^ np.where(rng.random(n) < 0.5, 1 << _uniform(rng, 0, n_bits, (n,)), 2**n_bits - 1)
    second = np.where(flipped < task.vocab_size, flipped, first ^ 1)
    second = np.where(second < task.vocab_size, second, 0)
    which = rng.random((n, task.seq_len)) < 0.5
    tokens = np.where(which, first[:, None], second[:, None])
    number = rng.random(tokens.shape) < 0.1
    number[:, 0] = True
    return np.where(number, _uniform(rng, 0, task.n_numbers, tokens.shape), tokens)


def numbers_in_turn(task: SelectiveCopying, n: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers up or down by one, with a letter now and then: the held number changes at almost every position."""
    step = np.where(rng.random((n, 1)) < 0.5, 1, -1)
    turning = (_uniform(rng, 0, task.n_numbers, (n, 1)) + step * np.arange(task.seq_len)) % task.n_numbers
    letters = _uniform(rng, task.n_numbers, task.vocab_size, turning.shape)
    return np.where(rng.random(turning.shape) < 0.2, letters, turning)


# Associative recall: ids 0 and 1 are bits, 2 + w word w.


def _spell(task: AssociativeRecallDecoding, words: np.ndarray) -> np.ndarray:
    """Bits (n, b) of words (n,), most significant first."""
    bits: np.ndarray = words[:, None] >> np.arange(task.word_bits - 1, -1, -1) & 1
    return bits


def _few_words(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator, most: int) -> np.ndarray:
    """Words (n, seq_len) as token ids, each row from at most ``most`` different ones."""
    choice = _uniform(rng, 0, task.n_words, (n, most))
    return 2 + np.take_along_axis(choice, _uniform(rng, 0, most, (n, task.seq_len)), axis=1)


def words_in_runs(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """The name of a word, then that word and another, each several times in a row: words follow themselves."""
    pair = _uniform(rng, 0, task.n_words, (n, 2))
    turns = np.cumsum(rng.random((n, task.seq_len)) < _uniform(rng, 1, 10, (n, 1)) / 20.0, axis=1) % 2
    tokens = 2 + np.take_along_axis(pair, turns, axis=1)
    tokens[:, : task.word_bits] = _spell(task, pair[:, 0])
    return tokens


def bits_first(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """Bits at the start only, then a few words that recur: the latest of many pairs counts."""
    tokens = _few_words(task, n, rng, 4)
    asked = tokens[np.arange(n), _uniform(rng, task.word_bits, task.seq_len, (n,))] - 2
    tokens[:, : task.word_bits] = _spell(task, asked)
    return tokens


def bits_last(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """A few words that recur, then the name of one of them."""
    tokens = _few_words(task, n, rng, 3)
    asked = tokens[np.arange(n), _uniform(rng, 0, task.seq_len - task.word_bits, (n,))] - 2
    tokens[:, -task.word_bits :] = _spell(task, asked)
    return tokens


def farthest_pair(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """The first two tokens are the pair that the last bits ask for; its first word never comes again."""
    asked = _uniform(rng, 0, task.n_words, (n,))
    other = _uniform(rng, 1, task.n_words, (n, task.seq_len))  # offsets: never the word asked for
    tokens: np.ndarray = 2 + (asked[:, None] + other) % task.n_words
    tokens[:, 0] = 2 + asked
    tokens[:, -task.word_bits :] = _spell(task, asked)
    return tokens


def bits_between(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """A pair with a long run of bits between its words, or after them."""
    tokens = _few_words(task, n, rng, 3)
    start, length = _uniform(rng, 1, 4, (n, 1)), _uniform(rng, 1, task.seq_len, (n, 1))
    at = np.arange(task.seq_len)
    run = (at >= start) & (at < start + length)
    asked = tokens[:, 0] - 2
    spelled = np.take_along_axis(_spell(task, asked), (at - start) % task.word_bits, axis=1)
    return np.where(run, spelled, tokens)


def two_words_near(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """Words whose codes differ in one bit, and the bits that spell them: the look-up's hardest case."""
    first = _uniform(rng, 0, task.n_words, (n,))
    second = first ^ 1 << _uniform(rng, 0, task.word_bits, (n,))
    words = np.where(rng.random((n, task.seq_len)) < 0.5, first[:, None], second[:, None])
    tokens = np.where(rng.random(words.shape) < 0.8, words, _uniform(rng, 0, task.n_words, words.shape)) + 2
    start = _uniform(rng, 0, task.seq_len - task.word_bits + 1, (n,))
    np.put_along_axis(tokens, start[:, None] + np.arange(task.word_bits), _spell(task, first), axis=1)
    return tokens


def every_other_a_bit(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """Words and bits in turn, the words from a few: another word is asked for at every other position."""
    tokens = _few_words(task, n, rng, 4)
    bits = _uniform(rng, 0, 2, tokens.shape)
    return np.where(np.arange(task.seq_len) % 2 == _uniform(rng, 0, 2, (n, 1)), bits, tokens)


def bits_only(task: AssociativeRecallDecoding, n: int, rng: np.random.Generator) -> np.ndarray:
    """Bits, and two words somewhere: hardly a pair, asked for all the time."""
    tokens = _uniform(rng, 0, 2, (n, task.seq_len))
    places = rng.permuted(np.broadcast_to(np.arange(task.seq_len), tokens.shape), axis=1)[:, :2]
    np.put_along_axis(tokens, places, 2 + _uniform(rng, 0, task.n_words, places.shape), axis=1)
    return tokens


#: Hand-made families by task.
ADVERSARIAL: dict[type, tuple[Callable[..., np.ndarray], ...]] = {
    SelectiveCopying: (
        numbers_only,
        one_number_repeated,
        one_number_first,
        one_token_apart,
        two_tokens_near,
        numbers_in_turn,
    ),
    AssociativeRecallDecoding: (
        words_in_runs,
        bits_first,
        bits_last,
        farthest_pair,
        bits_between,
        two_words_near,
        every_other_a_bit,
        bits_only,
    ),
}


def families(task: AbstractTask) -> dict[str, Family]:
    """All families of a task by name: its distributions, then the hand-made ones."""
    found = {name: of_distribution(name) for name in task.distributions}
    return found | {make.__name__.replace("_", "-"): make for make in ADVERSARIAL.get(type(task), ())}
