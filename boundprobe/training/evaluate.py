"""Accuracy of models at the position that a distribution asks about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from boundprobe.models.stack import SequenceModel
from boundprobe.tasks.base import IGNORE, Batch
from boundprobe.training.ensemble import Ensemble

CHUNK = 512  # sequences of one model at a time: bounds memory, does not change the result


class HasParameters(Protocol):
    """Anything with parameters, such as a module."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The parameters."""


def model_device(model: HasParameters) -> torch.device:
    """Device of a model's parameters."""
    return next(model.parameters()).device


@torch.no_grad()
def count_correct(model: SequenceModel, batch: Batch) -> tuple[int, int]:
    """Right answers at the last position, and how many sequences have one there.

    The last position is the single-answer use of a task: one answer for each sequence, so that the count
    is binomial and Clopper-Pearson limits on it are exact.
    """
    correct = 0
    for tokens, targets in _chunks(batch, CHUNK, model_device(model)):
        correct += int(_right(model(tokens), targets))
    return correct, _n_asked(batch)


@torch.no_grad()
def count_correct_of_members(ensemble: Ensemble, batch: Batch) -> tuple[list[int], int]:
    """The same for each member of an ensemble, all on the same sequences."""
    correct = torch.zeros(len(ensemble), dtype=torch.int64, device=ensemble.values.device)
    for tokens, targets in _chunks(batch, max(CHUNK // len(ensemble), 1), ensemble.values.device):
        correct += _right(ensemble.logits_of_same(tokens), targets)
    return correct.tolist(), _n_asked(batch)


def _chunks(batch: Batch, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens (size, T) and targets (size,) of the last position."""
    for start in range(0, len(batch.tokens), size):
        rows = slice(start, start + size)
        yield torch.from_numpy(batch.tokens[rows]).to(device), torch.from_numpy(batch.targets[rows, -1]).to(device)


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    """Count the sequences (..., B, T, V) answered right at their end, (...)."""
    return ((logits[..., -1, :].argmax(-1) == targets) & (targets != IGNORE)).sum(-1)


def _n_asked(batch: Batch) -> int:
    return int((batch.targets[:, -1] != IGNORE).sum())
