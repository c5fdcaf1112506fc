"""Required sizes: enough at the value, too little one below it."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.bounds import (
    packing_accuracy_ceiling,
    receptive_field,
    required_bits,
    required_state_entries,
    window_accuracy_ceiling,
)
from boundprobe.tasks import StateCase, WindowCase

RECALL = StateCase(16, 16, 64.0, True, 64.0, "Theorem 4.5", "by hand")
SELECTIVE_COPYING = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 4.2", "by hand")


@given(st.floats(0.0, 0.93), st.integers(1, 64))
def test_one_entry_less_cannot_do(error, entry_bits):
    entries = required_state_entries(RECALL, error, entry_bits)
    bits = required_bits(RECALL, error)
    assert entries * entry_bits >= bits * (1.0 - 1e-12)
    if entries:
        assert (entries - 1) * entry_bits < bits
        # Read the other way: at one entry less the ceiling is below the accuracy that is asked for.
        assert packing_accuracy_ceiling((entries - 1.0) * entry_bits, 16, 16) < 1.0 - error + 1e-12


def test_whole_numbers_of_entries_are_not_rounded_up():
    for bits in (1, 2, 4, 8, 16, 32, 64):
        assert required_state_entries(RECALL, 0.0, bits) == 64 // bits
    thirds = dataclasses.replace(RECALL, n_values=3, entropy_bits=16 * math.log2(3), zero_error_bits=16 * math.log2(3))
    assert required_state_entries(thirds, 0.0, math.log2(3)) == 16
    assert required_state_entries(RECALL, 1.0) == 0


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_the_least_window(distance, n_layers):
    case = WindowCase(distance + 1, 7, (), (), (distance,), "Theorem 3.7", "by hand")
    window = case.min_window(n_layers)
    assert window_accuracy_ceiling(case, receptive_field([window] * n_layers)) == 1.0
    if window > 1:
        assert window_accuracy_ceiling(case, receptive_field([window - 1] * n_layers)) == pytest.approx(1 / 7)


def test_selective_copying_by_hand():
    assert [SELECTIVE_COPYING.min_window(n) for n in (1, 2, 3, 99, 1000)] == [100, 51, 34, 2, 2]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`entry_bits` must be above 0; got 0"):
        required_state_entries(RECALL, 0.1, 0)
    with pytest.raises(ValueError, match=r"`probability` must lie in \[0, 1\]; got 1\.5"):
        required_state_entries(RECALL, 1.5)
    with pytest.raises(ValueError, match=r"`n_layers` must be an integer of at least 1; got 0"):
        SELECTIVE_COPYING.min_window(0)
