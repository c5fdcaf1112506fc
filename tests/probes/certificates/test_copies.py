"""A1: sequences that share a source are found, and what is unusual but lawful is not refused."""

import numpy as np
import pytest

from boundprobe.probes.certificates import Sample, check_copies, check_near_answers, check_near_states, looks_copied

LEVEL = 1e-7


def drawn(n, n_answers, k, seed=0, width=16):
    rng = np.random.default_rng(seed)
    return Sample(rng.normal(size=(n, width)).astype(np.float32), rng.integers(k, size=(n, n_answers)))


def repeated(sample, n_times, noise=0.0, flips=0.0, k=2):
    """Each sequence ``n_times``, with noise on the states and some answers drawn anew."""
    rng = np.random.default_rng(1)
    states = np.repeat(sample.states, n_times, 0)
    answers = np.repeat(sample.answers, n_times, 0)
    new = rng.random(answers.shape) < flips
    states = states + noise * rng.normal(size=states.shape)
    return Sample(states.astype(np.float32), np.where(new, rng.integers(k, size=answers.shape), answers))


def refused(check, *given):
    with pytest.raises(ValueError, match=r"sequences must be independent; got .*`groups`, --groups") as caught:
        check(*given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_times", [2, 3, 5])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_copies_are_refused_whatever_their_answers_say(n_times, noise):
    """Four bits of answers are alike by chance all the time; the states give the copies away."""
    refused(check_copies, repeated(drawn(3600 // n_times, 4, 2), n_times, noise))


def test_copies_of_some_sequences_are_refused():
    rng = np.random.default_rng(2)
    sample = drawn(2000, 4, 2)
    source = np.repeat(np.arange(2000), rng.integers(1, 3, size=2000))
    noisy = sample.states[source] + 0.2 * rng.normal(size=(len(source), 16))
    refused(check_near_states, Sample(noisy.astype(np.float32), sample.answers[source]))


@pytest.mark.parametrize(("n_answers", "k", "n_changed"), [(8, 16, 1), (12, 8, 2), (64, 2, 6)])
def test_two_cuts_of_one_sequence_are_refused_by_their_answers(n_answers, k, n_changed):
    rng = np.random.default_rng(3)
    answers = np.repeat(rng.integers(k, size=(1000, n_answers)), 2, 0)
    check_near_answers(answers[::2], k, LEVEL)
    for row in answers[1::2]:
        row[rng.choice(n_answers, n_changed, replace=False)] = rng.integers(k, size=n_changed)
    refused(check_near_answers, answers, k, LEVEL)


def test_a_few_copies_among_many_sequences_are_refused():
    answers = drawn(2000, 16, 16).answers
    refused(check_near_answers, np.vstack([answers, answers[:3]]), 16, LEVEL)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(("n_answers", "k"), [(1, 2), (4, 2), (3, 4), (16, 16), (64, 2), (2, 1000)])
def test_independent_answers_and_states_of_them_pass(seed, n_answers, k):
    """Also where the state is no more than the answers: equal states are lawful then."""
    sample = drawn(400, n_answers, k, seed)
    check_copies(sample)
    check_near_answers(sample.answers, k, LEVEL)
    check_copies(Sample(sample.answers.astype(np.float32), sample.answers))
    noisy = sample.answers + 0.01 * sample.states[:, :1]
    check_copies(Sample(noisy.astype(np.float32), sample.answers))


@pytest.mark.parametrize("n_values", [2, 10, 100, 1000, 30_000])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_no_distribution_of_discrete_states_looks_copied(n_values, power):
    """Uniform and Zipf distributions of few and of many states, exact and with noise."""
    p = np.arange(1.0, n_values + 1) ** -power
    codes = np.random.default_rng(99).normal(size=(n_values, 8))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        states = rng.choice(n_values, size=1500, p=p / p.sum())
        assert looks_copied(np.unique(states, return_counts=True)[1]) is None
        noisy = codes[states] + 1e-3 * rng.normal(size=(1500, 8))
        check_near_states(Sample(noisy.astype(np.float32), states[:, None]))


def test_states_are_not_copied_to_be_compared():
    """Sums with random signs stand for wide states: the distances of noisy copies survive."""
    wide = drawn(400, 4, 2, width=20_000)
    check_near_states(wide)
    refused(check_near_states, repeated(wide, 2, 0.1))
