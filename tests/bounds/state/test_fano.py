"""State bounds: printed numbers, S1 against every encoder, and what ceilings and strategies must satisfy."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import (
    encoder_errors,
    encoder_information_bits,
    encoders,
    fano_accuracy_ceiling,
    fano_bits,
    mean_error_fano_bits,
    packing_accuracy_ceiling,
    packing_bits,
    required_bits,
    store_some_accuracy,
)
from boundprobe.tasks import StateCase

SELECTIVE_COPYING = StateCase(10, 36, 10 * math.log2(36), True, 10 * math.log2(36), "Theorem 4.2", "by hand")
RECALL = StateCase(16, 16, 64.0, True, 64.0, "Theorem 4.5", "by hand")


def words(n, q):
    """All q^n words, one per row: the answer table of reading coordinate by coordinate."""
    return np.array(list(np.ndindex(*(q,) * n)), dtype=np.int64)


def s1_violations(table, n_values, stretch=1.0):
    """Encoders that hold fewer bits than ``stretch`` times S1 asks for at their own errors."""
    rows = np.unique(table, axis=0, return_counts=True)[1] / len(table)
    entropy_bits = float(-np.sum(rows * np.log2(rows)))
    found = []
    for labels in encoders(len(table), len(table)):
        errors = encoder_errors(table, labels)
        held_bits = encoder_information_bits(labels)
        per_answer = fano_bits(entropy_bits, n_values, errors)
        at_mean = mean_error_fano_bits(entropy_bits, len(errors), n_values, float(errors.mean()))
        assert at_mean <= per_answer + 1e-9, "concavity: the mean error gives the weaker bound"
        if held_bits < stretch * per_answer - 1e-9:
            found.append(labels)
    return found


def test_the_printed_numbers():
    case = SELECTIVE_COPYING
    assert round(mean_error_fano_bits(case.entropy_bits, 10, 36, 0.0), 6) == 51.699250
    assert round(mean_error_fano_bits(case.entropy_bits, 10, 36, 1 / 3), 3) == 25.419
    assert mean_error_fano_bits(RECALL.entropy_bits, 16, 16, 0.0) == 64.0
    assert round(mean_error_fano_bits(RECALL.entropy_bits, 16, 16, 0.1), 3) == 50.245
    # From the formula itself, written out once more.
    third = 51.699250014423124 - 10 * (math.log2(3) - 2 / 3 + math.log2(35) / 3)
    tenth = 64 - 16 * (-0.1 * math.log2(0.1) - 0.9 * math.log2(0.9) + 0.1 * math.log2(15))
    assert mean_error_fano_bits(case.entropy_bits, 10, 36, 1 / 3) == pytest.approx(third, abs=1e-9)
    assert mean_error_fano_bits(RECALL.entropy_bits, 16, 16, 0.1) == pytest.approx(tenth, abs=1e-9)


@pytest.mark.parametrize(
    ("table", "n_values"),
    [
        (words(3, 2), 2),
        (words(1, 7), 7),
        (words(2, 2), 2),
        (np.array([[0, 0], [0, 1], [1, 2], [2, 2], [2, 0], [1, 1]]), 3),  # dependent answers
        (
            np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]]),
            2,
        ),  # rows repeat, parity
    ],
)
def test_no_encoder_holds_less_than_fano(table, n_values):
    assert s1_violations(table, n_values) == []


def test_a_fano_bound_that_is_five_per_cent_too_high_is_caught():
    # Negative control: the identity encoder meets S1 with equality at error 0, so 1.05 times S1 must fail.
    assert s1_violations(words(2, 2), 2, stretch=1.05) != []


def test_per_answer_errors_are_capped_one_by_one():
    # An answer that is always wrong costs its log2 K and no more; the uncapped formula would cost 1 bit less
    # and so promise a bit that no state holds.
    assert fano_bits(3.0, 2, np.array([0.0, 0.0, 1.0])) == 2.0
    assert fano_bits(3.0, 2, np.array([0.5, 0.5, 0.5])) == 0.0


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(2, 60), st.floats(0.0, 1.0))
def test_ceilings_invert_the_bounds(n, q, share):
    entropy_bits = n * math.log2(q)
    bits = share * entropy_bits
    fano = fano_accuracy_ceiling(bits, entropy_bits, n, q)
    assert mean_error_fano_bits(entropy_bits, n, q, 1.0 - fano) == pytest.approx(bits, abs=1e-9 * (1 + entropy_bits))
    # 1e-12 of accuracy is far fewer than 1e-6 bits except on the flat end near chance.
    packing = packing_accuracy_ceiling(bits, n, q)
    assert packing_bits(min(1.0, 1.0 - packing + 1e-12), n, q) <= bits + 1e-9 * (1 + entropy_bits)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(2, 60))
def test_strategy_below_packing_below_fano(n, q):
    entropy_bits = n * math.log2(q)
    bits = np.linspace(0.0, 1.1 * entropy_bits, 101)
    strategy = store_some_accuracy(bits, n, q)
    packing = packing_accuracy_ceiling(bits, n, q)
    fano = fano_accuracy_ceiling(bits, entropy_bits, n, q)
    # Near chance the loss is flat: an error of 1e-16 in bits is one of 1e-8 in accuracy.
    assert np.all(strategy <= packing + 1e-10)
    assert np.all(packing <= fano + 1e-7)
    for curve in (strategy, packing, fano):
        assert np.all(np.diff(curve) >= -1e-12)
        assert curve[0] == pytest.approx(1.0 / q, abs=1e-7)
        assert curve[-1] == 1.0


def test_ceiling_is_one_from_the_entropy_on():
    assert fano_accuracy_ceiling(SELECTIVE_COPYING.entropy_bits, SELECTIVE_COPYING.entropy_bits, 10, 36) == 1.0
    assert packing_accuracy_ceiling(SELECTIVE_COPYING.entropy_bits, 10, 36) == 1.0


def test_store_some_keeps_whole_coordinates_despite_rounding():
    for n, q in ((10, 36), (16, 16), (97, 3), (65536, 65536), (1000, 7)):
        kept = np.arange(0, n + 1, max(1, n // 50))
        expected = (kept + (n - kept) / q) / n
        np.testing.assert_allclose(store_some_accuracy(kept * math.log2(q), n, q), expected, rtol=1e-14)
        np.testing.assert_allclose(store_some_accuracy(math.log2(q) * kept + 0.5, n, q), expected, rtol=1e-14)
    assert store_some_accuracy(10 * math.log2(36) - 0.01, 10, 36) == pytest.approx((9 + 1 / 36) / 10)


def test_store_some_of_one_value_is_always_right():
    assert store_some_accuracy(0.0, 4, 1) == 1.0


def test_required_bits_is_packing_where_it_holds_and_fano_elsewhere():
    errors = np.array([0.0, 0.1, 0.5])
    np.testing.assert_array_equal(required_bits(RECALL, errors), packing_bits(errors, 16, 16))
    dependent = dataclasses.replace(RECALL, entropy_bits=44.0, independent_uniform=False)
    np.testing.assert_array_equal(required_bits(dependent, errors), mean_error_fano_bits(44.0, 16, 16, errors))
    assert type(required_bits(RECALL, 0.1)) is float


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`errors` must have shape \(n_answers,\); got shape \(\)"):
        fano_bits(3.0, 2, np.float64(0.1))
    with pytest.raises(ValueError, match=r"`entropy_bits` must lie in \[0, 3\.000000\], the joint.*; got 4\.0"):
        fano_bits(4.0, 2, np.zeros(3))
    with pytest.raises(ValueError, match=r"`state_bits` must be at least 0; got -2\.0"):
        store_some_accuracy(-2.0, 3, 2)
    with pytest.raises(ValueError, match="`state_bits` must be at least 0; got nan"):
        fano_accuracy_ceiling(math.nan, 3.0, 3, 2)
