"""How often confidence bounds err, by slow and separate means: their formulas from the papers, not the package's code.

    hoeffding              mean + sqrt(ln(1/alpha) / 2N)                                          Hoeffding 1963, (2.3)
    chernoff-kl            errs where mean < mu and N kl(mean, mu) > ln(1/alpha)                  Hoeffding 1963, (2.1)
    empirical-bernstein    mean + sqrt(2 V ln(2/alpha) / N) + 7 ln(2/alpha) / (3 (N - 1))         Maurer, Pontil 2009, 4
    betting                errs where the wealth against the mean itself reaches 1/alpha
    clopper-pearson        root of P(binomial(N, p) <= k) = alpha                                 Clopper, Pearson 1934

The package's betting bound goes down a ladder of hypotheses, 0.03 standard errors apart; the test of the mean itself
errs a little more often, by up to 0.06 of its rate.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.stats import binom

from counting.cases import ALPHA, BoolArray, FloatArray, IntArray
from counting.rows import Rate

N_SIMULATED = 20_000
#: Numbers that are drawn at a time.
BLOCK = 2_000_000


@njit
def wealth_reaches(values: FloatArray, mean: float, log_target: float, seen: tuple[float, float, float]) -> bool:
    """Whether the bettor against "the mean is at least ``mean``" is ever so rich.

    ``seen`` is the number, sum and sum of squares of values that were seen before.  Bets are set anew 100 times, at
    lambda = min(0.9, sqrt(2 (log target - log wealth) / (values left * variance))), the variance with one made-up value
    half a unit off the mean.
    """
    n = len(values)
    n_rounds = min(100, n)
    count, total, squares = seen
    log_wealth, bet, n_begun = 0.0, 0.0, 0
    for t in range(n):
        if t >= int(n_begun * n / n_rounds):
            centre = (total + 0.5) / (count + 1.0)
            spread = max(squares - 2.0 * centre * total + count * centre * centre, 0.0)
            variance = (spread + 0.25) / (count + 1.0)
            bet = min(math.sqrt(2.0 * (log_target - log_wealth) / ((n - t) * variance)), 0.9)
            n_begun += 1
        log_wealth += math.log1p(bet * (mean - values[t]))
        if log_wealth >= log_target:
            return True
        count, total, squares = count + 1.0, total + values[t], squares + values[t] * values[t]
    return False


@njit
def betting_errs(samples: FloatArray, mean: float, log_target: float, seen: tuple[float, float, float]) -> BoolArray:
    """``wealth_reaches`` for each row of samples (R, N)."""
    errs = np.zeros(len(samples), np.bool_)
    for r in range(len(samples)):
        errs[r] = wealth_reaches(samples[r], mean, log_target, seen)
    return errs


def errs(limit: str, samples: FloatArray, mu: float, alpha: float, seen: FloatArray) -> BoolArray:
    """Whether the bound is below ``mu``, for each sample (R, N) in [0, 1]."""
    n, mean, price = samples.shape[1], samples.mean(1), math.log(1 / alpha)
    if mu <= 0:
        return np.zeros(len(samples), np.bool_)
    if limit == "hoeffding":
        return mean + math.sqrt(price / (2 * n)) < min(mu, 1.0)
    if limit == "chernoff-kl":
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(mean > 0, mean * np.log(mean / mu), 0.0)
            high = np.where(mean < 1, (1 - mean) * np.log((1 - mean) / (1 - min(mu, 1.0))), 0.0)
        return (mean < mu) & (n * (low + high) > price)
    if limit == "empirical-bernstein":
        price = math.log(2 / alpha)
        variance = ((samples - mean[:, None]) ** 2).sum(1) / (n - 1)
        return mean + np.sqrt(2 * variance * price / n) + 7 * price / (3 * (n - 1)) < mu
    if limit == "betting":
        known = (float(len(seen)), float(seen.sum()), float((seen**2).sum()))
        # The package's bound is no lower than the mean.
        return betting_errs(samples, mu, price, known) & (mean < mu)
    raise ValueError(f"limit is {limit!r}; allowed: one that has a formula here; add it")


def blocks(n_per_sample: int, n_simulated: int) -> list[int]:
    """Numbers of samples that are drawn at a time."""
    size = max(1, BLOCK // n_per_sample)
    return [min(size, n_simulated - start) for start in range(0, n_simulated, size)]


def code_rates(
    pool: FloatArray,
    most: float,
    seen: FloatArray,
    targets: list[float],
    limits: list[str],
    n: int,
    rng: np.random.Generator,
    *,
    alpha: float = ALPHA,
    n_simulated: int = N_SIMULATED,
) -> dict[str, list[Rate]]:
    """Rates at which bounds of the mean of N draws from ``pool`` (M,), in [0, most], are below each target."""
    counts = {limit: [0] * len(targets) for limit in limits}
    scaled, known = pool / most, np.clip(seen / most, 0.0, 1.0)
    for size in blocks(n, n_simulated):
        samples = scaled[rng.integers(len(pool), size=(size, n))]
        for limit in limits:
            for i, target in enumerate(targets):
                counts[limit][i] += int(errs(limit, samples, target / most, alpha, known).sum())
    return {limit: [Rate.simulated(count, n_simulated) for count in each] for limit, each in counts.items()}


def upper_limits(n: int, alpha: float) -> FloatArray:
    """Clopper and Pearson's bound for each count 0 to N, by bisection of the binomial sum."""
    k, low, high = np.arange(n + 1), np.zeros(n + 1), np.ones(n + 1)
    for _ in range(60):
        middle = (low + high) / 2
        below = binom.cdf(k, n, middle) > alpha
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    high[-1] = 1.0
    return high


