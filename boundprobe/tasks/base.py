"""Base class of the tasks: parameters, answers, distributions, and the hard cases of the proofs.

A task is a frozen dataclass whose fields are its parameters.  It imports numpy only, so that bounds and
data can be had without torch.  Positions are 1..L in the theory and 0..L-1 in arrays.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import check_integer, check_word
from boundprobe.tasks.cases import StateCase, WindowCase

#: Target where no answer is asked or none is defined; the value that cross-entropy ignores.
IGNORE = -100

#: The prefix distribution that every task has: that of ``sample_cut``.
KEYS_ONCE = "keys-once"

#: The distributions that every task has.
DISTRIBUTIONS = ("uniform", "state-hard", "window-hard", "mixture")


@dataclass(frozen=True)
class Batch:
    """Sequences with an answer at every position where one is asked.

    Attributes
    ----------
    tokens : int64 array (n, n_positions)
    targets : int64 array (n, n_positions)
        ``IGNORE`` (-100) where the answer is undefined or not asked.  For single-answer use (window-hard,
        state-hard, mixture) the last position is always defined.
    """

    tokens: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class CutBatch:
    """Prefixes, the whole query set, and the answer of every prefix to every query.

    Most tasks ask with ``queries``.  Where an answer is several tokens, and a model is told the earlier ones
    before it is asked the next (teacher forcing), what follows the cut differs from prefix to prefix: then
    ``suffixes`` holds it and ``queries`` is empty.

    Attributes
    ----------
    prefix : int64 array (n, prefix_len)
        What the model reads before the cut.
    queries : int64 array (n_queries, query_len)
        The suffixes after the cut, the same for every prefix; answer a is asked at the end of query a.
        No rows where ``suffixes`` is given.
    answers : int64 array (n, n_answers)
        ``IGNORE`` where undefined.
    suffixes : int64 array (n, n_suffixes, query_len), or None
        Teacher forcing: each suffix asks for r = n_answers / n_suffixes tokens in a row, at its last r
        positions: ``answers[:, s * r + j]`` at position ``query_len - r + j`` of ``suffixes[:, s]``.  Of the
        answers, that position has seen only those before it, ``answers[:, s * r : s * r + j]``.
    places : int64 array (n, n_answers), or None
        Position in ``prefix`` of the token that settles each answer, mostly the answer itself: ``prefix_len -
        place`` is how far from the cut it lies.  ``IGNORE`` where undefined; None where it is not known.

    Notes
    -----
    The bounds on states (docs/theory/bounds.md) hold under teacher forcing.  S1: an answer is read from the state and
    the answers before it, so H(Y_j | S, Y_<j) is at most the bracket of its error, and by the chain rule
    H(Y_A | S) is at most the sum of the brackets.  S3: the answers that lie e errors from what one state says
    are as many as without telling, C(n, e) (q-1)^e, since a word and its pattern of errors fix each other, one
    token after the other.  S4 and S5: two rows that share a state are not both answered without error.
    """

    prefix: np.ndarray
    queries: np.ndarray
    answers: np.ndarray
    suffixes: np.ndarray | None = None
    places: np.ndarray | None = None

    def whole(self, answer: np.ndarray) -> np.ndarray:
        """Prefix and suffix joined, int64 (n, n_positions), such that row i asks for its answer ``answer[i]``."""
        if self.suffixes is None:
            suffix = self.queries[answer]
        else:
            n_told = self.answers.shape[1] // self.suffixes.shape[1]
            suffix = self.suffixes[np.arange(len(self.prefix)), np.asarray(answer) // n_told]
        return np.concatenate([self.prefix, suffix], axis=1)


class PrefixDistribution(ABC):
    """A prefix distribution other than that of ``sample_cut``: uniform content in which answers may be absent.

    Attributes
    ----------
    values : int64 array (K,)
        Token ids that an answer can take, ascending.
    """

    values: np.ndarray

    @abstractmethod
    def sample(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw prefixes with the whole query set; ``IGNORE`` where an answer is undefined."""

    @abstractmethod
    def case(self) -> StateCase:
        """Its case; entropies are conditional on which answers are defined."""


