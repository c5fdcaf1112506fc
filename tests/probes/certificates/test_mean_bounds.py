"""Upper limits for means: closed forms, properties for any values, coverage, and what must fail."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from boundprobe.probes.certificates import (
    CONFIDENCE_BOUNDS,
    chernoff_kl,
    empirical_bernstein,
    hoeffding,
    hypotheses,
    rounds,
    upper_confidence_bound,
)
from boundprobe.probes.certificates.betting import NOTHING, betting, doubtful_moments, rejected
from boundprobe.probes.settings import CONFIDENCE_BOUND_NAMES

#: P(more than 131 of 2,000 at 0.05) is below 1e-3 for a method that keeps its level.
REPETITIONS, MOST_VIOLATIONS, ALPHA = 2000, 131, 0.05

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)
ALPHAS = st.floats(1e-9, 0.5)


def test_the_settings_name_every_limit():
    assert tuple(CONFIDENCE_BOUNDS) == CONFIDENCE_BOUND_NAMES


# Properties.


@settings(max_examples=100)
@given(values=VALUES, seen=VALUES | st.just(NOTHING), alpha=ALPHAS)
def test_every_limit_is_between_the_sample_mean_and_one(values, seen, alpha):
    for limit in CONFIDENCE_BOUNDS.values():
        # Rounding of a mean.
        assert values.mean() - 1e-12 <= limit(values, alpha, seen) <= 1.0


@settings(max_examples=60)
@given(values=VALUES, alpha=st.floats(1e-6, 0.4))
def test_more_confidence_is_never_a_lower_limit(values, alpha):
    for name in ("hoeffding", "chernoff-kl", "empirical-bernstein"):
        assert CONFIDENCE_BOUNDS[name](values, alpha / 2) >= CONFIDENCE_BOUNDS[name](values, alpha)


@settings(max_examples=60)
@given(values=VALUES, alpha=ALPHAS)
def test_chernoff_is_at_most_hoeffding(values, alpha):
    """Pinsker's inequality."""
    assert chernoff_kl(values, alpha) <= hoeffding(values, alpha) + 1e-9


def test_a_limit_below_the_mean_is_lifted_to_it():
    """A wealth that was once above 1/alpha may have been lost again since: the least is what was seen."""
    values = np.concatenate([np.zeros(500), np.ones(500)])
    assert betting(values, 0.05) >= 0.5


@pytest.mark.parametrize("name", CONFIDENCE_BOUNDS)
@pytest.mark.parametrize("values", [[0.0], [1.0], [0.5], [0.0] * 1000, [1.0] * 1000, [0.0, 1.0]], ids=str)
def test_limits_at_the_ends_are_finite(name, values):
    x = np.array(values)
    for seen in (NOTHING, x, np.zeros(3), np.ones(3)):
        assert x.mean() <= CONFIDENCE_BOUNDS[name](x, 0.05, seen) <= 1.0


# Closed forms.


def test_closed_forms():
    n, alpha = 300, 0.02
    for mean in (0.0, 0.1, 0.5, 0.97):
        values = np.full(n, mean)
        assert hoeffding(values, alpha) == pytest.approx(min(1, mean + math.sqrt(math.log(50) / 600)), abs=1e-12)

        def excess(m, p=mean):
            kl = (p * math.log(p / m) if p else 0.0) + (1 - p) * math.log((1 - p) / (1 - m))
            return kl - math.log(50) / n

        assert chernoff_kl(values, alpha) == pytest.approx(brentq(excess, max(mean, 1e-12), 1 - 1e-12), abs=1e-9)
    assert chernoff_kl(np.zeros(n), alpha) == pytest.approx(1 - alpha ** (1 / n), abs=1e-12)
    values = np.tile([0.2, 0.4], 150)
    known = 0.3 + math.sqrt(2 * values.var(ddof=1) * math.log(100) / n) + 7 * math.log(100) / (3 * (n - 1))
    assert empirical_bernstein(values, alpha) == pytest.approx(known, abs=1e-12)
    assert empirical_bernstein(values[:1], alpha) == 1.0


