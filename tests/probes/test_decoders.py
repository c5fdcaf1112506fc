"""Every decoder keeps one contract; each is held against storage that it must see and that others cannot."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from boundprobe.probes.certificates import FORMS, Sample
from boundprobe.probes.decoder_choice import simplest_of_best
from boundprobe.probes.decoders import DECODERS, FitSettings, fit_chain, fit_linear, fit_mlp
from boundprobe.probes.decoders.base import cross_entropy
from boundprobe.probes.settings import DECODER_NAMES, FORM_NAMES
from boundprobe.tasks import IGNORE

SMALL = FitSettings(epochs=15, hidden=32)
ALL = pytest.mark.parametrize("name", DECODERS)


def bits(decoder, sample):
    """Cross-entropy of each answer, in bits."""
    logits = torch.from_numpy(decoder.logits(sample.states, sample.answers))
    return (cross_entropy(logits, torch.from_numpy(sample.answers)) / math.log(2)).numpy()


def accuracy(decoder, sample):
    """Of each answer."""
    return (decoder.logits(sample.states, sample.answers).argmax(2) == sample.answers).mean(0)


def parts(sample, *sizes):
    """Consecutive rows, so many each."""
    ends = np.cumsum([0, *sizes])
    return [sample.rows(slice(start, end)) for start, end in pairwise(ends)]


def gaussian_code(n_sequences, seed=0, n_answers=3, n_values=4, d=12, noise=1.0):
    """Each value of each answer has a random direction; the state is their sum and noise."""
    directions = np.random.default_rng(7).standard_normal((n_answers, n_values, d))
    rng = np.random.default_rng(seed)
    answers = rng.integers(n_values, size=(n_sequences, n_answers))
    clean = sum(directions[i, answers[:, i]] for i in range(n_answers))
    return Sample(clean + noise * rng.standard_normal((n_sequences, d)), answers)


def xor_code(n_sequences, seed=0, n_bits=16):
    """Signs of r_i and of r_i xor y_i, turned at random, and noise."""
    rng = np.random.default_rng(seed)
    r, y = rng.integers(2, size=(2, n_sequences, n_bits))
    turn, _ = np.linalg.qr(rng.standard_normal((2 * n_bits, 2 * n_bits)))
    signs = 2.0 * np.concatenate([r, r ^ y], 1) - 1
    return Sample(signs @ turn + 0.1 * rng.standard_normal(signs.shape), y)


def pair_sums(n_sequences, n_values, seed=0, n_answers=8):
    """Only (y_2j + y_2j+1) mod K is stored, one-hot."""
    y = np.random.default_rng(seed).integers(n_values, size=(n_sequences, n_answers))
    return Sample(np.eye(n_values)[(y[:, ::2] + y[:, 1::2]) % n_values].reshape(n_sequences, -1), y)


@pytest.fixture(scope="module")
def fitted():
    """Every decoder on the same small problem, with undefined answers in it."""
    sample = gaussian_code(1200)
    sample.answers[np.random.default_rng(1).random(sample.answers.shape) < 0.2] = IGNORE
    train, calibration, fresh = parts(sample, 600, 300, 300)
    return {name: fit(train, calibration, 4, SMALL) for name, fit in DECODERS.items()}, fresh


# The contract


@ALL
def test_scores_are_finite_float32_of_every_value(fitted, name):
    decoders, fresh = fitted
    logits = decoders[name].logits(fresh.states, fresh.answers)
    assert decoders[name].name == name
    assert logits.shape == (300, 3, 4)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    # Uniform answers in noise of the size of the signal: something is known, not all.
    assert (bits(decoders[name], fresh) < 1.8).all()


@ALL
def test_rows_do_not_see_each_other(fitted, name):
    """Permuting rows permutes scores, and a row alone has the scores it has among others (A1)."""
    decoders, fresh = fitted
    whole = decoders[name].logits(fresh.states, fresh.answers)
    order = np.random.default_rng(0).permutation(300)
    permuted = decoders[name].logits(fresh.states[order], fresh.answers[order])
    alone = decoders[name].logits(fresh.states[5:6], fresh.answers[5:6])
    # Scores of size 10 in float32; matrix products of another shape add in another order.
    np.testing.assert_allclose(permuted, whole[order], atol=1e-4)
    np.testing.assert_allclose(alone, whole[5:6], atol=1e-4)


@ALL
def test_only_earlier_answers_are_seen(fitted, name):
    decoders, fresh = fitted
    whole = decoders[name].logits(fresh.states, fresh.answers)
    rng = np.random.default_rng(3)
    for i in range(3):
        changed = fresh.answers.copy()
        changed[:, i:] = rng.integers(4, size=changed[:, i:].shape)
        np.testing.assert_array_equal(decoders[name].logits(fresh.states, changed)[:, : i + 1], whole[:, : i + 1])
    if name != "chain":
        np.testing.assert_array_equal(decoders[name].logits(fresh.states, fresh.answers * 0), whole)


@ALL
def test_the_same_seed_gives_the_same_decoder_and_leaves_torch_alone(name):
    train, calibration, fresh = parts(gaussian_code(400, n_answers=2), 200, 100, 100)
    settings = FitSettings(epochs=3, hidden=8)
    before = torch.random.get_rng_state()
    first, second = (DECODERS[name](train, calibration, 4, settings) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.logits(fresh.states, fresh.answers), second.logits(fresh.states, fresh.answers))


@ALL
@pytest.mark.parametrize("case", ["float16", "huge", "constant", "all constant", "wide", "one value", "undefined"])
def test_odd_samples(name, case):
    """Types, scales and degenerate columns; answers never seen to vary or never defined."""
    sample = gaussian_code(240, n_answers=2)
    states, answers = sample.states, sample.answers
    if case == "float16":
        states = states.astype(np.float16)
    elif case == "huge":
        states = (states * 1e6 + 1e7).astype(np.float32)
    elif case == "constant":
        states[:, ::2] = 0.1 * 1e6
    elif case == "all constant":
        states = np.full_like(states, 0.3)
    elif case == "wide":
        states = np.concatenate([states, 0.1 * np.random.default_rng(5).standard_normal((240, 400))], 1)
    elif case == "one value":
        answers[:160, 1] = 2  # training sees one value, the rest all four
    else:
        answers[:, 1] = IGNORE
    train, calibration, fresh = parts(Sample(states, answers), 120, 40, 80)
    decoder = DECODERS[name](train, calibration, 4, FitSettings(epochs=5, hidden=8))
    logits = decoder.logits(fresh.states, fresh.answers)
    assert logits.shape == (80, 2, 4)
    assert np.isfinite(logits).all()
    if case == "all constant":
        # Nothing but marginals: the excess over log K is chi2_3 / (2 N ln 2), below 0.12 bits with probability 0.9998.
        assert (bits(decoder, fresh) < 2.25).all()
    elif case != "wide":
        assert bits(decoder, fresh)[0] < 1.95


@ALL
def test_a_state_that_says_nothing_ends_near_log_k(name):
    sample = gaussian_code(4000, n_answers=4)
    states = np.random.default_rng(11).standard_normal((4000, 12))
    train, calibration, fresh = parts(Sample(states, sample.answers), 1500, 500, 2000)
    decoder = DECODERS[name](train, calibration, 4, SMALL)
    # What is chosen beats the marginals on 500 sequences by at most what chance allows, and loses about as much on
    # fresh ones: with 12 weights for each of 3 contrasts, 36 / (2 N ln 2) = 0.017 bits at N = 1,500; three times that.
    assert np.abs(bits(decoder, fresh) - 2).max() < 0.05


def test_undefined_answers_do_not_count():
    """What stands in a masked row of the states changes nothing about that answer's weights but the whitening."""
    train, calibration, fresh = parts(gaussian_code(3000, n_answers=2), 1500, 500, 1000)
    lied = Sample(train.states, train.answers.copy())
    half = np.arange(1500) % 2 == 0
    lied.answers[half, 0] = (lied.answers[half, 0] + 1) % 4
    masked = Sample(train.states, lied.answers.copy())
    masked.answers[half, 0] = IGNORE
    clean = bits(fit_linear(train, calibration, 4, SMALL), fresh)[0]
    assert bits(fit_linear(masked, calibration, 4, SMALL), fresh)[0] == pytest.approx(clean, abs=0.05)
    assert bits(fit_linear(lied, calibration, 4, SMALL), fresh)[0] > clean + 0.3  # the negative control


