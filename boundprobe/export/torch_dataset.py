"""A stream of sequences as a PyTorch dataset."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from boundprobe.export.blocks import SampleStream


class SequenceDataset(IterableDataset[dict[str, Tensor]]):
    """The sequences of a stream, one dict of int64 tensors each, in any number of loader workers.

    Workers share out the blocks, so together they give every sequence of the stream exactly once.

    Parameters
    ----------
    stream : SampleStream

    Examples
    --------
    >>> from boundprobe.tasks import SelectiveCopying
    >>> stream = SampleStream(SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6), 3, "mixture")
    >>> [row["tokens"].shape for row in SequenceDataset(stream)]
    [torch.Size([6]), torch.Size([6]), torch.Size([6])]
    """

    def __init__(self, stream: SampleStream) -> None:
        self.stream = stream

    def __len__(self) -> int:
        return self.stream.n_sequences

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for index in range(first, self.stream.n_blocks, step):
            block = {name: torch.from_numpy(array) for name, array in self.stream.block(index).items()}
            for row in zip(*block.values(), strict=True):
                yield dict(zip(block, row, strict=True))
