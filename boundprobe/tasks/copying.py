"""Copying (Jelassi et al. 2024): repeat the tokens before the marker, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_ANSWERS, MOST_TOKENS, check_integer
from boundprobe.tasks.base import IGNORE, AbstractTask, Batch, CutBatch, check_tokens
from boundprobe.tasks.cases import Places, StateCase, WindowCase
from boundprobe.tasks.sampling import answer_blocks, sample_blocks, uniform_integers


@dataclass(frozen=True)
class Copying(AbstractTask):
    """Copying: ``x_1..x_n``, the copy marker, then ``x_1..x_n`` again, of which each token is asked for.

    A model reads the earlier tokens of its copy before it is asked for the next (teacher forcing).  On any
    sequence: with the first copy marker in place m (counted from 0), the answer in place m + i, i < m - gap, is
    the token in place i, whatever was read since the marker: the gap is what is not copied.  Undefined before the
    marker and from place 2m - gap on.

    Parameters
    ----------
    vocab_size : int
        Number of content tokens, V, at least 2; the copy marker is not counted.
    n_tokens : int
        Tokens to copy, n, at least 1.
    gap : int, in tokens
        Filler between the last token to copy and the marker, at least 0: further than a window sees.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Token ids: 0..V-1 content, V the copy marker, and with a gap V+1 the filler.  Sequences are ``x_1..x_n``,
    ``gap`` filler tokens, ``marker x_1..x_{n-1}``, x uniform.  All distributions are this one: all of x must cross
    the cut before the marker (state-hard), and each token is asked for n + gap places later (window-hard).

    References
    ----------
    Jelassi et al. 2024, Repeat After Me (arXiv 2402.01032); Cooper et al. 2026, Theorem 3.3.  The first could not
    be read for this: its theorem is quoted from others in the catalogue, and strings of 300 tokens in the preset
    ``paper`` are from memory.

    Examples
    --------
    To copy "a c b" (ids 0, 2, 1; the marker is 3), the marker asks for a, then a for c, then c for b:

    >>> import numpy as np
    >>> Copying(vocab_size=3, n_tokens=3).answers(np.array([[0, 2, 1, 3, 0, 2]])).tolist()
    [[-100, -100, -100, 0, 2, 1]]
    >>> round(Copying().state_case().entropy_bits, 3)
    94.009

    With a gap of two fillers (id 4) before the marker:

    >>> Copying(vocab_size=3, n_tokens=3, gap=2).answers(np.array([[0, 2, 1, 4, 4, 3, 0, 2]])).tolist()
    [[-100, -100, -100, -100, -100, 0, 2, 1]]
    """

    name: ClassVar[str] = "copying"
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"vocab_size": 26, "n_tokens": 300}}

    vocab_size: int = 26
    n_tokens: int = 20
    gap: int = 0

    def __post_init__(self) -> None:
        check_integer("vocab_size", self.vocab_size, 2, MOST_TOKENS, why=" (one content token alone is no answer)")
        check_integer("n_tokens", self.n_tokens, 1, MOST_ANSWERS)
        check_integer("gap", self.gap, 0, MOST_TOKENS - 2 * self.n_tokens)

    @property
    def n_token_ids(self) -> int:
        """Number of token ids, V + 1; one more with a gap."""
        return self.vocab_size + 1 + (self.gap > 0)

    @property
    def _filler(self) -> int:
        return self.vocab_size + 1

    @property
    def seq_len(self) -> int:
        """Tokens per sequence, 2n + gap: the string, the gap, the marker, and the copy without its last token."""
        return 2 * self.n_tokens + self.gap

    @property
    def queries(self) -> np.ndarray:
        """No rows, as a query holds the tokens that were copied so far: int64 (0, n_tokens)."""
        return np.empty((0, self.n_tokens), np.int64)

    @property
    def answers_per_sequence(self) -> int:
        """Every token of the copy, n."""
        return self.n_tokens

    @property
    def answer_values(self) -> np.ndarray:
        """The content tokens: int64 (V,)."""
        return np.arange(self.vocab_size)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined.

        >>> Copying(vocab_size=3).answers(np.array([[2, 1, 3, 0, 0]])).tolist()
        [[-100, -100, 2, 1, -100]]
        """
        return answer_blocks(check_tokens(tokens, self.n_token_ids), self._answer_block)

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        length = tokens.shape[1]
        out[...] = IGNORE
        if length == 0:
            return
        is_marker = tokens == self.vocab_size
        marker = np.where(is_marker.any(axis=1), is_marker.argmax(axis=1), 0)
        for m in np.unique(marker):  # one value only, in this task's own sequences
            rows, n_copied = marker == m, max(0, min(m - self.gap, length - m))
            out[rows, m : m + n_copied] = tokens[rows, :n_copied]

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from the definition; None where undefined.

        >>> Copying(vocab_size=3).reference_answer([2, 1, 3, 0])
        1
        """
        words = [int(token) for token in tokens]
        if self.vocab_size not in words:
            return None
        marker = words.index(self.vocab_size)
        wanted = len(words) - 1 - marker
        return words[wanted] if wanted < marker - self.gap else None

    def state_case(self) -> StateCase:
        """The whole string crosses the cut: n log2 V bits; and S5, whole-string success at most M / V^n.

        >>> Copying(vocab_size=2, n_tokens=5).state_case().zero_error_bits
        5.0
        """
        return StateCase.of_uniform_answers(
            self.n_tokens,
            self.vocab_size,
            theorem="Theorem 3.3 (Cooper et al. 2026), by the chain rule, for copying (Jelassi et al. 2024)",
            forces=f"hold all {self.n_tokens} tokens; with M states, at most M / V^n of strings are copied whole (S5)",
            places=Places(nearest=self.gap, n_blocks=self.n_tokens, block_len=1),
        )

    def window_case(self) -> WindowCase:
        """Each token is asked for n + gap places later, and the tokens in between tell nothing about it.

        >>> [Copying(gap=gap).window_case().sensitivity_distance for gap in (0, 30)]
        [20, 50]
        """
        distance = self.n_tokens + self.gap
        return WindowCase.of_one_token(
            self.seq_len,
            self.vocab_size,
            distance,
            theorem="Theorem 3.7 (Cooper et al. 2026) for copying (Jelassi et al. 2024)",
            forces=f"see or remember each token for {distance} positions",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        return sample_blocks(n_sequences, self.seq_len, rng, self._draw, self._answer_block)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw strings and gap (n, n_tokens + gap), what follows each (n, 1, n_tokens), all answers (n, n_tokens).

        The marker alone asks for the first token only.  What asks for token i holds the i - 1 before it, so
        it differs from string to string: ``suffixes`` holds it, there are no ``queries``, and the bounds hold
        by the chain rule (see ``CutBatch``).

        >>> cut = Copying(vocab_size=2, n_tokens=3).sample_cut(1, np.random.default_rng(0))
        >>> cut.prefix.tolist(), cut.suffixes.tolist(), cut.answers.tolist()
        ([[1, 1, 1]], [[[2, 1, 1]]], [[1, 1, 1]])
        """
        check_integer("n_sequences", n_sequences, 0)
        string = uniform_integers(rng, 0, self.vocab_size, (n_sequences, self.n_tokens)).astype(np.int64)
        prefix = np.concatenate([string, np.full((n_sequences, self.gap), self._filler)], axis=1)
        suffixes = np.empty((n_sequences, 1, self.n_tokens), np.int64)
        suffixes[:, 0, 0], suffixes[:, 0, 1:] = self.vocab_size, string[:, :-1]
        places = np.tile(np.arange(self.n_tokens), (n_sequences, 1))
        return CutBatch(prefix, self.queries, string, suffixes, places)

    def _draw(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        n, marker = self.n_tokens, self.n_tokens + self.gap
        tokens[:, :n] = uniform_integers(rng, 0, self.vocab_size, (len(tokens), n))
        tokens[:, n:marker] = self._filler
        tokens[:, marker] = self.vocab_size
        tokens[:, marker + 1 :] = tokens[:, : n - 1]
