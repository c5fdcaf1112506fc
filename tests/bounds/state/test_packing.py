"""Ball packing (S3) against exact integers, brute force over every encoder, and Fano."""

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import best_encoder_error, mean_error_fano_bits, packing_bits, packing_error_floor
from boundprobe.bounds.state.packing import _log_tables


def words(n, q):
    """All q^n words, one per row: the answer table of reading coordinate by coordinate."""
    return np.array(list(np.ndindex(*(q,) * n)), dtype=np.int64)


def exact_floor(n_states, n, q):
    """S3 word by word in exact arithmetic: fill the distances in order, the last one in part."""
    share = Fraction(q**n, n_states)  # words per state
    if share <= 1:
        return Fraction(0)
    left, total = share, Fraction(0)
    for d in range(n + 1):
        taken = min(left, Fraction(math.comb(n, d) * (q - 1) ** d))
        total += d * taken
        left -= taken
    return total / (n * share)


def violations(floor, n, q, most_states):
    """Numbers of states at which some encoder has less error than ``floor(n_states)`` allows."""
    table = words(n, q)
    return [m for m in range(1, most_states + 1) if best_encoder_error(table, m) < floor(m) - 1e-12]


@pytest.mark.parametrize(("n", "q", "most_states"), [(1, 5, 5), (2, 2, 4), (3, 2, 8), (2, 3, 4)])
def test_no_encoder_beats_the_floor(n, q, most_states):
    assert violations(lambda m: packing_error_floor(math.log2(m), n, q), n, q, most_states) == []


def test_brute_force_attains_the_floor_on_three_bits():
    table = words(3, 2)
    for n_states, error in ((2, 0.25), (3, 0.208333), (4, 0.166667)):
        floor = packing_error_floor(math.log2(n_states), 3, 2)
        assert round(floor, 6) == error
        assert best_encoder_error(table, n_states) == pytest.approx(floor, abs=1e-12)


def test_a_floor_that_is_five_per_cent_too_high_is_caught():
    # Negative control: the comparison above must fail for a wrong bound.
    def planted(n_states):
        return 1.05 * packing_error_floor(math.log2(n_states), 3, 2)

    assert violations(planted, 3, 2, 8) != []


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 40), st.data())
def test_floor_is_the_exact_rational(n, q, data):
    n_states = data.draw(st.integers(1, q**n))
    # log2 of an integer is right to an ulp: 1e-16 * 213 bits * ln 2 moves the share by 2e-14 relatively, and
    # lgamma by as much again; the floor moves by that times a sum that is at most 1.
    assert packing_error_floor(math.log2(n_states), n, q) == pytest.approx(
        float(exact_floor(n_states, n, q)), abs=1e-12, rel=1e-10
    )


@pytest.mark.parametrize(("n", "q", "bits"), [(300, 2, 100), (400, 400, 2000), (257, 1000, 2500)])
def test_floor_is_the_exact_rational_for_moderate_sizes(n, q, bits):
    assert packing_error_floor(float(bits), n, q) == pytest.approx(float(exact_floor(2**bits, n, q)), rel=1e-10)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(2, 200), st.floats(0.0, 1.0))
def test_bits_and_floor_are_inverse(n, q, share):
    error = share * (1.0 - 1.0 / q)
    bits = packing_bits(error, n, q)
    assert 0.0 <= bits <= n * math.log2(q)
    assert packing_error_floor(bits, n, q) == pytest.approx(error, abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(2, 300), st.floats(0.0, 1.0))
def test_packing_is_at_least_fano(n, q, error):
    entropy_bits = n * math.log2(q)
    fano = mean_error_fano_bits(entropy_bits, n, q, error)
    # Equality holds at n = 1 only up to rounding of numbers as large as the entropy.
    assert packing_bits(error, n, q) >= fano - 1e-11 * (1.0 + entropy_bits)


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 100))
def test_both_directions_never_increase(n, q):
    bits = np.linspace(0.0, n * math.log2(q), 201)
    assert np.all(np.diff(packing_error_floor(bits, n, q)) <= 1e-12)
    errors = np.linspace(0.0, 1.0, 201)
    assert np.all(np.diff(packing_bits(errors, n, q)) <= 1e-9 * (1.0 + n * math.log2(q)))


@pytest.mark.parametrize(("n", "q"), [(1, 2), (10, 36), (16, 16), (4096, 4096), (65536, 65536)])
def test_ends(n, q):
    guess = 1.0 - 1.0 / q
    all_bits = n * math.log2(q)
    assert packing_error_floor(0.0, n, q) == guess
    assert packing_error_floor(all_bits, n, q) == 0.0
    assert packing_error_floor(2.0 * all_bits, n, q) == 0.0
    assert packing_bits(0.0, n, q) == all_bits
    assert packing_bits(guess, n, q) == 0.0
    assert packing_bits(1.0, n, q) == 0.0


def test_one_coordinate_by_hand():
    # n = 1, M states name M of the q values: error 1 - M / q.
    for n_states in range(1, 8):
        assert packing_error_floor(math.log2(n_states), 1, 7) == pytest.approx(1.0 - n_states / 7, abs=1e-14)


def test_one_value_needs_nothing():
    assert packing_error_floor(0.0, 5, 1) == 0.0
    assert packing_bits(0.0, 5, 1) == 0.0


def test_the_largest_tasks_are_finite_and_between_the_known_bounds():
    # With t = floor(n e), a cell as large as the ball of radius t has mean error t / n at most, and that ball
    # has 2^(n Phi(t/n)) / (n + 1) words or more.  So S3 is above S1 by at most log2(n + 1) = 16 bits plus
    # n (Phi(e) - Phi(t/n)), which is below 16 + log2(1 / e) <= 20 bits for e >= 0.1 and n Phi(e) at t = 0.
    n = q = 65536
    errors = np.array([0.0, 1e-5, 0.1, 0.5, 0.9, 0.9999])
    bits = packing_bits(errors, n, q)
    fano = mean_error_fano_bits(n * math.log2(q), n, q, errors)
    assert np.all(np.isfinite(bits))
    assert np.all(bits >= fano - 1e-6)
    assert np.all(bits <= fano + 36.0)
    np.testing.assert_allclose(packing_error_floor(bits, n, q), errors, atol=1e-9)


def test_large_sizes_take_less_than_a_second():
    _log_tables.cache_clear()
    start = time.process_time()
    packing_bits(np.linspace(0.0, 1.0, 101), 4096, 4096)
    packing_error_floor(np.linspace(0.0, 4096 * 12.0, 101), 4096, 4096)
    assert time.process_time() - start < 1.0


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`state_bits` must be at least 0; got -1\.0"):
        packing_error_floor(-1.0, 3, 2)
    with pytest.raises(ValueError, match="`n_coordinates` must be an integer of at least 1; got 0"):
        packing_bits(0.1, 0, 2)
    with pytest.raises(ValueError, match=r"`probability` must lie in \[0, 1\]; got 1\.5"):
        packing_bits(1.5, 3, 2)
