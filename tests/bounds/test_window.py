"""Window bounds against enumeration of whole distributions, exact fractions, and Monte Carlo."""

import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import (
    blind_accuracy,
    expected_max_count,
    min_receptive_field,
    min_sum_window_minus_one,
    receptive_field,
    window_accuracy_ceiling,
)
from boundprobe.tasks import WindowCase

SELECTIVE_COPYING = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 4.2", "by hand")
RECALL = WindowCase(100, 16, (99, 98, 97, 96, 95), (2, 4, 8, 16, 16), tuple(range(0, 32, 2)), "Theorem 4.5", "by hand")


def exact_expected_max(n_balls, n_bins):
    """Sum over all ways to write the counts as a partition of n, in exact arithmetic."""

    def partitions(left, largest, parts):
        if left == 0:
            yield parts
            return
        if len(parts) < n_bins:
            for part in range(min(left, largest), 0, -1):
                yield from partitions(left - part, part, (*parts, part))

    total = 0
    for parts in partitions(n_balls, n_balls, ()):
        balls = math.factorial(n_balls) // math.prod(math.factorial(part) for part in parts)
        bins = math.perm(n_bins, len(parts)) // math.prod(math.factorial(r) for r in Counter(parts).values())
        total += max(parts, default=0) * balls * bins
    return Fraction(total, n_bins**n_balls)


def best_accuracy_by_enumeration(case, sees):
    """E[max_y P(y | last R tokens)] over every sequence: a control part picks one of the candidates.

    One control token with as many values as there are candidates; tokens elsewhere play no part.
    """
    seen = defaultdict(Counter)
    for values in itertools.product(range(case.n_values), repeat=len(case.candidate_distances)):
        for wanted in range(len(values)):
            view = tuple(v for v, d in zip(values, case.candidate_distances, strict=True) if d < sees)
            if case.sensitivity_distance < sees:
                view = (*view, ("control", wanted))
            seen[view][values[wanted]] += 1
    right = sum(max(answers.values()) for answers in seen.values())
    return right / sum(sum(answers.values()) for answers in seen.values())


def test_receptive_field_counts_the_position_itself_once():
    assert receptive_field([]) == 1
    assert receptive_field([1, 1]) == 1
    assert receptive_field([11]) == 11
    assert receptive_field([4, 11, 2]) == 1 + 3 + 10 + 1
    assert receptive_field([4, None]) is None
    with pytest.raises(ValueError, match="`window` must be an integer of at least 1; got 0"):
        receptive_field([3, 0])


@pytest.mark.parametrize(("n_balls", "n_bins"), [(0, 3), (1, 3), (4, 1), (2, 2), (5, 3), (6, 4), (3, 9)])
def test_expected_max_by_enumeration(n_balls, n_bins):
    counts = [max(Counter(throw).values(), default=0) for throw in itertools.product(range(n_bins), repeat=n_balls)]
    assert expected_max_count(n_balls, n_bins) == pytest.approx(sum(counts) / len(counts), abs=1e-13)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 24), st.integers(1, 70_000))
def test_expected_max_in_exact_fractions(n_balls, n_bins):
    assert expected_max_count(n_balls, n_bins) == pytest.approx(float(exact_expected_max(n_balls, n_bins)), rel=1e-12)


@pytest.mark.parametrize(("n_balls", "n_bins", "n_draws"), [(300, 50, 20_000), (65536, 65536, 200)])
def test_expected_max_of_many_balls_by_simulation(n_balls, n_bins, n_draws):
    # The mean of N independent counts is within 5 standard errors, s / sqrt(N), of the expectation except
    # with probability 6e-7; the seed is fixed, so this passes always or never.
    rng = np.random.default_rng(20260308)
    counts = rng.multinomial(n_balls, np.full(n_bins, 1.0 / n_bins), size=n_draws).max(axis=1)
    tolerance = 5.0 * counts.std(ddof=1) / math.sqrt(n_draws)
    assert abs(expected_max_count(n_balls, n_bins) - counts.mean()) < tolerance
    # Negative control: one ball more in the largest bin is 1 away, twenty standard errors or more.
    assert abs(expected_max_count(n_balls, n_bins) + 1.0 - counts.mean()) > tolerance


def test_the_printed_blind_accuracy():
    exact = exact_expected_max(10, 26) / 10
    assert round(float(exact), 6) == 0.201518
    assert blind_accuracy(SELECTIVE_COPYING) == pytest.approx(float(exact), abs=1e-14)


@pytest.mark.parametrize(("n_values", "n_candidates"), [(2, 2), (3, 3), (2, 5), (4, 3)])
def test_ceiling_by_enumeration_at_every_receptive_field(n_values, n_candidates):
    case = WindowCase(9, n_values, (8,), (n_candidates,), tuple(range(1, n_candidates + 1)), "Theorem 3.7", "by hand")
    for sees in range(1, 12):
        expected = best_accuracy_by_enumeration(case, sees)
        assert window_accuracy_ceiling(case, sees) == pytest.approx(expected, abs=1e-12), sees


def test_a_ceiling_that_is_five_per_cent_off_is_caught():
    # Negative control of the comparison above.
    case = WindowCase(9, 3, (8,), (3,), (1, 2, 3), "Theorem 3.7", "by hand")
    best = best_accuracy_by_enumeration(case, 4)
    assert 1.05 * window_accuracy_ceiling(case, 4) != pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("case", [SELECTIVE_COPYING, RECALL])