def test_samples_that_do_not_fit_are_refused():
    train, calibration = parts(gaussian_code(60), 30, 30)
    with pytest.raises(ValueError, match=r"must lie in \[0, n_values\) with n_values=3, .*; got 0 to 3"):
        fit_linear(train, calibration, 3, SMALL)
    with pytest.raises(ValueError, match="states have 12 columns in training and 5 in calibration"):
        fit_linear(train, Sample(calibration.states[:, :5], calibration.answers), 4, SMALL)
    train.states[3, 1] = np.nan
    with pytest.raises(ValueError, match="got NaN or infinity in 1 rows"):
        fit_linear(train, calibration, 4, SMALL)


def test_importing_decoders_does_not_import_scikit_learn():
    code = "import sys, boundprobe.probes.decoders.registry; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What each must see


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_linear_is_as_good_as_scikit_learn(noise):
    train, calibration, fresh = parts(gaussian_code(5000, noise=noise), 2500, 1000, 1500)
    ours = bits(fit_linear(train, calibration, 4, SMALL), fresh)
    theirs = []
    for i in range(3):
        classifier = LogisticRegression(max_iter=1000).fit(train.states, train.answers[:, i])
        right = classifier.predict_proba(fresh.states)[np.arange(1500), fresh.answers[:, i]]
        theirs.append(-np.log2(right).mean())
    # The same family, and what certificates use is the sum.  1 per cent is what descent may leave, 0.003 bits an
    # answer what the temperature may be off where little is left to know.
    assert ours.sum() < 1.01 * sum(theirs) + 0.003 * 3


