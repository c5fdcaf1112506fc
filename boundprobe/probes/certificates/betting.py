"""Upper confidence bounds for a mean by betting, with bets that aim at the target: near the normal width, and proved.

    hypothesis m      "the mean is at least m"
    wealth W_t(m)     prod_{s <= t} (1 + lambda_s (m - x_s)), lambda_s in [0, 1) fixed before x_s is seen

Under the hypothesis the wealth is a non-negative supermartingale that starts at 1, so it ever reaches 1/alpha with
probability at most alpha (Ville); then the hypothesis is rejected.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NOTHING: FloatArray = np.empty(0)

#: Largest bet: one value of 1 where 0 was hoped for leaves a tenth of the wealth.
MOST_BET = 0.9
#: Bets are renewed so often over the values.
N_ROUNDS = 100
#: Hypotheses that are tested at a time; the first chunk with one that stands ends the search.
CHUNK = 64


def betting(values: FloatArray, alpha: float, seen: FloatArray = NOTHING) -> float:
    """Upper confidence bound for the mean by betting against a ladder of hypotheses, from the highest down.

    The ladder is fixed by ``seen`` alone, before ``values`` are looked at.  A hypothesis m' between two rungs
    is tested with the bets of the rung m below it, under which its wealth is at least that of m; so it falls when
    that rung falls.  The bound is the lowest rung above which, it included, all fell: if the mean were above it, the
    test of the mean itself would have erred, which happens with probability at most alpha.

    Bets against m aim at the wealth 1/alpha at the last value: lambda^2 = 2 log(what is missing) / (values left *
    variance so far), so that a bettor who is behind dares more, and one who is ahead less.

    Parameters
    ----------
    values : float array (N,), in [0, 1]
        In an order that does not depend on them: shuffled once, by a seed.
    alpha : float
        Probability, at most, that the mean is above the bound.
    seen : float array (n,), in [0, 1]
        Values that are not among ``values``, such as those of the calibration split.  They place the rungs and make
        the first bets.  Where they are of another distribution the bound still holds, and is wider.

    References
    ----------
    Waudby-Smith and Ramdas 2024, JRSS B 86:1 (arXiv 2010.09686), section 4; bets that are recomputed for what is
    missing are the idea of Voracek and Orabona's STaR-bets (2025).

    Examples
    --------
    >>> values = np.tile([0.05, 0.15], 500)
    >>> round(betting(values, 0.05, values[:100]), 4)
    0.1044
    """
    ladder = hypotheses(len(values), seen)
    before, variances = rounds(values, seen)
    bound = 1.0
    for start in range(0, len(ladder), CHUNK):
        rungs = ladder[start : start + CHUNK]
        fell = rejected(rungs, values, before, variances, alpha)
        standing = int(np.argmin(fell)) if not fell.all() else len(rungs)
        if standing:
            bound = float(rungs[standing - 1])
        if standing < len(rungs):
            break
    # The wealth may have peaked early: a bound below the sample mean is valid but not credible.
    return max(bound, float(values.mean()))


def hypotheses(n_values: int, seen: FloatArray) -> FloatArray:
    """Means that are tested, from 1 down: coarse everywhere, fine where ``seen`` lets one expect the bound."""
    coarse = np.concatenate([np.geomspace(1.0, 1e-4, 600), [0.0]])
    if not len(seen):
        return coarse
    mean, variance = (float(x) for x in doubtful_moments(len(seen), seen.sum(), (seen**2).sum()))
    reach = 5 * math.sqrt(variance * (1 / n_values + 1 / len(seen)))
    step = 0.03 * math.sqrt(variance / n_values)
    fine = np.arange(max(mean - reach, 0.0), min(mean + reach, 1.0), step)
    ladder: FloatArray = np.unique(np.concatenate([coarse, fine]))[::-1]
    return ladder


def rounds(values: FloatArray, seen: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Places (rounds + 1,) between which bets stay as they are, and the variance known at each start (rounds,)."""
    places = np.unique(np.linspace(0, len(values), min(N_ROUNDS, len(values)) + 1).astype(np.int64))
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)])[places[:-1]] for v in (values, values**2))
    sums, squares = sums + seen.sum(), squares + (seen**2).sum()
    return places, doubtful_moments(places[:-1] + len(seen), sums, squares)[1]


def doubtful_moments(
    count: NDArray[np.int64] | int, total: FloatArray | float, squares: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of values of which count, sum and sum of squares are known, with one made-up value of doubt.

    The made-up value lies 1/2 off the mean, so that the variance of few equal values is not 0.
    """
    n, s1, s2 = (np.asarray(x, np.float64) for x in (count, total, squares))
    mean = (s1 + 0.5) / (n + 1)
    return mean, (np.maximum(s2 - 2 * mean * s1 + n * mean**2, 0.0) + 0.25) / (n + 1)


def rejected(
    rungs: FloatArray, values: FloatArray, places: NDArray[np.int64], variances: FloatArray, alpha: float
) -> NDArray[np.bool_]:
    """Return True for each rung (rungs,) against which the wealth ever reached 1/alpha."""
    target = math.log(1 / alpha)
    log_wealth, fell = np.zeros(len(rungs)), np.zeros(len(rungs), bool)
    for start, end, variance in zip(places[:-1], places[1:], variances, strict=True):
        open_rungs = np.flatnonzero(~fell)
        if not len(open_rungs):
            break
        missing = target - log_wealth[open_rungs]
        bets = np.minimum(np.sqrt(2 * missing / ((len(values) - start) * variance)), MOST_BET)
        gains = np.log1p(bets[:, None] * (rungs[open_rungs, None] - values[None, start:end])).cumsum(1)
        gains += log_wealth[open_rungs, None]
        fell[open_rungs] = gains.max(1) >= target
        log_wealth[open_rungs] = gains[:, -1]
    return fell
