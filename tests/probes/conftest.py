"""Planted models for selective copying: what they hold at the cut is written down, not trained."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from boundprobe.bounds import receptive_field
from boundprobe.models import CutState, ModelSpec, StateTensor, model_stages


class Keeper:
    """Holds the tokens that the first ``n_kept`` numbers can ask for, one float32 entry each, and no others.

    It answers from the state alone; asked for what it does not hold, it says the last letter.  Its tokens are
    stored as they are, so a rounding of b bits keeps them exactly from 2^b >= V on.
    """

    def __init__(self, task, n_kept, spec=None):
        self.task, self.n_kept = task, n_kept
        spec = spec or ModelSpec("mamba")
        self.receptive_field, self.stages = receptive_field(spec.windows), model_stages(spec)

    def parameters(self):
        """Models are asked for a parameter to learn their device."""
        return iter([torch.zeros(1)])

    def prefill(self, prefix):
        places = [prefix.shape[1] - distance for distance in self.task.distances[: self.n_kept]]
        return CutState(((StateTensor("kept", "cache", prefix[:, places].float()),),))

    def answer(self, state, suffix):
        kept = state.layers[0][0].value
        number = suffix[:, 0]
        held = number < self.n_kept
        column = torch.where(held, number, 0)
        known = kept.round().long().gather(1, column[:, None])[:, 0]
        said = torch.where(held, known, self.task.vocab_size - 1)
        return self.logits(said, suffix)

    def logits(self, said, suffix):
        """Logits (B, Q, V) that say one token everywhere."""
        return F.one_hot(said, self.task.vocab_size).float()[:, None].expand(-1, suffix.shape[1], -1)


class Pointer(Keeper):
    """A cheat: its state is one float32 row number, and the prefixes lie in a table outside it."""

    def __init__(self, task, spec=None):
        super().__init__(task, task.n_numbers, spec)
        self.table = torch.zeros(0, task.n_numbers)

    def prefill(self, prefix):
        kept = super().prefill(prefix).layers[0][0].value
        rows = torch.arange(len(self.table), len(self.table) + len(kept))
        self.table = torch.cat([self.table, kept])
        return CutState(((StateTensor("row", "recurrent", rows.float()[:, None]),),))

    def answer(self, state, suffix):
        rows = state.layers[0][0].value[:, 0].round().long().clamp(0, len(self.table) - 1)
        return super().answer(CutState(((StateTensor("kept", "cache", self.table[rows]),),)), suffix)


class Blank(Keeper):
    """A cheat that needs no state at all: one constant entry, and the batch is known by its size."""

    def __init__(self, task, spec=None):
        super().__init__(task, task.n_numbers, spec)
        self.by_size = {}

    def prefill(self, prefix):
        self.by_size[len(prefix)] = super().prefill(prefix)
        return CutState(((StateTensor("blank", "recurrent", torch.ones(len(prefix), 1)),),))

    def answer(self, state, suffix):
        n_queries = self.task.n_numbers
        hidden = self.by_size[state.batch // n_queries if state.batch // n_queries in self.by_size else state.batch]
        copies = hidden if hidden.batch == state.batch else hidden.map(
            lambda value: value.repeat_interleave(n_queries, dim=0)
        )  # fmt: skip
        return super().answer(copies, suffix)


class Telescope(Keeper):
    """A cheat on the window: asked once for each prefix it sees all of it, whatever windows its spec states."""

    def prefill(self, prefix):
        self.seen = prefix
        return super().prefill(prefix)

    def answer(self, state, suffix):
        if state.batch != len(self.seen):
            return super().answer(state, suffix)
        said = self.task.answers(torch.cat([self.seen, suffix], dim=1).numpy())[:, -1]
        return self.logits(torch.from_numpy(said).clamp(min=0), suffix)


@pytest.fixture(scope="session")
def planted():
    """The planted models."""
    return SimpleNamespace(Keeper=Keeper, Pointer=Pointer, Blank=Blank, Telescope=Telescope)
