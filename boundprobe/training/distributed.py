"""The processes that train one model together: alone, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those that share every batch.

    Attributes
    ----------
    rank, size : int
        Process 0 keeps the run directory.
    """

    rank: int = 0
    size: int = 1

    @property
    def keeps_the_run(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def add_up(self, x: Tensor) -> None:
        """Replace ``x`` by its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(x)

    def share(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in process 0, in every process; the others do not call it."""
        if self.size == 1:
            return make()
        box = [make() if self.keeps_the_run else None]
        dist.broadcast_object_list(box)
        return cast(T, box[0])

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.size > 1:
            dist.barrier()


def join_world(device: str) -> tuple[World, str]:
    """The world that torchrun's environment describes, and this process's device in it.

    Without torchrun that is one process on ``device``.  NCCL joins GPUs, one for each process of a machine, gloo
    joins CPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(), device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return World(dist.get_rank(), size), device


def leave_world() -> World:
    """Take leave of the other processes, where there are any; what this one was among them."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    world = World(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()
    return world
