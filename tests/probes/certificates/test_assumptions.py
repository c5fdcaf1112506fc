"""A1, A2 and A4 are checked: what breaks them is refused, and what is unusual but lawful is not."""

import itertools
import math

import numpy as np
import pytest

from boundprobe.probes.certificates import (
    Prior,
    Sample,
    check_causal,
    check_interchange,
    check_repeats,
    check_uniform,
    looks_copied,
)
from boundprobe.tasks import IGNORE


def drawn(n, n_answers, k, seed=0, width=6):
    rng = np.random.default_rng(seed)
    return Sample(rng.normal(size=(n, width)).astype(np.float32), rng.integers(k, size=(n, n_answers)))


def with_copies(sample, which, noise=0.0):
    """Some sequences once more, with states that are drawn anew where there is noise."""
    again = sample.states[which] + noise * np.random.default_rng(1).normal(size=sample.states[which].shape)
    return Sample(
        np.vstack([sample.states, again.astype(np.float32)]), np.vstack([sample.answers, sample.answers[which]])
    )


# A1: repeats.


@pytest.mark.parametrize("n_copies", [1, 10, 500])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_copies_are_refused_under_a_uniform_prior_even_with_other_states(n_copies, noise):
    sample = drawn(500, 16, 16)
    check_repeats(sample, Prior.uniform(16, 16))
    with pytest.raises(ValueError, match=f"{n_copies} pairs|many sequences occur exactly 2 times") as caught:
        check_repeats(with_copies(sample, slice(0, n_copies), noise), Prior.uniform(16, 16))
    assert "allowed: independent sequences" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_times", [2, 5, 20])
