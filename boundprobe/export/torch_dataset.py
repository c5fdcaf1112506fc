"""A stream of sequences as a PyTorch dataset."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from boundprobe.checks import check_integer
from boundprobe.export import blocks
from boundprobe.export.blocks import SampleStream
from boundprobe.processes import process_rank


class SequenceDataset(IterableDataset[dict[str, Tensor]]):
    """The sequences of a stream, one dict of int64 tensors each, in any number of loader workers and ranks.

    Ranks share the sequences out, and the workers of each share out its own: together they give every sequence of the
    stream exactly once.  A share is a range of whole batches, so that a ``DataLoader`` gives as many batches as its
    length says; ranks may differ by one batch.

    Parameters
    ----------
    stream : SampleStream
    batch_size : int, optional
        That of the loader.  Without it the dataset has no length: how many batches workers fill depends on it.
    rank, world : int, optional
        Which of how many processes of a distributed job this is; by default as ``torch.distributed`` knows it where
        its process group is initialised, else as torchrun's ``RANK`` and ``WORLD_SIZE`` say, else the only one.

    Examples
    --------
    >>> from boundprobe.tasks import SelectiveCopying
    >>> stream = SampleStream(SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6), 3, "mixture")
    >>> [row["tokens"].shape for row in SequenceDataset(stream)]
    [torch.Size([6]), torch.Size([6]), torch.Size([6])]
    """

    def __init__(
        self, stream: SampleStream, batch_size: int | None = None, *, rank: int | None = None, world: int | None = None
    ) -> None:
        if (rank is None) != (world is None):
            raise ValueError(f"`rank` and `world` must be given together; got {rank} and {world}.")
        if rank is None or world is None:
            rank, world = process_rank()
        self.stream, self.batch_size = stream, batch_size
        self.world = check_integer("world", world, 1)
        self.rank = check_integer("rank", rank, 0, self.world - 1)
        self._unit = blocks.BLOCK_SEQUENCES if batch_size is None else check_integer("batch_size", batch_size, 1)

    def __len__(self) -> int:
        """Sequences of this rank; ``TypeError`` without a batch size."""
        if self.batch_size is None:
            raise TypeError("`batch_size` must be given for a length; got none.")
        return len(self._rows(0, 1))

    def _rows(self, worker: int, n_workers: int) -> range:
        """Numbers of the sequences of one worker of this rank."""
        n_units = -(-self.stream.n_sequences // self._unit)
        first, end = (n_units * (self.rank + i) // self.world for i in (0, 1))
        start, stop = (first + (end - first) * (worker + i) // n_workers for i in (0, 1))
        return range(start * self._unit, min(stop * self._unit, self.stream.n_sequences))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        rows = self._rows(worker.id, worker.num_workers) if worker else self._rows(0, 1)
        for index in range(
            rows.start // blocks.BLOCK_SEQUENCES, -(-rows.stop // blocks.BLOCK_SEQUENCES) if rows else 0
        ):
            block = {name: torch.from_numpy(array) for name, array in self.stream.block(index).items()}
            here = slice(
                max(0, rows.start - index * blocks.BLOCK_SEQUENCES), rows.stop - index * blocks.BLOCK_SEQUENCES
            )
            for row in zip(*(array[here] for array in block.values()), strict=True):
                yield dict(zip(block, row, strict=True))
