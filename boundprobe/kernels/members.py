"""Members of an ensemble (torch.func.vmap) folded into an axis that an operation treats entry by entry.

A custom autograd function whose batching rule folds needs no other one, and one pass serves all members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def size_of(x: Tensor, axis: int, members_at: int | None) -> int:
    """Length of ``axis``, counted without the members' axis that stands at ``members_at`` (None: there is none)."""
    return x.shape[axis if members_at is None or members_at > axis else axis + 1]


def fold(x: Tensor, members_at: int | None, axis: int, n_members: int, size: int) -> Tensor:
    """Merge the members' axis into ``axis`` of length ``size``; where that is 1, it is expanded to ``size``."""
    x = x.unsqueeze(axis) if members_at is None else x.movedim(members_at, axis)
    shape = [-1] * x.ndim
    shape[axis], shape[axis + 1] = n_members, size
    return x.expand(shape).flatten(axis, axis + 1)


def unfold(x: Tensor, axis: int, n_members: int) -> Tensor:
    """Split ``axis`` into members and what it was: the inverse of ``fold``, with the members at ``axis``."""
    unfolded: Tensor = x.unflatten(axis, (n_members, -1))
    return unfolded


def fold_first(info: Any, in_dims: Sequence[int | None], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Members folded into the first axis of each input of a custom function, whatever its length."""
    return [fold(x, dim, 0, info.batch_size, size_of(x, 0, dim)) for x, dim in zip(inputs, in_dims, strict=True)]


def unfold_first(info: Any, outputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The return value of a custom function's batching rule: its outputs with the members in front."""
    return tuple(unfold(x, 0, info.batch_size) for x in outputs), (0,) * len(outputs)
