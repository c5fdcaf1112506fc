"""A task's state-hard case as a diagonal cut sees it: the answers that lie beyond it, given the tokens after its start.

Models read the same prefixes.  Only answers whose tokens lie ``lag`` or more before the cut are asked for, and what is
asked with repeats the tokens after the start of the cut: they are known, and cost no bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import check_integer, refuse
from boundprobe.tasks.base import AbstractTask, Batch, CutBatch
from boundprobe.tasks.cases import StateCase, WindowCase


@dataclass(frozen=True)
class Beyond(AbstractTask):
    """The answers beyond a lag, of which D1 speaks (docs/theory/bounds.md).

    Parameters
    ----------
    task : AbstractTask
        One whose answers are independent and uniform and lie at known places (``StateCase.places``), asked one by one.
    lag : int, in tokens
        D; at least one answer must lie that far before the cut.

    Raises
    ------
    ValueError
        If the task or the lag is not like that.

    Examples
    --------
    Of four letters the two oldest are beyond a lag of 2; each is asked for after the two youngest and a number.

    >>> from boundprobe.tasks import SelectiveCopying
    >>> task = Beyond(SelectiveCopying(n_numbers=4, n_letters=8, seq_len=20), lag=2)
    >>> cut = task.sample_cut(1, np.random.default_rng(0))
    >>> cut.prefix[0, -4:].tolist(), cut.suffixes[0].tolist(), cut.answers[0].tolist()
    ([8, 7, 6, 6], [[6, 6, 2], [6, 6, 3]], [7, 8])
    """

    name: ClassVar[str] = "beyond"

    task: AbstractTask
    lag: int

    def __post_init__(self) -> None:
        check_integer("lag", self.lag, 0)
        case = self.task.state_case()
        if case.places is None or not case.independent_uniform or not self.task.queries.size:
            refuse("task", "one whose answers lie at known places and are asked for one by one", self.task.name)
        if case.beyond(self.lag) is None:
            refuse(
                "lag",
                f"at most {int(case.places.distances().max())}, the farthest answer of {self.task.name}",
                f"{self.lag}",
            )

    @property
    def vocab_size(self) -> int:
        """That of the task."""
        return self.task.vocab_size

    @property
    def seq_len(self) -> int:
        """That of the task."""
        return self.task.seq_len

    @property
    def n_token_ids(self) -> int:
        """That of the task."""
        return self.task.n_token_ids

    @property
    def n_positions(self) -> int:
        """That of the task."""
        return self.task.n_positions

    @property
    def queries(self) -> np.ndarray:
        """No rows, as what is asked with begins with tokens of the prefix: int64 (0, lag + query_len)."""
        return np.empty((0, self.lag + self.task.queries.shape[1]), np.int64)

    @property
    def prefix_len(self) -> int:
        """That of the task: the tokens after the start of the cut are read twice."""
        return self.task.prefix_len

    @property
    def answer_values(self) -> np.ndarray:
        """Those of the task."""
        return self.task.answer_values

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Those of the task."""
        return self.task.answers(tokens)

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """That of the task."""
        return self.task.reference_answer(tokens)

    def state_case(self) -> StateCase:
        """The answers beyond the lag."""
        far = self.task.state_case().beyond(self.lag)
        assert far is not None  # checked
        return far

    def window_case(self) -> WindowCase:
        """That of the task."""
        return self.task.window_case()

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        return self.task.sample(n_sequences, rng, distribution)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw prefixes and the far answers, the youngest first; queries stand behind the tokens after the start."""
        cut, n_far = self.sample_all(n_sequences, rng), self.state_case().n_answers
        assert cut.suffixes is not None
        assert cut.places is not None
        return CutBatch(
            cut.prefix, self.queries, cut.answers[:, -n_far:], cut.suffixes[:, -n_far:], cut.places[:, -n_far:]
        )

    def sample_all(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw the same with all answers of the task, the youngest first: near ones can be told from the suffixes."""
        cut = self.task.sample_cut(n_sequences, rng)
        assert cut.places is not None  # a case with places has them
        order = np.argsort(-cut.places, axis=1, kind="stable")
        queries = self.task.queries[order]
        near = cut.prefix[:, self.prefix_len - self.lag :]
        suffixes = np.concatenate([np.broadcast_to(near[:, None], (*queries.shape[:2], self.lag)), queries], axis=2)
        answers, places = (np.take_along_axis(array, order, axis=1) for array in (cut.answers, cut.places))
        return CutBatch(cut.prefix, self.queries, answers, suffixes, places)
