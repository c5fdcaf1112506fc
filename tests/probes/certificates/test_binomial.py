"""Certified limits against scipy and against the statements they come from."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from boundprobe.bounds import fano_bits, packing_bits
from boundprobe.probes.certificates import AnswerErrors, answer_errors, clopper_pearson, required_by, used_information
from boundprobe.tasks import StateCase


def independent(n_answers, n_values):
    """Independent uniform answers."""
    bits = n_answers * math.log2(n_values)
    return StateCase(n_answers, n_values, bits, True, bits, "", "")


def exactly(errors):
    """Errors that are known, without uncertainty."""
    p = np.asarray(errors, float)
    return AnswerErrors(p, p, p, 1.0)


def wrong_from_counts(counts, n_sequences):
    """A bool array (n_sequences, n_answers) with so many errors in each column."""
    return np.arange(n_sequences)[:, None] < np.asarray(counts)


# clopper_pearson


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 3000),
    share=st.floats(0, 1),
    alpha=st.sampled_from([0.3, 0.05, 0.05 / 3, 0.05 / 480, 1e-9]),
)
def test_clopper_pearson_is_scipys_exact_interval(n, share, alpha):
    errors = round(share * n)
    lower, upper = clopper_pearson(np.array(errors), n, alpha)
    known = binomtest(errors, n).proportion_ci(confidence_level=1 - alpha, method="exact")
    # scipy's 1 - (1 - alpha) / 2 carries an absolute error of 1e-16, which is 1e-7 of the smallest alpha here.
    assert float(lower) == pytest.approx(known.low, rel=1e-6, abs=1e-12)
    assert float(upper) == pytest.approx(known.high, rel=1e-6, abs=1e-12)


def test_clopper_pearson_at_the_ends_is_the_closed_form():
    n, alpha = 250, 0.02
    lower, upper = clopper_pearson(np.array([0, n]), n, alpha)
    assert lower[0] == 0.0
    assert upper[1] == 1.0
    # P(no error) = (1 - upper)^n = alpha / 2, and the mirror image.
    assert upper[0] == pytest.approx(1 - (alpha / 2) ** (1 / n), rel=1e-10)
    assert lower[1] == pytest.approx((alpha / 2) ** (1 / n), rel=1e-10)


def test_clopper_pearson_keeps_the_shape_and_warns_of_nothing():
    lower, upper = clopper_pearson(np.array([[0, 1], [4, 5]]), 5, 0.05)
    assert lower.shape == upper.shape == (2, 2)
    assert np.isfinite([lower, upper]).all()
    assert (lower <= upper).all()


@pytest.mark.parametrize(("errors", "n"), [(-1, 10), (11, 10), (0, 0), (0, -3)])
def test_clopper_pearson_refuses_counts_that_cannot_be(errors, n):
    with pytest.raises(ValueError, match=r"`errors` must lie in \[0, n_sequences\]"):
        clopper_pearson(np.array([errors]), n, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.05, 1.5, math.nan])
def test_alpha_is_a_probability_in_between(alpha):
    with pytest.raises(ValueError, match="alpha"):
        clopper_pearson(np.array([1]), 10, alpha)


# answer_errors


@pytest.mark.parametrize("n_answers", [1, 2, 7])
def test_each_answer_has_its_bonferroni_level(n_answers):
    n, alpha = 400, 0.03
    counts = np.arange(n_answers) * 5
    errors = answer_errors(wrong_from_counts(counts, n), alpha)
    assert errors.estimate.tolist() == (counts / n).tolist()
    assert errors.confidence == pytest.approx(1 - alpha)
    for i, count in enumerate(counts):
        known = binomtest(int(count), n).proportion_ci(1 - alpha / n_answers, method="exact")
        assert errors.lower[i] == pytest.approx(known.low, rel=1e-8, abs=1e-12)
        assert errors.upper[i] == pytest.approx(known.high, rel=1e-8)


def test_mean_limits_are_means_of_the_limits():
    errors = answer_errors(wrong_from_counts([1, 20, 90], 100), 0.05)
    assert errors.mean_estimate == pytest.approx(0.37)
    assert errors.mean_lower == pytest.approx(errors.lower.mean())
    assert errors.mean_upper == pytest.approx(errors.upper.mean())


def test_one_sequence_of_many_answers_is_one_observation():
    """The sequence is the unit (A5): a thousand answers of one sequence say almost nothing."""
    errors = answer_errors(np.zeros((1, 1000), bool), 0.05)
    assert (errors.upper > 0.99).all()
    assert used_information(independent(1000, 2), errors).lower == 0.0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (6,), (2, 2, 2)])
def test_answer_errors_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="n_sequences, n_answers"):
        answer_errors(np.zeros(shape, bool), 0.05)


# used_information


def test_zero_errors_leave_only_the_price_of_certainty():
    n_answers, n_values, n, alpha = 5, 8, 700, 0.04
    used = used_information(independent(n_answers, n_values), answer_errors(np.zeros((n, n_answers), bool), alpha))
    e = 1 - (alpha / (2 * n_answers)) ** (1 / n)  # upper limit at no error, in closed form
    price = -e * math.log2(e) - (1 - e) * math.log2(1 - e) + e * math.log2(n_values - 1)
    assert used.estimate == pytest.approx(15.0)
    assert used.lower == pytest.approx(15.0 - n_answers * price, abs=1e-9)
    assert used.confidence == pytest.approx(0.96)


@pytest.mark.parametrize("n_values", [2, 3, 16])
@pytest.mark.parametrize("n_sequences", [1, 10, 1000])
def test_all_errors_certify_nothing(n_values, n_sequences):
    """Always wrong is as good as nothing known here, although for two values it would tell everything."""
    used = used_information(independent(4, n_values), answer_errors(np.ones((n_sequences, 4), bool), 0.05))
    assert used.lower == 0.0
    assert used.estimate == 0.0


@settings(deadline=None, max_examples=80)
@given(data=st.data(), n_values=st.integers(2, 40), n_answers=st.integers(1, 12), n=st.integers(1, 500))
def test_used_is_between_nothing_and_the_entropy_and_falls_with_errors(data, n_values, n_answers, n):
    case = independent(n_answers, n_values)
    counts = np.array(data.draw(st.lists(st.integers(0, n), min_size=n_answers, max_size=n_answers)))
    more = np.array([data.draw(st.integers(int(count), n)) for count in counts])
    few, many = (used_information(case, answer_errors(wrong_from_counts(c, n), 0.05)) for c in (counts, more))
    for used in (few, many):
        assert 0.0 <= used.lower <= used.estimate <= case.entropy_bits
        # Clopper-Pearson's upper limit is above the rate, and Phi rises strictly until the bound is 0.
        assert used.lower < used.estimate or used.estimate == 0.0
    assert many.lower <= few.lower + 1e-9
    assert many.estimate <= few.estimate + 1e-9


def test_estimate_is_s1_at_the_observed_errors_and_lower_at_the_upper_confidence_bounds():
    case = independent(3, 10)
    errors = answer_errors(wrong_from_counts([0, 10, 60], 300), 0.05)
    used = used_information(case, errors)
    assert used.estimate == fano_bits(case.entropy_bits, 10, np.array([0, 10, 60]) / 300)
    assert used.lower == fano_bits(case.entropy_bits, 10, errors.upper)


def test_the_prior_counts_and_not_the_number_of_answers():
    """Answers that depend on each other: the joint entropy is what is known, not n log K."""
    case = StateCase(2, 4, 2.0, False, 2.0, "", "")  # both answers are the same value
    assert used_information(case, exactly([0.0, 0.0])).lower == 2.0
    assert used_information(case, exactly([0.0, 0.75])).lower == 0.0


def test_errors_of_another_case_are_refused():
    with pytest.raises(ValueError, match="errors has 3 answers; the case has 2"):
        used_information(independent(2, 4), exactly([0.1, 0.1, 0.1]))


# required_by


def test_required_is_ball_packing_at_the_mean_error():
    case, errors = independent(4, 6), answer_errors(wrong_from_counts([0, 10, 30, 50], 500), 0.05)
    required = required_by(case, errors)
    assert required.estimate == pytest.approx(packing_bits(0.045, 4, 6))
    assert required.lower == pytest.approx(packing_bits(errors.mean_upper, 4, 6))
    assert required.lower < required.estimate
    assert required.confidence == errors.confidence


def test_required_is_fano_where_packing_does_not_hold():
    case = StateCase(4, 6, 7.0, False, 7.0, "", "")
    p = 0.02
    assert required_by(case, exactly([p] * 4)).estimate == pytest.approx(fano_bits(7.0, 6, np.full(4, p)), rel=1e-12)


def test_required_is_at_least_fano_everywhere():
    case = independent(6, 5)
    for p in np.linspace(0, 0.9, 19):
        assert required_by(case, exactly([p] * 6)).estimate >= fano_bits(case.entropy_bits, 5, np.full(6, p)) - 1e-9