def test_copies_are_refused_under_a_stated_prior(n_times):
    sample = drawn(1000 // n_times, 16, 4)
    prior = Prior.stated(16, 4, 31.0)
    check_repeats(sample, prior)
    with pytest.raises(ValueError, match="allowed: independent sequences"):
        check_repeats(sample.rows(np.arange(1000) % sample.n_sequences), prior)


def test_copies_of_few_bits_in_real_states_are_refused():
    """Equal answers say nothing there; equal states do."""
    sample = drawn(1000, 4, 2)
    check_repeats(sample, Prior.uniform(4, 2))
    with pytest.raises(ValueError, match="exactly 2 times"):
        check_repeats(with_copies(sample, slice(0, 1000)), Prior.uniform(4, 2))


@pytest.mark.parametrize("sizes", [(1, 2), (4, 2), (2, 3), (3, 4)])
def test_few_answers_repeat_lawfully(sizes):
    for seed in range(100):
        check_repeats(drawn(300, *sizes, seed), Prior.uniform(*sizes))


def test_discrete_states_of_answers_that_are_not_uniform_repeat_lawfully():
    """The chance that two are equal is 2^-H2(Y), far above 2^-H(Y): 64,000 pairs where 19,000 would be uniform."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answers = (rng.random((1000, 10)) > 0.9).astype(np.int64)
        entropy = 10 * -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
        check_repeats(Sample(answers.astype(np.float32), answers), Prior.stated(10, 2, entropy))


@pytest.mark.parametrize("n_values", [2, 10, 100, 1000, 30_000])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_no_law_of_discrete_states_looks_copied(n_values, power):
    """Uniform and Zipf laws of few and of many states."""
    p = np.arange(1.0, n_values + 1) ** -power
    for seed in range(10):
        drawn_states = np.random.default_rng(seed).choice(n_values, size=1500, p=p / p.sum())
        assert looks_copied(np.unique(drawn_states, return_counts=True)[1]) is None


def test_discrete_states_of_answers_that_are_not_all_defined_repeat_lawfully():
    answers = drawn(2000, 10, 4).answers.copy()
    answers[:, 5:] = IGNORE
    check_repeats(Sample(answers.astype(np.float32), answers), Prior.uniform_where_defined(10, 4))


@pytest.mark.parametrize("n_answers", [256, 1000])
def test_very_long_answers_are_no_overflow(n_answers):
    sample = drawn(100, n_answers, 16)
    check_repeats(sample, Prior.uniform(n_answers, 16))
    with pytest.raises(ValueError, match="1 pairs"):
        check_repeats(with_copies(sample, slice(0, 1)), Prior.uniform(n_answers, 16))


# A2: the law.


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.where(a == 3, 0, a),
        lambda a: a * 0,
        lambda a: np.where(np.arange(3) == 1, np.minimum(a, 2), a),
        lambda a: np.concatenate([a[:, :2], a[:, :1]], axis=1),
        lambda a: np.concatenate([a[:, :2], (a[:, :1] + 1) % 4], axis=1),
    ],
    ids=["a value never occurs", "constant", "one answer of three", "two are equal", "one follows another"],
)
def test_answers_that_are_not_independent_and_uniform_are_refused(change):
    answers = drawn(3000, 3, 4).answers
    assert "uniform" in check_uniform(answers, 4)
    with pytest.raises(
        ValueError, match=r"allowed: independent uniform values 0 to 3; .* \(--entropy-bits\)"
    ) as caught:
        check_uniform(change(answers), 4)
    assert "\n" not in str(caught.value)


def test_lawful_answers_are_not_refused():
    for seed, (n, k) in itertools.product(range(40), [(1, 2), (3, 4), (6, 16)]):
        check_uniform(drawn(400, n, k, seed).answers, k)


def test_an_answer_that_is_never_defined_does_not_excuse_the_others():
    answers = np.zeros((4000, 3), np.int64)
    answers[:, 2] = IGNORE
    with pytest.raises(ValueError, match="answer 0 is not uniform"):
        check_uniform(answers, 2)


def test_too_few_sequences_are_said_to_be_the_users_word():
    assert "the user's word" in check_uniform(drawn(10, 2, 16).answers, 16)


# A4: what a decoder sees.

W = np.random.default_rng(5).normal(size=(6, 8, 3)).astype(np.float32)


def honest(sample):
    return np.einsum("nd,dak->nak", sample.states, W)


def chain(sample):
    """Sees the answers before each, as it may."""
    earlier = np.cumsum(sample.answers, axis=1) - sample.answers
    return honest(sample) + 0.5 * earlier[..., None] * np.array([1, 0, -1], np.float32)


def batch_mean(sample):
    return honest(Sample(sample.states - sample.states.mean(0), sample.answers))


def batch_answers(sample):
    share = np.stack([(sample.answers == value).mean(0) for value in range(3)], -1)
    return honest(sample) + 10 * share.astype(np.float32)


def by_place(sample):
    return honest(sample) + np.arange(sample.n_sequences, dtype=np.float32)[:, None, None] * np.array([1.0, 0, 0])


SAMPLE = drawn(400, 8, 3)


@pytest.mark.parametrize("decoder", [honest, chain])
@pytest.mark.parametrize("n", [1, 2, 3, 400])
def test_honest_decoders_pass(decoder, n):
    few = SAMPLE.rows(slice(0, n))
    check_causal(decoder, few)
    assert "swapped" in check_interchange(decoder, few)


@pytest.mark.parametrize("decoder", [batch_mean, batch_answers, by_place])
def test_decoders_that_see_other_sequences_are_refused(decoder):
    with pytest.raises(ValueError, match="one state at a time") as caught:
        check_interchange(decoder, SAMPLE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sees", range(8))
@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("n", [1, 400])
def test_a_decoder_that_sees_one_right_answer_too_early_is_refused(sees, ahead, n):
    """Wherever it stands, whether it is the answer itself or the next one, and even with a single sequence."""
    place = sees - ahead
    if place < 0:
        return

    def leaky(sample):
        scores = honest(sample).copy()
        scores[:, place] += 5 * np.eye(3, dtype=np.float32)[sample.answers[:, sees]]
        return scores

    with pytest.raises(ValueError, match="depends on the right answer itself or on a later one") as caught:
        check_causal(leaky, SAMPLE.rows(slice(0, n)))
    assert "\n" not in str(caught.value)


def test_more_answers_than_sequences_are_all_tried():
    sample = drawn(40, 300, 2, width=2)
    eye = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="later one"):
        check_causal(lambda x: np.where(np.arange(300)[:, None] == 299, eye[x.answers], 0.0), sample)