def test_an_affine_change_of_units_changes_nothing_else():
    rng = np.random.default_rng(0)
    values, seen = rng.beta(1, 4, 200), rng.beta(1, 4, 50)
    for name, limit in CONFIDENCE_BOUNDS.items():
        plain = limit(values, 0.05, seen)
        assert upper_confidence_bound(7 + 3 * values, 0.05, 7.0, 10.0, name, 7 + 3 * seen) == pytest.approx(
            7 + 3 * plain, abs=1e-9
        )


# Betting, by its parts.


def test_the_ladder_goes_from_one_down_to_zero_whatever_was_seen():
    for seen in (NOTHING, np.array([0.0]), np.ones(3), np.full(100, 0.3)):
        for n in (1, 50, 4000):
            ladder = hypotheses(n, seen)
            assert ladder[0] == 1.0
            assert ladder[-1] == 0.0
            assert (np.diff(ladder) < 0).all()


@settings(max_examples=50)
@given(values=VALUES, seen=VALUES | st.just(NOTHING), cut=st.integers(0, 60))
def test_a_bet_depends_on_what_came_before_it_alone(values, seen, cut):
    """Values from a place on are changed: rounds that begin before that place keep the variance they bet by."""
    other = values.copy()
    other[cut:] = 1 - other[cut:]
    (places, before), (same_places, after) = rounds(values, seen), rounds(other, seen)
    assert places.tolist() == same_places.tolist()
    assert places[0] == 0
    assert places[-1] == len(values)
    early = places[:-1] <= cut
    assert before[early].tolist() == after[early].tolist()
    assert (before > 0).all()


def test_doubtful_moments_are_those_of_a_sample_with_a_made_up_value():
    values = np.array([0.2, 0.4, 0.9])
    mean, variance = doubtful_moments(3, values.sum(), (values**2).sum())
    assert mean == pytest.approx((values.sum() + 0.5) / 4)
    assert variance == pytest.approx((((values - mean) ** 2).sum() + 0.25) / 4)


@settings(max_examples=40)
@given(values=VALUES, alpha=st.sampled_from([0.3, 0.05, 1e-3]), seen=VALUES | st.just(NOTHING))
def test_the_limit_is_the_lowest_rung_above_which_all_fell(values, alpha, seen):
    """Against all rungs at once, without the chunks that end the search early."""
    ladder = hypotheses(len(values), seen)
    fell = rejected(ladder, values, *rounds(values, seen), alpha)
    n_fell = len(ladder) if fell.all() else int(np.argmin(fell))
    lowest = ladder[n_fell - 1] if n_fell else 1.0
    assert betting(values, alpha, seen) == pytest.approx(max(lowest, values.mean()), abs=1e-12)


def test_values_that_say_nothing_new_make_it_tighter():
    """Seen values of the same law start the bets: less is lost than without them."""
    rng = np.random.default_rng(0)
    law = lambda n: rng.beta(2, 30, n)  # noqa: E731
    pairs = [(betting(v := law(300), 0.05, law(300)), betting(v, 0.05)) for _ in range(40)]
    assert np.mean([warm < cold for warm, cold in pairs]) > 0.8
    bernstein = np.median([empirical_bernstein(law(300), 0.05) for _ in range(40)])
    assert np.median([warm for warm, _ in pairs]) < 2 / 32 + 0.5 * (bernstein - 2 / 32)


# Coverage.

LAWS = {
    "bernoulli": (lambda rng, size: (rng.random(size) < 0.1).astype(float), 0.1),
    "rare": (lambda rng, size: (rng.random(size) < 0.004).astype(float), 0.004),
    "beta": (lambda rng, size: rng.beta(1, 9, size), 0.1),
    "two points": (lambda rng, size: np.where(rng.random(size) < 0.01, 1.0, 0.05), 0.05 + 0.95 * 0.01),
    "near one": (lambda rng, size: (rng.random(size) < 0.97).astype(float), 0.97),
}


def violations(limit, law, n, seen, seed, repetitions=REPETITIONS):
    """How often of so many repetitions the limit is below the mean of the law; ``seen`` are drawn by its law."""
    draw, mean = LAWS[law]
    rng = np.random.default_rng(seed)
    return sum(limit(draw(rng, n), ALPHA, seen(rng)) < mean for _ in range(repetitions))


def nothing(rng):
    return NOTHING


def same(law, n):
    return lambda rng: LAWS[law][0](rng, n)


