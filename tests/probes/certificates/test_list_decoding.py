"""The certificate for the number of states, against every tiny machine and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from boundprobe.probes.certificates import ball_bits, choose_threshold, states_certificate

#: 2,000 repetitions at alpha = 0.05: mean 100, standard deviation 9.75; 131 is 3.2 deviations above.
REPETITIONS, MOST_VIOLATIONS = 2000, 131


def words(n: int, k: int) -> np.ndarray:
    return np.array(list(itertools.product(range(k), repeat=n)))


@pytest.mark.parametrize(("n", "k"), [(1, 2), (4, 2), (3, 3), (5, 4)])
def test_balls_by_counting(n: int, k: int) -> None:
    errors = (words(n, k) != 0).sum(axis=1)
    exact = [n * math.log2(k) - math.log2(int((errors <= t).sum())) for t in range(n + 1)]
    assert ball_bits(n, k).tolist() == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("n", "k"), [(1000, 50_000), (60, 7), (3000, 2)])
def test_huge_balls_against_exact_integers(n: int, k: int) -> None:
    bits, total, wanted = ball_bits(n, k), 0, {0, 1, 2, n // 3, n - 2, n - 1, n}
    for t in range(n + 1):
        total += math.comb(n, t) * (k - 1) ** t
        if t in wanted:
            # log2 of integers whose ratio no float holds: the difference of logs has lost 1e-11 at most.
            exact = n * math.log2(k) - _log2(total) if t < n - 2 else -math.log1p(-_share(k**n - total, k**n))
            exact = exact if t < n - 2 else exact / math.log(2)
            assert bits[t] == pytest.approx(exact, rel=1e-9, abs=1e-9)
    assert np.isfinite(bits).all()
    assert (np.diff(bits) <= 1e-12).all()


def _log2(number: int) -> float:
    shift = max(0, number.bit_length() - 60)
    return math.log2(number >> shift) + shift


def _share(part: int, whole: int) -> float:
    """part / whole for integers beyond floats."""
    return 0.0 if part == 0 else 2 ** (_log2(part) - _log2(whole))


def excesses(n: int, k: int, n_states: int) -> dict[int, float]:
    """For each t, the largest bound minus log2 M over every encoder and every decoder, at the exact p_t."""
    table = words(n, k)
    errors = (table[:, None] != table[None]).sum(axis=2)  # of each word for each list
    worst = dict.fromkeys(range(n + 1), -math.inf)
    for states in itertools.product(range(n_states), repeat=len(table)):
        for lists in itertools.product(range(len(table)), repeat=n_states):
            made = errors[np.arange(len(table)), np.array(lists)[list(states)]]
            for t in worst:
                p = float((made <= t).mean())
                if p > 0:
                    bound = ball_bits(n, k)[t] + math.log2(p)
                    worst[t] = max(worst[t], bound - math.log2(n_states))
    return worst


@pytest.mark.parametrize(("n", "k", "n_states"), [(2, 2, 1), (2, 2, 2), (2, 2, 3), (1, 3, 2), (3, 2, 1), (3, 2, 2)])
def test_no_machine_beats_the_bound(n: int, k: int, n_states: int) -> None:
    worst = excesses(n, k, n_states)
    assert max(worst.values()) <= 1e-9
    # With t = 0 each state is right for one word: met by any machine of so many different lists.
    assert worst[0] == pytest.approx(0, abs=1e-9)
    if (n, n_states) == (3, 2):  # 000 and 111: balls of radius 1 pack
        assert worst[1] == pytest.approx(0, abs=1e-9)
    # Negative control: balls that are too small by one radius are beaten.
    if n_states == 2 and n > 1:
        assert worst[1] + ball_bits(n, k)[0] - ball_bits(n, k)[1] > 0.5


def certificates(p: float, n_sequences: int) -> tuple[np.ndarray, np.ndarray]:
    """Certified values and estimates of repeated evaluations in which no answer is wrong with probability p."""
    right = np.random.default_rng(1).binomial(n_sequences, p, REPETITIONS)
    found = {}
    for count in np.unique(right).tolist():
        wrong = np.zeros((n_sequences, 4), bool)
        wrong[count:, 0] = True
        certificate = states_certificate(wrong, 4, 0, 0.05)
        found[count] = (certificate.lower, certificate.estimate)
    both = np.array([found[count] for count in right.tolist()])
    return both[:, 0], both[:, 1]


@pytest.mark.parametrize(("p", "n_sequences"), [(0.9, 200), (0.5, 60), (0.06, 400)])
def test_coverage(p: float, n_sequences: int) -> None:
    truth = 8 + math.log2(p)  # log2 of the least number of states that are so often right
    lower, estimate = certificates(p, n_sequences)
    assert (lower > truth).sum() <= MOST_VIOLATIONS
    # Negative control: the observed frequency in place of its lower limit.
    assert (estimate > truth).sum() > MOST_VIOLATIONS


@pytest.mark.parametrize(("error", "least", "most"), [(0.09, 0, 0), (0.4, 2, 6)])
def test_the_threshold_is_the_best_expected(error: float, least: int, most: int) -> None:
    # With few errors a row without one is common enough; with many it never comes among 200.
    rng = np.random.default_rng(2)
    calibration, evaluation = (rng.random((200, 16)) < error for _ in range(2))
    t = choose_threshold(calibration, 16, 200, 0.05)
    assert least <= t <= most
    lowers = [states_certificate(evaluation, 16, s, 0.05).lower for s in range(17)]
    # log2 of a share of 200 has a standard error of a bit where few are right.
    assert lowers[t] >= max(lowers) - 2
    assert lowers[t] > states_certificate(evaluation, 16, 16, 0.05).lower + 10


def test_nothing_right_proves_nothing() -> None:
    wrong = np.ones((100, 5), bool)
    certificate = states_certificate(wrong, 3, 2, 0.05)
    assert (certificate.lower, certificate.estimate, certificate.confidence, certificate.threshold) == (0, 0, 0.95, 2)
    assert states_certificate(wrong, 3, 5, 0.05).lower == 0
    assert states_certificate(np.zeros((50, 1000), bool), 50_000, 0, 0.01).estimate == pytest.approx(
        1000 * math.log2(50_000)
    )


def test_wrong_arguments_are_named() -> None:
    wrong = np.zeros((4, 3), bool)
    with pytest.raises(ValueError, match="`threshold` must be an integer from 0 to 3; got 4"):
        states_certificate(wrong, 4, 4, 0.05)
    with pytest.raises(ValueError, match="`alpha` must be above 0 and below 1; got 0"):
        states_certificate(wrong, 4, 1, 0)
    with pytest.raises(ValueError, match="`n_values` must be an integer of at least 2; got 1"):
        states_certificate(wrong, 1, 1, 0.05)
    with pytest.raises(ValueError, match=r"`wrong` must be bool .*; got shape \(4, 3\), type int64"):
        states_certificate(wrong.astype(int), 4, 1, 0.05)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`n_evaluation` must be an integer of at least 1; got 0"):
        choose_threshold(wrong, 4, 0, 0.05)
