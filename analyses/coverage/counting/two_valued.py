"""Confidence bounds of the mean of values that are 0 or 1, where the rate of errors is a binomial sum.

A bound c(k) of N such values with k ones errs where c(k) < p, so its rate is P(binomial(N, p) in {k: c(k) < p}), c
being the reference's.  Betting looks at the order, too: its rate is simulated.  Means are placed where a bound is
nearly sharp, or just below a c(k), where a bound that is a little too low errs at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy.stats import binom

from boundprobe.probes.certificates import clopper_pearson_upper, upper_confidence_bound
from counting.cases import ALPHA, SEED, FloatArray, IntArray
from counting.fast_betting import QuickBetting
from counting.reference import betting_errs, upper_limits
from counting.rows import Rate

#: What is done to alpha: nothing, and what a count must catch.
CHANGES: dict[str, Callable[[float], float]] = {
    "none": lambda alpha: alpha,
    "alpha x 2": lambda alpha: 2 * alpha,
    "log(1/alpha) x 0.8": lambda alpha: alpha**0.8,
    "log(1/alpha) x 0.97": lambda alpha: alpha**0.97,
}
N_SEEN = 500
N_SIMULATED = 200_000


def hoeffding(n: int, alpha: float) -> FloatArray:
    """c(k) for k = 0 to N, as all of these; formulas are those of ``reference``."""
    return np.minimum(1.0, np.arange(n + 1) / n + math.sqrt(math.log(1 / alpha) / (2 * n)))


def chernoff_kl(n: int, alpha: float) -> FloatArray:
    """The largest m with N kl(k/N, m) <= ln(1/alpha), by bisection."""
    q = np.arange(n + 1) / n
    low, high = q.copy(), np.ones(n + 1)
    for _ in range(60):
        m = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            kl = np.where(q > 0, q * np.log(q / m), 0.0) + np.where(q < 1, (1 - q) * np.log((1 - q) / (1 - m)), 0.0)
        above = n * kl > math.log(1 / alpha)
        low, high = np.where(above, low, m), np.where(above, m, high)
    return high


def empirical_bernstein(n: int, alpha: float) -> FloatArray:
    """Maurer and Pontil's, with V = N q (1 - q) / (N - 1)."""
    q, price = np.arange(n + 1) / n, math.log(2 / alpha)
    variance = n * q * (1 - q) / (n - 1)
    return np.minimum(1.0, q + np.sqrt(2 * variance * price / n) + 7 * price / (3 * (n - 1)))


LIMITS: dict[str, Callable[[int, float], FloatArray]] = {
    "hoeffding": hoeffding,
    "chernoff-kl": chernoff_kl,
    "empirical-bernstein": empirical_bernstein,
    "clopper-pearson": upper_limits,
}


