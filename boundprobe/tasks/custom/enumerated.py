"""The enumerated prefixes, queries and answer table of a user's task."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from boundprobe.tasks.answer_table.rows import stated_entropy
from boundprobe.tasks.answer_table.window_pair import farthest_pair
from boundprobe.tasks.base import IGNORE
from boundprobe.tasks.custom.read import (
    PrefixSampler,
    UserTask,
    called,
    read_all_answers,
    read_answers,
    read_sampler,
    read_vocab_size,
    read_words,
)

#: Prefixes that are drawn where a sampler stands for them, and the seed of that draw: part of what is reported.
N_SAMPLED_PREFIXES = 4096
SAMPLE_SEED = 0


class EnumeratedTask:
    """A user's task, enumerated once: prefixes (all, or a sample), queries and the answer table.

    Attributes
    ----------
    task : UserTask
    sampler : PrefixSampler or None
        Given where prefixes are not listed; ``prefixes`` is then a sample, repeats dropped.
    prefixes : int64 array (n_prefixes, prefix_len), distinct rows
    queries : int64 array (n_queries, query_len), distinct rows
    """

    def __init__(self, task: UserTask) -> None:
        self.task = task
        self._vocab_size = read_vocab_size(task)
        self.queries = read_words("query", called("queries()", task.queries), self._vocab_size, distinct=True)
        given = called("prefixes()", task.prefixes)
        self.sampler: PrefixSampler | None = read_sampler(given)
        if self.sampler is None:
            self.prefixes = read_words("prefix", given, self._vocab_size, distinct=True)
        elif self._vocab_size is None:
            raise ValueError(
                "`vocab_size` must be an integer, because prefixes() is a sampler, whose sample may miss tokens; got "
                "none."
            )
        else:
            drawn = self.draw(N_SAMPLED_PREFIXES, np.random.default_rng(SAMPLE_SEED))
            self.prefixes = np.unique(drawn, axis=0)

    @cached_property
    def table(self) -> np.ndarray:
        """Answers (n_prefixes, n_queries), small integers, ``IGNORE`` where undefined."""
        table = self.answers(self.prefixes)
        defined = table[table != IGNORE]
        if not len(defined) or (defined == defined[0]).all():
            what = f"every answer is {defined[0]}" if len(defined) else "no answer is defined"
            raise ValueError(f"answers must differ, so that there is something to find out; {what}.")
        table.setflags(write=False)
        return table

    @cached_property
    def vocab_size(self) -> int:
        """The user's ``vocab_size``, or 1 + the largest token anywhere."""
        if self._vocab_size is not None:
            return self._vocab_size
        return 1 + int(max(self.prefixes.max(), self.queries.max(), self.table.max()))

    @cached_property
    def pair(self) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """The two inputs of W1, see ``farthest_pair``."""
        pair = farthest_pair(self.prefixes, self.queries, self.table)
        assert pair is not None  # the table's answers differ
        return pair

    @cached_property
    def defined_pairs(self) -> np.ndarray | None:
        """Flat indices of the defined answers; None where all are."""
        defined = self.table != IGNORE
        return None if defined.all() else np.flatnonzero(defined)

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], int]:
        return {tuple(word): i for i, word in enumerate(self.prefixes.tolist())}

    @cached_property
    def _columns(self) -> dict[tuple[int, ...], int]:
        return {tuple(word): a for a, word in enumerate(self.queries.tolist())}

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` prefixes, int64 (n, prefix_len)."""
        if self.sampler is None:
            return self.prefixes[rng.integers(len(self.prefixes), size=n)]
        sampler = self.sampler
        words = called("the sampler's sample(rng, n)", lambda: sampler.sample(rng, max(n, 1)))
        if isinstance(words, np.ndarray) and words.ndim == 2:
            words = map(tuple, words.tolist())
        array = read_words("prefix", words, self._vocab_size, distinct=False)
        length = self.prefixes.shape[1] if hasattr(self, "prefixes") else array.shape[1]
        if array.shape != (max(n, 1), length):
            raise ValueError(
                f"the sampler's sample(rng, {max(n, 1)}) must have shape ({max(n, 1)}, {length}), n prefixes of one "
                f"length; got shape {array.shape}."
            )
        return array[:n]

    def answers(self, prefixes: np.ndarray) -> np.ndarray:
        """The user's answers of prefixes to every query, (n, n_queries)."""
        return read_all_answers(self.task, prefixes, self.queries, self._vocab_size)

    def cut(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw ``n`` prefixes with their answers to every query, int64."""
        if self.sampler is None:
            chosen = rng.integers(len(self.prefixes), size=n)
            return self.prefixes[chosen], self.table[chosen].astype(np.int64)
        prefixes = self.draw(n, rng)
        answers = self.answers(prefixes).astype(np.int64)
        stated_entropy(self.sampler, bool((answers == IGNORE).any()))  # rare absences may not be in the first sample
        return prefixes, answers

    def one_answer(self, word: tuple[int, ...]) -> int:
        """Answer of a whole input, ``IGNORE`` where it is none of the task's or the answer is undefined."""
        n = self.prefixes.shape[1]
        query = self._columns.get(word[n:])
        if query is None:
            return IGNORE
        if self.sampler is None:
            prefix = self._rows.get(word[:n])
            return IGNORE if prefix is None else int(self.table[prefix, query])
        return int(read_answers(self.task.answer, [word[:n]], [word[n:]], self._vocab_size)[0, 0])
