"""A2: a prior of independent uniform answers is refused where it is false, and the level is kept where it is true."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import gammaln

from boundprobe.probes.certificates import check_row_statistics, check_uniform, log_wealth
from boundprobe.tasks import IGNORE

LEVEL = 1e-7


def drawn(n, n_answers, k, seed=0):
    return np.random.default_rng(seed).integers(k, size=(n, n_answers))


@pytest.mark.parametrize("beta", [0.01, 0.5, 3.0, 100.0])
def test_the_wealth_is_one_on_average_over_all_draws(beta):
    """Every sequence of draws, enumerated: the mean of E is 1, so E >= 1/level has probability at most level."""
    for n, cells in ((4, 2), (3, 4), (5, 3)):
        wealth = [
            math.exp(log_wealth(np.bincount(draws), cells, np.array([beta]))[0])
            for draws in itertools.product(range(cells), repeat=n)
        ]
        assert np.mean(wealth) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("bits", [10.0, 40.0, 900.0])
def test_many_cells_lose_no_digits(bits):
    """One coincidence in N draws from 2^bits cells: M^N Gamma(t) / Gamma(N + t) beta^(N-1) (beta + 1), t = M beta."""
    n, beta, cells = 50, 1e-3, 2.0**bits
    total = cells * beta
    sequential = sum(math.log(cells) - math.log(total + i) for i in range(n))
    expected = sequential + (n - 1) * math.log(beta) + math.log(beta + 1)
    found = log_wealth(np.array([2] + [1] * (n - 2)), cells, np.array([beta]))[0]
    assert found == pytest.approx(expected, abs=1e-6 * n)
    assert np.isfinite(gammaln(n))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.where(a == 3, 0, a),
        lambda a: a * 0,
        lambda a: np.where(np.arange(3) == 1, np.minimum(a, 2), a),
        lambda a: np.concatenate([a[:, :2], a[:, :1]], axis=1),
        lambda a: np.concatenate([a[:, :2], (a[:, :1] + 1) % 4], axis=1),
        lambda a: np.concatenate([a[:, :2], (a[:, :1] + a[:, 1:2]) % 4], axis=1),
    ],
    ids=["a value never occurs", "constant", "one answer of three", "two are equal", "one follows", "sum of two"],
)
def test_answers_that_are_not_independent_and_uniform_are_refused(change):
    answers = drawn(3000, 3, 4)
    assert "3 of 3 pairs tested" in check_uniform(answers, 4, LEVEL)
    with pytest.raises(ValueError, match=r"`answers` must be independent and uniform over 0 to 3") as caught:
        check_uniform(change(answers), 4, LEVEL)
    assert "(--entropy-bits)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("stated", "in_use"), [(1000, 26), (1000, 500), (50_257, 5000), (2000, 1900), (300, 290)])
def test_a_vocabulary_of_which_a_part_is_in_use_is_refused(stated, in_use):
    """Far fewer draws than values are enough: equal answers are too many."""
    answers = drawn(4000, 6, in_use)
    answers[0, 0] = stated - 1  # one rare value makes it look used
    with pytest.raises(ValueError, match=f"over 0 to {stated - 1}"):
        check_uniform(answers, stated, LEVEL)


@pytest.mark.parametrize(("k", "shared", "own"), [(64, 64, 16), (1000, 1000, 250), (16, 16, 3)])
@pytest.mark.parametrize("n", [1000, 4000])
def test_answers_that_share_a_part_are_refused(k, shared, own, n):
    rng = np.random.default_rng(4)
    answers = (rng.integers(shared, size=(n, 1)) + rng.integers(own, size=(n, 8))) % k
    with pytest.raises(ValueError, match="depend on each other"):
        check_uniform(answers, k, LEVEL)


@pytest.mark.parametrize(("n_columns", "k"), [(16, 16), (5, 5)])
def test_answers_of_which_the_presence_tells_another_are_refused(n_columns, k):
    """Column j is defined only where the last one, always defined, equals j."""
    answers = drawn(3000, n_columns + 1, k)
    told = answers[:, -1:]
    answers[:, :-1] = np.where(told == np.arange(n_columns), answers[:, :-1], IGNORE)
    with pytest.raises(ValueError, match=r"depend on which|depend on whether|that depend on each other"):
        check_uniform(answers, k, LEVEL)


@pytest.mark.parametrize(("n", "k", "n_answers"), [(400, 2, 1), (400, 4, 3), (400, 16, 6), (50, 1000, 4), (100, 2, 40)])
def test_true_priors_are_not_refused(n, k, n_answers):
    for seed in range(40 if n_answers < 10 else 8):
        answers = drawn(n, n_answers, k, seed)
        check_uniform(answers, k, LEVEL)
        check_row_statistics(answers, k, LEVEL)
        absent = np.random.default_rng(seed + 1000).random(answers.shape) < 0.3
        check_uniform(np.where(absent, IGNORE, answers), k, LEVEL)
        check_row_statistics(np.where(absent, IGNORE, answers), k, LEVEL)


def permutations(rng, n, size):
    return np.argsort(rng.random((n, size)), axis=1)


def trees(rng, n, size):
    """Each node points to one nearer the root, in an order drawn anew; the root to itself."""
    order = permutations(rng, n, size)
    rank = np.argsort(order, axis=1)
    above = (rng.random((n, size)) * np.maximum(rank, 1)).astype(np.int64)
    return np.take_along_axis(order, np.where(rank == 0, 0, above), axis=1)


@pytest.mark.parametrize("size", [12, 24, 40])
@pytest.mark.parametrize("make", [permutations, trees, lambda r, n, k: np.sort(r.integers(k, size=(n, k)), axis=1)])
def test_dependence_that_no_pair_shows_is_seen_in_whole_rows(size, make):
    answers = make(np.random.default_rng(6), 1500, size)
    with pytest.raises(ValueError, match=r"sequences with .*drawn so are like that") as caught:
        check_row_statistics(answers, size, LEVEL)
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_never_defined_does_not_excuse_the_others():
    answers = np.zeros((4000, 3), np.int64)
    answers[:, 2] = IGNORE
    with pytest.raises(ValueError, match="answer 0 with 1 of 2 values in use"):
        check_uniform(answers, 2, LEVEL)


def test_too_few_sequences_are_said_to_be_the_users_word():
    assert "your word" in check_uniform(drawn(10, 2, 16), 16, LEVEL)
    assert "too few sequences for all 64^2 cells" in check_uniform(drawn(200, 2, 64), 64, LEVEL)


def test_more_pairs_than_can_be_compared_are_drawn_and_counted(monkeypatch):
    monkeypatch.setattr("boundprobe.probes.certificates.uniformity.MOST_COMPARED", 200 * 50)
    answers = drawn(200, 40, 2)
    assert " of 780 pairs tested" in check_uniform(answers, 2, LEVEL)
    answers[:, 31] = answers[:, 30]
    with pytest.raises(ValueError, match="answers 30 and 31"):
        check_uniform(answers, 2, LEVEL)
