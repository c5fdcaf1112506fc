"""A4 is checked: a decoder that sees more than it may is refused."""

import numpy as np
import pytest

from boundprobe.probes.certificates import (
    Sample,
    check_causal,
    check_interchange,
)


def drawn(n, n_answers, k, seed=0, width=6):
    rng = np.random.default_rng(seed)
    return Sample(rng.normal(size=(n, width)).astype(np.float32), rng.integers(k, size=(n, n_answers)))


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

    with pytest.raises(ValueError, match="depend on the right answer itself or on a later one") as caught:
        check_causal(leaky, SAMPLE.rows(slice(0, n)))
    assert "\n" not in str(caught.value)


def test_more_answers_than_sequences_are_all_tried():
    sample = drawn(40, 300, 2, width=2)
    eye = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="later one"):
        check_causal(lambda x: np.where(np.arange(300)[:, None] == 299, eye[x.answers], 0.0), sample)
