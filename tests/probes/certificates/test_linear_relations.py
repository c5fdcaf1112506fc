"""Exact linear relations among answers: the evidence is an e-value, ranks are those of an enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.probes.certificates import check_uniform, relation_log_e
from boundprobe.probes.certificates.linear_relations import rank
from boundprobe.tasks import IGNORE


@given(
    prime=st.sampled_from([2, 3, 5]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_rank_is_the_size_of_the_row_space(prime, shape, seed):
    rows = np.random.default_rng(seed).integers(prime, size=shape)
    spanned = {tuple(np.array(c) @ rows % prime) for c in itertools.product(range(prime), repeat=shape[0])}
    assert prime ** rank(rows, prime) == len(spanned)


@pytest.mark.parametrize(("n_values", "n_rows"), [(2, 4), (3, 3), (4, 3), (6, 3)])
def test_the_mean_evidence_under_the_prior_is_at_most_one(n_values, n_rows):
    every = itertools.product(range(n_values), repeat=n_rows)
    found = [math.exp(relation_log_e(np.array(rows)[:, None], n_values)[0]) for rows in every]
    assert 0 < np.mean(found) <= 1 + 1e-12


@pytest.mark.parametrize(
    ("n_values", "n_answers", "of"), [(2, 9, [1, 4, 7]), (4, 6, [0, 2, 3, 5]), (6, 12, [3, 10]), (7, 5, [0, 1, 2, 3])]
)
def test_a_parity_of_some_answers_is_refused(n_values, n_answers, of):
    rows = np.random.default_rng(2).integers(n_values, size=(n_answers * 3 + 80, n_answers))
    check_uniform(rows, n_values, 1e-6)
    rows[:, of[-1]] = (3 - rows[:, of[:-1]].sum(1)) % n_values
    with pytest.raises(ValueError, match=r"one linear relation mod|depend|whole rows"):
        check_uniform(rows, n_values, 1e-6)
    rows[np.arange(n_answers), np.arange(n_answers)] = IGNORE  # rows with an absent answer are left out
    assert relation_log_e(np.tile(rows, (4, 1)), n_values)[0] > 30


def test_answers_that_are_mostly_absent_do_not_hide_the_others():
    rows = np.random.default_rng(4).integers(2, size=(600, 20))
    rows[:, 9] = rows[:, :9].sum(1) % 2
    rows[:, 10:][np.random.default_rng(5).random((600, 10)) < 0.7] = IGNORE
    assert relation_log_e(rows, 2)[0] > 30
    rows[:, 9] = np.random.default_rng(6).integers(2, size=600)
    assert relation_log_e(rows, 2)[0] == -math.inf


def test_a_relation_beyond_hundreds_of_bits_is_seen():
    rows = np.random.default_rng(7).integers(2, size=(900, 700))
    rows[:, 690] = rows[:, [520, 600, 680]].sum(1) % 2
    assert relation_log_e(rows, 2)[0] > 30


def test_a_parity_with_errors_is_refused():
    rng = np.random.default_rng(3)
    rows = rng.integers(4, size=(1000, 10))
    rows[:, -1] = np.where(rng.random(1000) < 0.3, -rows[:, :-1].sum(1) % 4, rows[:, -1])
    with pytest.raises(ValueError, match="each depends on the others together"):
        check_uniform(rows, 4, 1e-6)
