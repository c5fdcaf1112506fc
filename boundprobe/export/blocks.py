"""Sequences of a task in blocks: any number of them in bounded memory, a pure function of the stream's fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from boundprobe.checks import MOST_SEED, check_integer
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE, AbstractTask, check_distribution

#: Sequences that are drawn together.  Part of every stream: another number would draw other sequences.
BLOCK_SEQUENCES = 4096

#: Sequences of a stream: more than any disk holds.
MOST_SEQUENCES = 2**36

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class SampleStream:
    """``n_sequences`` sequences of one distribution, block by block.

    Block ``i`` depends on (seed, i) alone, so blocks can be drawn in any order, again, and by many workers.

    Attributes
    ----------
    task : AbstractTask
    n_sequences : int
    distribution : str
    seed : int

    Examples
    --------
    >>> from boundprobe.tasks import SelectiveCopying
    >>> stream = SampleStream(SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6), 5000, "state-hard", seed=0)
    >>> [len(block["tokens"]) for block in stream.blocks()], stream.shapes()["answers"]
    ([4096, 904], (5000, 2))
    """

    task: AbstractTask
    n_sequences: int
    distribution: str = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("n_sequences", self.n_sequences, 1, MOST_SEQUENCES)
        check_integer("seed", self.seed, 0, MOST_SEED)
        check_distribution(self.distribution, self.task.distributions)

    @property
    def n_blocks(self) -> int:
        """Number of blocks; the last one may be shorter."""
        return -(-self.n_sequences // BLOCK_SEQUENCES)

    def block(self, index: int) -> Arrays:
        """Arrays ``tokens`` and ``targets`` (rows, seq_len) of one block, int64.

        For state-hard also ``prefix`` (rows, prefix_len) and ``answers`` (rows, n_answers) of the same
        sequences: each is its prefix and one of the queries of ``shared()``, drawn uniformly, or, for tasks whose
        answers are several tokens, one of its own ``suffixes`` (rows, n_suffixes, query_len).
        """
        check_integer("index", index, 0, self.n_blocks - 1)
        n_rows = min(BLOCK_SEQUENCES, self.n_sequences - index * BLOCK_SEQUENCES)
        rng = generator(self.seed, "sample", index)
        if self.distribution != "state-hard":
            batch = self.task.sample(n_rows, rng, self.distribution)
            return {"tokens": batch.tokens, "targets": batch.targets}
        cut = self.task.sample_cut(n_rows, rng)
        # A query that is defined for the prefix, uniformly: the greatest of independent uniform numbers.
        chances = np.where(cut.answers == IGNORE, -1.0, rng.random(cut.answers.shape))
        tokens = cut.whole(chances.argmax(axis=1))
        arrays = {
            "tokens": tokens,
            "targets": self.task.answers(tokens),
            "prefix": cut.prefix,
            "answers": cut.answers,
        }
        return arrays if cut.suffixes is None else arrays | {"suffixes": cut.suffixes}

    def blocks(self) -> Iterator[Arrays]:
        """Every block, in order."""
        return (self.block(index) for index in range(self.n_blocks))

    def shared(self) -> Arrays:
        """Arrays shared by all sequences: ``queries`` (n_queries, query_len) for state-hard, else none."""
        if self.distribution != "state-hard":
            return {}
        return {"queries": self.task.queries}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array of the whole stream, by name."""
        first = SampleStream(self.task, 1, self.distribution, self.seed).block(0)
        per_row = {name: (self.n_sequences, *array.shape[1:]) for name, array in first.items()}
        return per_row | {name: array.shape for name, array in self.shared().items()}
