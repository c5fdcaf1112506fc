"""Ask a model every query from the same state, and see which answers are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.models.memory import CutState
from boundprobe.models.stack import SequenceModel
from boundprobe.tasks.base import CutBatch
from boundprobe.training.evaluate import model_device

CHUNK = 256  # prefixes at a time: bounds memory, does not change the result


def unchanged(state: CutState) -> CutState:
    """The state as it is."""
    return state


@torch.no_grad()
def states_at_cut(model: SequenceModel, prefix: NDArray[np.int64]) -> list[CutState]:
    """States after prefixes (n, P), in pieces of ``CHUNK`` sequences."""
    tokens = torch.from_numpy(prefix).to(model_device(model))
    return [model.prefill(piece) for piece in tokens.split(CHUNK)]


@torch.no_grad()
def answer_queries(model: SequenceModel, state: CutState, queries: NDArray[np.int64]) -> NDArray[np.int64]:
    """The model's answer to every query (n_queries, Q) from each state, (batch, n_queries).

    Each state is copied for each query; nothing else of the prefix reaches the answer (assumption A4).
    """
    n_queries = len(queries)
    copies = state.map(lambda value: value.repeat_interleave(n_queries, dim=0))
    suffix = torch.from_numpy(queries).to(model_device(model)).repeat(state.batch, 1)
    predictions: Tensor = model.answer(copies, suffix)[:, -1].argmax(-1)
    return predictions.reshape(state.batch, n_queries).cpu().numpy()


def wrong_answers(
    model: SequenceModel,
    states: Iterable[CutState],
    cut: CutBatch,
    transform: Callable[[CutState], CutState] = unchanged,
) -> NDArray[np.bool_]:
    """Which answers are wrong, (n_sequences, n_queries), when all are read from one state per sequence.

    Parameters
    ----------
    model : SequenceModel
        Frozen before ``cut`` was drawn (assumption A3).
    states : iterable of CutState
        ``states_at_cut(model, cut.prefix)``.
    cut : CutBatch
        Independent prefixes, the query set, and the right answers.
    transform : callable, optional
        Applied to the state at the cut, such as a rounding.
    """
    predictions = [answer_queries(model, transform(state), cut.queries) for state in states]
    wrong: NDArray[np.bool_] = np.concatenate(predictions) != cut.answers
    return wrong