@dataclass(frozen=True)
class Trial:
    """A bound, N values, and their mean: given, or a little above or below the reference's c(k).

    Attributes
    ----------
    limit : str
    n_values : int
    mean : float or None
    k : int
    side : int
        1: just above c(k), which errs at k; -1: just below, where it does not.
    changes : tuple of str
        Of ``CHANGES``: those that this trial is to catch.
    repetitions : int
    """

    limit: str
    n_values: int
    mean: float | None = None
    k: int = 0
    side: int = 0
    changes: tuple[str, ...] = ("alpha x 2", "log(1/alpha) x 0.8")
    repetitions: int = 20_000

    @cached_property
    def p(self) -> float:
        """The mean."""
        if self.mean is not None:
            return self.mean
        return float(LIMITS[self.limit](self.n_values, ALPHA)[self.k]) * (1 + 1e-6 * self.side)

    @property
    def seen(self) -> FloatArray:
        """Values that betting has seen before."""
        return (np.random.default_rng([SEED, 1]).random(N_SEEN) < self.p).astype(np.float64)

    def rate(self, alpha: float) -> Rate:
        """How often the reference errs."""
        if self.limit in LIMITS:
            counts = np.arange(self.n_values + 1)
            errs = LIMITS[self.limit](self.n_values, alpha) < self.p
            share = float(binom.pmf(counts, self.n_values, self.p)[errs].sum())
            return Rate(share, share)
        rng, violated, seen = np.random.default_rng([SEED, 2]), 0, self.seen
        known = (float(len(seen)), float(seen.sum()), float((seen**2).sum()))
        for _ in range(20):
            values = (rng.random((N_SIMULATED // 20, self.n_values)) < self.p).astype(np.float64)
            errs = betting_errs(values, self.p, math.log(1 / alpha), known) & (values.mean(1) < self.p)
            violated += int(errs.sum())
        return Rate.simulated(violated, N_SIMULATED)

    def violations(self, alpha: float, rng: np.random.Generator) -> int:
        """How often the package's bound is below the mean."""
        if self.limit in LIMITS:
            found, times = np.unique(rng.binomial(self.n_values, self.p, size=self.repetitions), return_counts=True)
            return int(times[[self.package(k, alpha) < self.p for k in found]].sum())
        quick = QuickBetting(self.seen, 0.0, 1.0, self.n_values)
        below = 0
        for repetition in range(self.repetitions):
            values = (rng.random(self.n_values) < self.p).astype(np.float64)
            below += quick.limit(values, alpha, repetition) < self.p
        return below

    def package(self, k: int, alpha: float) -> float:
        """The package's bound of k ones, which does not look at their order."""
        if self.limit == "clopper-pearson":
            return float(clopper_pearson_upper(np.array(k), self.n_values, alpha))
        values = (np.arange(self.n_values) < k).astype(np.float64)
        return upper_confidence_bound(values, alpha, 0.0, 1.0, self.limit)


SMALL = ("alpha x 2", "log(1/alpha) x 0.8", "log(1/alpha) x 0.97")
TRIALS = (
    Trial("hoeffding", 500, 0.5),
    Trial("hoeffding", 10, k=0, side=1, changes=()),
    Trial("hoeffding", 10, k=0, side=-1, changes=SMALL),
    Trial("chernoff-kl", 500, 0.5),
    Trial("chernoff-kl", 500, k=0, side=1, changes=()),
    Trial("chernoff-kl", 500, k=0, side=-1, changes=SMALL),
    Trial("chernoff-kl", 500, k=3, side=-1, changes=SMALL),
    Trial("empirical-bernstein", 20_000, 0.5),
    Trial("empirical-bernstein", 2_000, 0.5),
    Trial("clopper-pearson", 500, k=0, side=1, changes=()),
    Trial("clopper-pearson", 500, k=3, side=1, changes=()),
    Trial("clopper-pearson", 500, k=0, side=-1, changes=SMALL),
    Trial("clopper-pearson", 500, k=3, side=-1, changes=SMALL),
    Trial("betting", 500, 0.5, repetitions=2000),
    Trial("betting", 500, 0.1, repetitions=2000),
    Trial("betting", 2000, 0.02, repetitions=2000),
)


@dataclass(frozen=True)
class Line:
    """One line of two_valued.csv.

    ``expected`` is the reference's share of violations with the same change, ``allowed`` what it allows without any,
    and ``fails_with`` the probability that so many are exceeded: false alarms, or the power against the change.
    """

    limit: str
    n_sequences: int
    mean: float
    change: str
    expected: float
    repetitions: int
    violations: int
    allowed: int
    fails_with: float

    @property
    def verdict(self) -> str:
        """Whether the count is within what is allowed."""
        return "fails" if self.violations > self.allowed else "holds"


COLUMNS = (*(field.name for field in fields(Line)), "verdict")


def trial_lines(index: int) -> list[Line]:
    """One trial, with and without each change."""
    trial = TRIALS[index]
    allowed = trial.rate(ALPHA).allowed(trial.repetitions)
    lines = []
    for i, change in enumerate(("none", *trial.changes)):
        alpha = CHANGES[change](ALPHA)
        expected = trial.rate(alpha).share
        below = trial.violations(alpha, np.random.default_rng([SEED, 3, index, i]))
        fails_with = float(binom.sf(allowed, trial.repetitions, expected))
        lines.append(
            Line(trial.limit, trial.n_values, trial.p, change, expected, trial.repetitions, below, allowed, fails_with)
        )
    return lines


def differing_counts(trial: Trial) -> IntArray:
    """Counts at which the package's bound errs and the reference's does not, or the reverse: none.

    No bound is below its mean, so that larger counts are passed over.
    """
    counts = np.arange(min(trial.n_values, math.ceil(trial.n_values * trial.p)) + 1)
    reference = LIMITS[trial.limit](trial.n_values, ALPHA)[counts] < trial.p
    ours = np.array([trial.package(k, ALPHA) < trial.p for k in counts])
    return counts[reference != ours]
