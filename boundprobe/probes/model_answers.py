"""All answers of a model from the same state, and which of them are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.models.cut_model import CutModel
from boundprobe.models.memory import CutState
from boundprobe.tasks.base import IGNORE, CutBatch
from boundprobe.training.evaluate import model_device

CHUNK = 256  # prefixes at a time: bounds memory, does not change the result
#: Bytes of states that are copied for the suffixes that follow them, at a time: the same.
MOST_COPIED = 2**28


def _chunk_of(model: CutModel) -> int:
    """Prefixes at a time: those that a model asks for (``chunk``), or ``CHUNK``."""
    return int(getattr(model, "chunk", CHUNK))


def unchanged(state: CutState) -> CutState:
    """The state as it is."""
    return state


@torch.no_grad()
def states_at_cut(model: CutModel, prefix: NDArray[np.int64]) -> list[CutState]:
    """States after prefixes (n, P), in pieces of ``CHUNK`` sequences, or of the model's own ``chunk``."""
    tokens = torch.from_numpy(prefix).to(model_device(model))
    return [model.prefill(piece) for piece in tokens.split(_chunk_of(model))]


@dataclass(frozen=True)
class Reading:
    """Answers of a model from its states.

    Attributes
    ----------
    wrong : bool array (n_sequences, n_answers)
        Which answers are defined, and not the token that the model finds likeliest of all.
    scores : float32 array (n_sequences, n_answers, n_values)
        Its logits of the tokens that can be answers.
    """

    wrong: NDArray[np.bool_]
    scores: NDArray[np.float32]


def _rows_of(state: CutState, rows: slice) -> CutState:
    """The states of some of the sequences."""
    return state.map(lambda value: value[rows])


@torch.no_grad()
def answer_suffixes(model: CutModel, state: CutState, suffixes: Tensor, n_told: int) -> Tensor:
    """Logits after suffixes (batch, n_suffixes, Q) read from each state, (batch, n_suffixes * n_told, vocab_size).

    Each suffix is asked at its last ``n_told`` positions.  Each state is copied for each suffix; nothing else of the
    prefix reaches the answers (assumption A4).
    """
    n_suffixes = suffixes.shape[1]
    at_once = max(1, MOST_COPIED * 8 // max(1, state.bits().total_bits * n_suffixes))
    if at_once < state.batch:
        pieces = [slice(start, start + at_once) for start in range(0, state.batch, at_once)]
        return torch.cat([answer_suffixes(model, _rows_of(state, rows), suffixes[rows], n_told) for rows in pieces])
    copies = state.map(lambda value: value.repeat_interleave(n_suffixes, dim=0))
    logits = model.answer(copies, suffixes.flatten(0, 1))[:, -n_told:]
    return logits.reshape(state.batch, n_suffixes * n_told, -1)


def asked_suffixes(model: CutModel, cut: CutBatch) -> tuple[Iterable[Tensor], int]:
    """Suffixes for each piece of sequences of ``states_at_cut``, on the model's device, and the answers of each."""
    n_sequences, n_answers = cut.answers.shape
    if cut.suffixes is None:
        suffixes, n_told = torch.from_numpy(cut.queries).expand(n_sequences, -1, -1), 1
    else:
        suffixes, n_told = torch.from_numpy(cut.suffixes), n_answers // cut.suffixes.shape[1]
    return suffixes.to(model_device(model)).split(_chunk_of(model)), n_told


def read_answers(
    model: CutModel,
    states: Iterable[CutState],
    cut: CutBatch,
    values: NDArray[np.int64],
    transform: Callable[[CutState], CutState] = unchanged,
) -> Reading:
    """Answers of a model, all of them read from one state per sequence.

    Parameters
    ----------
    model : CutModel
        Frozen before ``cut`` was drawn (assumption A3).
    states : iterable of CutState
        ``states_at_cut(model, cut.prefix)``.
    cut : CutBatch
        Independent prefixes, the query set, and the right answers.  Where it has suffixes of their own for each
        prefix, a later answer sees the right earlier ones: the chain form of T1, which costs nothing.
    values : int64 array (n_values,)
        Tokens that an answer can be.
    transform : callable, optional
        Applied to the state at the cut, such as a rounding.
    """
    pieces, n_told = asked_suffixes(model, cut)
    tokens = torch.from_numpy(values).to(model_device(model))
    predictions, scores = [], []
    for state, piece in zip(states, pieces, strict=True):
        logits = answer_suffixes(model, transform(state), piece, n_told)
        predictions.append(logits.argmax(-1).cpu().numpy())
        scores.append(logits[..., tokens].float().cpu().numpy())
    # Undefined answers never count: the error of answer a is then P(defined, and wrong) = e_a p_a, and as Phi is
    # concave with Phi(0) = 0, Phi(e_a p_a) is at least the e_a Phi(p_a) of the bound for absent answers.
    wrong = (np.concatenate(predictions) != cut.answers) & (cut.answers != IGNORE)
    return Reading(wrong, np.concatenate(scores))


def wrong_answers(
    model: CutModel,
    states: Iterable[CutState],
    cut: CutBatch,
    transform: Callable[[CutState], CutState] = unchanged,
) -> NDArray[np.bool_]:
    """Mask of wrong answers, (n_sequences, n_answers); takes the arguments of ``read_answers``."""
    return read_answers(model, states, cut, np.zeros(1, np.int64), transform).wrong


def interchange_check(model: CutModel, state: CutState, cut: CutBatch, *, with_suffixes: bool = False) -> str | None:
    """A4 by an interchange intervention: give each sequence the state of its neighbour; return what is wrong if its
    answers do not come along.

    Parameters
    ----------
    model : CutModel
    state : CutState
        Of the first sequences of ``cut``, as ``prefill`` made it.
    cut : CutBatch
    with_suffixes : bool
        Suffixes go along with the states: beyond a lag (D1) they begin with known tokens of the prefix, which another
        sequence's state would contradict.

    Returns
    -------
    str or None
        None if answers move with the states.  Of a suffix with several answers only the first is compared: later
        ones have seen the right earlier answers, which stay where they are.
    """
    pieces, n_told = asked_suffixes(model, cut)
    suffixes = next(iter(pieces))[: state.batch]
    first = slice(0, None, n_told)
    # Half of the states, in another order and without the other half: neither place nor company may matter.
    turned = torch.roll(torch.arange((state.batch + 1) // 2), 1)
    few = state.map(lambda value: value[turned.to(value.device)])
    here = answer_suffixes(model, state, suffixes, n_told)[:, first].argmax(-1)
    asked = suffixes[turned.to(suffixes.device)] if with_suffixes else suffixes[: len(turned)]
    there = answer_suffixes(model, few, asked, n_told)[:, first].argmax(-1)
    moved = (there == here[turned.to(here.device)]).all(1)
    n_left = int((~moved).sum())
    # Ties and rounding may turn an answer over; a state that is not all that the answers are read from turns many.
    if n_left > 0.01 * len(turned) + 1:
        return (
            f"the answers of {n_left} of {len(turned)} sequences do not follow a state that is given to another "
            "sequence: they are read from more than the state (A4)"
        )
    return None