def fano(errors: FloatArray, n_values: int) -> FloatArray:
    """Phi(e) = h(e) + e log2(K - 1), and log2 K from 1 - 1/K on."""
    e = np.clip(errors, 1e-300, 1 - 1 / n_values)
    bits: FloatArray = -e * np.log2(e) - (1 - e) * np.log2(1 - e) + e * math.log2(n_values - 1)
    return bits


def wrong_counts(wrong: BoolArray, n: int, rng: np.random.Generator, n_simulated: int = N_SIMULATED) -> IntArray:
    """Wrong answers (R, n_answers) in samples of N sequences of a population (M, n_answers)."""
    parts = [
        wrong[rng.integers(len(wrong), size=(size, n))].sum(1, dtype=np.int64)
        for size in blocks(n * wrong.shape[1], n_simulated)
    ]
    return np.concatenate(parts)


def fano_rates(counts: IntArray, n: int, n_values: int, targets: list[float], alpha: float = ALPHA) -> list[Rate]:
    """Rates at which sum_i Phi(e_i), e_i Clopper-Pearson bounds at alpha / n_answers, is below each target."""
    lost = fano(upper_limits(n, alpha / counts.shape[1]), n_values)[counts].sum(1)
    return [Rate.simulated(int((lost < target).sum()), len(counts)) for target in targets]


def any_rate(
    shares: FloatArray,
    limit: str,
    n: int,
    rng: np.random.Generator,
    alpha: float = ALPHA,
    n_simulated: int = N_SIMULATED,
) -> Rate:
    """Rate at which, at level alpha / n_answers, the bound of any mean of the columns (M, n_answers) in [0, 1] errs.

    A sum of increasing functions of the bounds is below that of the means only where one of the bounds is.
    """
    violated, mu, level = 0, shares.mean(0), alpha / shares.shape[1]
    for size in blocks(n * shares.shape[1], n_simulated):
        samples = shares[rng.integers(len(shares), size=(size, n))]
        each = [errs(limit, np.ascontiguousarray(samples[..., i]), mu[i], level, np.empty(0)) for i in range(len(mu))]
        violated += int(np.any(each, axis=0).sum())
    return Rate.simulated(violated, n_simulated)


def report_rates(
    wrong: BoolArray,
    coded: tuple[FloatArray, float, FloatArray] | None,
    n: int,
    n_values: int,
    rng: np.random.Generator,
) -> tuple[Rate, Rate]:
    """Rates at which retention at alpha errs in any answer, and a report at alpha / 2 in that or in its total.

    The total is the betting bound of ``coded``: code lengths (M,), the longest possible, and those seen before; or else
    that of the form "fano".
    """
    e, n_answers = wrong.mean(0), wrong.shape[1]
    whole, half = (fano(upper_limits(n, level / n_answers), n_values) for level in (ALPHA, ALPHA / 2))
    own, broken, reports = fano(e, n_values), 0, 0
    for size in blocks(n * n_answers, N_SIMULATED):
        rows = rng.integers(len(wrong), size=(size, n))
        counts = wrong[rows].sum(1, dtype=np.int64)
        broken += int((whole[counts] < own - 1e-9).any(1).sum())
        if coded is None:
            total = half[counts].sum(1) < own.sum() - 1e-9
        else:
            lengths, most, seen = coded
            known = np.clip(seen / most, 0.0, 1.0)
            total = errs("betting", lengths[rows] / most, float(lengths.mean()) / most, ALPHA / 2, known)
        reports += int((total | (half[counts] < own - 1e-9).any(1)).sum())
    return Rate.simulated(broken, N_SIMULATED), Rate.simulated(reports, N_SIMULATED)
