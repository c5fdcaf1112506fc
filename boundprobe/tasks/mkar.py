"""Multi-key associative recall (Cooper et al. 2026, Def. 5.1): what followed the last q tokens before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_TOKENS, check_integer
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
from boundprobe.tasks.prefix_distributions import REPLACEMENT, TOKENS, PairStream, TokenStream
from boundprobe.tasks.sampling import (
    Draw,
    answer_blocks,
    draw_key_blocks,
    draw_mixture,
    gram_codes,
    key_grams,
    recall,
    sample_blocks,
    uniform_integers,
)


@dataclass(frozen=True)
class MultiKeyRecall(AbstractTask):
    """Multi-key associative recall: the token after the last earlier occurrence of the last q tokens.

    ``y_t = x_{i+1}``, i the largest i < t with ``x_{i-q+1..i} = x_{t-q+1..t}``.  The two occurrences may
    overlap (Def. 5.1 does not say; only ``i < t`` is asked).  Undefined where the last q tokens are new.

    Parameters
    ----------
    vocab_size : int
        Number of tokens, V, at least 3.
    key_length : int
        Tokens of the query, q, at least 1, with ``V^(q+1) < 2^40``.
    n_key_tokens : int or None
        K: in the hard cases keys are the K^q words over tokens 0..K-1, values the other V-K tokens; at most
        V - 2.  None takes the K that maximises ``K^q log2(V-K)`` among those that fit into seq_len with the gap.
    seq_len : int
        Tokens per sequence, L, at least ``(q+1) K^q + q + gap`` (each key with its value, the gap, and the query).
    gap : int, in tokens
        Filler between the last value and the query of the state-hard case, at least 0: further than a window sees.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Distributions: 'uniform' (every token uniform; sequences without an answer at the end may occur),
    'state-hard' (uniform value tokens, then each key once in random order, each followed by a uniform value,
    then the first value token, K, ``gap`` times, then a uniform key), 'window-hard' (a uniform key and the value
    first, then uniform value tokens, then the key again), 'mixture' (each sequence one or the other, with
    probability 1/2).

    References
    ----------
    Cooper et al. 2026, Def. 5.1; sizes in Appendix E.1.

    Examples
    --------
    In "a b c a b" the last two tokens occurred before, and c (id 2) followed them:

    >>> import numpy as np
    >>> task = MultiKeyRecall(vocab_size=3, seq_len=5)
    >>> task.answers(np.array([[0, 1, 2, 0, 1]])).tolist()
    [[-100, -100, -100, -100, 2]]
    >>> task = MultiKeyRecall()
    >>> task.n_keys, round(task.state_case().entropy_bits, 2)
    (25, 39.62)
    """

    name: ClassVar[str] = "mkar"
    cut_streams: ClassVar[tuple[str, ...]] = (KEYS_ONCE, REPLACEMENT, TOKENS)
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"vocab_size": 8, "key_length": 2, "seq_len": 100}}

    vocab_size: int = 8
    key_length: int = 2
    n_key_tokens: int | None = None
    seq_len: int = 100
    gap: int = 0

    def __post_init__(self) -> None:
        check_integer("vocab_size", self.vocab_size, 3, 2**19, why=" (a key token and two values)")
        longest = int(39.999 / math.log2(self.vocab_size)) - 1
        why = f" (vocab_size {self.vocab_size} to the power of key_length + 1 stays below 2^40)"
        check_integer("key_length", self.key_length, 1, longest, why=why)
        if self.n_key_tokens is not None:
            why = f" (vocab_size is {self.vocab_size}, two of them values); lower n_key_tokens, or none for the best"
            check_integer("n_key_tokens", self.n_key_tokens, 1, self.vocab_size - 2, why=why)
        check_integer("gap", self.gap, 0, MOST_TOKENS)
        shortest = self._shortest(self.n_key_tokens or 1)
        between = f", a gap of {self.gap}" if self.gap else ""
        why = f" ({(self.n_key_tokens or 1) ** self.key_length} keys, their values{between}, and a query)"
        check_integer("seq_len", self.seq_len, shortest, MOST_TOKENS, why=why)

    def _shortest(self, n_key_tokens: int) -> int:
        return (self.key_length + 1) * int(n_key_tokens**self.key_length) + self.gap + self.key_length

    @property
    def split(self) -> int:
        """Number of key tokens in the hard cases, K: the parameter, or the best that fits."""
        if self.n_key_tokens is not None:
            return self.n_key_tokens
        # Beyond the least K that does not fit, none does.
        most = int((self.seq_len / (self.key_length + 1)) ** (1 / self.key_length)) + 1
        fit = [k for k in range(1, min(self.vocab_size - 2, most) + 1) if self._shortest(k) <= self.seq_len]
        return max(fit, key=lambda k: k**self.key_length * math.log2(self.vocab_size - k))

    @property
    def n_keys(self) -> int:
        """Number of keys in the hard cases, K^q."""
        return int(self.split**self.key_length)

    @property
    def queries(self) -> np.ndarray:
        """Every key once: int64 (n_keys, key_length)."""
        return self._keys()

    @property
    def answer_values(self) -> np.ndarray:
        """The value tokens of the hard cases: int64 (V - K,)."""
        return np.array(self._values)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined.

        >>> MultiKeyRecall(key_length=1).answers(np.array([[0, 0, 1, 0]])).tolist()
        [[-100, 0, -100, 1]]
        """
        return answer_blocks(check_tokens(tokens, self.vocab_size), self._answer_block)

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        q, base = self.key_length, self.vocab_size
        out[:, : q - 1] = IGNORE
        if tokens.shape[1] >= q:
            follower = np.full((len(tokens), tokens.shape[1] - q + 1), -1)
            follower[:, :-1] = tokens[:, q:]
            out[:, q - 1 :] = recall(gram_codes(tokens, q, base), follower, base**q, base)

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from Def. 5.1; None where undefined.

        >>> MultiKeyRecall().reference_answer([0, 1, 2, 0, 1, 3, 0, 1])
        3
        """
        words = [int(token) for token in tokens]
        query = words[-self.key_length :]
        for end in range(len(words) - 1, self.key_length - 1, -1):
            if words[end - self.key_length : end] == query:
                return words[end]
        return None

    def state_case(self) -> StateCase:
        """Each key's value is independent and uniform over V-K tokens: K^q log2(V-K) bits.

        >>> MultiKeyRecall(vocab_size=4, seq_len=16).state_case().zero_error_bits
        4.0
        """
        return StateCase.of_uniform_answers(
            self.n_keys,
            self.vocab_size - self.split,
            theorem="Theorem 3.3 for Def. 5.1 (Cooper et al. 2026)",
            forces=f"hold what followed each of {self.n_keys} keys until the last {self.key_length} tokens ask for one",
            places=Places(nearest=self.gap, n_blocks=self.n_keys, block_len=self.key_length + 1),
        )

    def window_case(self) -> WindowCase:
        """The only token that answers follows the first q; the query is in sight at the end.

        >>> MultiKeyRecall().window_case().sensitivity_distance
        97
        """
        distance = self.seq_len - 1 - self.key_length
        return WindowCase.of_one_token(
            self.seq_len,
            self.vocab_size - self.split,
            distance,
            theorem="Theorem 3.7 for Def. 5.1 (Cooper et al. 2026)",
            forces=f"see or remember the token after the first key, {distance} positions before the answer",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        draws: dict[str, Draw] = {
            "uniform": self._draw_uniform,
            "state-hard": self._draw_state_hard,
            "window-hard": self._draw_window_hard,
            "mixture": partial(draw_mixture, first=self._draw_state_hard, second=self._draw_window_hard),
        }
        return sample_blocks(n_sequences, self.seq_len, rng, draws[distribution], self._answer_block)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes (n, L-q), every key as a query (K^q, q), and all answers (n, K^q).

        >>> task = MultiKeyRecall(vocab_size=4, seq_len=5, n_key_tokens=1)
        >>> cut = task.sample_cut(1, np.random.default_rng(0))
        >>> cut.prefix.tolist(), cut.queries.tolist(), cut.answers.tolist()
        ([[0, 0, 2]], [[0, 0]], [[2]])
        """
        check_integer("n_sequences", n_sequences, 0)
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        places = np.empty((n_sequences, self.n_keys), np.int64)
        keys = self._keys()
        end = self.prefix_len - self.gap
        prefix[:, end:] = self.split
        for rows in row_blocks(*prefix.shape):
            places[rows] = draw_key_blocks(prefix[rows, :end], rng, keys, 1, self._values)
        return CutBatch(prefix, self.queries, np.take_along_axis(prefix, places, axis=1), places=places)

    def _other_stream(self, stream: str) -> PrefixDistribution:
        length = self.prefix_len
        if stream == TOKENS:
            why = f"; in the stream {TOKENS!r} every token is a key: set key_length to 1"
            check_integer("key_length", self.key_length, 1, 1, why=why)
            check_integer("gap", self.gap, 0, 0, why=f"; in the stream {TOKENS!r} every token is a key: set gap to 0")
            return TokenStream(self.vocab_size, length, "Theorem 3.3 for Def. 5.1 (Cooper et al. 2026), uniform tokens")
        # A value stands between two keys, so that no q-gram of key tokens reaches from one into the next.
        keys, values = self._keys(), self.answer_values
        theorem = "Theorem 3.3 for Def. 5.1 (Cooper et al. 2026), keys with replacement"
        return PairStream(keys, values, keys, values, length, theorem, np.full(self.gap, self.split))

    @property
    def _values(self) -> range:
        return range(self.split, self.vocab_size)

    def _keys(self) -> np.ndarray:
        return key_grams(self.split, self.key_length)

    def _draw_uniform(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        tokens[...] = uniform_integers(rng, 0, self.vocab_size, tokens.shape)

    def _draw_state_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        keys = self._keys()
        end = self.prefix_len - self.gap
        draw_key_blocks(tokens[:, :end], rng, keys, 1, self._values)
        tokens[:, end : self.prefix_len] = self.split
        tokens[:, self.prefix_len :] = keys[uniform_integers(rng, 0, len(keys), (len(tokens),))]

    def _draw_window_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        # Only values in between, so that the first key stands nowhere else.
        tokens[...] = uniform_integers(rng, self.split, self.vocab_size, tokens.shape)
        key = uniform_integers(rng, 0, self.split, (len(tokens), self.key_length))
        tokens[:, : self.key_length] = tokens[:, -self.key_length :] = key
