"""T1 by exact enumeration: no frozen code of any law certifies more than there is, and plans see no evaluation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.probes.certificates import (
    FORMS,
    Plan,
    Prior,
    Scored,
    certify,
    choose,
    fit_cross_entropy,
    fit_tangent_fano,
    plan,
)
from boundprobe.tasks import IGNORE

ALPHA = 0.05


def entropy(p):
    p = np.asarray(p)[np.asarray(p) > 0]
    return float(-(p * np.log2(p)).sum())


def random_law(rng, n, k, n_states, masks):
    """Rows of answers (R, n), undefined ones IGNORE, and their joint law with the states, (R, M)."""
    words = np.array(list(itertools.product(range(k), repeat=n)))
    rows = [np.unique(np.where(mask, words, IGNORE), axis=0) for mask in masks]
    sizes = [len(of_mask) for of_mask in rows]
    law = rng.dirichlet(np.full(n_states, 0.4), size=sum(sizes))
    return np.concatenate(rows), law, sizes


def known_bits(rows, joint):
    """H(Y | D) and I(Y;S | D), by summing; the mask D is a function of the row."""
    _, mask = np.unique(rows == IGNORE, axis=0, return_inverse=True)
    entropies = information = 0.0
    for d in np.unique(mask):
        p = joint[mask == d]
        share = p.sum()
        p = p / share
        entropies += share * entropy(p.sum(1))
        information += share * (entropy(p.sum(1)) + entropy(p.sum(0)) - entropy(p.ravel()))
    return entropies, information


def every_mask(n, rng):
    masks = np.array(list(itertools.product([True, False], repeat=n)))
    return masks[rng.choice(len(masks), size=min(3, len(masks)), replace=False)]


@pytest.mark.parametrize("fit", [fit_tangent_fano, fit_cross_entropy])
@pytest.mark.parametrize("kind", ["all defined", "joint entropy known", "uniform where defined"])
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.sampled_from([(1, 2), (2, 2), (2, 3), (3, 2), (1, 5)]))
def test_no_code_of_any_law_shows_more_than_there_is(fit, kind, seed, sizes):
    """H(Y|D) - E l <= I(Y;S|D), with E l summed over the law: scores and calibration may be anything at all."""
    rng = np.random.default_rng(seed)
    (n, k), n_states = sizes, int(rng.integers(1, 5))
    masks = np.ones((1, n), bool) if kind == "all defined" else every_mask(n, rng)
    rows, given_rows, of_mask = random_law(rng, n, k, n_states, masks)
    if kind == "uniform where defined":
        p_mask = rng.dirichlet(np.ones(len(masks)))
        p_rows = np.concatenate([np.full(size, p / size) for size, p in zip(of_mask, p_mask, strict=True)])
        prior = Prior.uniform_where_defined(n, k)
    else:
        p_rows = rng.dirichlet(np.full(len(rows), 0.5))
        h = known_bits(rows, p_rows[:, None] * given_rows)[0]
        if h < 1e-9:
            return
        prior = Prior.stated(n, k, h)
    joint = p_rows[:, None] * given_rows
    information = known_bits(rows, joint)[1]
    kinds = [
        rng.normal(size=(n_states, n, k)) * rng.choice([0.1, 3.0, 50.0]),
        np.zeros((n_states, n, k)),
        np.log(np.maximum([[[joint[rows[:, i] == y, s].sum() for y in range(k)] for i in range(n)]
                           for s in range(n_states)], 1e-30)),
    ]  # fmt: skip
    scores = kinds[rng.integers(3)].astype(np.float32)
    calibration = rng.integers(len(rows), size=rng.choice([1, 3, 200]))
    seen = scores[rng.integers(n_states, size=len(calibration))]
    code = fit(seen, rows[calibration], prior.undefined_bits)
    lengths = np.stack(
        [code.lengths_bits(np.repeat(scores[s : s + 1], len(rows), 0), rows) for s in range(n_states)], 1
    )
    shown = prior.entropy_bits - float((joint * lengths).sum())
    assert shown <= information + n * 1e-6  # rounding of float32 scores


def test_the_ideal_decoder_shows_nearly_all_there_is():
    """Not vacuous: an error in the other direction would pass the test above."""
    rng = np.random.default_rng(0)
    rows, law, _ = random_law(rng, 1, 4, 3, np.ones((1, 1), bool))
    joint = law / 4
    information = known_bits(rows, joint)[1]
    drawn = rng.choice(12, size=20_000, p=joint.ravel())
    scores = np.log(joint[:, drawn % 3].T[:, None, :]).astype(np.float32)
    code = fit_cross_entropy(scores, rows[drawn // 3])
    assert 2 - code.lengths_bits(scores, rows[drawn // 3]).mean() == pytest.approx(information, abs=0.03)


# Certificates.


def guesses(n, rng, n_answers=3, k=4, right=0.0):
    """Scores that are right so often, and otherwise independent of the answers."""
    answers = rng.integers(k, size=(n, n_answers))
    said = np.where(rng.random((n, n_answers)) < right, answers, rng.integers(k, size=(n, n_answers)))
    noise = rng.normal(size=(n, n_answers, k)) * 0.1
    return Scored((3 * np.eye(k)[said] + noise).astype(np.float32), answers)


@pytest.mark.parametrize("form", FORMS)
def test_a_state_that_knows_nothing_is_certified_nothing(form):
    """2,000 repetitions at alpha = 0.05: above 0 at most 131 times, and the median is 0."""
    rng, prior = np.random.default_rng(3), Prior.uniform(3, 4)
    fixed = plan(prior, "guess", form, guesses(40, rng), 40, ALPHA)
    lower = [certify(prior, fixed, guesses(40, rng), ALPHA, rng, "empirical-bernstein").lower for _ in range(2000)]
    assert sum(bits > 0 for bits in lower) <= 131
    assert np.median(lower) == 0.0


def test_betting_certifies_nothing_of_nothing():
    rng, prior = np.random.default_rng(4), Prior.uniform(1, 2)
    fixed = plan(prior, "guess", "tangent-fano", guesses(30, rng, 1, 2), 30, ALPHA)
    lower = [certify(prior, fixed, guesses(30, rng, 1, 2), ALPHA, rng).lower for _ in range(400)]
    # binomial(400, 0.05) is above 35 less than one time in a thousand.
    assert sum(bits > 0 for bits in lower) <= 35


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("right", [0.0, 0.6, 1.0])
def test_lower_estimate_and_entropy_have_their_order(form, right):
    rng, prior = np.random.default_rng(5), Prior.uniform(3, 4)
    fixed = plan(prior, "some", form, guesses(100, rng, right=right), 300, ALPHA)
    for limit in ("betting", "hoeffding"):
        found = certify(prior, fixed, guesses(300, rng, right=right), ALPHA, rng, limit)
        assert 0 <= found.lower <= found.estimate <= 6.0
        assert found.confidence == 1 - ALPHA
        assert found.method == ("clopper-pearson" if form == "fano" else limit)
    assert (found.lower > 2.5) is (right == 1.0)


@pytest.mark.parametrize("form", FORMS)
def test_one_sequence_is_no_news(form):
    """n = 1, K = 2, N = 1 on every split."""
    rng, prior = np.random.default_rng(6), Prior.uniform(1, 2)
    one = guesses(1, rng, 1, 2, right=1.0)
    assert certify(prior, plan(prior, "one", form, one, 1, ALPHA), one, ALPHA, rng).lower == 0.0


def test_more_confidence_certifies_less():
    rng, prior = np.random.default_rng(7), Prior.uniform(3, 4)
    fixed = plan(prior, "some", "cross-entropy", guesses(100, rng, right=0.8), 500, ALPHA)
    held = guesses(500, rng, right=0.8)
    lower = [certify(prior, fixed, held, alpha, np.random.default_rng(0)).lower for alpha in (0.2, 0.05, 1e-3, 1e-6)]
    assert lower == sorted(lower, reverse=True)


def test_the_order_of_the_bets_is_the_seeds_and_not_the_values():
    rng, prior = np.random.default_rng(8), Prior.uniform(3, 4)
    fixed = plan(prior, "some", "cross-entropy", guesses(100, rng, right=0.8), 200, ALPHA)
    held = guesses(200, rng, right=0.8)
    lower = [certify(prior, fixed, held, ALPHA, np.random.default_rng(seed)).lower for seed in (0, 0, 1, 2, 3, 4)]
    assert lower[0] == lower[1]
    assert len(set(lower)) > 1
    calls = []

    class Spy:
        def permutation(self, values):
            calls.append(len(values))
            return values[::-1]

    certify(prior, fixed, held, ALPHA, Spy())
    assert calls == [200]


# Plans.


def test_fano_is_never_chosen_where_the_law_of_what_is_defined_is_unknown():
    rng, prior = np.random.default_rng(9), Prior.uniform_where_defined(3, 4)
    known = guesses(300, rng, right=1.0)
    answers = np.where(rng.random(known.answers.shape) < 0.3, IGNORE, known.answers)
    scored = {"some": Scored(known.scores, answers)}
    assert choose(prior, scored, 1000, ALPHA).form in ("tangent-fano", "cross-entropy")
    with pytest.raises(ValueError, match="at least one decoder and one form must be given"):
        choose(prior, scored, 1000, ALPHA, ["fano"])
    with pytest.raises(ValueError, match="must be one of tangent-fano, cross-entropy"):
        plan(prior, "some", "fano", scored["some"], 1000, ALPHA)


def test_the_better_decoder_is_chosen_by_what_it_says_of_the_calibration_split():
    rng, prior = np.random.default_rng(10), Prior.uniform(3, 4)
    scored = {name: guesses(300, rng, right=right) for name, right in (("a", 0.3), ("b", 0.9), ("c", 0.5))}
    chosen = choose(prior, scored, 1000, ALPHA)
    assert chosen.decoder == "b"
    expected = [plan(prior, name, form, scored[name], 1000, ALPHA).expected_bits for name in "abc" for form in FORMS]
    assert chosen.expected_bits == max(expected)


@pytest.mark.parametrize("bad", [{}, {"forms": []}])
def test_nothing_to_choose_from_is_refused(bad):
    scored = {"some": guesses(9, np.random.default_rng(0))} if bad else {}
    with pytest.raises(ValueError, match="at least one decoder and one form must be given"):
        choose(Prior.uniform(3, 4), scored, 10, ALPHA, **bad)


def test_unknown_names_and_levels_are_refused():
    rng, prior = np.random.default_rng(0), Prior.uniform(3, 4)
    some = guesses(9, rng)
    with pytest.raises(
        ValueError,
        match=r"`form` must be one of fano, tangent-fano, cross-entropy; got 'fanno'\. Did you mean 'fano'\?",
    ):
        plan(prior, "some", "fanno", some, 10, ALPHA)
    fixed = plan(prior, "some", "fano", some, 9, ALPHA)
    assert isinstance(fixed, Plan)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            certify(prior, fixed, some, alpha, rng)
    coded = plan(prior, "some", "tangent-fano", some, 9, ALPHA)
    with pytest.raises(ValueError, match=r"`limit` must be one of betting, .*; got 'bet'"):
        certify(prior, coded, some, ALPHA, rng, "bet")
    with pytest.raises(ValueError, match="`scores` and `answers` must have shapes"):
        certify(prior, coded, guesses(9, rng, 2), ALPHA, rng)


def test_scores_that_are_not_numbers_are_refused():
    rng, prior = np.random.default_rng(0), Prior.uniform(3, 4)
    some = guesses(50, rng)
    fixed = plan(prior, "some", "cross-entropy", guesses(50, rng, right=0.5), 50, ALPHA)
    some.scores[7] = np.nan
    if fixed.code.weight.any():
        with pytest.raises(ValueError, match="nan"):
            certify(prior, fixed, some, ALPHA, rng)
