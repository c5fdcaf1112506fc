"""Common parts of the samplers: blocks, mixtures of two distributions, distinct integers, key-value pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from boundprobe.tasks.base import IGNORE, Batch, row_blocks

#: Fills ``tokens`` (n, n_positions) with draws of one distribution; what it returns is not used.
Draw = Callable[[np.ndarray, np.random.Generator], object]
#: Fills the second argument (n, T) with the answers of the first (n, T).
AnswerBlock = Callable[[np.ndarray, np.ndarray], None]

#: Entries that are worked on at a time: small arrays stay in cache and are not handed back to the system.
CACHED = 2**15


def uniform_integers(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Independent uniform integers low..high-1, int32: as exact as 64-bit draws, at half the cost."""
    return rng.integers(low, high, shape, dtype=np.int32)


def answer_blocks(tokens: np.ndarray, answer_block: AnswerBlock) -> np.ndarray:
    """Answers of checked tokens (n, T), block by block."""
    out = np.empty(tokens.shape, np.int64)
    for rows in row_blocks(len(tokens), tokens.shape[1], CACHED):
        answer_block(tokens[rows], out[rows])
    return out


def sample_blocks(
    n_sequences: int, n_positions: int, rng: np.random.Generator, draw: Draw, answer_block: AnswerBlock
) -> Batch:
    """Draw sequences and their answers, block by block: temporaries stay small next to what is returned."""
    tokens = np.empty((n_sequences, n_positions), np.int64)
    targets = np.empty_like(tokens)
    for rows in row_blocks(n_sequences, n_positions, CACHED):
        draw(tokens[rows], rng)
        answer_block(tokens[rows], targets[rows])
    return Batch(tokens, targets)


def fill_uniform(tokens: np.ndarray, rng: np.random.Generator, low: int, high: int) -> None:
    """Fill ``tokens`` (n, m) with independent uniform integers low..high-1, the same in however many blocks."""
    for rows in row_blocks(len(tokens), tokens.shape[1], CACHED):
        tokens[rows] = uniform_integers(rng, low, high, tokens[rows].shape)


def draw_mixture(tokens: np.ndarray, rng: np.random.Generator, first: Draw, second: Draw) -> None:
    """Fill each row of ``tokens`` by ``first`` or by ``second``, with probability 1/2 each."""
    is_first = rng.random(len(tokens)) < 0.5
    for rows, draw in ((is_first, first), (~is_first, second)):
        part = np.empty((int(rows.sum()), tokens.shape[1]), np.int64)
        draw(part, rng)
        tokens[rows] = part


