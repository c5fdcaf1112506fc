"""Ask a model everything from the same state, and see which answers are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.models.memory import CutState
from boundprobe.tasks.base import IGNORE, CutBatch
from boundprobe.training.evaluate import model_device

CHUNK = 256  # prefixes at a time: bounds memory, does not change the result


class CutModel(Protocol):
    """What can be asked across a cut: a ``SequenceModel``, a ``BottleneckedModel``, or a machine of one's own."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Parameters; the first says on which device the model is."""

    def prefill(self, prefix: Tensor) -> CutState:
        """State at the cut after prefixes (B, P)."""

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) at every position of suffixes (B, Q), from the state alone."""


def unchanged(state: CutState) -> CutState:
    """The state as it is."""
    return state


@torch.no_grad()
def states_at_cut(model: CutModel, prefix: NDArray[np.int64]) -> list[CutState]:
    """States after prefixes (n, P), in pieces of ``CHUNK`` sequences."""
    tokens = torch.from_numpy(prefix).to(model_device(model))
    return [model.prefill(piece) for piece in tokens.split(CHUNK)]


@torch.no_grad()
def answer_suffixes(model: CutModel, state: CutState, suffixes: Tensor, n_told: int) -> NDArray[np.int64]:
    """The model's answers after suffixes (batch, n_suffixes, Q) read from each state, (batch, n_suffixes * n_told).

    Each suffix is asked at its last ``n_told`` positions.  Each state is copied for each suffix; nothing else of the
    prefix reaches the answers (assumption A4).
    """
    n_suffixes = suffixes.shape[1]
    copies = state.map(lambda value: value.repeat_interleave(n_suffixes, dim=0))
    predictions: Tensor = model.answer(copies, suffixes.flatten(0, 1))[:, -n_told:].argmax(-1)
    return predictions.reshape(state.batch, n_suffixes * n_told).cpu().numpy()


def wrong_answers(
    model: CutModel,
    states: Iterable[CutState],
    cut: CutBatch,
    transform: Callable[[CutState], CutState] = unchanged,
) -> NDArray[np.bool_]:
    """Which answers are wrong, (n_sequences, n_answers), when all are read from one state per sequence.

    Parameters
    ----------
    model : CutModel
        Frozen before ``cut`` was drawn (assumption A3).
    states : iterable of CutState
        ``states_at_cut(model, cut.prefix)``.
    cut : CutBatch
        Independent prefixes, the query set, and the right answers.  Where it has suffixes of their own for each
        prefix, a later answer sees the right earlier ones: the chain form of T1, which costs nothing.
    transform : callable, optional
        Applied to the state at the cut, such as a rounding.
    """
    n_sequences, n_answers = cut.answers.shape
    if cut.suffixes is None:
        suffixes, n_told = torch.from_numpy(cut.queries).expand(n_sequences, -1, -1), 1
    else:
        suffixes, n_told = torch.from_numpy(cut.suffixes), n_answers // cut.suffixes.shape[1]
    pieces = suffixes.to(model_device(model)).split(CHUNK)
    predictions = [
        answer_suffixes(model, transform(state), piece, n_told) for state, piece in zip(states, pieces, strict=True)
    ]
    # Undefined answers never count: the error of answer a is then P(defined, and wrong) = e_a p_a, and as Phi is
    # concave with Phi(0) = 0, Phi(e_a p_a) is at least the e_a Phi(p_a) of the bound for absent answers.
    wrong: NDArray[np.bool_] = (np.concatenate(predictions) != cut.answers) & (cut.answers != IGNORE)
    return wrong
