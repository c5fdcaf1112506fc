"""Multi-query associative recall (Arora et al. 2023): pairs of key and value, then keys in any order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_ANSWERS, MOST_TOKENS, check_integer
from boundprobe.tasks.base import (
    IGNORE,
    KEYS_ONCE,
    AbstractTask,
    Batch,
    CutBatch,
    PrefixDistribution,
    check_tokens,
    row_blocks,
)
from boundprobe.tasks.cases import Places, StateCase, WindowCase
from boundprobe.tasks.prefix_distributions import REPLACEMENT, PairStream
from boundprobe.tasks.sampling import answer_blocks, distinct_integers, recall, uniform_integers


@dataclass(frozen=True)
class MultiQueryRecall(AbstractTask):
    """Multi-query associative recall: at a key, the value of its last earlier pair.

    A pair is a key with a value right after it.  Undefined at other tokens, and where the key has had no pair.

    Parameters
    ----------
    n_pairs : int
        Pairs per sequence, N, at least 1.
    n_keys : int
        Number of key tokens, at least ``n_pairs``.
    n_values : int
        Number of value tokens, at least 2.
    seq_len : int
        Tokens per sequence, L, at least ``3 n_pairs`` (each pair, and its key once more), and at least
        ``2 n_pairs + gap + 1``.
    gap : int, in tokens
        Filler between the last pair and the query of the state-hard case, at least 0: further than a window sees.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Token ids: 0..n_keys-1 the keys, then the values, then one filler token.  Values are uniform throughout.
    Distributions: 'uniform' (pairs of N distinct uniform keys, then each of these keys once, in random order, at
    uniform places among filler; often no answer is asked at the end), 'state-hard' (filler, then the keys
    0..N-1 in random order, each with its value, then ``gap`` filler tokens, then one of these keys), 'window-hard'
    (pairs of N distinct uniform keys, then filler, then the key of the first pair), 'mixture' (each sequence one or
    the other of the last two, with probability 1/2).

    References
    ----------
    Arora et al. 2023, Zoology (arXiv 2312.04927); bound N log2 n_values: Cooper et al. 2026, Theorem 3.3.

    Examples
    --------
    Keys a, b are ids 0, 1; values x, y are 2, 3; filler is 4.  In "a y b x . b a" the keys ask for x and y:

    >>> import numpy as np
    >>> task = MultiQueryRecall(n_pairs=2, n_keys=2, n_values=2, seq_len=7)
    >>> task.answers(np.array([[0, 3, 1, 2, 4, 1, 0]])).tolist()
    [[-100, -100, -100, -100, -100, 2, 3]]
    >>> MultiQueryRecall().state_case().entropy_bits
    48.0
    >>> gapped = MultiQueryRecall(n_pairs=2, n_keys=2, n_values=2, seq_len=8, gap=3)
    >>> gapped.sample(1, np.random.default_rng(0), "state-hard").tokens.tolist()
    [[0, 3, 1, 3, 4, 4, 4, 0]]
    """

    name: ClassVar[str] = "mqar"
    cut_streams: ClassVar[tuple[str, ...]] = (KEYS_ONCE, REPLACEMENT)
    presets: ClassVar[dict[str, dict[str, object]]] = {
        # 8192 token ids, as in Zoology: there 0 is filler, 1..4095 are keys, 4096..8191 values.
        "paper": {"n_pairs": 4, "n_keys": 4095, "n_values": 4096, "seq_len": 64}
    }

    n_pairs: int = 8
    n_keys: int = 64
    n_values: int = 64
    seq_len: int = 64
    gap: int = 0

    def __post_init__(self) -> None:
        check_integer("n_pairs", self.n_pairs, 1, MOST_ANSWERS)
        why = f" (n_pairs is {self.n_pairs} and keys are distinct)"
        check_integer("n_keys", self.n_keys, self.n_pairs, 2**20, why=why)
        check_integer("n_values", self.n_values, 2, 2**20, why=" (one value alone is no answer)")
        check_integer("gap", self.gap, 0, MOST_TOKENS)
        shortest, why = 3 * self.n_pairs, f" ({self.n_pairs} pairs, and each key once more)"
        if self.gap >= self.n_pairs:  # in the state-hard case one key is asked for, after the gap
            shortest = 2 * self.n_pairs + self.gap + 1
            why = f" ({self.n_pairs} pairs, a gap of {self.gap} and a key)"
        check_integer("seq_len", self.seq_len, shortest, MOST_TOKENS, why=why)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, n_keys + n_values + 1."""
        return self.n_keys + self.n_values + 1

    @property
    def _filler(self) -> int:
        return self.n_keys + self.n_values

    @property
    def _gap(self) -> np.ndarray:
        return np.full(self.gap, self._filler)

    @property
    def queries(self) -> np.ndarray:
        """The keys of the state-hard case: int64 (n_pairs, 1)."""
        return np.arange(self.n_pairs)[:, None]

    @property
    def answer_values(self) -> np.ndarray:
        """The value tokens: int64 (n_values,)."""
        return np.arange(self.n_keys, self._filler)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined.

        >>> task = MultiQueryRecall(n_pairs=1, n_keys=2, n_values=2, seq_len=3)
        >>> task.answers(np.array([[0, 3, 0, 2, 0, 4, 0]])).tolist()
        [[-100, -100, 3, -100, 2, -100, 2]]
        """
        return answer_blocks(check_tokens(tokens, self.vocab_size), self._answer_block)

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        is_value = (tokens >= self.n_keys) & (tokens < self._filler)
        # Of all tokens with a value after them, only keys are asked about: others recall what is thrown away.
        value = np.full(tokens.shape, -1)
        np.copyto(value[:, :-1], tokens[:, 1:] - self.n_keys, where=is_value[:, 1:])
        out[...] = recall(tokens, value, self.vocab_size, self.n_values)
        out += self.n_keys * (out >= 0)
        np.copyto(out, IGNORE, where=tokens >= self.n_keys)

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from the definition; None where undefined.

        >>> MultiQueryRecall(n_pairs=1, n_keys=2, n_values=2, seq_len=3).reference_answer([0, 3, 0])
        3
        """
        words = [int(token) for token in tokens]
        found = None
        for key, value in itertools.pairwise(words):
            if key == words[-1] < self.n_keys <= value < self._filler:
                found = value
        return found

    def state_case(self) -> StateCase:
        """The value of each of N keys is independent and uniform: N log2 n_values bits.

        >>> MultiQueryRecall(n_pairs=4).state_case().zero_error_bits
        24.0
        """
        return StateCase.of_uniform_answers(
            self.n_pairs,
            self.n_values,
            theorem="Theorem 3.3 (Cooper et al. 2026) for multi-query recall (Arora et al. 2023)",
            forces=f"hold the value of each of {self.n_pairs} keys until the last token says which is wanted",
            places=Places(nearest=self.gap, n_blocks=self.n_pairs, block_len=2),
        )

    def window_case(self) -> WindowCase:
        """The only token that answers is the second; the key that asks is in sight at the end.

        >>> MultiQueryRecall().window_case().sensitivity_distance
        62
        """
        distance = self.seq_len - 2
        return WindowCase.of_one_token(
            self.seq_len,
            self.n_values,
            distance,
            theorem="Theorem 3.7 (Cooper et al. 2026) for multi-query recall (Arora et al. 2023)",
            forces=f"see or remember the value of the first pair, {distance} positions before the answer",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        draw = {
            "uniform": self._draw_uniform,
            "state-hard": self._draw_state_hard,
            "window-hard": self._draw_window_hard,
            "mixture": self._draw_mixture,
        }[distribution]
        tokens = np.empty((n_sequences, self.seq_len), np.int64)
        targets = np.full_like(tokens, IGNORE)
        for rows in row_blocks(n_sequences, self.seq_len, 2**15):
            draw(tokens[rows], targets[rows], rng)
        return Batch(tokens, targets)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes (n, L-1), the keys 0..N-1 as queries (N, 1), and all answers (n, N).

        >>> task = MultiQueryRecall(n_pairs=2, n_keys=2, n_values=2, seq_len=6)
        >>> cut = task.sample_cut(1, np.random.default_rng(0))
        >>> cut.prefix.tolist(), cut.queries.tolist(), cut.answers.tolist()
        ([[4, 0, 3, 1, 3]], [[0], [1]], [[3, 3]])
        """
        check_integer("n_sequences", n_sequences, 0)
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        places = np.empty((n_sequences, self.n_pairs), np.int64)
        for rows in row_blocks(*prefix.shape):
            self._draw_prefix(prefix[rows], rng, places[rows])
        answers = np.take_along_axis(prefix, places, axis=1)
        return CutBatch(prefix, self.queries, answers, places=places)

    def _other_stream(self, stream: str) -> PrefixDistribution:
        keys = np.arange(self.n_pairs)[:, None]
        theorem = "Theorem 3.3 (Cooper et al. 2026) for multi-query recall (Arora et al. 2023), keys with replacement"
        return PairStream(keys, self.answer_values, keys, np.array([self._filler]), self.prefix_len, theorem, self._gap)

    def _draw_prefix(self, prefix: np.ndarray, rng: np.random.Generator, places: np.ndarray) -> None:
        """Fill ``prefix`` (n, L-1): filler, pairs of keys 0..N-1, the gap; and ``places`` (n, N) of the values."""
        end = prefix.shape[1] - self.gap
        start = end - 2 * self.n_pairs
        order = rng.permuted(np.broadcast_to(np.arange(self.n_pairs), (len(prefix), self.n_pairs)), axis=1)
        prefix[:, :start] = prefix[:, end:] = self._filler
        prefix[:, start:end:2] = order
        prefix[:, start + 1 : end : 2] = uniform_integers(rng, self.n_keys, self._filler, order.shape)
        np.put_along_axis(places, order, np.arange(start + 1, end, 2)[None], axis=1)

    # Each _draw method fills ``tokens`` (n, L) and ``targets`` (n, L), which holds IGNORE.  The targets follow
    # from how the sequences are made, which is faster than looking them up.

    def _draw_uniform(self, tokens: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> None:
        keys, values = self._draw_pairs(tokens, rng)
        place = distinct_integers(rng, self.seq_len - 2 * self.n_pairs, keys.shape)
        place += 2 * self.n_pairs
        np.put_along_axis(tokens, place, keys, axis=1)
        np.put_along_axis(targets, place, values, axis=1)

    def _draw_state_hard(self, tokens: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> None:
        places, rows = np.empty((len(tokens), self.n_pairs), np.int64), np.arange(len(tokens))
        self._draw_prefix(tokens[:, :-1], rng, places)
        tokens[:, -1] = uniform_integers(rng, 0, self.n_pairs, (len(tokens),))
        targets[:, -1] = tokens[rows, places[rows, tokens[:, -1]]]

    def _draw_window_hard(self, tokens: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> None:
        keys, values = self._draw_pairs(tokens, rng)
        tokens[:, -1], targets[:, -1] = keys[:, 0], values[:, 0]

    def _draw_mixture(self, tokens: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> None:
        state_hard = rng.random(len(tokens)) < 0.5
        for rows, draw in ((state_hard, self._draw_state_hard), (~state_hard, self._draw_window_hard)):
            part, part_targets = tokens[rows], targets[rows]
            draw(part, part_targets, rng)
            tokens[rows], targets[rows] = part, part_targets

    def _draw_pairs(self, tokens: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Fill ``tokens`` with pairs of distinct keys, then filler; return keys and values (n, N) in place order."""
        n_pairs = self.n_pairs
        keys = distinct_integers(rng, self.n_keys, (len(tokens), n_pairs))
        values = uniform_integers(rng, self.n_keys, self._filler, keys.shape)
        tokens[:, : 2 * n_pairs : 2] = keys
        tokens[:, 1 : 2 * n_pairs : 2] = values
        tokens[:, 2 * n_pairs :] = self._filler
        return keys, values