def distinct_integers(rng: np.random.Generator, high: int, shape: tuple[int, int]) -> np.ndarray:
    """Rows of k distinct integers 0..high-1, every ordered choice equally likely; shape (n, k).

    >>> distinct_integers(np.random.default_rng(0), 3, (1, 3)).tolist()
    [[2, 0, 1]]
    """
    n, k = shape
    if k * k <= high:  # more than half of all rows have no repeat: redraw the others whole
        drawn = uniform_integers(rng, 0, high, shape)
        redo = np.arange(n)
        while len(redo):
            ordered = np.sort(drawn[redo], axis=1)
            redo = redo[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
            drawn[redo] = uniform_integers(rng, 0, high, (len(redo), k))
        return drawn
    drawn = np.empty(shape, np.int32)
    for rows in row_blocks(n, high, CACHED):
        everything = np.broadcast_to(np.arange(high), (rows.stop - rows.start, high))
        drawn[rows] = rng.permuted(everything, axis=1)[:, :k]
    return drawn


def key_grams(n_key_tokens: int, length: int, count: int | None = None) -> np.ndarray:
    """The first ``count`` words over key tokens 0..K-1, in lexicographic order: int64 (count, length).

    >>> key_grams(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    words = itertools.product(range(n_key_tokens), repeat=length)
    return np.array(list(itertools.islice(words, count)), np.int64).reshape(-1, length)


def draw_key_blocks(
    content: np.ndarray, rng: np.random.Generator, keys: np.ndarray, n_after: int, values: range
) -> np.ndarray:
    """Fill ``content`` (n, P) with uniform values; in its last places every key once, each before its values.

    Values are no key tokens, so every key occurs exactly once, and what follows each key is independent of
    the order of the keys and of what follows the others.

    Parameters
    ----------
    content : int64 array (n, P)
        Overwritten; P is at least ``n_keys * (key_length + n_after)``.
    rng : numpy Generator
    keys : int64 array (n_keys, key_length)
    n_after : int
        Values after each key.
    values : range
        The value tokens.

    Returns
    -------
    int64 array (n, n_keys * n_after)
        The places of the values after each key, in order of the keys.
    """
    n_keys, key_length = keys.shape
    content[...] = uniform_integers(rng, values.start, values.stop, content.shape)
    order = rng.permuted(np.broadcast_to(np.arange(n_keys), (len(content), n_keys)), axis=1)
    block = key_length + n_after
    start = content.shape[1] - n_keys * block
    for i in range(key_length):
        content[:, start + i :: block] = keys[order, i]
    first = np.empty(order.shape, np.int64)
    np.put_along_axis(first, order, np.arange(start + key_length, content.shape[1], block)[None], axis=1)
    return (first[:, :, None] + np.arange(n_after)).reshape(len(content), n_keys * n_after)


def recall(codes: np.ndarray, values: np.ndarray, n_codes: int, n_values: int) -> np.ndarray:
    """At each place, the value at the last earlier place of its row with the same code and a value.

    Places and values are packed in with the codes.  Sorting puts equal codes side by side, in order of place;
    sorting by place puts the values found back.  That is faster than any indexing.

    Parameters
    ----------
    codes : int array (n, m)
        0..n_codes-1.
    values : int array (n, m)
        0..n_values-1, or -1 where there is none to recall.
    n_codes, n_values : int
        ``n_codes * n_values * m`` is below 2^60.

    Returns
    -------
    int array (n, m)
        ``IGNORE`` where there is none.

    Examples
    --------
    >>> recall(np.array([[7, 5, 7, 7, 7]]), np.array([[1, 2, -1, 4, 5]]), 8, 6).tolist()
    [[-100, -100, 1, 1, 4]]
    """
    n, m = codes.shape
    if n == 0 or m == 0:
        return np.full((n, m), IGNORE)
    place_bits, value_bits = (m - 1).bit_length(), n_values.bit_length()
    low = place_bits + value_bits
    packed: np.ndarray = codes.astype(np.int32 if low + (n_codes - 1).bit_length() < 32 else np.int64)
    packed <<= place_bits
    packed |= np.arange(m, dtype=packed.dtype)
    packed <<= value_bits
    packed += (values + 1).astype(packed.dtype)
    packed.sort(axis=1)
    value_mask = (1 << value_bits) - 1
    found = np.where(packed & value_mask, packed, packed.dtype.type(-1))
    np.maximum.accumulate(found, axis=1, out=found)
    same = (found[:, :-1] >> low) == (packed[:, 1:] >> low)
    found &= value_mask
    found[:, :-1] *= same
    packed &= ((1 << low) - 1) & ~value_mask
    packed[:, 1:] |= found[:, :-1]
    packed.sort(axis=1)
    packed &= value_mask
    packed -= 1
    return np.where(packed < 0, packed.dtype.type(IGNORE), packed)


def sort_with_places(codes: np.ndarray, n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row of ``codes`` (n, m) in order, and the places where they stood; equal codes in order of place.

    >>> [part.tolist() for part in sort_with_places(np.array([[7, 5, 7]]), 8)]
    [[[5, 7, 7]], [[1, 0, 2]]]
    """
    places = np.arange(codes.shape[1])
    shift = max(1, len(places) - 1).bit_length()
    packed: np.ndarray = codes.astype(np.int32 if shift + (n_codes - 1).bit_length() < 32 else np.int64)
    packed <<= shift
    packed |= places.astype(packed.dtype)
    packed.sort(axis=1)
    return packed >> shift, packed & ((1 << shift) - 1)


def gram_codes(tokens: np.ndarray, length: int, base: int) -> np.ndarray:
    """Each window of ``length`` tokens as one number: (n, T) -> int64 (n, T-length+1).

    >>> gram_codes(np.array([[1, 2, 3]]), 2, 10).tolist()
    [[12, 23]]
    """
    m = tokens.shape[1] - length + 1
    codes = tokens[:, :m]
    for i in range(1, length):
        codes = codes * base + tokens[:, i : m + i]
    return codes