@dataclass(frozen=True)
class AbstractTask(ABC):
    """A function-composition task (Cooper et al. 2026, Def. 3.1) with its hard cases.

    Subclasses are frozen dataclasses; their fields are the task's parameters and nothing else.  They check
    their parameters in ``__post_init__`` and raise ``ValueError`` with the value, what is allowed and what
    to do.
    """

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]] = DISTRIBUTIONS
    presets: ClassVar[dict[str, dict[str, object]]] = {}
    #: Prefix distributions that the task has; the first is that of ``sample_cut`` and ``state_case``.
    cut_streams: ClassVar[tuple[str, ...]] = (KEYS_ONCE,)

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Size V of the alphabet; where V is a parameter, markers are not in it (see ``n_token_ids``)."""

    @property
    @abstractmethod
    def seq_len(self) -> int:
        """Length L; in the retrieval tasks that of the content alone (see ``n_positions``)."""

    @property
    def n_token_ids(self) -> int:
        """Number of token ids, markers included: ids are 0..n_token_ids-1, what a model's embedding needs."""
        return self.vocab_size

    @property
    def n_positions(self) -> int:
        """Number of tokens of every sampled sequence, the width of ``tokens``."""
        return self.seq_len

    @property
    @abstractmethod
    def queries(self) -> np.ndarray:
        """The query set of the state-hard case: int64 (n_queries, query_len).

        No rows where what follows the cut differs from prefix to prefix (``CutBatch.suffixes``); query_len is then
        the length of a suffix.
        """

    @property
    def answers_per_sequence(self) -> int:
        """Answers at the last positions of a hard sequence, whose mean the ceilings are for: several if forced."""
        return 1

    @property
    def prefix_len(self) -> int:
        """Number of tokens before the cut: ``n_positions - query_len``."""
        return self.n_positions - int(self.queries.shape[1])

    @property
    @abstractmethod
    def answer_values(self) -> np.ndarray:
        """Token ids that an answer of the state-hard case can take, ascending: int64 (K,)."""

    @abstractmethod
    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position: int64 (n, T) -> int64 (n, T), ``IGNORE`` where undefined.  Vectorised."""

    @abstractmethod
    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the last position of one sequence, straight from the definition; None where undefined.

        Slow and obvious: the oracle that ``answers`` is tested against.
        """

    @abstractmethod
    def state_case(self) -> StateCase:
        """The state-hard case in numbers."""

    @abstractmethod
    def window_case(self) -> WindowCase:
        """The window-hard case in numbers."""

    def sample(self, n_sequences: int, rng: np.random.Generator, distribution: str = "uniform") -> Batch:
        """Draw sequences of one distribution, with the answer at every position where one is asked.

        A pure function of the task's parameters, the arguments and the generator's state.

        Parameters
        ----------
        n_sequences : int
        rng : numpy Generator
        distribution : str
            One of the class's ``distributions``.  Sequences of state-hard, window-hard and mixture always have an
            answer at the last position.

        Returns
        -------
        Batch
            ``tokens`` and ``targets``, int64 (n_sequences, n_positions).

        Raises
        ------
        ValueError
            For an unknown distribution or a negative count.

        Examples
        --------
        >>> from boundprobe.tasks import MultiQueryRecall
        >>> task = MultiQueryRecall(n_pairs=2, n_keys=2, n_values=2, seq_len=7)
        >>> task.sample(1, np.random.default_rng(0), "state-hard").tokens.tolist()
        [[4, 4, 0, 3, 1, 3, 0]]
        """
        check_distribution(distribution, self.distributions)
        check_integer("n_sequences", n_sequences, 0)
        return self._sample(n_sequences, rng, distribution)

    @abstractmethod
    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        """Draw sequences; the arguments have been checked."""

    @abstractmethod
    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes with the whole query set; prefix_len + query_len == n_positions."""

    def sample_cut_stream(self, n_sequences: int, rng: np.random.Generator, stream: str = KEYS_ONCE) -> CutBatch:
        """Draw prefixes of one of the class's ``cut_streams``, with the whole query set.

        'keys-once' is ``sample_cut``.  In others the prefix is as long, but answers may be absent (``IGNORE``): see
        ``boundprobe.tasks.prefix_distributions``.

        Raises
        ------
        ValueError
            For a distribution that the task does not have, or a negative count.
        """
        drawn = self._stream(stream)
        check_integer("n_sequences", n_sequences, 0)
        return self.sample_cut(n_sequences, rng) if drawn is None else drawn.sample(n_sequences, rng)

    def stream_case(self, stream: str = KEYS_ONCE) -> StateCase:
        """The case of a prefix distribution; ``entropy_bits`` is H(Y | which answers are defined), or below it."""
        drawn = self._stream(stream)
        return self.state_case() if drawn is None else drawn.case()

    def stream_values(self, stream: str = KEYS_ONCE) -> np.ndarray:
        """Token ids of answers under a prefix distribution, ascending: int64 (K,), K of ``stream_case``."""
        drawn = self._stream(stream)
        return self.answer_values if drawn is None else drawn.values

    def _stream(self, stream: str) -> PrefixDistribution | None:
        """The prefix distribution of a name, None for 'keys-once'."""
        check_word("stream", stream, self.cut_streams, of=f" of {self.name}")
        return None if stream == KEYS_ONCE else self._other_stream(stream)

    def _other_stream(self, stream: str) -> PrefixDistribution:
        """The prefix distribution of a name other than 'keys-once'; the name has been checked."""
        raise NotImplementedError(f"{type(self).__name__} lists {stream!r} in cut_streams but does not define it")

    def parameters(self) -> dict[str, object]:
        """The task's parameters by name, as in TOML and JSON."""
        return dataclasses.asdict(self)


def check_distribution(name: str, allowed: Sequence[str] = DISTRIBUTIONS) -> str:
    """Return ``name``, or raise ``ValueError`` that says what is allowed."""
    return check_word("distribution", name, allowed)


def check_tokens(tokens: np.ndarray, n_token_ids: int) -> np.ndarray:
    """Return ``tokens`` as an int64 array (n, L), or raise ``ValueError`` where one is not a token id."""
    array = np.asarray(tokens)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        found = f"shape {array.shape} and type {array.dtype}"
        raise ValueError(f"`tokens` must be integers of shape (n, seq_len); got {found}.")
    if array.size and (array.min() < 0 or array.max() >= n_token_ids):
        wrong = array[(array < 0) | (array >= n_token_ids)][0]
        raise ValueError(f"`tokens` must lie in [0, n_token_ids) with n_token_ids={n_token_ids}; got {wrong}.")
    return array.astype(np.int64, copy=False)


def row_blocks(n_rows: int, row_len: int, block_size: int = 2**18) -> Iterator[slice]:
    """Slices that cover ``n_rows`` rows, each of about ``block_size`` entries (at least one row).

    Working block by block keeps temporaries in cache and small next to the arrays returned.
    """
    step = max(1, block_size // max(1, row_len))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
