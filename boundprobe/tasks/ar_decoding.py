"""Associative recall with decoding (Cooper et al. 2026, Def. 4.4): the last bits spell the word to recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_TOKENS, check_integer, check_number
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
from boundprobe.tasks.sampling import uniform_integers

_FIRST_WORD = 2  # ids 0 and 1 are the bits
_GAP_WORD = _FIRST_WORD + 1  # the first value


@dataclass(frozen=True)
class AssociativeRecallDecoding(AbstractTask):
    """Associative recall with decoding: the word after the last occurrence of the word that b bits spell.

    ``w = sum_i 2^(b-i) bit_i`` over the last b bits seen (words between them do not count; the first bit
    is the most significant).  The answer is the word that follows the last occurrence of w among the words
    seen (bits between them do not count).  Undefined with fewer than b bits, where w never occurred, and
    where its last occurrence is the last word so far.

    Parameters
    ----------
    word_bits : int
        Bits that name a word, b, 2 to 16; there are W = 2^b words, the even ones keys and the odd ones values
        in the hard cases, m = W/2 of each.
    seq_len : int
        Tokens per sequence, L, at least W + b + gap (each key with its value, the gap, and the bits).
    bit_probability : float
        For 'uniform' only: the probability that a position holds a bit, strictly between 0 and 1; bits and
        words are uniform.
    gap : int, in tokens
        Filler between the last value and the bits of the state-hard case, at least 0: further than a window sees.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Token ids: 0 and 1 the bits, ``2 + w`` word w.  Distributions: 'uniform' (sequences without an answer at
    the end may occur), 'state-hard' (uniform value words, then each key once in random order, each followed
    by a uniform value, then word 1 ``gap`` times, then the bits of a uniform key), 'window-hard' (the bits come
    first, and there is no gap), 'mixture' (each sequence one or the other, with probability 1/2).  Word 1 is a value,
    which no bits of a hard case name.

    References
    ----------
    Cooper et al. 2026, Def. 4.4 and Theorem 4.5.

    Examples
    --------
    With two bits, words 0..3 are ids 2..5.  In "w2 w1 w2 bit-1 w3 bit-0" the bits spell 10, word 2; its last
    occurrence is the second one, and word 3 (id 5) follows it:

    >>> import numpy as np
    >>> task = AssociativeRecallDecoding(word_bits=2, seq_len=6)
    >>> task.answers(np.array([[4, 3, 4, 1, 5, 0]])).tolist()
    [[-100, -100, -100, -100, -100, 5]]
    >>> AssociativeRecallDecoding().state_case().entropy_bits
    64.0
    """

    name: ClassVar[str] = "ar-decoding"
    cut_streams: ClassVar[tuple[str, ...]] = (KEYS_ONCE, REPLACEMENT)
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {"word_bits": 5, "seq_len": 100, "bit_probability": 0.2}
    }

    word_bits: int = 5
    seq_len: int = 100
    bit_probability: float = 0.2
    gap: int = 0

    def __post_init__(self) -> None:
        check_integer("word_bits", self.word_bits, 2, 16)
        check_integer("gap", self.gap, 0, MOST_TOKENS)
        between = f", a gap of {self.gap}" if self.gap else ""
        why = f" ({self.n_words} words once each{between} and {self.word_bits} bits)"
        check_integer("seq_len", self.seq_len, self.n_words + self.gap + self.word_bits, MOST_TOKENS, why=why)
        check_number("bit_probability", self.bit_probability, above=0, below=1, why="; take e.g. 0.2")

    @property
    def n_words(self) -> int:
        """Number of words, W = 2^word_bits."""
        return 1 << self.word_bits

    @property
    def n_keys(self) -> int:
        """Number of keys, and of values, in the hard cases: m = W/2."""
        return self.n_words // 2

    @property
    def vocab_size(self) -> int:
        """Number of token ids, W + 2."""
        return self.n_words + _FIRST_WORD

    @property
    def queries(self) -> np.ndarray:
        """The bits of every key, first bit most significant: int64 (n_keys, word_bits)."""
        return self._bits(np.arange(self.n_keys))

    @property
    def answer_values(self) -> np.ndarray:
        """The odd words: int64 (m,)."""
        return 2 * np.arange(self.n_keys) + _FIRST_WORD + 1

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, L) -> int64 (n, L), ``IGNORE`` where undefined.

        >>> AssociativeRecallDecoding(word_bits=2, seq_len=6).answers(np.array([[0, 0, 2, 3, 2]])).tolist()
        [[-100, -100, -100, 3, -100]]
        """
        tokens = check_tokens(tokens, self.vocab_size)
        out = np.empty(tokens.shape, np.int64)
        # With long sequences still many rows at once, as each position costs the same few calls.
        length = tokens.shape[1]
        for rows in row_blocks(len(tokens), length, max(2**18, 256 * length)):
            self._answer_block(tokens[rows], out[rows])
        return out

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        """One pass over the positions; each row keeps a table: word -> the word after its last occurrence.

        The tables are one flat array.  A row's columns 0 and 1, where the bits' ids point, are scratch:
        writes that a bit must not make go there, which spares every branch.
        """
        n = len(tokens)
        successor = np.full(n * self.vocab_size, IGNORE, np.int32)
        scratch = np.arange(n) * self.vocab_size
        previous = scratch.copy()  # slot of the last word seen
        code = np.zeros(n, np.int64)
        n_bits = np.zeros(n, np.int64)
        for t, token in enumerate(np.ascontiguousarray(tokens.T)):
            is_word = token >= _FIRST_WORD
            slot = scratch + token
            successor[np.where(is_word, previous, scratch)] = token
            successor[slot] = IGNORE  # the newest word has no successor yet, whatever followed it before
            previous = np.where(is_word, slot, previous)
            code = np.where(is_word, code, ((code << 1) | token) & (self.n_words - 1))
            n_bits += ~is_word
            answer = successor.take(scratch + _FIRST_WORD + code)
            out[:, t] = np.where(n_bits >= self.word_bits, answer, IGNORE)

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from Def. 4.4; None where undefined.

        >>> AssociativeRecallDecoding(word_bits=2, seq_len=6).reference_answer([0, 0, 2, 3])
        3
        """
        bits = [int(token) for token in tokens if token < 2]
        words = [int(token) - 2 for token in tokens if token >= 2]
        if len(bits) < self.word_bits:
            return None
        named = int("".join(str(bit) for bit in bits[-self.word_bits :]), base=2)
        places = [place for place, word in enumerate(words) if word == named]
        if not places or places[-1] == len(words) - 1:
            return None
        return 2 + words[places[-1] + 1]

    def state_case(self) -> StateCase:
        """Each key's value is independent and uniform over m values: m log2 m bits.

        >>> AssociativeRecallDecoding(word_bits=3).state_case().zero_error_bits
        8.0
        """
        return StateCase.of_uniform_answers(
            self.n_keys,
            self.n_keys,
            theorem="Theorem 4.5 via Theorem 3.3 (Cooper et al. 2026)",
            forces=f"hold the value of each of {self.n_keys} keys until the last bits say which is wanted",
            places=Places(nearest=self.gap, n_blocks=self.n_keys, block_len=2),
        )

    def window_case(self) -> WindowCase:
        """The first b bits pick one of m values at the end.

        Keys are even words, so the last bit is always 0: j hidden bits leave 2^j keys, all b leave 2^(b-1).

        >>> AssociativeRecallDecoding(word_bits=3).window_case().candidates_if_blind_to
        (2, 4, 4)
        """
        b = self.word_bits
        return WindowCase(
            seq_len=self.seq_len,
            n_values=self.n_keys,
            control_distances=tuple(self.seq_len - 1 - i for i in range(b)),
            candidates_if_blind_to=tuple(2 ** min(j, b - 1) for j in range(1, b + 1)),
            candidate_distances=tuple(range(0, 2 * self.n_keys, 2)),
            theorem="Theorem 4.5 via Theorem 3.7 (Cooper et al. 2026)",
            forces=f"see or remember the first token, {self.seq_len - 1} positions before the answer",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        tokens = np.empty((n_sequences, self.seq_len), np.int64)
        targets = np.empty_like(tokens)
        for rows in row_blocks(n_sequences, self.seq_len):
            if distribution == "uniform":
                self._draw_uniform(tokens[rows], rng)
                self._answer_block(tokens[rows], targets[rows])
            else:
                self._draw_hard(tokens[rows], targets[rows], rng, distribution)
        return Batch(tokens, targets)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes (n, L-b), the bits of every key as queries (m, b), and all answers (n, m).

        >>> task = AssociativeRecallDecoding(word_bits=2, seq_len=6)
        >>> cut = task.sample_cut(1, np.random.default_rng(0))
        >>> cut.queries.tolist(), cut.prefix.shape, cut.answers.shape
        ([[0, 0], [1, 0]], (1, 4), (1, 2))
        """
        check_integer("n_sequences", n_sequences, 0)
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        places = np.empty((n_sequences, self.n_keys), np.int64)
        end = self.prefix_len - self.gap
        prefix[:, end:] = _GAP_WORD
        at = np.arange(end - 2 * self.n_keys + 1, end, 2)
        for rows in row_blocks(*prefix.shape):
            np.put_along_axis(places[rows], self._draw_words(prefix[rows, :end], rng), at[None], axis=1)
        answers = np.take_along_axis(prefix, places, axis=1)
        return CutBatch(prefix, self.queries, answers, places=places)

    def _other_stream(self, stream: str) -> PrefixDistribution:
        keys = np.arange(self.n_keys)
        theorem = "Theorem 4.5 via Theorem 3.3 (Cooper et al. 2026), keys with replacement"
        words, values = 2 * keys[:, None] + _FIRST_WORD, self.answer_values
        return PairStream(
            words, values, self._bits(keys), values, self.prefix_len, theorem, np.full(self.gap, _GAP_WORD)
        )

    def _bits(self, key: np.ndarray) -> np.ndarray:
        """The bits (n, b), most significant first, of the words ``2 * key``."""
        return (2 * key[:, None] >> np.arange(self.word_bits - 1, -1, -1)) & 1

    def _draw_uniform(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        is_bit = rng.random(tokens.shape) < self.bit_probability
        tokens[...] = uniform_integers(rng, _FIRST_WORD, self.vocab_size, tokens.shape)
        tokens[is_bit] = uniform_integers(rng, 0, 2, (int(is_bit.sum()),))

    def _draw_words(self, words: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Fill ``words`` (n, up to L-b) with filler and pairs; return the order (n, m) of the keys, 0..m-1."""
        # Filler is value words: it can hold no key, so each key occurs once, before its own value.
        words[...] = uniform_integers(rng, 0, self.n_keys, words.shape)
        words *= 2
        words += _FIRST_WORD + 1
        order = rng.permuted(np.broadcast_to(np.arange(self.n_keys), (len(words), self.n_keys)), axis=1)
        words[:, -2 * self.n_keys :: 2] = 2 * order + _FIRST_WORD
        return order

    def _draw_hard(self, tokens: np.ndarray, targets: np.ndarray, rng: np.random.Generator, distribution: str) -> None:
        """Fill a block with hard sequences; the targets follow from how they are made, no look-up needed."""
        n, b = len(tokens), self.word_bits
        bits_last = {
            "state-hard": np.ones(n, bool),
            "window-hard": np.zeros(n, bool),
            "mixture": rng.random(n) < 0.5,
        }[distribution]
        words = np.empty((n, self.seq_len - b), np.int64)
        order = self._draw_words(words, rng)
        key = uniform_integers(rng, 0, self.n_keys, (n,)).astype(np.int64)
        tokens[bits_last, :-b], tokens[bits_last, -b:] = words[bits_last], self._bits(key[bits_last])
        if self.gap:  # it takes the place of as much filler in front
            tokens[bits_last, : -b - self.gap] = words[bits_last, self.gap :]
            tokens[bits_last, -b - self.gap : -b] = _GAP_WORD
        first = ~bits_last
        tokens[first, b:], tokens[first, :b] = words[first], self._bits(key[first])
        # The answer is defined from the wanted value's place on, or only at the end if the bits come last.
        pair = (order == key[:, None]).argmax(axis=1)
        value_at = words.shape[1] - 2 * self.n_keys + 1 + 2 * pair
        defined_from = np.where(bits_last, self.seq_len - 1, value_at + b)
        answer = words[np.arange(n), value_at]
        targets[...] = np.where(np.arange(self.seq_len) >= defined_from[:, None], answer[:, None], IGNORE)
