"""Certified limits on planted states whose information is known: how often they are wrong.

2,000 repetitions at alpha = 0.05.  A valid method has at most binomial(2000, 0.05) violations, mean 100 and
standard deviation 9.75; P(more than 131) = 0.00095, so 131 is its 99.9 per cent quantile.  More fails the
method.  The same function, with the same limit, must fail methods that are known to be wrong.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom, norm

from boundprobe.bounds import binary_entropy_bits, fano_bits, fano_loss_bits
from boundprobe.probes.certificates import AnswerErrors, answer_errors, clopper_pearson, used_information
from boundprobe.tasks import StateCase

ALPHA = 0.05
REPETITIONS = 2000
MOST_VIOLATIONS = 131


def test_the_limit_is_the_quantile_that_it_is_said_to_be():
    assert binom.ppf(0.999, REPETITIONS, ALPHA) == MOST_VIOLATIONS
    assert binom.sf(MOST_VIOLATIONS, REPETITIONS, ALPHA) == pytest.approx(0.00095, abs=1e-5)


# Planted states: n answers, independent and uniform over K values; a channel stores them in a state, and a
# frozen decoder reads them back.  UNKNOWN stands in a state for a value that is not there, and is decoded as 0.

UNKNOWN = -1


@dataclass(frozen=True)
class Planted:
    """n answers of K values, stored with a loss; see the subclasses."""

    n: int
    k: int
    loss: float
    n_sequences: int

    @property
    def case(self):
        bits = self.n * math.log2(self.k)
        return StateCase(self.n, self.k, bits, True, bits, "", "")

    def errors(self):
        """The frozen decoder's error of each answer, exactly."""
        return np.full(self.n, self.loss * (1 - 1 / self.k))

    def true_bits(self):
        """I(U;S), exactly."""
        raise NotImplementedError

    def store(self, u, rng):
        """The state that holds the answers u (N, n)."""
        raise NotImplementedError

    def population_bits(self):
        """What the method would say of its decoder from infinitely many sequences."""
        return fano_bits(self.case.entropy_bits, self.k, self.errors())

    def wrong(self, rng):
        """Which answers are wrong on fresh sequences, (N, n)."""
        u = rng.integers(self.k, size=(self.n_sequences, self.n), dtype=np.int8)
        return np.maximum(self.store(u, rng), 0) != u


class Symmetric(Planted):
    """Each answer kept, or with probability ``loss`` replaced by a uniform value, its own among them."""

    def true_bits(self):
        # Given S, each answer is S_i with probability 1 - e and uniform over the others: Fano is tight.
        return self.n * (math.log2(self.k) - float(fano_loss_bits(self.errors()[0], self.k)))

    def store(self, u, rng):
        noise = rng.integers(self.k, size=u.shape, dtype=np.int8)
        return np.where(rng.random(u.shape) < self.loss, noise, u)


class Erasure(Planted):
    """Each answer kept, or with probability ``loss`` known to be lost."""

    def true_bits(self):
        return self.n * (1 - self.loss) * math.log2(self.k)

    def store(self, u, rng):
        return np.where(rng.random(u.shape) < self.loss, UNKNOWN, u)


class WholeStateLoss(Planted):
    """The whole state kept, or with probability ``loss`` known to be lost: the answers stand or fall together."""

    def true_bits(self):
        return self.n * (1 - self.loss) * math.log2(self.k)

    def store(self, u, rng):
        return np.where(rng.random((len(u), 1)) < self.loss, UNKNOWN, u)


class WholeStateSwap(Planted):
    """The whole state kept, or with probability ``loss`` that of other answers, with nothing to tell it by."""

    def true_bits(self):
        # Given S, the answers are S with probability a and each other word with probability b.
        words = self.k**self.n
        b = self.loss / words
        a = 1 - self.loss + b
        return math.log2(words) + a * math.log2(a) + (words - 1) * b * math.log2(b)

    def store(self, u, rng):
        other = rng.integers(self.k, size=u.shape, dtype=np.int8)
        return np.where(rng.random((len(u), 1)) < self.loss, other, u)


