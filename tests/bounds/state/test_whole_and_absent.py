"""S5 and absent answers against every encoder of tiny tables."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.bounds import (
    absent_answers_bits,
    encoder_information_bits,
    encoders,
    fano_bits,
    whole_success_bits,
    whole_success_ceiling,
)
from boundprobe.tasks import IGNORE


def words(n, q):
    return np.array(list(np.ndindex(*(q,) * n)), dtype=np.int64)


def best_whole_success(table, n_states):
    """Best chance that a whole row is right, over every encoder and the best row for each state."""
    rows = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)
    right = 0
    for labels in encoders(len(table), n_states):
        states = np.array(labels)
        right = max(right, sum(np.bincount(rows[states == s]).max() for s in range(states.max() + 1)))
    return right / len(table)


def whole_violations(table, memory_bits, stretch=1.0):
    counts = range(1, len(table) + 1)
    return [
        m for m in counts
        if best_whole_success(table, m) > whole_success_ceiling(math.log2(m), memory_bits) / stretch + 1e-12
    ]  # fmt: skip


def min_entropy_bits(table):
    return -math.log2(np.unique(table, axis=0, return_counts=True)[1].max() / len(table))


REPEATED = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [2, 0]])


@pytest.mark.parametrize("table", [words(3, 2), words(2, 3)[:8], words(1, 7), REPEATED])
def test_no_encoder_beats_s5(table):
    assert whole_violations(table, min_entropy_bits(table)) == []


@pytest.mark.parametrize(("n", "q"), [(3, 2), (1, 7)])
def test_s5_is_attained_for_equally_likely_parts(n, q):
    memory_bits = n * math.log2(q)
    for n_states in range(1, q**n + 1):
        ceiling = whole_success_ceiling(math.log2(n_states), memory_bits)
        assert best_whole_success(words(n, q), n_states) == pytest.approx(ceiling, abs=1e-12)


def test_an_s5_that_is_five_per_cent_too_strict_is_caught():
    assert whole_violations(words(3, 2), 3.0, stretch=1.05) != []
    # So is the entropy in place of the min-entropy, where memory parts are not equally likely.
    counts = np.unique(REPEATED, axis=0, return_counts=True)[1] / len(REPEATED)
    assert whole_violations(REPEATED, float(-np.sum(counts * np.log2(counts)))) != []


@given(st.floats(1e-300, 1.0), st.floats(0.0, 1e6))
def test_s5_inverts(success, memory_bits):
    bits = whole_success_bits(success, memory_bits)
    assert 0.0 <= bits <= memory_bits
    ceiling = whole_success_ceiling(bits, memory_bits)
    # Rounding of numbers as large as the memory, in the exponent.
    assert ceiling >= success * (1.0 - 1e-9)
    if bits > 0.0:
        assert ceiling == pytest.approx(success, rel=1e-9)


def test_s5_ends():
    np.testing.assert_array_equal(whole_success_ceiling(np.array([0.0, 9.0, 10.0, 11.0]), 10.0), [2**-10, 0.5, 1, 1])
    assert whole_success_bits(0.0, 10.0) == 0.0
    assert type(whole_success_ceiling(1.0, 2.0)) is float
    assert whole_success_ceiling(1e6, 1e6 + 5000.0) == 0.0  # underflows, does not overflow


def absent_rows(n_queries, n_values, present):
    """Rows of answers, IGNORE where undefined, for each set of defined queries in ``present``."""
    rows = []
    for defined in present:
        for values in itertools.product(range(n_values), repeat=len(defined)):
            row = [IGNORE] * n_queries
            for query, value in zip(defined, values, strict=True):
                row[query] = value
            # As often as the sets with more answers have rows, so that every set is equally likely.
            rows += [row] * n_values ** (max(map(len, present)) - len(defined))
    return np.array(rows)


def absent_violations(table, n_values, stretch=1.0):
    """Encoders that hold fewer bits than ``stretch`` times the bound at their own errors on defined answers."""
    defined = (table != IGNORE).mean(axis=0)
    one_hot = np.equal(table[:, :, None], np.arange(n_values)).astype(np.int64)
    found = []
    for labels in encoders(len(table), len(table)):
        members = np.equal(labels, np.arange(max(labels) + 1)[:, None]).astype(np.int64)
        right = np.tensordot(members, one_hot, axes=1).max(axis=2).sum(axis=0)
        errors = np.clip(1.0 - right / (defined * len(table)), 0.0, 1.0)
        held_bits = encoder_information_bits(labels)  # of the table's index, so at least that of its rows
        if held_bits < stretch * absent_answers_bits(defined, n_values, errors) - 1e-9:
            found.append(labels)
    return found


@pytest.mark.parametrize(
    ("n_queries", "n_values", "present"),
    [
        (2, 2, [(0,), (1,)]),  # one or the other
        (2, 2, [(0,), (0, 1)]),
        (3, 2, [(0,), (1,), (2,), (0,)]),
        (2, 3, [(0,), (1,)]),
        (2, 2, [(0, 1), ()]),
    ],
)
def test_no_encoder_holds_less_than_absent_answers_ask(n_queries, n_values, present):
    table = absent_rows(n_queries, n_values, present)
    assert len(table) <= 10
    assert absent_violations(table, n_values) == []


def test_an_absent_bound_that_is_five_per_cent_too_high_is_caught():
    # Always defined: the identity encoder meets the bound with equality.
    assert absent_violations(absent_rows(2, 2, [(0, 1)]), 2, stretch=1.05) != []
    # One or the other is defined: an encoder that keeps the value alone, not which it was, meets it too.
    assert absent_violations(absent_rows(2, 2, [(0,), (1,)]), 2, stretch=1.05) != []


def test_absent_is_fano_where_all_is_defined():
    errors = np.array([0.0, 0.1, 0.9])
    assert absent_answers_bits([1.0] * 3, 4, errors) == pytest.approx(fano_bits(6.0, 4, errors), abs=1e-12)
    assert absent_answers_bits([0.0, 0.5, 1.0], 4, 0.0) == 3.0
    assert absent_answers_bits([0.3, 0.4], 4, 0.75) == 0.0


def test_keys_drawn_with_replacement_by_simulation():
    # The docstring's example: the share of keys that occur; 5 standard errors of 2000 draws of 16 keys.
    rng = np.random.default_rng(3)
    shares = np.array([len(set(draw)) / 16 for draw in rng.integers(0, 16, (2000, 16))])
    expected = 1.0 - (15 / 16) ** 16
    assert abs(shares.mean() - expected) < 5.0 * shares.std() / math.sqrt(2000)
    assert absent_answers_bits([expected] * 16, 16, 0.0) == pytest.approx(64.0 * expected)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`memory_bits` must be at least 0; got -1"):
        whole_success_ceiling(1.0, -1)
    with pytest.raises(ValueError, match=r"`probability` must lie in \[0, 1\]; got 1\.5"):
        whole_success_bits(1.5, 3.0)
    with pytest.raises(
        ValueError,
        match=r"`defined_probability` must have shape \(n_answers,\), and `errors` the.*; got shapes \(2,\) and \(3,\)",
    ):
        absent_answers_bits([0.5, 0.5], 2, [0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match=r"`probability` must lie in \[0, 1\]; got -0\.5"):
        absent_answers_bits([-0.5], 2, 0.1)
