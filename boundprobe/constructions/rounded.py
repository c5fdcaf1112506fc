"""A construction run with its state written in as few bits as its entries have levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from boundprobe.constructions.construction import Construction
from boundprobe.constructions.sizes import CodedBits
from boundprobe.models.memory import CutState
from boundprobe.seeds import generator

#: Values this close are one level: softmax weights are 1 to about 1e-5, not exactly.
GRID = 2.0**-10
#: Prefixes that the levels are taken from.
N_CALIBRATION = 512


@dataclass(frozen=True)
class Levels:
    """The values that each entry of a state takes; an entry is written as the number of its level.

    Attributes
    ----------
    values : Tensor (entries, most levels)
        Levels of each entry; rows with fewer are filled up with infinity.
    """

    values: Tensor

    @classmethod
    def of(cls, states: CutState) -> Levels:
        """The levels seen in a batch of states, frozen."""
        entries = (states.flatten().double() / GRID).round() * GRID
        columns = [torch.unique(column) for column in entries.T]
        most = max(len(column) for column in columns)
        values = torch.full((len(columns), most), torch.inf, dtype=torch.float64)
        for row, column in zip(values, columns, strict=True):
            row[: len(column)] = column
        return cls(values)

    @property
    def entry_bits(self) -> Tensor:
        """Bits of each entry, int64 (entries,): ceil(log2) of its levels, 0 for a constant."""
        counts = torch.isfinite(self.values).sum(1)
        return torch.tensor([(int(count) - 1).bit_length() for count in counts])

    def __call__(self, state: CutState) -> CutState:
        """The state that is read back from the numbers of its levels, the nearest for each entry."""
        entries = state.flatten().double()
        numbers = (entries[:, :, None] - self.values).abs().argmin(-1)  # (batch, entries): what is stored
        return state.unflatten(self.values.gather(1, numbers.T).T)


@dataclass(frozen=True)
class RoundedRun:
    """The rounded machine's bits, and its answers to every query in reach after state-hard prefixes.

    Attributes
    ----------
    bits : CodedBits
    n_prefixes, n_answers, n_wrong : int
        Answers are counted where the construction must be right (``Construction.in_reach``).
    """

    bits: CodedBits
    n_prefixes: int
    n_answers: int
    n_wrong: int


@torch.inference_mode()
def run_rounded(construction: Construction, n_prefixes: int = 1024, seed: int = 0) -> RoundedRun:
    """Round the state at the cut to its levels, and answer every query from what is left.

    Parameters
    ----------
    construction : Construction
    n_prefixes : int
        State-hard prefixes that are answered; others set the levels.
    seed : int

    Returns
    -------
    RoundedRun

    Examples
    --------
    >>> from boundprobe.constructions.construction import construct
    >>> from boundprobe.tasks import SelectiveCopying
    >>> found = run_rounded(construct(SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)), n_prefixes=64)
    >>> found.bits, found.n_answers, found.n_wrong
    (CodedBits(recurrent_bits=1, cache_bits=4), 128, 0)
    """
    task, model = construction.task, construction.model
    first = task.sample_cut(N_CALIBRATION, generator(seed, "calibration"))
    levels = Levels.of(model.prefill(torch.as_tensor(first.prefix)))
    cut = task.sample_cut(n_prefixes, generator(seed, "evaluation"))
    state = levels(model.prefill(torch.as_tensor(cut.prefix)))
    n_answers = n_wrong = 0
    for i, (query, expected) in enumerate(zip(cut.queries, cut.answers.T, strict=True)):
        suffix = torch.as_tensor(query).expand(n_prefixes, -1)
        answers = model.answer(state, suffix)[:, -1].argmax(-1).numpy()
        # With a short window a construction claims to be right where it can see the answer, rounded or not.
        in_reach = construction.in_reach(cut.whole(np.full(n_prefixes, i)))[:, -1]
        n_answers += int(np.sum(in_reach))
        n_wrong += int(np.sum(in_reach & (answers != expected)))
    kinds = [tensor.kind for layer in state.layers for tensor in layer for _ in range(tensor.value[0].numel())]
    by_kind = {
        kind: sum(int(bits) for bits, k in zip(levels.entry_bits, kinds, strict=True) if k == kind)
        for kind in ("recurrent", "conv", "cache")
    }
    return RoundedRun(
        CodedBits(by_kind["recurrent"] + by_kind["conv"], by_kind["cache"]), n_prefixes, n_answers, n_wrong
    )
