"""Scaling rows are those of models that are built, and go on where nobody builds them."""

from __future__ import annotations

import math

import pytest

from boundprobe.bounds import required_bits
from boundprobe.constructions import SCALES, construct, decades, float32_suffices, scaling_row, scaling_rows
from boundprobe.constructions.selective_copying import WIDEST_ROTARY_WINDOW
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying

COPYING, RECALL = SelectiveCopying(), AssociativeRecallDecoding()
KINDS = [(COPYING, "learned", 2), (COPYING, "rope", 2), (RECALL, "learned", 2), (RECALL, "learned", 3)]
KINDS += [(AssociativeRecallDecoding(gap=10), "learned", 2)]
each_kind = pytest.mark.parametrize(("task", "position", "n_layers"), KINDS, ids=str)


@each_kind
def test_rows_are_the_sizes_of_built_models(task, position, n_layers) -> None:
    scale = SCALES[type(task)]
    for size, length in ((4, 20), (8, 50), (16, 50)):
        grown = scale.of_size(task, size, length)
        for window_of in scale.windows.values():
            row = scaling_row(grown, position, n_layers, window_of(grown))
            built = construct(grown, position=position, n_layers=n_layers, window=window_of(grown))
            assert (row.size, row.seq_len, row.d_model) == (size, length, built.spec.d_model)
            assert (row.window, row.n_params) == (built.spec.window, built.n_params)
            assert (row.recurrent_bits, row.cache_bits) == built.coded
            assert row.state_bits == required_bits(grown.state_case(), 0.0)
            assert row.attention_tokens == length - 1
            assert float32_suffices(grown, position, n_layers, row)


@each_kind
def test_the_hybrid_obeys_the_cut_bound_and_its_recurrent_state_is_a_logarithm(task, position, n_layers) -> None:
    scale = SCALES[type(task)]
    window_of = next(iter(scale.windows.values()))
    rows = scaling_rows(task, position, n_layers, [1_000_000], scale.sizes, window_of)
    # Rotary pairs are not searched for the longest windows; those rows are left out.
    found = [size for size in scale.sizes if position == "learned" or size < WIDEST_ROTARY_WINDOW]
    assert [row.size for row in rows] == found
    for row in rows:
        assert row.recurrent_bits + row.cache_bits >= row.state_bits
        assert row.recurrent_bits <= 4 * math.log2(row.size) + 20
    assert rows[-1].recurrent_bits < rows[-1].state_bits / 1000
    assert rows[0].cache_bits < rows[0].attention_tokens / 1000


@each_kind
def test_length_costs_nothing_with_the_short_window(task, position, n_layers) -> None:
    window_of = next(iter(SCALES[type(task)].windows.values()))
    rows = scaling_rows(task, position, n_layers, decades(100, 10_000), [], window_of)
    assert [row.seq_len for row in rows] == [100, 1_000, 10_000]
    assert len({(row.window, row.cache_bits, row.n_params) for row in rows}) == 1


def test_impossible_sizes_are_left_out() -> None:
    assert scaling_rows(COPYING, "learned", 2, [11, 12], []) == [
        scaling_row(SelectiveCopying(seq_len=12), "learned", 2)
    ]  # ten numbers need twelve tokens


def test_float32_is_said_to_end() -> None:
    large = SelectiveCopying(n_numbers=100, seq_len=1_000_000)
    assert not float32_suffices(large, "rope", 2, scaling_row(large, "rope", 2))
    assert float32_suffices(large, "learned", 2, scaling_row(large, "learned", 2))
    with pytest.raises(
        ValueError,
        match=(
            r"sizes must be such that float32 provably tells the scores in a window apart; "
            r"got a window of .* tokens where it cannot"
        ),
    ):
        construct(large, position="rope")


@pytest.mark.parametrize(
    ("least", "most", "per_decade"), [(100, 10**6, 1), (100, 10**6, 4), (32, 65_536, 4), (7, 7, 4)]
)
def test_decades_keep_their_ends(least: int, most: int, per_decade: int) -> None:
    found = decades(least, most, per_decade)
    assert (found[0], found[-1]) == (least, most)
    assert found == sorted(set(found))
