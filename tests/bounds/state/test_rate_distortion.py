"""Rate-distortion (S2): closed forms, the certificate, S1, and every encoder of a small source."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import (
    binary_entropy_bits,
    blahut_arimoto,
    distortion_rate,
    encoders,
    mean_error_fano_bits,
    rate_distortion,
    rate_distortion_uniform,
)

BIT = np.array([[0.0, 1.0], [1.0, 0.0]])
ERASURE = np.array([[0.0, math.inf, 1.0], [math.inf, 0.0, 1.0]])


def hamming(n_values):
    return 1.0 - np.eye(n_values)


def entropy_bits(law):
    law = law[law > 0.0]
    return float(-np.sum(law * np.log2(law)))


def biased_bit(p, d):
    """R(D) of a Bernoulli source under Hamming distortion (Cover and Thomas, Theorem 10.3.1)."""
    return binary_entropy_bits(p) - binary_entropy_bits(d) if d < min(p, 1.0 - p) else 0.0


def holds(interval, value, widest=1e-7):
    return interval.lower <= value <= interval.upper and interval.gap <= widest


@settings(max_examples=25)
@given(st.floats(0.02, 0.5), st.floats(0.01, 1.2))
def test_biased_bit(p, share):
    level = share * p
    assert holds(rate_distortion([p, 1.0 - p], BIT, level), biased_bit(p, level))


@pytest.mark.parametrize(
    ("n_values", "level"), [(2, 0.11), (4, 0.3), (16, 0.1), (36, 1 / 3), (5, 0.0), (5, 0.8), (5, 1)]
)
def test_uniform_source_is_the_closed_form_and_s1(n_values, level):
    closed = rate_distortion_uniform(level, n_values)
    assert holds(rate_distortion(np.full(n_values, 1 / n_values), hamming(n_values), level), closed)
    # S2 equals S1 for uniform answers.
    assert closed == pytest.approx(mean_error_fano_bits(math.log2(n_values), 1, n_values, level), abs=1e-14)


@given(st.floats(0.0, 1.0), st.integers(1, 70_000), st.integers(1, 1000))
def test_s2_is_s1_at_every_size(error, n_values, n_answers):
    s1 = mean_error_fano_bits(n_answers * math.log2(n_values), n_answers, n_values, error)
    assert n_answers * rate_distortion_uniform(error, n_values) == pytest.approx(s1, abs=1e-10 * (1 + n_answers))


@pytest.mark.parametrize("level", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_erasures_of_a_fair_bit(level):
    # Known: H(X | erased) = 1 bit per erasure, no error allowed: R(D) = 1 - D, one straight line.
    assert holds(rate_distortion([0.5, 0.5], ERASURE, level), 1.0 - level)
    assert holds(distortion_rate([0.5, 0.5], ERASURE, 1.0 - level), level)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.3, 0.4])
def test_erasures_of_a_biased_bit(level):
    # Erasing both values equally often leaves 1 bit open per erasure, the most there is, up to D = 2 min p.
    assert holds(rate_distortion([0.2, 0.8], ERASURE, level), binary_entropy_bits(0.2) - level)


@pytest.mark.parametrize("level", [0.0, 0.02, 0.1])
def test_a_non_uniform_source_of_four_letters(level):
    # Below (K - 1) min p all reproductions are used and Shannon's bound is met: R = H(p) - Phi(D)
    # (Cover and Thomas, problem 10.7; Erokhin 1958).
    law = np.array([0.4, 0.3, 0.2, 0.1])
    known = entropy_bits(law) - binary_entropy_bits(level) - level * math.log2(3.0)
    assert level <= 3 * 0.1
    assert holds(rate_distortion(law, hamming(4), level), known)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 6))
def test_directions_are_inverse_and_the_ends_are_known(seed, n_letters, n_reproductions):
    rng = np.random.default_rng(seed)
    law, distortion = rng.dirichlet(np.ones(n_letters)), rng.random((n_letters, n_reproductions))
    least, most = float(law @ distortion.min(axis=1)), float(np.min(law @ distortion))
    assert rate_distortion(law, distortion, most).upper <= 1e-12
    assert rate_distortion(law, distortion, least).upper <= entropy_bits(law) + 1e-9
    assert distortion_rate(law, distortion, 0.0).upper == pytest.approx(most, abs=1e-9)
    assert distortion_rate(law, distortion, 10.0).upper == pytest.approx(least, abs=1e-14)
    level = 0.5 * (least + most)
    rate = rate_distortion(law, distortion, level)
    # R lies in the interval, so D(lower) >= level >= D(upper), each inside its own interval.
    assert distortion_rate(law, distortion, rate.lower).upper >= level - 1e-12
    assert distortion_rate(law, distortion, rate.upper).lower <= level + 1e-12


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20.0), st.integers(1, 200))
def test_the_certificate_needs_no_convergence(seed, slope, max_iterations):
    # However early the iteration stops: lower <= upper, and both hold at the converged curve.
    rng = np.random.default_rng(seed)
    law, distortion = rng.dirichlet(np.ones(4)), rng.random((4, 5))
    early = blahut_arimoto(law, distortion, slope, max_iterations=max_iterations)
    assert early.iterations <= max_iterations
    assert early.gap_bits >= 0.0
    rate = rate_distortion(law, distortion, early.distortion)
    assert early.lower_bits <= rate.upper
    assert early.upper_bits >= rate.lower
    # Its line is below the curve everywhere.
    for level in np.linspace(float(law @ distortion.min(axis=1)), 1.0, 5)[1:]:
        assert early.intercept_bits - slope * level <= rate_distortion(law, distortion, float(level)).upper


def best_by_encoders(law, distortion, held_bits):
    """Least distortion of any encoder with at most so many bits of H(S), each state with its best reproduction."""
    best = math.inf
    for labels in encoders(len(law), len(law)):
        states = np.equal(labels, np.arange(max(labels) + 1)[:, None]).astype(float)
        if entropy_bits(states @ law) <= held_bits + 1e-12:
            best = min(best, float(((states * law) @ distortion).min(axis=1).sum()))
    return best


def encoder_violations(stretch):
    """Small sources for which some encoder is below ``stretch`` times the distortion that S2 allows."""
    rng, found = np.random.default_rng(5), 0
    for n_letters in (2, 3, 4, 5, 6, 7):
        law, distortion = rng.dirichlet(np.ones(n_letters)), rng.random((n_letters, n_letters))
        for bits in (0.0, 0.5, 1.0, 1.6):
            found += (
                best_by_encoders(law, distortion, bits) < stretch * distortion_rate(law, distortion, bits).lower - 1e-12
            )
    return found


def test_no_encoder_beats_s2():
    assert encoder_violations(1.0) == 0


def test_an_s2_that_is_five_per_cent_too_high_is_caught():
    # Negative control: at 0 bits the constant encoder meets D(0) with equality.
    assert encoder_violations(1.05) > 0


def test_bad_arguments_are_named():
    with pytest.raises(
        ValueError, match=r"`source` must be one probability for each letter.*; got shape \(2,\) with sum 0\.9"
    ):
        rate_distortion([0.5, 0.4], BIT, 0.1)
    with pytest.raises(
        ValueError, match=r"`distortion` must have shape \(3, n_reproductions\), .*; got shape \(2, 2\)"
    ):
        rate_distortion([0.5, 0.25, 0.25], BIT, 0.1)
    with pytest.raises(ValueError, match="a row without a finite one"):
        rate_distortion([0.5, 0.5], [[0, 1], [math.inf, math.inf]], 0.1)
    with pytest.raises(ValueError, match=r"`level` must be at least 0\.5; got 0\.1"):
        rate_distortion([0.5, 0.5], [[0, 1], [1, 2]], 0.1)
    with pytest.raises(ValueError, match=r"`rate_bits` must be at least 1\.0* for a finite distortion; got 0\.5"):
        distortion_rate([0.5, 0.5], [[0, math.inf], [math.inf, 0]], 0.5)
    with pytest.raises(ValueError, match="`slope` must be at least 0; got -1"):
        blahut_arimoto([0.5, 0.5], BIT, -1)
    with pytest.raises(ValueError, match="`max_iterations` must be an integer of at least 1; got 0"):
        blahut_arimoto([0.5, 0.5], BIT, 1.0, max_iterations=0)
