"""Accuracy of models at the positions that a distribution asks about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.models.cut_model import CutModel
from boundprobe.models.stack import SequenceModel
from boundprobe.tasks.base import IGNORE, Batch
from boundprobe.training.ensemble import Ensemble

BoolArray = NDArray[np.bool_]

CHUNK = 512  # sequences of one model at a time: bounds memory, does not change the result


class HasParameters(Protocol):
    """Anything with parameters, such as a module."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The parameters."""


def model_device(model: HasParameters) -> torch.device:
    """Device of a model's parameters."""
    return next(model.parameters()).device


@torch.no_grad()
def scored_answers(model: CutModel, batch: Batch, n_last: int = 1) -> tuple[BoolArray, BoolArray]:
    """Masks of the right and of the asked answers at the last ``n_last`` positions, each (N, n_last).

    ``n_last`` is the task's ``answers_per_sequence``: the mean over them is what its ceilings speak of.  The sequence
    is the unit of every confidence bound; with one answer each, the count is binomial.
    """
    right, asked = [], []
    for tokens, targets in _chunks(batch, CHUNK, model_device(model), n_last):
        logits = last_logits(model, tokens, n_last)
        right.append(_right(logits, targets).cpu().numpy())
        asked.append((targets != IGNORE).cpu().numpy())
    return np.concatenate(right), np.concatenate(asked)


def last_logits(model: CutModel, tokens: Tensor, n_last: int) -> Tensor:
    """Logits (B, n_last, vocab_size) at the last positions of whole sequences (B, T)."""
    if isinstance(model, SequenceModel):
        logits: Tensor = model(tokens)[:, -n_last:]
        return logits
    return model.answer(model.prefill(tokens[:, :-n_last]), tokens[:, -n_last:])


def count_correct(model: CutModel, batch: Batch, n_last: int = 1) -> tuple[int, int]:
    """Right answers at the last ``n_last`` positions, and how many are asked for there."""
    right, asked = scored_answers(model, batch, n_last)
    return int(right.sum()), int(asked.sum())


@torch.no_grad()
def count_correct_of_members(ensemble: Ensemble, batch: Batch, n_last: int = 1) -> tuple[list[int], int]:
    """The same for each member of an ensemble, all on the same sequences."""
    correct = torch.zeros(len(ensemble), dtype=torch.int64, device=ensemble.values.device)
    for tokens, targets in _chunks(batch, max(CHUNK // len(ensemble), 1), ensemble.values.device, n_last):
        correct += _right(ensemble.logits_of_same(tokens), targets).sum((-1, -2))
    return correct.tolist(), int((batch.targets[:, -n_last:] != IGNORE).sum())


def _chunks(batch: Batch, size: int, device: torch.device, n_last: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens (size, T) and targets (size, n_last) of the last positions."""
    for start in range(0, len(batch.tokens), size):
        rows = slice(start, start + size)
        targets = torch.from_numpy(batch.targets[rows, -n_last:])
        yield torch.from_numpy(batch.tokens[rows]).to(device), targets.to(device)


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    """Mask of the answers (..., B, n_last) of logits (..., B, T, V) that are right."""
    return (logits[..., -targets.shape[1] :, :].argmax(-1) == targets) & (targets != IGNORE)