class Independent(Planted):
    """A state that has nothing to do with the answers."""

    def errors(self):
        return np.full(self.n, 1 - 1 / self.k)

    def true_bits(self):
        return 0.0

    def store(self, u, rng):
        return rng.integers(self.k, size=u.shape, dtype=np.int8)


class FirstFew(Planted):
    """The first answers are kept exactly, the others not at all; ``loss`` is the share that is not kept."""

    @property
    def n_kept(self):
        return round(self.n * (1 - self.loss))

    def errors(self):
        return np.where(np.arange(self.n) < self.n_kept, 0.0, 1 - 1 / self.k)

    def true_bits(self):
        return self.n_kept * math.log2(self.k)

    def store(self, u, rng):
        return np.where(np.arange(self.n) < self.n_kept, u, UNKNOWN)


CHANNELS = [
    Symmetric(1, 4, 0.2, 500),  # one answer: no slack from adding up limits
    Symmetric(8, 16, 0.1, 300),
    Symmetric(4, 2, 0.9, 500),  # almost nothing is kept: near the cap log K
    Erasure(8, 8, 0.3, 300),
    WholeStateLoss(16, 8, 0.2, 200),
    WholeStateLoss(2, 16, 0.02, 1000),
    WholeStateSwap(4, 3, 0.1, 300),
    Independent(16, 2, 1.0, 200),
    Independent(4, 5, 1.0, 500),
    FirstFew(6, 8, 0.5, 300),
]


def label(channel):
    return f"{type(channel).__name__}-n{channel.n}-K{channel.k}-N{channel.n_sequences}"


# Methods: from which answers were wrong (N, n) to certified bits.


def packaged(case, wrong):
    """The package's method."""
    return used_information(case, answer_errors(wrong, ALPHA)).lower


def pooled_tokens(case, wrong):
    """Not valid: all N n answers as if they were independent, one Clopper-Pearson limit for their mean error."""
    _, upper = clopper_pearson(wrong.sum(), wrong.size, ALPHA)
    return fano_bits(case.entropy_bits, case.n_values, np.full(case.n_answers, float(upper)))


def central_limit(case, wrong):
    """Not valid at rare errors: a normal interval, which is empty where no error was seen."""
    n_sequences, n_answers = wrong.shape
    p = wrong.mean(0)
    upper = p + norm.isf(ALPHA / (2 * n_answers)) * np.sqrt(p * (1 - p) / n_sequences)
    return fano_bits(case.entropy_bits, case.n_values, np.minimum(upper, 1.0))


def without_cap(case, wrong):
    """Not valid: Phi without its cap log K falls again beyond 1 - 1/K."""
    e = answer_errors(wrong, ALPHA).upper
    phi = binary_entropy_bits(e) + e * math.log2(max(case.n_values - 1, 1))
    return max(0.0, case.entropy_bits - float(phi.sum()))


def without_bonferroni(case, wrong):
    """Not valid: each of n limits at the level that is meant for all of them together."""
    _, upper = clopper_pearson(wrong.sum(0), len(wrong), ALPHA)
    return fano_bits(case.entropy_bits, case.n_values, upper)


def plug_in(case, wrong):
    """Not valid: the point estimate."""
    return used_information(case, answer_errors(wrong, ALPHA)).estimate


def violations(method, channel):
    """How often of 2,000 the certificate is above the truth, and above the frozen decoder's own value."""
    rng = np.random.default_rng([2026, channel.n, channel.k, channel.n_sequences])
    case = channel.case
    certified = np.array([method(case, channel.wrong(rng)) for _ in range(REPETITIONS)])
    slack = 1e-9  # sums of entropies in floats
    return (
        int((certified > channel.true_bits() + slack).sum()),
        int((certified > channel.population_bits() + slack).sum()),
    )


