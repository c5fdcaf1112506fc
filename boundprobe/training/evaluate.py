"""How often a model is right at the position that a distribution asks about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from boundprobe.models.stack import SequenceModel
from boundprobe.tasks.base import IGNORE, Batch

CHUNK = 512  # sequences at a time: bounds memory, does not change the result


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
    device = model_device(model)
    correct = asked = 0
    for start in range(0, len(batch.tokens), CHUNK):
        tokens = torch.from_numpy(batch.tokens[start : start + CHUNK]).to(device)
        targets = torch.from_numpy(batch.targets[start : start + CHUNK, -1]).to(device)
        predictions: Tensor = model(tokens)[:, -1].argmax(-1)
        correct += int(((predictions == targets) & (targets != IGNORE)).sum())
        asked += int((targets != IGNORE).sum())
    return correct, asked
