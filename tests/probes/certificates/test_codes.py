"""Frozen codes are codes: the lengths of all rows of answers are those of probabilities, whatever the scores."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import fano_loss_bits
from boundprobe.probes.certificates import AnswerCode, fit_cross_entropy, fit_tangent_fano
from boundprobe.probes.certificates.codes import calibration_penalty, right_answers
from boundprobe.tasks import IGNORE

FITS = [fit_tangent_fano, fit_cross_entropy]
#: Scores are float32: each length is off by no more than this in bits.
ROUNDING = 1e-6

SIZES = st.tuples(st.integers(1, 3), st.integers(2, 4))


@st.composite
def scored(draw):
    """Scores (N, n, K) of all kinds, and answers, some undefined."""
    (n, k), m = draw(SIZES), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "equal", "huge", "tiny", "ties", "offset", "least"]))
    scores = rng.normal(size=(m, n, k))
    scores = {
        "normal": scores,
        "equal": scores * 0,
        "huge": scores * 1e30,
        "tiny": scores * 1e-30,
        "ties": scores.round(),
        "offset": scores + 1e6,
        "least": np.where(scores > 0, 0.0, -700.0),
    }[kind]
    answers = np.where(rng.random((m, n)) < 0.2, IGNORE, rng.integers(k, size=(m, n)))
    return scores.astype(np.float32), answers


def every_row(n, k):
    return np.array(list(itertools.product(range(k), repeat=n)))


@pytest.mark.parametrize("fit", FITS)
@settings(max_examples=60)
@given(known=scored(), fresh=st.integers(0, 2**32 - 1))
def test_lengths_are_those_of_probabilities_and_stay_in_their_range(fit, known, fresh):
    scores, answers = known
    n, k = scores.shape[1:]
    code = fit(scores, answers)
    other = np.random.default_rng(fresh).normal(size=(1, n, k)).astype(np.float32) * 100
    for one in (scores[:1], other):
        rows = every_row(n, k)
        lengths = code.lengths_bits(np.repeat(one, len(rows), 0), rows)
        assert (lengths >= 0).all()
        assert (lengths <= code.most_bits).all()
        assert (2.0**-lengths).sum() <= 1 + n * ROUNDING
        # Nothing is lost, either: what is clipped is rounding alone.
        assert (2.0**-lengths).sum() >= 1 - n * ROUNDING


@pytest.mark.parametrize("fit", FITS)
@settings(max_examples=40)
@given(known=scored(), undefined=st.booleans())
def test_undefined_answers_cost_what_the_prior_says(fit, known, undefined):
    scores, answers = known
    k = scores.shape[2]
    undefined_bits = math.log2(k) if undefined else 0.0
    code = fit(scores, answers, undefined_bits)
    nobody = np.full_like(answers, IGNORE)
    assert code.lengths_bits(scores, nobody) == pytest.approx(answers.shape[1] * undefined_bits)
    assert code.most_bits >= answers.shape[1] * undefined_bits - 1e-9
    lengths = code.lengths_bits(scores, answers)
    assert (lengths >= 0).all()
    assert (lengths <= code.most_bits).all()


@pytest.mark.parametrize("fit", FITS)
def test_adding_a_constant_to_scores_changes_nothing(fit):
    rng = np.random.default_rng(0)
    scores, answers = rng.normal(size=(50, 3, 4)).astype(np.float32), rng.integers(4, size=(50, 3))
    code = fit(scores, answers)
    moved = scores + rng.normal(size=(50, 3, 1)).astype(np.float32)
    assert code.lengths_bits(moved, answers) == pytest.approx(code.lengths_bits(scores, answers), abs=1e-4)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("scale", [1.0, 1e3, 3e4])
def test_half_precision_scores_give_a_code_all_the_same(fit, scale):
    """60,000 scores in float16 at a temperature of 1/4 would be infinite, and many small ones 0."""
    rng = np.random.default_rng(0)
    scores = np.clip(rng.normal(size=(40, 1, 300)) * scale, -6e4, 6e4)
    answers = rng.integers(300, size=(40, 1))
    code = fit(scores.astype(np.float32), answers)
    lengths = code.lengths_bits(np.repeat(scores[:1], 300, 0).astype(np.float16), every_row(1, 300))
    assert np.isfinite(lengths).all()
    assert (2.0**-lengths).sum() <= 1 + 1e-5


@pytest.mark.parametrize("fit", FITS)
def test_scores_near_the_largest_of_float32(fit):
    scores = np.array([[[3e37, -3e37]], [[-3e37, 3e37]]] * 3, np.float32)
    answers = np.array([[0], [1]] * 3)
    lengths = fit(scores, answers).lengths_bits(scores, answers)
    assert np.isfinite(lengths).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("n_values", [2, 7])
def test_one_calibration_sequence_is_enough_for_a_code(fit, n_values):
    scores = np.random.default_rng(0).normal(size=(1, 2, n_values)).astype(np.float32)
    for answers in ([[0, 1]], [[IGNORE, 1]], [[IGNORE, IGNORE]]):
        code = fit(scores, np.array(answers))
        assert np.isfinite(code.most_bits)
        assert (code.error > 0).all()
        assert (code.error <= 1 - 1 / n_values).all()


def test_an_answer_that_nobody_defined_says_nothing():
    """The cap of Phi: the error is at most 1 - 1/K, where every value costs log2 K."""
    scores = np.random.default_rng(0).normal(size=(20, 1, 2)).astype(np.float32)
    code = fit_tangent_fano(scores, np.full((20, 1), IGNORE))
    assert code.error.tolist() == [0.5]
    assert code.lengths_bits(scores, np.zeros((20, 1), int)) == pytest.approx(1.0)


def test_tangent_fano_is_the_tangent_of_phi():
    k, e = 5, 0.21
    code = AnswerCode("tangent-fano", k, np.ones(1), np.zeros(1), np.array([e]))
    scores = np.zeros((2, 1, k), np.float32)
    scores[:, 0, 0] = 1
    right, wrong = code.lengths_bits(scores, np.array([[0], [1]]))
    slope = (fano_loss_bits(np.array(e + 1e-6), k) - fano_loss_bits(np.array(e - 1e-6), k)) / 2e-6
    for p in np.linspace(0, 1, 21):
        tangent = fano_loss_bits(np.array(e), k) + slope * (p - e)
        assert (1 - p) * right + p * wrong == pytest.approx(float(tangent), abs=1e-6)
        assert (1 - p) * right + p * wrong >= float(fano_loss_bits(np.array(p), k)) - 1e-9


def test_a_wrong_fano_code_is_never_above_log_k_on_a_decoder_that_guesses():
    rng = np.random.default_rng(0)
    scores, answers = rng.normal(size=(2000, 1, 8)).astype(np.float32), rng.integers(8, size=(2000, 1))
    assert fit_tangent_fano(scores, answers).lengths_bits(scores, answers).mean() == pytest.approx(3.0, abs=0.01)
    assert fit_cross_entropy(scores, answers).lengths_bits(scores, answers).mean() <= 3.01


def test_cross_entropy_is_no_longer_than_tangent_fano_on_its_calibration_split():
    """Weight 0 is one of those that are tried."""
    rng = np.random.default_rng(0)
    for scale in (0.1, 1, 10):
        answers = rng.integers(4, size=(300, 3))
        scores = (scale * rng.normal(size=(300, 3, 4)) + 2 * np.eye(4)[answers]).astype(np.float32)
        means = [fit(scores, answers).lengths_bits(scores, answers).mean() for fit in FITS]
        assert means[1] <= means[0] + ROUNDING


def test_a_calibrated_decoder_is_seen_nearly_whole():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(4, 0.3), size=(4000, 2))
    answers = (p.cumsum(-1) < rng.random((4000, 2, 1))).sum(-1).clip(max=3)
    own = -np.log2(np.take_along_axis(p, answers[..., None], -1)).sum((1, 2)).mean()
    for temperature in (0.5, 1.0, 3.0):
        scores = (np.log(np.maximum(p, 1e-30)) * temperature).astype(np.float32)
        code = fit_cross_entropy(scores[:2000], answers[:2000])
        assert code.lengths_bits(scores[2000:], answers[2000:]).mean() == pytest.approx(own, abs=0.1)


def test_ties_go_to_the_first_value():
    assert right_answers(np.zeros((1, 2, 3), np.float32), np.array([[0, 1]])).tolist() == [[True, False]]


@pytest.mark.parametrize("shape", [(5, 2, 4), (4, 3, 4), (5, 3, 3), (5, 3)])
def test_scores_of_another_shape_are_refused(shape):
    code = AnswerCode("tangent-fano", 4, np.ones(3), np.zeros(3), np.full(3, 0.1))
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        code.lengths_bits(np.zeros(shape, np.float32), np.zeros((5, 3), int))
    assert "\n" not in str(caught.value)


def test_the_penalty_falls_with_more_sequences_and_less_confidence():
    lengths = np.array([1.0, 2.0, 5.0])
    penalties = [calibration_penalty(lengths, 20.0, n, alpha) for n, alpha in ((100, 0.01), (100, 0.1), (9000, 0.1))]
    assert penalties == sorted(penalties, reverse=True)
    assert penalties[-1] > 0
