"""Position retrieval (arXiv 2603.02874): where in a sequence of distinct tokens a given one stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_ANSWERS, check_integer, check_word
from boundprobe.tasks.base import IGNORE, AbstractTask, Batch, CutBatch, check_tokens, row_blocks
from boundprobe.tasks.cases import Places, StateCase, WindowCase, log2_factorial
from boundprobe.tasks.sampling import Draw, answer_blocks, draw_mixture, sample_blocks, uniform_integers

#: Whether the query stands after the content or before it.
FORMS = ("suffix", "prefix")


@dataclass(frozen=True)
class PositionRetrieval(AbstractTask):
    """Position retrieval: the position token of the queried token in a permutation x of L tokens.

    Suffix form: ``<bos> x_1..x_L <query> x_i``; prefix form: ``<query> x_i <bos> x_1..x_L``.  The answer, asked
    at the last token only, is position token i.  Undefined elsewhere, where the markers are not in their
    places, and where the queried token is not in x exactly once.

    Parameters
    ----------
    seq_len : int
        Tokens of x, L, at least 3; sequences are longer by 3.
    form : str
        'suffix' or 'prefix': where the query stands.

    Raises
    ------
    ValueError
        For a parameter of the wrong type or outside its limits.

    Notes
    -----
    Token ids: 0..L-1 content, L..2L-1 the positions, 2L ``<bos>``, 2L+1 ``<query>``.  Distributions: 'uniform'
    (a uniform permutation, a uniform query), 'state-hard' (suffix form: the same; prefix form: x_L is always
    token L-1, which is not queried, so that the last token tells nothing), 'window-hard' (the query is x_1 or
    x_2, with probability 1/2 each), 'mixture' (each sequence one or the other of the last two, with
    probability 1/2).  In the suffix form the state must hold the permutation, in the prefix form one place.

    References
    ----------
    Retrievit, arXiv 2603.02874.

    Examples
    --------
    With L = 3, ids 3, 4, 5 are the positions, 6 is <bos>, 7 <query>.  In "c a b" token a stands second:

    >>> import numpy as np
    >>> PositionRetrieval(seq_len=3).answers(np.array([[6, 2, 0, 1, 7, 0]])).tolist()
    [[-100, -100, -100, -100, -100, 4]]
    >>> prefix_form = PositionRetrieval(seq_len=3, form="prefix")
    >>> prefix_form.answers(np.array([[7, 0, 6, 2, 0, 1]])).tolist()
    [[-100, -100, -100, -100, -100, 4]]
    >>> [round(PositionRetrieval(200, form).state_case().entropy_bits, 2) for form in ("suffix", "prefix")]
    [1245.38, 7.64]
    """

    name: ClassVar[str] = "position-retrieval"
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"seq_len": 200, "form": "suffix"}}

    seq_len: int = 64
    form: str = "suffix"

    def __post_init__(self) -> None:
        check_integer("seq_len", self.seq_len, 3, MOST_ANSWERS, why=" (one last token apart, two places to tell)")
        check_word("form", self.form, FORMS)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, 2L + 2: content, positions and two markers."""
        return 2 * self.seq_len + 2

    @property
    def n_positions(self) -> int:
        """Tokens per sequence, L + 3."""
        return self.seq_len + 3

    @property
    def _markers(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Place and id of each marker."""
        bos, query = 2 * self.seq_len, 2 * self.seq_len + 1
        return ((0, bos), (self.seq_len + 1, query)) if self.form == "suffix" else ((0, query), (2, bos))

    def _split(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views of x (n, L) and of the queried token (n,)."""
        if self.form == "suffix":
            return tokens[:, 1 : 1 + self.seq_len], tokens[:, -1]
        return tokens[:, 3:], tokens[:, 1]

    @property
    def queries(self) -> np.ndarray:
        """Suffix form: ``<query> a`` for every token a, int64 (L, 2).  Prefix form: the last token, int64 (1, 1)."""
        n = self.seq_len
        if self.form == "prefix":
            return np.array([[n - 1]])
        return np.stack([np.full(n, 2 * n + 1), np.arange(n)], axis=1)

    @property
    def answer_values(self) -> np.ndarray:
        """The position tokens; without the last one in the prefix form, where x_L is not queried."""
        return np.arange(self.seq_len, self.seq_len + self.state_case().n_values)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined."""
        return answer_blocks(check_tokens(tokens, self.vocab_size), self._answer_block)

    def _answer_block(self, tokens: np.ndarray, out: np.ndarray) -> None:
        out[...] = IGNORE
        if tokens.shape[1] < self.n_positions:
            return
        x, query = self._split(tokens[:, : self.n_positions])
        match = x == query[:, None]
        defined = (np.count_nonzero(match, axis=1) == 1) & (query < self.seq_len)
        for place, marker in self._markers:
            defined &= tokens[:, place] == marker
        out[:, self.n_positions - 1] = np.where(defined, self.seq_len + match.argmax(axis=1), IGNORE)

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from the definition; None where undefined.

        >>> PositionRetrieval(seq_len=3).reference_answer([6, 2, 0, 1, 7, 2])
        3
        """
        n, words = self.seq_len, [int(token) for token in tokens]
        bos, query = 2 * n, 2 * n + 1
        if len(words) != n + 3:
            return None
        if self.form == "suffix":
            in_place, x, wanted = words[0] == bos and words[n + 1] == query, words[1 : n + 1], words[n + 2]
        else:
            in_place, x, wanted = words[0] == query and words[2] == bos, words[3:], words[1]
        return n + x.index(wanted) if in_place and wanted < n and x.count(wanted) == 1 else None

    def state_case(self) -> StateCase:
        """Suffix form: all places, log2 L! bits, though not independent.  Prefix form: one place, log2(L-1).

        >>> PositionRetrieval(seq_len=4).state_case().n_answers
        4
        """
        n = self.seq_len
        suffix = self.form == "suffix"
        entropy = log2_factorial(n) if suffix else math.log2(n - 1)
        return StateCase(
            n_answers=n if suffix else 1,
            n_values=n if suffix else n - 1,
            entropy_bits=entropy,
            independent_uniform=not suffix,
            zero_error_bits=entropy,
            theorem="Theorem 3.3 (Cooper et al. 2026) for position retrieval (arXiv 2603.02874)",
            forces=f"hold the places of {n} tokens until the last one says which is wanted"
            if suffix
            else "hold the place of the one token that was asked for at the start",
            places=Places(nearest=0, n_blocks=n, block_len=1) if suffix else None,
            permutation=suffix,
        )

    def window_case(self) -> WindowCase:
        """W1's two inputs: x_1 and x_2 exchanged.  Who sees x_2 (prefix form: the query, before x) can answer.

        >>> [PositionRetrieval(form=form).window_case().sensitivity_distance for form in ("suffix", "prefix")]
        [64, 65]
        """
        distance = self.seq_len + (self.form == "prefix")
        what = "x_2" if self.form == "suffix" else "the query"
        return WindowCase.of_one_token(
            self.n_positions,
            2,
            distance,
            theorem="Theorem 3.7 (Cooper et al. 2026) for position retrieval (arXiv 2603.02874)",
            forces=f"see or remember {what}, {distance} positions before the answer, to tell position 1 from 2",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        state_hard = partial(self._draw, distribution="state-hard")
        window_hard = partial(self._draw, distribution="window-hard")
        draws: dict[str, Draw] = {
            "uniform": partial(self._draw, distribution="uniform"),
            "state-hard": state_hard,
            "window-hard": window_hard,
            "mixture": partial(draw_mixture, first=state_hard, second=window_hard),
        }
        return sample_blocks(n_sequences, self.n_positions, rng, draws[distribution], self._answer_block)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes, the query set, and all answers.

        Suffix form: prefixes (n, L+1), queries ``<query> a`` for every token a (L, 2), answers (n, L).  Prefix
        form: prefixes (n, L+2) that end before x_L, x_L = token L-1 as the only query (1, 1), answers (n, 1).

        >>> cut = PositionRetrieval(seq_len=3).sample_cut(1, np.random.default_rng(0))
        >>> cut.prefix.tolist(), cut.queries.tolist(), cut.answers.tolist()
        ([[6, 2, 0, 1]], [[7, 0], [7, 1], [7, 2]], [[4, 5, 3]])
        """
        check_integer("n_sequences", n_sequences, 0)
        n, suffix = self.seq_len, self.form == "suffix"
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        places = np.empty((n_sequences, n if suffix else 1), np.int64)
        x_at = 1 if suffix else 3
        for rows in row_blocks(*prefix.shape):
            tokens = np.empty((rows.stop - rows.start, self.n_positions), np.int64)
            self._draw(tokens, rng, "state-hard")
            prefix[rows] = tokens[:, : self.prefix_len]
            x, query = self._split(tokens)
            if suffix:
                np.put_along_axis(places[rows], x, np.broadcast_to(np.arange(x_at, n + x_at), x.shape), axis=1)
            else:
                places[rows, 0] = x_at + (x == query[:, None]).argmax(axis=1)
        return CutBatch(prefix, self.queries, places + (n - x_at), places=places)

    def _draw(self, tokens: np.ndarray, rng: np.random.Generator, distribution: str) -> None:
        n = len(tokens)
        x, query = self._split(tokens)
        # x_L and the query are fixed apart in the state-hard distribution of the prefix form, see sample_cut.
        free = self.seq_len - (self.form == "prefix" and distribution == "state-hard")
        x[...] = np.arange(self.seq_len)
        rng.permuted(x[:, :free], axis=1, out=x[:, :free])
        query[...] = x[np.arange(n), uniform_integers(rng, 0, 2 if distribution == "window-hard" else free, (n,))]
        for place, marker in self._markers:
            tokens[:, place] = marker