@pytest.mark.parametrize("channel", CHANNELS, ids=label)
def test_the_planted_states_are_what_they_say(channel):
    """The simulation has the errors of the closed form, and no decoder can say more than the truth."""
    rng = np.random.default_rng(7)
    repetitions = 100
    errors = np.mean([channel.wrong(rng).mean(0) for _ in range(repetitions)], axis=0)
    se = np.sqrt(channel.errors() * (1 - channel.errors()) / (repetitions * channel.n_sequences))
    assert (np.abs(errors - channel.errors()) <= 4.5 * se).all()  # at most 16 answers of 10 channels: 1e-3
    assert channel.population_bits() <= channel.true_bits() + 1e-9


def test_the_exact_information_of_a_swapped_state_is_that_of_the_joint_table():
    channel = WholeStateSwap(2, 3, 0.3, 1)
    words = 9
    joint = np.full((words, words), channel.loss / words**2) + np.eye(words) * (1 - channel.loss) / words
    bits = float((joint * np.log2(joint / np.outer(joint.sum(1), joint.sum(0)))).sum())
    assert channel.true_bits() == pytest.approx(bits, rel=1e-12)


def test_fano_is_tight_for_symmetric_storage_and_loses_on_erasure():
    """Statistics: 28 to 41 per cent of the erasure channel's information is lost; here K = 8 and 30 per cent."""
    assert Symmetric(8, 16, 0.1, 1).population_bits() == pytest.approx(Symmetric(8, 16, 0.1, 1).true_bits())
    erasure = Erasure(8, 8, 0.3, 1)
    assert 0.28 <= 1 - erasure.population_bits() / erasure.true_bits() <= 0.41


@pytest.mark.parametrize("channel", CHANNELS, ids=label)
def test_certified_bits_keep_their_confidence(channel):
    of_truth, of_population = violations(packaged, channel)
    assert of_truth <= MOST_VIOLATIONS
    assert of_population <= MOST_VIOLATIONS


# Negative controls: the same count, with the same limit, fails what is wrong.


@pytest.mark.parametrize("channel", [WholeStateLoss(16, 8, 0.2, 200), WholeStateLoss(8, 4, 0.1, 500)], ids=label)
def test_pooled_tokens_are_caught(channel):
    """Statistics: fails 21 to 37 per cent of the time when answers stand or fall together."""
    _, of_population = violations(pooled_tokens, channel)
    assert of_population > MOST_VIOLATIONS
    assert 0.21 <= of_population / REPETITIONS <= 0.37


def test_pooled_tokens_are_above_the_truth_itself_where_the_loss_cannot_be_seen():
    """One answer shown n times: S holds one value with a symmetric error, so Fano for one answer is the truth."""
    n, k, loss, n_sequences = 16, 4, 0.2, 200
    case = StateCase(n, k, math.log2(k), False, math.log2(k), "", "")
    one = Symmetric(1, k, loss, n_sequences)
    rng = np.random.default_rng(8)
    caught = 0
    for _ in range(REPETITIONS):
        wrong = np.repeat(one.wrong(rng), n, axis=1)
        _, upper = clopper_pearson(wrong.sum(), wrong.size, ALPHA)
        caught += math.log2(k) - float(fano_loss_bits(float(upper), k)) > one.true_bits()
        assert packaged(case, wrong) <= math.log2(k)
    assert caught > MOST_VIOLATIONS


def test_a_central_limit_interval_at_rare_errors_is_caught():
    of_truth, of_population = violations(central_limit, Symmetric(1, 4, 0.004, 300))
    assert of_truth > MOST_VIOLATIONS
    assert of_population > MOST_VIOLATIONS


def test_the_packaged_method_holds_at_rare_errors():
    of_truth, of_population = violations(packaged, Symmetric(1, 4, 0.004, 300))
    assert max(of_truth, of_population) <= MOST_VIOLATIONS


