"""The oracles themselves, on tables small enough to check by hand."""

import math

import numpy as np
import pytest

from boundprobe.bounds import (
    best_encoder_error,
    distinct_rows,
    encoder_errors,
    encoder_information_bits,
    encoders,
    zero_error_bits,
)
from boundprobe.tasks import IGNORE

THREE_BITS = np.array(list(np.ndindex(2, 2, 2)))


def test_number_of_encoders_is_the_bell_number():
    assert [sum(1 for _ in encoders(n, n)) for n in range(1, 9)] == [1, 2, 5, 15, 52, 203, 877, 4140]


def test_number_of_encoders_with_few_states_is_a_sum_of_stirling_numbers():
    assert sum(1 for _ in encoders(6, 2)) == 1 + 31
    assert sum(1 for _ in encoders(6, 3)) == 1 + 31 + 90


def test_encoders_are_distinct_partitions():
    cells = {
        frozenset(frozenset(i for i, state in enumerate(labels) if state == cell) for cell in set(labels))
        for labels in encoders(5, 5)
    }
    assert len(cells) == 52


def test_distinct_rows():
    assert distinct_rows(THREE_BITS) == 8
    assert zero_error_bits(THREE_BITS) == 3.0
    assert distinct_rows(np.array([[0, 1], [0, 1], [1, 1]])) == 2
    # An undefined answer is a value of its own here, though one state could serve both rows.
    assert distinct_rows(np.array([[0, 1], [0, IGNORE]])) == 2


def test_zero_error_takes_exactly_the_distinct_rows():
    table = np.array([[0, 0], [0, 1], [0, 0], [1, 1], [1, 1]])
    needed = distinct_rows(table)
    assert needed == 3
    assert best_encoder_error(table, needed) == 0.0
    assert best_encoder_error(table, needed - 1) > 0.0


def test_one_state_guesses_and_more_states_never_hurt():
    errors = [best_encoder_error(THREE_BITS, n_states) for n_states in range(1, 9)]
    assert errors[0] == 0.5
    assert errors[-1] == 0.0
    assert np.all(np.diff(errors) <= 0.0)


def test_errors_and_information_by_hand():
    labels = (0, 0, 0, 0, 1, 1, 1, 1)  # keeps the first bit
    np.testing.assert_allclose(encoder_errors(THREE_BITS, labels), [0.0, 0.5, 0.5])
    assert encoder_information_bits(labels) == 1.0
    assert encoder_information_bits((0, 0, 1)) == pytest.approx(math.log2(3) - 2 / 3)


def test_bad_tables_are_named():
    with pytest.raises(ValueError, match=r"`n_prefixes` must be an integer from 1 to 12, .*; got 13"):
        best_encoder_error(np.arange(13)[:, None], 2)
    with pytest.raises(
        ValueError, match=r"`answer_table` must have shape \(n_prefixes, n_queries\) and not be empty; got shape \(3,\)"
    ):
        distinct_rows(np.arange(3))
    with pytest.raises(
        ValueError, match=r"`answer_table` must have only defined answers; got some that are not \(-100\)"
    ):
        best_encoder_error(np.array([[0, IGNORE]]), 1)
    with pytest.raises(ValueError, match=r"`labels` must have shape \(8,\), .*; got shape \(2,\)"):
        encoder_errors(THREE_BITS, (0, 1))
    with pytest.raises(ValueError, match="`n_states` must be an integer of at least 1; got 0"):
        list(encoders(3, 0))
