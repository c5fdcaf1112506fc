"""N-gram retrieval (arXiv 2603.02874): the tokens that followed q given ones, asked one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_TOKENS, check_integer, check_word
from boundprobe.tasks.base import DISTRIBUTIONS, AbstractTask, Batch, CutBatch, check_tokens, row_blocks
from boundprobe.tasks.cases import Places, StateCase, WindowCase
from boundprobe.tasks.ngram_draws import Layout, draw_duplicates, draw_once, find_gram
from boundprobe.tasks.sampling import (
    Draw,
    answer_blocks,
    draw_key_blocks,
    draw_mixture,
    key_grams,
    sample_blocks,
    uniform_integers,
)


@dataclass(frozen=True)
class NgramRetrieval(AbstractTask):
    """N-gram retrieval: the n-q tokens t that follow a q-gram g, where it occurs exactly once in x.

    Suffix form: ``<bos> x_1..x_L <bos> <query> g <query> t_1..t_{n-q-1}``; prefix form: ``<query> g <bos>
    x_1..x_L <bos> <query> t_1..t_{n-q-1}``.  The answers, asked at the last n-q positions, are t_1..t_{n-q}: a
    model is told the earlier targets (teacher forcing; on any sequence the answer is the token of x, whatever
    was told).  Undefined elsewhere, where the markers are not in their places, where g does not occur exactly
    once in x, and where fewer than n-q tokens of x follow it.

    Parameters
    ----------
    vocab_size : int
        Number of content tokens, V, at least 3; the two markers are not counted.
    n : int
        Tokens of query and target together, at least 2.
    query_length : int
        Tokens of the query, q, from 1 to n - 1, with ``V^q < 2^40``.
    seq_len : int
        Tokens of x, L, at least n; sequences are longer by n + 3.
    form : str
        'suffix' or 'prefix': where the query stands.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Token ids: 0..V-1 content, V ``<bos>``, V+1 ``<query>``.  Distributions: 'uniform' (x uniform, the query
    uniform among places where it occurs once; a sequence with no such place has no answers), 'state-hard' (x is
    uniform value tokens, then ``n_grams`` fixed q-grams of key tokens in random order, each with n-q uniform
    values; one of them is asked), 'window-hard' (a uniform key q-gram first, then uniform values), 'mixture'
    (each sequence one or the other, with probability 1/2), and 'duplicate-query' (x uniform, but the query
    occurs twice, in two of four bins, with different next tokens: no answer is defined; see ``answer_bins``).

    References
    ----------
    Retrievit, arXiv 2603.02874.

    Examples
    --------
    With 4 content tokens a..d, 4 is <bos> and 5 <query>.  In "d a b c" the 2-gram "d a" is followed by b, c:

    >>> import numpy as np
    >>> task = NgramRetrieval(vocab_size=4, n=4, query_length=2, seq_len=4)
    >>> task.answers(np.array([[4, 3, 0, 1, 2, 4, 5, 3, 0, 5, 1]]))[0, -3:].tolist()
    [-100, 1, 2]
    >>> [round(NgramRetrieval(form=form).state_case().entropy_bits, 2) for form in ("suffix", "prefix")]
    [169.22, 14.1]
    """

    name: ClassVar[str] = "ngram-retrieval"
    distributions: ClassVar[tuple[str, ...]] = (*DISTRIBUTIONS, "duplicate-query")
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {"vocab_size": 30, "n": 5, "query_length": 2, "seq_len": 100, "form": "suffix"}
    }

    vocab_size: int = 30
    n: int = 5
    query_length: int = 2
    seq_len: int = 64
    form: str = "suffix"

    def __post_init__(self) -> None:
        check_integer("vocab_size", self.vocab_size, 3, 2**30, why=" (a key token and two values)")
        check_integer("n", self.n, 2, 2**20, why=" (a query and a target)")
        longest = min(self.n - 1, int(39.999 / math.log2(self.vocab_size)))
        why = f" (n is {self.n}, and vocab_size {self.vocab_size} to its power stays below 2^40)"
        check_integer("query_length", self.query_length, 1, longest, why=why)
        check_integer("seq_len", self.seq_len, self.n, MOST_TOKENS, why=f" (n is {self.n})")
        check_word("form", self.form, ("suffix", "prefix"))

    @property
    def n_token_ids(self) -> int:
        """Number of token ids, V + 2."""
        return self.vocab_size + 2

    @property
    def n_positions(self) -> int:
        """Tokens per sequence, L + n + 3."""
        return self.seq_len + self.n + 3

    @property
    def n_targets(self) -> int:
        """Tokens asked for, n - q."""
        return self.n - self.query_length

    answers_per_sequence = n_targets

    @property
    def split(self) -> int:
        """Number of key tokens in the hard cases, K: maximises ``n_grams * log2(V-K)``; values are the others."""
        most = min(self.vocab_size - 2, self.seq_len // self.n)  # more key tokens make no more key grams
        return max(range(1, most + 1), key=lambda k: self._n_grams(k) * math.log2(self.vocab_size - k))

    def _n_grams(self, n_key_tokens: int) -> int:
        return int(min(n_key_tokens**self.query_length, self.seq_len // self.n))

    @property
    def n_grams(self) -> int:
        """Number of key q-grams in the state-hard case, as many as there are and fit: ``min(K^q, floor(L / n))``."""
        return self._n_grams(self.split)

    @property
    def _keys(self) -> np.ndarray:
        return key_grams(self.split, self.query_length, self.n_grams)

    @property
    def _layout(self) -> Layout:
        return Layout(self.seq_len, self.n, self.query_length, self.form == "suffix", self.vocab_size)

    @property
    def queries(self) -> np.ndarray:
        """No rows, as a query holds the targets before the one that is asked: int64 (0, suffix_len)."""
        return np.empty((0, self._layout.suffix_len), np.int64)

    @property
    def answer_values(self) -> np.ndarray:
        """The value tokens of the hard cases: int64 (V - K,)."""
        return np.arange(self.split, self.vocab_size)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined."""
        return answer_blocks(check_tokens(tokens, self.n_token_ids), self._layout.answer)

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from the definition; None where undefined.

        >>> task = NgramRetrieval(vocab_size=4, n=4, query_length=2, seq_len=4)
        >>> task.reference_answer([4, 3, 0, 1, 2, 4, 5, 3, 0, 5])
        1
        """
        words, bos, query, q = [int(t) for t in tokens], self.vocab_size, self.vocab_size + 1, self.query_length
        told = len(words) - (self.seq_len + q + 4)
        if not 0 <= told < self.n_targets:
            return None
        if self.form == "suffix":
            x, gram = words[1 : self.seq_len + 1], words[self.seq_len + 3 : self.seq_len + 3 + q]
            shape = [bos, *x, bos, query, *gram, query]
        else:
            x, gram = words[q + 2 : q + 2 + self.seq_len], words[1 : q + 1]
            shape = [query, *gram, bos, *x, bos, query]
        starts = [i for i in range(self.seq_len - q + 1) if x[i : i + q] == gram]
        well_formed = words[: len(shape)] == shape and max(x + gram) < self.vocab_size
        if not well_formed or len(starts) != 1 or starts[0] > self.seq_len - self.n:
            return None
        return x[starts[0] + q + told]

    def state_case(self) -> StateCase:
        """Suffix form: all values after all key q-grams, ``n_grams (n-q) log2(V-K)`` bits.  Prefix form: of one.

        >>> NgramRetrieval(vocab_size=5, n=3, seq_len=12).state_case().zero_error_bits
        6.339850002884624
        """
        suffix = self.form == "suffix"
        n_answers = self.n_targets * (self.n_grams if suffix else 1)
        return StateCase.of_uniform_answers(
            n_answers,
            self.vocab_size - self.split,
            theorem="Theorem 3.3 (Cooper et al. 2026) for n-gram retrieval (arXiv 2603.02874), by the chain rule",
            forces=f"hold {self.n_targets} tokens after each of {self.n_grams} keys until the query says which"
            if suffix
            else f"hold {self.n_targets} tokens after the one key that was asked for at the start",
            # In the prefix form the one key is anywhere among the others.
            places=Places(0, self.n_grams, self.n, self.n_targets) if suffix or self.n_grams == 1 else None,
        )

    def window_case(self) -> WindowCase:
        """The last target follows the key q-gram in first place of x, and nothing else tells it.

        >>> [NgramRetrieval(form=form).window_case().sensitivity_distance for form in ("suffix", "prefix")]
        [66, 63]
        """
        distance = self.n_positions - self._layout.x_at - self.n
        return WindowCase.of_one_token(
            self.n_positions,
            self.vocab_size - self.split,
            distance,
            theorem="Theorem 3.7 (Cooper et al. 2026) for n-gram retrieval (arXiv 2603.02874)",
            forces=f"see or remember the n-gram in first place, its end {distance} positions before the answer",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        """All answers in every sequence of the hard halves; 'duplicate-query' asks for none (see ``answer_bins``).

        Raises
        ------
        ValueError
            For 'duplicate-query' where x has no room for it (``seq_len < 4 n``) or other repeats would be common
            (``vocab_size ** query_length < seq_len``).
        """
        draws: dict[str, Draw] = {
            "uniform": self._draw_uniform,
            "state-hard": self._draw_state_hard,
            "window-hard": self._draw_window_hard,
            "mixture": partial(draw_mixture, first=self._draw_state_hard, second=self._draw_window_hard),
            "duplicate-query": self._draw_duplicates,
        }
        if distribution == "duplicate-query":
            why = " for duplicate-query (an n-gram in each quarter)"
            check_integer("seq_len", self.seq_len, 4 * self.n, self.vocab_size**self.query_length, why=why)
        return sample_blocks(n_sequences, self.n_positions, rng, draws[distribution], self._layout.answer)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes, what follows each for every key q-gram, and all answers.

        What asks for a target holds the ones before it, so it differs from prefix to prefix: see ``CutBatch``
        for why the bounds hold.  Suffix form: prefixes (n, L+1), suffixes (n, n_grams, n+2), answers
        (n, n_grams * (n-q)), q-gram by q-gram.  Prefix form: (n, q+L+2), (n, 1, n-q+1) and (n, n-q).

        >>> task = NgramRetrieval(vocab_size=4, n=4, query_length=2, seq_len=4)
        >>> cut = task.sample_cut(1, np.random.default_rng(0))
        >>> cut.prefix.tolist(), cut.suffixes.tolist(), cut.answers.tolist()
        ([[4, 0, 0, 2, 1]], [[[4, 5, 0, 0, 5, 2]]], [[2, 1]])
        """
        check_integer("n_sequences", n_sequences, 0)
        keys, suffix = self._keys, self.form == "suffix"
        parts = []
        for rows in row_blocks(n_sequences, self.n_positions) if n_sequences else [slice(0, 0)]:
            tokens = np.empty((rows.stop - rows.start, self.n_positions), np.int64)
            places, key = self._draw_state_hard(tokens, rng)
            places = places if suffix else places[np.arange(len(key)), key][:, None]
            flat = places.reshape(len(key), math.prod(places.shape[1:]))
            answers = np.take_along_axis(tokens, flat, axis=1)
            parts.append((*self._layout.cut(tokens, answers.reshape(places.shape), keys), answers, flat))
        prefix, suffixes, all_answers, all_places = (np.concatenate(part) for part in zip(*parts, strict=True))
        return CutBatch(prefix, self.queries, all_answers, suffixes, all_places)

    def _draw_uniform(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        self._layout.finish(
            tokens, draw_once(self._layout.split(tokens)[0], rng, self.vocab_size, self.n, self.query_length)
        )

    def _draw_state_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Fill ``tokens``; return the places (n, n_grams, n-q) of each key's values, and which key is asked (n,)."""
        keys, x = self._keys, self._layout.split(tokens)[0]
        values = range(self.split, self.vocab_size)
        after = draw_key_blocks(x, rng, keys, self.n_targets, values).reshape(len(x), len(keys), self.n_targets)
        after += self._layout.x_at
        key = uniform_integers(rng, 0, len(keys), (len(x),))
        self._layout.finish(tokens, find_gram(x, keys[key])[1])
        return after, key

    def _draw_window_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        x, keys = self._layout.split(tokens)[0], self._keys
        x[...] = uniform_integers(rng, self.split, self.vocab_size, x.shape)
        x[:, : self.query_length] = keys[uniform_integers(rng, 0, len(keys), (len(x),))]
        self._layout.finish(tokens, np.zeros(len(x), np.int64))

    def _draw_duplicates(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        x = self._layout.split(tokens)[0]
        self._layout.finish(tokens, draw_duplicates(x, rng, self.vocab_size, self.n, self.query_length)[0])

    def answer_bins(self, tokens: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Quarter of x, 0 to 3, that each answer comes from, (n,); -1 where it follows no occurrence of the query.

        ``tokens`` (n, n_positions) are such as 'duplicate-query' draws; ``answers`` (n, k) are the first k,
        1 to n-q, that a model returned.

        >>> task = NgramRetrieval(vocab_size=9, n=3, seq_len=12)
        >>> batch = task.sample(1, np.random.default_rng(0), "duplicate-query")
        >>> batch.tokens[0, 1:13].tolist(), batch.tokens[0, 15:17].tolist()
        ([6, 5, 4, 5, 8, 2, 7, 6, 0, 6, 5, 1], [6, 5])
        >>> task.answer_bins(np.repeat(batch.tokens, 3, axis=0), np.array([[4], [1], [2]])).tolist()
        [0, 3, -1]
        """
        return self._layout.bins(check_tokens(tokens, self.n_token_ids), answers)
