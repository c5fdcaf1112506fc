"""Sequences that are like earlier ones: an e-value whose mean is 1, and what only many answers together show."""

import itertools
import math

import numpy as np
import pytest

from boundprobe.probes import DecoderConfig, StatesConfig, certify_states
from boundprobe.probes.certificates import check_uniform, likeness_log_e
from boundprobe.tasks import IGNORE

LINEAR = StatesConfig(DecoderConfig(("linear",)))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("n_values", "n_rows", "n_answers"), [(2, 3, 2), (3, 3, 1), (2, 2, 4)])
@pytest.mark.parametrize("absent", [False, True])
def test_the_mean_under_the_prior_is_one(n_values, n_rows, n_answers, absent):
    defined = rng(1).random((n_rows, n_answers)) < 0.6 if absent else np.ones((n_rows, n_answers), bool)
    every = itertools.product(range(n_values), repeat=n_rows * n_answers)
    answers = (np.where(defined, np.reshape(row, defined.shape), IGNORE) for row in every)
    assert np.mean([math.exp(likeness_log_e(each, n_values)) for each in answers]) == pytest.approx(1.0, abs=1e-6)


def test_uniform_answers_give_no_evidence():
    for seed in range(20):
        assert likeness_log_e(rng(seed).integers(8, size=(500, 12)), 8) < math.log(1e4)


def spread(n_rows, n_answers, k, share):
    """Each answer copies each earlier one with a small probability, through a bijection of its own."""
    generator = rng(3)
    answers = generator.integers(k, size=(n_rows, n_answers))
    for i in range(1, n_answers):
        which = (generator.random(n_rows) / share).astype(int)
        for j in range(i):
            answers[which == j, i] = generator.permutation(k)[answers[which == j, j]]
    return answers


def one_latent(n_answers, asked, k=16, n_rows=900):
    """All answers are functions of one value, and each is seldom asked: 4 bits in all."""
    generator = rng(4)
    latent = generator.integers(k, size=n_rows)
    answers = np.array([generator.permutation(k) for _ in range(n_answers)])[:, latent].T
    return latent, answers, generator.random(answers.shape) < asked


@pytest.mark.parametrize(("n_rows", "share"), [(2000, 0.03), (4000, 0.025)])
def test_dependence_that_is_spread_over_all_pairs(n_rows, share):
    answers = spread(n_rows, 32, 16, share)
    states = np.eye(16, dtype=np.float32)[answers].reshape(n_rows, -1)
    with pytest.raises(ValueError, match="agree with each other more than independent ones"):
        certify_states(states, answers, n_values=16, config=LINEAR)


@pytest.mark.parametrize(("n_answers", "asked"), [(130, 0.05), (120, 0.03)])
def test_dependent_answers_of_which_few_are_asked(n_answers, asked):
    latent, answers, defined = one_latent(n_answers, asked)
    with pytest.raises(ValueError, match="agree with each other more than independent ones"):
        certify_states(np.eye(16)[latent], answers, defined=defined, n_values=16, config=LINEAR)


def test_what_could_be_tested_is_said():
    answers, defined = rng(5).integers(16, size=(800, 40)), rng(6).random((800, 40)) < 0.05
    said = check_uniform(np.where(defined, answers, IGNORE), 16, 1e-6)
    assert "independence of 0 of 780 pairs" in said
    answers[:, 3] = IGNORE
    assert check_uniform(answers, 16, 1e-6).startswith("uniform values of 39 of 40 answers")