def test_linear_knows_that_part_of_the_states_was_lost():
    """A tenth of the answers is replaced: logistic regression pays for them, the part of lost sequences does not."""
    sample = gaussian_code(4000, n_values=8, d=40, noise=0.3)
    lost = np.random.default_rng(2).random(sample.answers.shape) < 0.1
    answers = np.where(lost, np.random.default_rng(3).integers(8, size=lost.shape), sample.answers)
    train, calibration, fresh = parts(Sample(sample.states, answers), 2000, 800, 1200)
    decoder = fit_linear(train, calibration, 8, SMALL)
    classifier = LogisticRegression(max_iter=1000).fit(train.states, train.answers[:, 0])
    right = classifier.predict_proba(fresh.states)[np.arange(1200), fresh.answers[:, 0]]
    ours = bits(decoder, fresh)[0]
    # The same sequences, so most of their spread cancels: 0.5 bits / sqrt(1200) = 0.015, three times that.
    assert ours < -np.log2(right).mean() - 0.045
    # No decoder is below the entropy of the channel: 0.9 + 0.1/8 for the right value, 0.1/8 for each of 7 others.
    entropy = -0.9125 * math.log2(0.9125) - 0.0875 * math.log2(0.0125)
    assert entropy - 0.15 < ours < entropy + 0.15  # standard error of the mean: 2.1 bits / sqrt(1200) = 0.06


def test_mlp_sees_xor_and_linear_does_not():
    train, calibration, fresh = parts(xor_code(9000), 6000, 1000, 2000)
    decoder = fit_mlp(train, calibration, 2, FitSettings(epochs=30, hidden=384))
    assert accuracy(decoder, fresh).min() > 0.99
    assert accuracy(decoder.linear, fresh).mean() == pytest.approx(0.5, abs=0.02)  # 7 standard errors


@pytest.mark.parametrize("n_values", [2, 4])
def test_chain_sees_pairs_of_which_only_the_sum_is_stored(n_values):
    train, calibration, fresh = parts(pair_sums(6000, n_values), 4000, 1000, 1000)
    settings = FitSettings(epochs=40, hidden=256)
    decoder = fit_chain(train, calibration, n_values, settings)
    found = bits(decoder, fresh)
    assert accuracy(decoder, fresh)[1::2].min() > 0.99  # answers whose partner came before
    assert math.log2(n_values) * 8 - found.sum() == pytest.approx(4 * math.log2(n_values), abs=0.4)
    # The negative control: alone, each answer is independent of the state.
    alone = bits(fit_mlp(train, calibration, n_values, settings), fresh)
    assert math.log2(n_values) * 8 - alone.sum() < 0.1


def test_settings_know_the_decoders_and_forms_by_the_same_names():
    """Settings are free of torch, so they cannot ask the registry."""
    assert tuple(DECODERS) == DECODER_NAMES
    assert FORMS == FORM_NAMES


# Which one is taken


@pytest.mark.parametrize(
    ("expected", "taken"),
    [
        ({"chain": 7.004, "mlp": 7.002, "linear": 7.0}, "linear"),
        ({"mlp": 7.0, "linear": 6.994}, "mlp"),
        ({"linear": 7.0, "model": 6.996, "chain": 7.0}, "model"),
        ({"boosting": 1.0, "chain": 1.0}, "chain"),
        ({"linear": -2.0}, "linear"),
    ],
)
def test_of_near_equals_the_simplest_is_taken(expected, taken):
    assert simplest_of_best(expected) == taken
