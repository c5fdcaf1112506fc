"""Selective copying (Cooper et al. 2026, Def. 4.1): the last number says how far back the answer lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_ANSWERS, MOST_TOKENS, check_integer, check_number
from boundprobe.tasks.base import (
    DISTRIBUTIONS,
    IGNORE,
    AbstractTask,
    Batch,
    CutBatch,
    check_tokens,
    row_blocks,
)
from boundprobe.tasks.cases import Places, StateCase, WindowCase
from boundprobe.tasks.sampling import CACHED, answer_blocks, fill_uniform, uniform_integers

# The two halves of the authors' mixed distribution: how often a position holds a number.
_PAPER_SPARSE = 0.03
_PAPER_DENSE = 0.2


@dataclass(frozen=True)
class SelectiveCopying(AbstractTask):
    """Selective copying: ``y_t = x_{t - k + offset}``, with ``k`` the value of the last number up to ``t``.

    Undefined before the first number and where the target lies before the start.

    Parameters
    ----------
    n_numbers : int
        How many tokens are numbers, n, at least 2; ids 0..n-1 in order of value.
    first_number : int
        Value of token 0; token i has value ``first_number + i``.  At least ``1 + offset``, so that the target
        never is the number itself and every query reaches into the prefix.
    n_letters : int
        How many tokens are letters, at least 2; ids n..n+n_letters-1.
    seq_len : int
        Tokens per sequence, L, at least ``largest value - offset + 2`` (the window-hard case has a number
        first, and its candidates must all be letters after it).
    number_probability : float or None
        For 'uniform' only: the probability that a position holds a number, number and letter uniform within
        their class; None makes every token uniform over all V = n_numbers + n_letters.
    offset : int
        0 (the authors' code, ``x_{t-k}``) or 1 (their text, ``x_{t+1-k}``).

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Distributions: 'uniform' (sequences without an answer at the end may occur), 'state-hard' (uniform tokens,
    then a uniform number), 'window-hard' (a uniform number, then uniform letters), 'mixture' (each sequence
    one or the other, with probability 1/2) and 'paper-mixture', the authors': each sequence with probability
    1/2 has a number with probability 0.03 at each position, given that it has any (drawn exactly, through the
    place of the last one), else with probability 0.2 and a uniform number forced in last place.

    References
    ----------
    Cooper et al. 2026, Def. 4.1 and Theorem 4.2; proof and queries in Appendix D.1.

    Examples
    --------
    Numbers 1 and 2 are ids 0 and 1, letters a, b, c are ids 2, 3, 4.  In "a b 2 c 1" the number 2 asks for
    the token two back (a, then b at c's turn) and 1 for the one before it (c):

    >>> import numpy as np
    >>> task = SelectiveCopying(n_numbers=2, n_letters=3, seq_len=5)
    >>> task.answers(np.array([[2, 3, 1, 4, 0]])).tolist()
    [[-100, -100, 2, 3, 4]]
    >>> round(SelectiveCopying().state_case().entropy_bits, 3)
    51.699
    """

    name: ClassVar[str] = "selective-copying"
    distributions: ClassVar[tuple[str, ...]] = (*DISTRIBUTIONS, "paper-mixture")
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "paper": {
            "n_numbers": 5,
            "first_number": 5,
            "n_letters": 26,
            "seq_len": 100,
            "number_probability": 0.2,
        }
    }

    n_numbers: int = 10
    first_number: int = 1
    n_letters: int = 26
    seq_len: int = 100
    number_probability: float | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        check_integer("n_numbers", self.n_numbers, 2, MOST_ANSWERS, why=" (one number alone asks nothing)")
        check_integer("n_letters", self.n_letters, 2, MOST_TOKENS, why=" (one letter alone is no answer)")
        check_integer("offset", self.offset, 0, 1, why="; take 0 for x_{t-k} or 1 for x_{t+1-k}")
        why = f" (offset is {self.offset} and a number must not ask for itself)"
        check_integer("first_number", self.first_number, 1 + self.offset, MOST_TOKENS, why=why)
        largest = self.first_number + self.n_numbers - 1
        why = f" (the largest number is {largest})"
        check_integer("seq_len", self.seq_len, largest - self.offset + 2, MOST_TOKENS, why=why)
        if self.number_probability is not None:
            why = ", or None; take e.g. 0.2, or None for every token uniform"
            check_number("number_probability", self.number_probability, above=0, below=1, why=why)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, V = n_numbers + n_letters."""
        return self.n_numbers + self.n_letters

    @property
    def distances(self) -> tuple[int, ...]:
        """Distance back to each number's target, in order of the number's id."""
        first = self.first_number - self.offset
        return tuple(range(first, first + self.n_numbers))

    @property
    def queries(self) -> np.ndarray:
        """Every number once, in order of value: int64 (n_numbers, 1)."""
        return np.arange(self.n_numbers)[:, None]

    @property
    def answer_values(self) -> np.ndarray:
        """All tokens, numbers and letters: int64 (V,)."""
        return np.arange(self.vocab_size)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, L) -> int64 (n, L), ``IGNORE`` where undefined."""
        return answer_blocks(check_tokens(tokens, self.vocab_size), self._answer_block)

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        n, length = tokens.shape
        position = np.arange(length, dtype=np.int32)
        # Position and id of a number packed into one integer: the running maximum is then the last number.
        shift = self.n_numbers.bit_length()
        narrow = tokens.astype(np.int32)
        last = np.where(narrow < self.n_numbers, narrow | (position << shift), np.int32(-1))
        np.maximum.accumulate(last, axis=1, out=last)
        undefined = last < 0
        last &= (1 << shift) - 1
        np.subtract(position - self.distances[0], last, out=last)
        undefined |= last < 0
        # Undefined sources may lie in the row before, or before the first; their answers are thrown away.
        np.add(last, (np.arange(n) * length)[:, None], out=out)
        tokens.reshape(-1).take(out, out=out, mode="clip")
        out[...] = np.where(undefined, IGNORE, out)  # faster than copyto with a mask

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from Def. 4.1; None where undefined.

        >>> SelectiveCopying(n_numbers=2, n_letters=3, seq_len=5).reference_answer([2, 3, 1, 4])
        3
        """
        t = len(tokens)
        numbers = [int(token) for token in tokens if token < self.n_numbers]
        if not numbers:
            return None
        wanted = t - (self.first_number + numbers[-1]) + self.offset
        return int(tokens[wanted - 1]) if wanted >= 1 else None

    def state_case(self) -> StateCase:
        """The n tokens that the numbers can reach are independent and uniform over V: n log2 V bits.

        >>> SelectiveCopying().state_case().n_values
        36
        """
        return StateCase.of_uniform_answers(
            self.n_numbers,
            self.vocab_size,
            theorem="Theorem 4.2 via Theorem 3.3 (Cooper et al. 2026)",
            forces=f"hold each of {self.n_numbers} earlier tokens until the last token says which is wanted",
            places=Places(nearest=self.distances[0] - 1, n_blocks=self.n_numbers, block_len=1),
        )

    def window_case(self) -> WindowCase:
        """The number in first place picks one of n letters near the end.

        >>> SelectiveCopying().window_case().sensitivity_distance
        99
        """
        return WindowCase(
            seq_len=self.seq_len,
            n_values=self.n_letters,
            control_distances=(self.seq_len - 1,),
            candidates_if_blind_to=(self.n_numbers,),
            candidate_distances=self.distances,
            theorem="Theorem 4.2 via Theorem 3.7 (Cooper et al. 2026)",
            forces=f"see or remember the first token, {self.seq_len - 1} positions before the answer",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        draw = {
            "uniform": self._draw_uniform,
            "state-hard": self._draw_state_hard,
            "window-hard": self._draw_window_hard,
            "mixture": self._draw_mixture,
            "paper-mixture": self._draw_paper_mixture,
        }[distribution]
        tokens = np.empty((n_sequences, self.seq_len), np.int64)
        targets = np.empty_like(tokens)
        for rows in row_blocks(n_sequences, self.seq_len):
            draw(tokens[rows], rng)
            for part in row_blocks(len(tokens[rows]), self.seq_len, CACHED):
                self._answer_block(tokens[rows][part], targets[rows][part])
        return Batch(tokens, targets)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes (n, L-1), all numbers as queries (n_numbers, 1), and all answers.

        Answer j is the prefix token ``value_j - offset`` positions before the query.

        >>> task = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6)
        >>> cut = task.sample_cut(4, np.random.default_rng(0))
        >>> cut.prefix.shape, cut.queries.tolist(), bool((cut.answers == cut.prefix[:, [4, 3]]).all())
        ((4, 5), [[0], [1]], True)
        """
        check_integer("n_sequences", n_sequences, 0)
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        fill_uniform(prefix, rng, 0, self.vocab_size)
        place = self.prefix_len - np.array(self.distances)
        return CutBatch(prefix, self.queries, prefix[:, place], places=np.tile(place, (n_sequences, 1)))

    # Each _draw method fills ``tokens`` (n, L) with one distribution.

    def _draw_uniform(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        if self.number_probability is None:
            fill_uniform(tokens, rng, 0, self.vocab_size)
        else:
            self._fill(tokens, rng.random(tokens.shape) < self.number_probability, rng)

    def _draw_state_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        fill_uniform(tokens[:, :-1], rng, 0, self.vocab_size)
        tokens[:, -1] = uniform_integers(rng, 0, self.n_numbers, (len(tokens),))

    def _draw_window_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        fill_uniform(tokens, rng, self.n_numbers, self.vocab_size)
        tokens[:, 0] = uniform_integers(rng, 0, self.n_numbers, (len(tokens),))

    def _draw_mixture(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        state_hard = rng.random(len(tokens)) < 0.5
        self._draw_window_hard(tokens, rng)
        part = np.empty((int(state_hard.sum()), self.seq_len), np.int64)
        self._draw_state_hard(part, rng)
        tokens[state_hard] = part

    def _draw_paper_mixture(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        n, length = tokens.shape
        sparse = rng.random(n) < 0.5
        number = rng.random(tokens.shape) < np.where(sparse, _PAPER_SPARSE, _PAPER_DENSE)[:, None]
        # A sparse row needs a number.  The distance d of the last one from the end is geometric, cut at
        # L - 1: P(d) ~ q^d.  Before it positions are free, after it are letters.  Inverting the distribution
        # function draws from the exact conditional distribution, without rejection.
        log_q = math.log1p(-_PAPER_SPARSE)
        some_number = -math.expm1(length * log_q)
        distance = np.floor(np.log1p(-rng.random(n) * some_number) / log_q).astype(np.int64)
        last = np.where(sparse, length - 1 - np.minimum(distance, length - 1), length - 1)
        number &= np.arange(length) <= last[:, None]
        number[np.arange(n), last] = True  # in dense rows this is the forced one
        self._fill(tokens, number, rng)

    def _fill(self, tokens: np.ndarray, number: np.ndarray, rng: np.random.Generator) -> None:
        """Uniform numbers where ``number`` holds, uniform letters elsewhere."""
        fill_uniform(tokens, rng, self.n_numbers, self.vocab_size)
        tokens[number] = uniform_integers(rng, 0, self.n_numbers, (int(number.sum()),))