def test_forgetting_the_cap_is_caught():
    """A state independent of the answers then seems to hold something, nearly always."""
    of_truth, _ = violations(without_cap, Independent(16, 2, 1.0, 200))
    assert of_truth > 0.9 * REPETITIONS


def test_forgetting_bonferroni_is_caught():
    """With an independent state one lucky answer out of 16 is enough to certify something."""
    of_truth, _ = violations(without_bonferroni, Independent(16, 2, 1.0, 200))
    assert of_truth > MOST_VIOLATIONS


def test_the_plug_in_estimate_is_caught():
    of_truth, _ = violations(plug_in, Symmetric(1, 4, 0.2, 500))
    assert of_truth > 0.4 * REPETITIONS


# Tightness: a limit of 0 would keep its confidence too.

REFERENCE = Symmetric(16, 16, 0.1, 1000)  # statistics.md, "Reference figures"


def expected_certificate(channel, level):
    """Mean and standard deviation of the certificate, exactly, when each upper tail is ``level`` / n."""
    x = np.arange(channel.n_sequences + 1)
    weight = binom.pmf(x, channel.n_sequences, channel.errors()[0])
    _, upper = clopper_pearson(x, channel.n_sequences, 2 * level / channel.n)
    loss = fano_loss_bits(upper, channel.k)
    mean = float(weight @ loss)
    variance = float(weight @ loss**2) - mean**2
    return channel.case.entropy_bits - channel.n * mean, math.sqrt(channel.n * variance)


def test_the_reference_figures_are_one_sided_and_ours_cost_a_quarter_of_a_bit():
    """Statistics: truth 50.96 bits, 47.9 certified at N = 1,000 by one-sided limits at alpha / n.

    The package's limits are two-sided at alpha / n (the mean error needs both ends, and the ladder both), so
    alpha / (2 n) in the upper tail, and a quarter of a bit less.
    """
    assert REFERENCE.true_bits() == pytest.approx(50.96, abs=0.005)
    one_sided, _ = expected_certificate(REFERENCE, ALPHA)
    two_sided, _ = expected_certificate(REFERENCE, ALPHA / 2)
    assert one_sided == pytest.approx(47.9, abs=0.05)
    assert two_sided == pytest.approx(47.61, abs=0.05)


def test_the_median_certificate_is_where_the_binomial_law_puts_it():
    rng = np.random.default_rng(9)
    repetitions = 200
    certified = [packaged(REFERENCE.case, REFERENCE.wrong(rng)) for _ in range(repetitions)]
    mean, sd = expected_certificate(REFERENCE, ALPHA / 2)
    # A sum of 16 independent terms is near normal: standard error of the median, 1.2533 sd / sqrt(repetitions).
    assert np.median(certified) == pytest.approx(mean, abs=4 * 1.2533 * sd / math.sqrt(repetitions))
    assert np.std(certified) == pytest.approx(sd, rel=4 / math.sqrt(2 * repetitions))


def test_certificates_close_in_on_the_truth():
    gaps = []
    for n_sequences in (200, 1000, 5000, 50_000):
        channel = Symmetric(16, 16, 0.1, n_sequences)
        wrong = channel.wrong(np.random.default_rng(10))
        gaps.append(channel.true_bits() - packaged(channel.case, wrong))
    assert gaps == sorted(gaps, reverse=True)
    assert 0 < gaps[-1] < 0.6


def test_all_limits_hold_together():
    """The event behind every certificate: no answer's error is outside its limits."""
    channel = WholeStateLoss(8, 4, 0.3, 400)
    rng = np.random.default_rng(11)
    misses = 0
    for _ in range(REPETITIONS):
        errors: AnswerErrors = answer_errors(channel.wrong(rng), ALPHA)
        misses += bool(((errors.lower > channel.errors()) | (errors.upper < channel.errors())).any())
    assert misses <= MOST_VIOLATIONS
