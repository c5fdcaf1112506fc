"""The rounded machine: its levels, its bits, and that too few levels show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boundprobe.bounds import required_bits
from boundprobe.constructions import construct, run_rounded
from boundprobe.constructions.rounded import GRID, Levels
from boundprobe.constructions.sizes import bits_of_levels
from boundprobe.models import CutState, StateTensor
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying

CASES = [
    (SelectiveCopying(), {}),
    (SelectiveCopying(), {"position": "rope"}),
    (SelectiveCopying(**SelectiveCopying.presets["paper"]), {}),
    (AssociativeRecallDecoding(word_bits=3, seq_len=30), {"n_layers": 2}),
    (AssociativeRecallDecoding(word_bits=3, seq_len=30), {"n_layers": 3}),
    (AssociativeRecallDecoding(word_bits=3, seq_len=30), {"n_layers": 2, "window": 10}),
]


def state(*values: list[list[float]]) -> CutState:
    return CutState(tuple((StateTensor("h", "recurrent", torch.tensor(value)),) for value in values))


def test_levels_are_the_values_that_were_seen() -> None:
    levels = Levels.of(state([[0.0, 1.0], [0.0, 2.0]], [[5.0], [7.0 + GRID / 8]]))
    assert levels.entry_bits.tolist() == [0, 1, 1]
    assert levels.values.tolist() == [[0.0, torch.inf], [1.0, 2.0], [5.0, 7.0]]


def test_the_nearest_level_is_read_back() -> None:
    levels = Levels.of(state([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]]))
    assert levels(state([[9.0, 1.4], [-3.0, 3.5]])).flatten().tolist() == [[0.0, 1.0], [0.0, 4.0]]


def test_bits_of_levels_are_logarithms_rounded_up() -> None:
    for n in (1, 2, 3, 4, 5, 9):
        assert bits_of_levels(np.arange(n)[:, None]) == int(np.ceil(np.log2(n)))


@pytest.mark.parametrize(("task", "shape"), CASES, ids=str)
def test_the_rounded_machine_is_right_and_obeys_the_bound(task, shape) -> None:
    built = construct(task, **shape)
    found = run_rounded(built, n_prefixes=200)
    assert found.n_wrong == 0
    assert found.n_answers == 200 * task.state_case().n_answers
    assert required_bits(task.state_case(), 0.0) <= found.bits.total_bits <= built.coded.total_bits


@pytest.mark.parametrize("n_layers", [2, 3])
@pytest.mark.parametrize(("word_bits", "seq_len"), [(2, 8), (3, 22)])
def test_with_a_short_window_what_is_out_of_reach_is_no_mistake(word_bits: int, seq_len: int, n_layers: int) -> None:
    task = AssociativeRecallDecoding(word_bits=word_bits, seq_len=seq_len)
    n_all = 64 * task.state_case().n_answers
    runs = [run_rounded(construct(task, n_layers=n_layers, window=w), n_prefixes=64) for w in range(1, seq_len)]
    assert [run.n_wrong for run in runs] == [0] * len(runs)
    counts = [run.n_answers for run in runs]
    assert counts == sorted(counts)
    assert counts[0] < n_all == counts[-1]


@pytest.mark.parametrize("position", ["learned", "rope"])
def test_copying_needs_every_coded_bit(position: str) -> None:
    """Prefixes hold all tokens and numbers, so what is proved for every input is also what is run."""
    built = construct(SelectiveCopying(), position=position)
    assert run_rounded(built, n_prefixes=10).bits == built.coded


def test_one_level_less_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: with each entry held at its first level, the machine forgets, and is wrong."""
    original = Levels.of.__func__  # type: ignore[attr-defined]

    def coarse(cls, states):
        values = original(cls, states).values.clone()
        values[:, 1:] = torch.inf
        return cls(values)

    monkeypatch.setattr(Levels, "of", classmethod(coarse))
    found = run_rounded(construct(SelectiveCopying()), n_prefixes=50)
    assert found.bits.total_bits == 0
    assert found.n_wrong > 0.8 * found.n_answers
