"""Needle in a haystack (Cooper et al. 2026, Def. 5.2): the token after the marker, asked at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_TOKENS, check_integer
from boundprobe.tasks.base import IGNORE, AbstractTask, Batch, CutBatch, check_tokens
from boundprobe.tasks.cases import Places, StateCase, WindowCase
from boundprobe.tasks.sampling import Draw, answer_blocks, draw_mixture, sample_blocks, uniform_integers


@dataclass(frozen=True)
class Needle(AbstractTask):
    """Needle in a haystack: at a query marker, the token that followed the last needle marker.

    Undefined elsewhere, and where no token lies between that needle marker and the query.

    Parameters
    ----------
    vocab_size : int
        Number of content tokens, V, at least 2; the two markers are not counted.
    seq_len : int
        Tokens per sequence, L, markers included, at least 3.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Token ids: 0..V-1 content, V the needle marker, V+1 the query marker.  Every sequence has uniform content,
    one needle marker, and the query marker in last place.  Distributions: 'uniform' (the needle marker at a
    uniform place), 'state-hard' (just before its token and the query, where any window sees it), 'window-hard'
    (in first place), 'mixture' (each sequence one or the other, with probability 1/2).

    References
    ----------
    Cooper et al. 2026, Def. 5.2; sizes in Appendix E.1.

    Examples
    --------
    With 3 content tokens, ids 3 and 4 are the markers.  In "a ! c b ?" the token after the marker is c:

    >>> import numpy as np
    >>> Needle(vocab_size=3, seq_len=5).answers(np.array([[0, 3, 2, 1, 4]])).tolist()
    [[-100, -100, -100, -100, 2]]
    >>> round(Needle().state_case().entropy_bits, 3)
    6.644
    """

    name: ClassVar[str] = "needle"
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"vocab_size": 100, "seq_len": 100}}

    vocab_size: int = 100
    seq_len: int = 100

    def __post_init__(self) -> None:
        check_integer("vocab_size", self.vocab_size, 2, MOST_TOKENS, why=" (one content token alone is no answer)")
        check_integer("seq_len", self.seq_len, 3, MOST_TOKENS, why=" (two markers and the needle)")

    @property
    def n_token_ids(self) -> int:
        """Number of token ids, V + 2."""
        return self.vocab_size + 2

    @property
    def queries(self) -> np.ndarray:
        """The query marker, the only query: int64 (1, 1)."""
        return np.array([[self.vocab_size + 1]])

    @property
    def answer_values(self) -> np.ndarray:
        """The content tokens: int64 (V,)."""
        return np.arange(self.vocab_size)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined."""
        return answer_blocks(check_tokens(tokens, self.n_token_ids), self._answer_block)

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        out[...] = IGNORE
        position = np.arange(tokens.shape[1])
        last = np.where(tokens == self.vocab_size, position, -1)
        np.maximum.accumulate(last, axis=1, out=last)
        row, at = np.nonzero((tokens == self.vocab_size + 1) & (last >= 0) & (last + 1 < position))
        out[row, at] = tokens[row, last[row, at] + 1]

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from Def. 5.2; None where undefined.

        >>> Needle(vocab_size=3).reference_answer([3, 0, 1, 3, 2, 4])
        2
        """
        words = [int(token) for token in tokens]
        marker, query = self.vocab_size, self.vocab_size + 1
        if words[-1:] != [query] or marker not in words:
            return None
        after = max(i for i, word in enumerate(words) if word == marker) + 1
        return words[after] if after < len(words) - 1 else None

    def state_case(self) -> StateCase:
        """Only one query exists, so one answer must be held: log2 V bits, however long the sequence.

        >>> Needle(vocab_size=64).state_case().zero_error_bits
        6.0
        """
        return StateCase.of_uniform_answers(
            1,
            self.vocab_size,
            theorem="Theorem 3.3 for Def. 5.2 (Cooper et al. 2026)",
            forces="hold one token: only one query exists, so no injectivity bound beyond log2 V is known",
            places=Places(nearest=0, n_blocks=1, block_len=1),
        )

    def window_case(self) -> WindowCase:
        """The only token that answers is the second; the query is in sight at the end.

        >>> Needle().window_case().sensitivity_distance
        98
        """
        distance = self.seq_len - 2
        return WindowCase.of_one_token(
            self.seq_len,
            self.vocab_size,
            distance,
            theorem="Theorem 3.7 for Def. 5.2 (Cooper et al. 2026)",
            forces=f"see or remember the token after the marker, {distance} positions before the answer",
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
        """Draw state-hard prefixes (n, L-1), the query marker as the only query (1, 1), and the answers (n, 1).

        >>> cut = Needle(vocab_size=2, seq_len=4).sample_cut(1, np.random.default_rng(0))
        >>> cut.prefix.tolist(), cut.queries.tolist(), cut.answers.tolist()
        ([[1, 2, 1]], [[3]], [[1]])
        """
        check_integer("n_sequences", n_sequences, 0)
        prefix = uniform_integers(rng, 0, self.vocab_size, (n_sequences, self.prefix_len)).astype(np.int64)
        prefix[:, -2] = self.vocab_size
        places = np.full((n_sequences, 1), self.seq_len - 2)
        return CutBatch(prefix, self.queries, prefix[:, -1:].copy(), places=places)

    def _draw(self, tokens: np.ndarray, rng: np.random.Generator, place: int | np.ndarray) -> None:
        tokens[...] = uniform_integers(rng, 0, self.vocab_size, tokens.shape)
        tokens[np.arange(len(tokens)), place] = self.vocab_size
        tokens[:, -1] = self.vocab_size + 1

    def _draw_uniform(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        self._draw(tokens, rng, uniform_integers(rng, 0, self.seq_len - 2, (len(tokens),)))

    def _draw_state_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        self._draw(tokens, rng, self.seq_len - 3)

    def _draw_window_hard(self, tokens: np.ndarray, rng: np.random.Generator) -> None:
        self._draw(tokens, rng, 0)