@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["hoeffding", "chernoff-kl", "empirical-bernstein"])
def test_limits_from_moments_keep_their_level(name, law, n):
    assert violations(CONFIDENCE_BOUNDS[name], law, n, nothing, seed=1) <= MOST_VIOLATIONS


@pytest.mark.parametrize(("law", "n", "n_seen"), [("rare", 50, 20), ("two points", 50, 0)])
def test_the_test_of_the_mean_itself_keeps_its_level(law, n, n_seen):
    """The limit is below the mean only if the rung below the mean fell: the theorem, without the other rungs."""
    draw, mean = LAWS[law]
    rng = np.random.default_rng(2)
    n_fell = 0
    for _ in range(REPETITIONS):
        values, seen = draw(rng, n), draw(rng, n_seen)
        ladder = hypotheses(n, seen)
        below = ladder[ladder <= mean][:1]
        n_fell += int(rejected(below, values, *rounds(values, seen), ALPHA)[0])
    assert n_fell <= MOST_VIOLATIONS


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("seen", ["nothing", "same", "another law"])
def test_betting_keeps_its_level_whatever_was_seen(law, n, seen):
    drawn = {
        "nothing": nothing,
        "same": same(law, n // 2),
        "another law": lambda rng: rng.random(n // 2) < 0.7 if law == "beta" else np.zeros(n // 2),
    }[seen]
    assert violations(betting, law, n, lambda rng: np.asarray(drawn(rng), float), seed=3) <= MOST_VIOLATIONS


@pytest.mark.slow
def test_betting_keeps_its_level_where_another_law_was_seen():
    assert violations(betting, "bernoulli", 100, lambda rng: np.zeros(100), seed=4) <= MOST_VIOLATIONS


# Negative controls: the count above sees limits that are no limits.


def test_the_sample_mean_is_no_limit():
    assert violations(lambda v, alpha, seen: v.mean(), "beta", 50, nothing, seed=5) > 5 * MOST_VIOLATIONS


def test_the_normal_interval_is_none_at_rare_values():
    def normal(values, alpha, seen):
        return values.mean() + 1.645 * values.std() / math.sqrt(len(values))

    assert violations(normal, "rare", 50, nothing, seed=6) > 5 * MOST_VIOLATIONS


def test_a_bettor_who_peeks_at_the_value_is_caught():
    """The same wealth, but the bet is laid down after its value is seen: on values below the hypothesis alone."""

    def peeking(values, alpha, seen):
        rungs = np.geomspace(1.0, 1e-3, 60)
        gains = np.log1p(np.where(values < rungs[:, None], 0.5, 0.0) * (rungs[:, None] - values)).sum(1)
        fell = gains >= math.log(1 / alpha)
        return float(rungs[np.argmin(fell) - 1]) if fell[0] and not fell.all() else 1.0

    assert violations(peeking, "bernoulli", 200, nothing, seed=7) > 5 * MOST_VIOLATIONS


# Refusals.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"limit": "betting "},
            (
                "`limit` must be one of betting, empirical-bernstein, chernoff-kl, hoeffding; "
                "got 'betting '. Did you mean 'betting'?"
            ),
        ),
        ({"alpha": 0.0}, "`alpha` must be above 0 and below 1; got 0.0"),
        ({"alpha": 1.0}, "`alpha` must be above 0 and below 1; got 1.0"),
        ({"values": np.empty(0)}, "must have at least one value; got none"),
        ({"values": np.array([0.5, 1.5])}, "must lie in [0, 1], the range that was fixed beforehand; got 0.5 to 1.5"),
        ({"values": np.array([-0.1])}, "got -0.1 to"),
        ({"values": np.array([math.nan])}, "nan"),
        ({"values": np.array([0.2, math.nan, 0.3])}, "nan"),
    ],
    ids=str,
)
def test_what_is_refused_is_said_in_one_line(change, said):
    arguments = {"values": np.array([0.5]), "alpha": 0.05, "least": 0.0, "most": 1.0, "limit": "betting"} | change
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        upper_confidence_bound(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_possible_value_leaves_nothing_uncertain():
    assert upper_confidence_bound(np.array([2.0]), 0.05, 2.0, 2.0) == 2.0
