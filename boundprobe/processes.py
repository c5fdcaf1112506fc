"""Rank of this process among those of a distributed job."""

from __future__ import annotations

import os

from boundprobe.checks import refuse


def process_rank() -> tuple[int, int]:
    """Rank of this process, and the number of processes of its distributed job.

    They are those of torch's process group where it is initialised, whatever the environment says; else those of
    ``RANK`` and ``WORLD_SIZE``, which torchrun sets; else, without ``WORLD_SIZE``, (0, 1).

    Raises
    ------
    ValueError
        If the variables are no rank of a number of processes.

    Examples
    --------
    >>> process_rank()
    (0, 1)
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    size, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK")
    if not size.isdecimal() or int(size) < 1:
        refuse("WORLD_SIZE", "the number of processes, at least 1, or unset", repr(size))
    if int(size) == 1:
        return 0, 1
    if rank is None or not rank.isdecimal() or int(rank) >= int(size):
        refuse("RANK", f"from 0 to {int(size) - 1}, as WORLD_SIZE is {size}", "none" if rank is None else repr(rank))
    return int(rank), int(size)
