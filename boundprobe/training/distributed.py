"""Process group of one training: a single process, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from boundprobe.checks import refuse
from boundprobe.processes import process_rank

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that share every batch.

    Attributes
    ----------
    rank, size : int
        Process 0 keeps the run directory.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_writer(self) -> bool:
        """True in the process that writes."""
        return self.rank == 0

    def add_up(self, x: Tensor) -> None:
        """Replace ``x`` by its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(x)

    def share(self, make: Callable[[], T]) -> T:
        """Call ``make`` in process 0 and return its result in every process."""
        if self.size == 1:
            return make()
        box = [make() if self.is_writer else None]
        dist.broadcast_object_list(box)
        return cast(T, box[0])

    def any(self, here: bool) -> bool:
        """Return whether ``here`` is true in any process: the same answer in all of them."""
        if self.size == 1:
            return here
        answers: list[bool | None] = [None] * self.size
        dist.all_gather_object(answers, here)
        return True in answers

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.size > 1:
            dist.barrier()


def join_processes(device: str) -> tuple[ProcessGroup, str]:
    """The process group of this process (see ``process_rank``), and its device in it.

    Without torchrun, and without a group that is initialised, that is one process on ``device``.  NCCL joins GPUs, one
    for each process of a machine, gloo joins CPUs.

    Raises
    ------
    ValueError
        As ``process_rank``, and if a variable is missing that torchrun sets as well.
    """
    rank, size = process_rank()
    if size == 1:
        return ProcessGroup(), device
    if device == "cuda":
        device = f"cuda:{_variable('LOCAL_RANK')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            _variable(name)
        dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return ProcessGroup(rank, size), device


def _variable(name: str) -> str:
    """A variable that torchrun sets for each of several processes."""
    if (value := os.environ.get(name)) is None:
        refuse(name, "set where WORLD_SIZE is above 1, as torchrun does", "none")
    return value


def leave_processes() -> ProcessGroup:
    """Leave the process group, where there is one; return what this process was in it."""
    if not (dist.is_available() and dist.is_initialized()):
        return ProcessGroup()
    processes = ProcessGroup(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
    return processes
