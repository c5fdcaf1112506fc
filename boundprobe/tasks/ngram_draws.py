"""Layout, content and queries of n-gram retrieval: a query that occurs once, or twice in two of four bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boundprobe.tasks.base import IGNORE
from boundprobe.tasks.sampling import gram_codes, sort_with_places, uniform_integers


@dataclass(frozen=True)
class Layout:
    """Layout of a sequence; ``bos`` is the id of ``<bos>``, ``<query>`` is the next, content ids lie below."""

    seq_len: int
    n: int
    query_length: int
    is_suffix: bool
    bos: int

    @property
    def n_positions(self) -> int:
        """Tokens per sequence, L + n + 3."""
        return self.seq_len + self.n + 3

    @property
    def asked(self) -> int:
        """Place where the first target is asked."""
        return self.n_positions - self.n + self.query_length

    @property
    def x_at(self) -> int:
        """Place of x_1."""
        return 1 if self.is_suffix else self.query_length + 2

    @property
    def suffix_len(self) -> int:
        """Tokens after the cut: what asks, and the targets before the one that is asked."""
        return self.n - self.query_length + 1 + (self.query_length + 1 if self.is_suffix else 0)

    @property
    def markers(self) -> tuple[tuple[int, int], ...]:
        """Place and id of each marker."""
        bos, query, length, q = self.bos, self.bos + 1, self.seq_len, self.query_length
        if self.is_suffix:
            return ((0, bos), (length + 1, bos), (length + 2, query), (length + 3 + q, query))
        return ((0, query), (q + 1, bos), (q + 2 + length, bos), (q + 3 + length, query))

    def split(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views of x (n, L) and of the query (n, q)."""
        gram = self.seq_len + 3 if self.is_suffix else 1
        return tokens[:, self.x_at : self.x_at + self.seq_len], tokens[:, gram : gram + self.query_length]

    def finish(self, tokens: np.ndarray, start: np.ndarray) -> None:
        """Add markers, the query and what is told, where the n-gram that is asked for starts at ``start`` in x."""
        for place, marker in self.markers:
            tokens[:, place] = marker
        x, gram = self.split(tokens)
        row, q = np.arange(len(tokens)), self.query_length
        for i in range(q):
            gram[:, i] = x[row, start + i]
        for j in range(self.n - q - 1):
            tokens[:, self.asked + 1 + j] = x[row, start + q + j]

    def cut(self, tokens: np.ndarray, answers: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split ``tokens`` after x; suffix a of each row asks for ``answers[:, a]`` (n, n_suffixes, n-q).

        Suffix form: suffix a asks for the tokens after ``keys[a]``.  Prefix form: the query is in the prefix.
        """
        n_told, suffix_len = answers.shape[2] - 1, self.suffix_len
        suffixes = np.empty((len(tokens), answers.shape[1], suffix_len), np.int64)
        suffixes[...] = tokens[:, None, self.n_positions - suffix_len :]
        if self.is_suffix:
            suffixes[:, :, 2 : 2 + self.query_length] = keys
        suffixes[:, :, suffix_len - n_told :] = answers[:, :, :n_told]
        return tokens[:, : self.n_positions - suffix_len], suffixes

    def bins(self, tokens: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Quarter of x of the first occurrence of the query that ``answers`` (n, k) follow, -1 for none; (n,)."""
        x, gram = self.split(tokens)
        _, start = find_gram(x, np.concatenate([gram, answers], axis=1))
        quarter = np.searchsorted(np.arange(1, 4) * self.seq_len // 4, start, side="right")
        return np.where(start < 0, -1, quarter)

    def answer(self, tokens: np.ndarray, out: np.ndarray) -> None:
        """Fill ``out`` with the answers at every position of ``tokens``."""
        out[...] = IGNORE
        n_asked = min(tokens.shape[1], self.n_positions) - self.asked
        if n_asked <= 0:
            return
        x, gram = self.split(tokens)
        count, start = find_gram(x, gram)
        defined = (count == 1) & (start <= self.seq_len - self.n)
        defined &= (x < self.bos).all(axis=1)  # and so is the query, which is in x
        for place, marker in self.markers:
            defined &= tokens[:, place] == marker
        rows = np.flatnonzero(defined)
        for j in range(n_asked):
            out[rows, self.asked + j] = x[rows, start[rows] + self.query_length + j]


def find_gram(x: np.ndarray, gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count each ``gram`` (n, q) in its row of ``x`` (n, L), and find its first place, -1 for none.

    >>> [part.tolist() for part in find_gram(np.array([[1, 1, 1, 2], [1, 2, 3, 4]]), np.array([[1, 1], [4, 1]]))]
    [[2, 0], [0, -1]]
    """
    m = x.shape[1] - gram.shape[1] + 1
    match = x[:, :m] == gram[:, :1]
    for i in range(1, gram.shape[1]):
        match &= x[:, i : m + i] == gram[:, i : i + 1]
    first = match.argmax(axis=1)
    return np.count_nonzero(match, axis=1), np.where(match[np.arange(len(x)), first], first, -1)


def draw_once(x: np.ndarray, rng: np.random.Generator, vocab_size: int, n: int, query_length: int) -> np.ndarray:
    """Fill ``x`` (n_rows, L) uniformly; return a uniform place among those whose q-gram occurs once, (n_rows,).

    Only places with an n-gram count; where no q-gram occurs once the place is uniform among all of these.
    """
    x[...] = uniform_integers(rng, 0, vocab_size, x.shape)
    last = x.shape[1] - n
    code, place = sort_with_places(gram_codes(x, query_length, vocab_size), vocab_size**query_length)
    once = place <= last
    repeat = code[:, 1:] == code[:, :-1]
    once[:, 1:] &= ~repeat
    once[:, :-1] &= ~repeat
    count = np.count_nonzero(once, axis=1)
    wanted = rng.integers(0, np.maximum(count, 1))
    chosen = (np.cumsum(once, axis=1, dtype=np.int32) > wanted[:, None]).argmax(axis=1)
    anywhere = uniform_integers(rng, 0, last + 1, (len(x),))
    return np.where(count > 0, place[np.arange(len(x)), chosen], anywhere)


def draw_duplicates(
    x: np.ndarray, rng: np.random.Generator, vocab_size: int, n: int, query_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fill ``x`` (n_rows, L) so that a q-gram occurs exactly twice, in two of four bins; return both places.

    Bin b holds the places ``b L // 4`` to ``(b+1) L // 4 - 1``; each n-gram lies in its bin, and the tokens right
    after the two q-grams differ.  Everything else is uniform.  The places come in random order.
    """
    n_rows, length = x.shape
    edges = np.arange(5) * length // 4
    room = np.diff(edges) - n + 1
    places = np.empty((n_rows, 2), np.int64)
    redo = np.arange(n_rows)
    while len(redo):
        part = uniform_integers(rng, 0, vocab_size, (len(redo), length)).astype(np.int64)
        row = np.arange(len(redo))
        first_bin = uniform_integers(rng, 0, 4, (len(redo),))
        bins = np.stack([first_bin, (first_bin + uniform_integers(rng, 1, 4, (len(redo),))) % 4], axis=1)
        start = edges[bins] + rng.integers(0, room[bins])
        for i in range(query_length):
            part[row, start[:, 1] + i] = part[row, start[:, 0] + i]
        after = part[row, start[:, 0] + query_length] + uniform_integers(rng, 1, vocab_size, (len(redo),))
        part[row, start[:, 1] + query_length] = after % vocab_size
        gram = np.stack([part[row, start[:, 0] + i] for i in range(query_length)], axis=1)
        x[redo], places[redo] = part, start
        redo = redo[find_gram(part, gram)[0] != 2]
    return places[:, 0], places[:, 1]