def test_ceiling_grows_with_the_receptive_field(case):
    ceilings = [window_accuracy_ceiling(case, sees) for sees in range(1, 102)]
    assert np.all(np.diff(ceilings) >= -1e-12)
    assert ceilings[0] >= 1.0 / case.n_values
    assert ceilings[98] < 1.0  # R = d sees one token too few
    assert ceilings[99] == ceilings[100] == window_accuracy_ceiling(case, None) == 1.0
    # The control tokens are just out of sight, everything else is in it.
    assert ceilings[min(case.control_distances) - 1] == blind_accuracy(case)


def test_each_hidden_control_token_counts():
    # j hidden bits leave 2^j keys: their most frequent value, of 16, is right this often.
    for hidden, remain in ((1, 2), (2, 4), (3, 8), (4, 16), (5, 16)):
        expected = float(exact_expected_max(remain, 16)) / remain
        assert window_accuracy_ceiling(RECALL, 100 - hidden) == pytest.approx(expected, abs=1e-12)


def test_partial_sight_gives_an_upper_bound():
    # Two of three candidates remain and one of the three is in sight, each as likely to be among the two.
    # A model that is told which remain has the mean over the three pairs; the bound is never below.
    case = WindowCase(9, 3, (1, 0), (2, 3), (0, 5, 6), "Theorem 3.7", "by hand")
    seen = (1.0 + 1.0 / 3) / 2
    unseen = 1.0 / 3
    assert window_accuracy_ceiling(case, 1) >= (2 * seen + unseen) / 3


def best_accuracy_told_the_wanted(case, sees):
    """E[max_y P(y | last R tokens)] by enumeration where it is known which candidate is wanted."""
    seen = defaultdict(Counter)
    for values in itertools.product(range(case.n_values), repeat=len(case.candidate_distances)):
        view = tuple(v for v, d in zip(values, case.candidate_distances, strict=True) if d < sees)
        for wanted in range(len(values)):
            seen[view, wanted][values[wanted]] += 1
    right = sum(max(answers.values()) for answers in seen.values())
    return right / sum(sum(answers.values()) for answers in seen.values())


NO_CONTROL = WindowCase(9, 4, (), (), (7,), "Theorem 3.7", "by hand")
FAR_CANDIDATES = WindowCase(9, 3, (1, 0), (2, 3), (0, 5, 8), "Theorem 3.7", "by hand")


def test_without_control_tokens_the_one_candidate_is_what_matters():
    assert [window_accuracy_ceiling(NO_CONTROL, sees) for sees in (1, 7, 8, 9)] == [0.25, 0.25, 1.0, 1.0]
    assert window_accuracy_ceiling(NO_CONTROL, None) == 1.0
    for sees in range(1, 10):
        assert window_accuracy_ceiling(NO_CONTROL, sees) == best_accuracy_told_the_wanted(NO_CONTROL, sees)
    assert blind_accuracy(NO_CONTROL) == 0.25
    assert min_sum_window_minus_one(NO_CONTROL) == 7
    assert min_receptive_field(NO_CONTROL) == 8


def test_candidates_may_be_farther_than_the_control():
    # With both control tokens in sight, each candidate counts as seen or as a guess.
    for sees in range(2, 11):
        expected = best_accuracy_told_the_wanted(FAR_CANDIDATES, sees)
        assert window_accuracy_ceiling(FAR_CANDIDATES, sees) == pytest.approx(expected, abs=1e-12), sees
    assert window_accuracy_ceiling(FAR_CANDIDATES, 2) == pytest.approx((1 + 2 / 3) / 3)
    assert window_accuracy_ceiling(FAR_CANDIDATES, 9) == 1.0
    assert min_sum_window_minus_one(FAR_CANDIDATES) == 8
    ceilings = [window_accuracy_ceiling(FAR_CANDIDATES, sees) for sees in range(1, 11)]
    assert np.all(np.diff(ceilings) >= -1e-12)
    # Negative control: the comparison tells 5 per cent.
    assert 1.05 * ceilings[2] != pytest.approx(best_accuracy_told_the_wanted(FAR_CANDIDATES, 3), abs=1e-12)


@pytest.mark.parametrize("candidates", [(), (1, 2)])
def test_a_case_without_control_has_one_candidate(candidates):
    case = WindowCase(9, 4, (), (), candidates, "Theorem 3.7", "by hand")
    for function in (blind_accuracy, min_receptive_field, lambda case: window_accuracy_ceiling(case, 3)):
        with pytest.raises(
            ValueError, match=rf"must have one candidate, or .*; got {len(candidates)} candidates and 0 control tokens"
        ):
            function(case)


def test_w1():
    assert min_receptive_field(SELECTIVE_COPYING) == 100
    assert min_sum_window_minus_one(SELECTIVE_COPYING) == 99
    windows = [34, 34, 34]
    assert sum(w - 1 for w in windows) == 99
    assert receptive_field(windows) == min_receptive_field(SELECTIVE_COPYING)


def test_bad_receptive_field_is_named():
    with pytest.raises(ValueError, match="`receptive_field` must be an integer of at least 1; got 0"):
        window_accuracy_ceiling(SELECTIVE_COPYING, 0)
