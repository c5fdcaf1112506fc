"""Entropies and Fano's loss against hand values, the definition, and each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.bounds import binary_entropy_bits, fano_loss_bits, inverse_fano_loss


def test_binary_entropy_hand_values():
    p = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    quarter = 2.0 - 0.75 * math.log2(3.0)
    np.testing.assert_allclose(binary_entropy_bits(p), [0.0, quarter, 1.0, quarter, 0.0], rtol=1e-15)


def test_binary_entropy_of_tiny_probability_keeps_both_terms():
    p = 1e-20
    # h(p) = -p log2 p + p / ln 2 + O(p^2)
    assert binary_entropy_bits(p) == pytest.approx(p * (-math.log2(p) + 1.0 / math.log(2.0)), rel=1e-12)


def test_fano_loss_is_the_largest_entropy_of_an_answer_with_that_error():
    # Given the error e, the entropy of a K-ary answer is largest when the wrong values share e equally.
    for n_values, error in ((2, 0.3), (5, 0.2), (36, 1 / 3)):
        law = np.array([1.0 - error] + [error / (n_values - 1)] * (n_values - 1))
        assert fano_loss_bits(error, n_values) == pytest.approx(-np.sum(law * np.log2(law)), rel=1e-12)


def test_fano_loss_is_capped_where_the_formula_falls_again():
    errors = np.array([0.75, 0.9, 1.0])
    np.testing.assert_array_equal(fano_loss_bits(errors, 4), [2.0, 2.0, 2.0])
    assert binary_entropy_bits(1.0) + math.log2(3.0) < 2.0  # the uncapped formula at e = 1


def test_one_value_carries_nothing():
    np.testing.assert_array_equal(fano_loss_bits(np.array([0.0, 0.5, 1.0]), 1), np.zeros(3))
    assert inverse_fano_loss(0.0, 1) == 0.0


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(1, 70_000))
def test_fano_loss_never_decreases_and_stays_in_range(first, second, n_values):
    low, high = sorted((first, second))
    loss = fano_loss_bits(np.array([low, high]), n_values)
    # The two sides differ by rounding only where the loss is flat, at its maximum of log2 K.
    assert loss[0] <= loss[1] + 1e-14 * (1.0 + math.log2(n_values))
    assert np.all((loss >= 0.0) & (loss <= math.log2(n_values)))


@given(st.floats(0.0, 1.0), st.integers(2, 70_000))
def test_inverse_hits_the_loss(share, n_values):
    bits = share * math.log2(n_values)
    error = inverse_fano_loss(bits, n_values)
    assert 0.0 <= error <= 1.0 - 1.0 / n_values
    assert fano_loss_bits(error, n_values) == pytest.approx(bits, abs=1e-12 * (1.0 + bits))


@given(st.floats(1e-12, 0.9), st.integers(2, 70_000))
def test_inverse_returns_the_error(share, n_values):
    # Below 0.9 of the range the loss has a slope of at least log2((1 - e) (K - 1) / e) > 0.2 bits per unit
    # of error, so the error comes back to 1e-13 / 0.2.
    error = share * (1.0 - 1.0 / n_values)
    assert inverse_fano_loss(fano_loss_bits(error, n_values), n_values) == pytest.approx(error, abs=1e-12)


def test_floats_give_floats_and_arrays_keep_their_shape():
    assert type(binary_entropy_bits(0.5)) is float
    assert type(fano_loss_bits(0.5, 3)) is float
    assert type(inverse_fano_loss(0.5, 3)) is float
    grid = np.full((2, 3), 0.5)
    for result in (binary_entropy_bits(grid), fano_loss_bits(grid, 3), inverse_fano_loss(grid, 3)):
        assert result.shape == (2, 3)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_bad_probability_is_named(bad):
    for function in (binary_entropy_bits, lambda p: fano_loss_bits(p, 3)):
        with pytest.raises(ValueError, match=rf"`probability` must lie in \[0, 1\]; got {bad}"):
            function(bad)


def test_bad_loss_and_bad_count_are_named():
    with pytest.raises(ValueError, match=r"`loss_bits` must lie in \[0, log2\(4\)\] .*; got 2\.5"):
        inverse_fano_loss(2.5, 4)
    with pytest.raises(ValueError, match="`n_values` must be an integer of at least 1; got 0"):
        fano_loss_bits(0.1, 0)
