"""Upper confidence bounds for the mean of independent values in [0, 1], such as code lengths.

Each bound c of N independent values with mean mu satisfies P(mu <= c) >= 1 - alpha, for every distribution on [0, 1]:

    hoeffding              c = mean + sqrt(log(1/alpha) / 2N)
    chernoff-kl            c = the largest m with kl(mean, m) <= log(1/alpha) / N
    empirical-bernstein    c = mean + sqrt(2 V log(2/alpha) / N) + 7 log(2/alpha) / (3 (N - 1)), V the sample variance
    betting                c = the least m at which a bettor's wealth reached 1/alpha (module ``betting``)

Clopper-Pearson bounds are for 0/1 values alone; on values between them, such as averages of answers, they are no
theorem, so they are not in this table (``binomial.clopper_pearson``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import rel_entr

from boundprobe.checks import check_number, check_word
from boundprobe.probes.certificates.betting import NOTHING, FloatArray, betting

#: Values (N,) in [0, 1]; alpha; values (n,) that were seen before, from the same distribution, perhaps none.
UpperBound = Callable[[FloatArray, float, FloatArray], float]


def hoeffding(values: FloatArray, alpha: float, seen: FloatArray = NOTHING) -> float:
    """Hoeffding 1963, Theorem 1; looks at the mean alone.

    >>> round(hoeffding(np.full(200, 0.1), 0.05), 4)
    0.1865
    """
    return min(1.0, float(values.mean()) + math.sqrt(math.log(1 / alpha) / (2 * len(values))))


def chernoff_kl(values: FloatArray, alpha: float, seen: FloatArray = NOTHING) -> float:
    """Hoeffding 1963, equation 2.1 (Chernoff's bound for Bernoulli values, which are the widest of their mean).

    >>> round(chernoff_kl(np.full(200, 0.1), 0.05), 4)
    0.1597
    """
    mean, price = float(values.mean()), math.log(1 / alpha) / len(values)
    # The greater end of the bracket: rounding never makes the bound too low.
    return _least_above(lambda m: float(rel_entr(mean, m) + rel_entr(1 - mean, 1 - m)), price, mean)


def empirical_bernstein(values: FloatArray, alpha: float, seen: FloatArray = NOTHING) -> float:
    """Maurer and Pontil 2009, Theorem 4 (arXiv 0907.3740); at least two values.

    >>> round(empirical_bernstein(np.full(200, 0.1), 0.05), 4)
    0.1433
    """
    n, price = len(values), math.log(2 / alpha)
    if n < 2:
        return 1.0
    spread = math.sqrt(2 * float(values.var(ddof=1)) * price / n)
    return min(1.0, float(values.mean()) + spread + 7 * price / (3 * (n - 1)))


CONFIDENCE_BOUNDS: dict[str, UpperBound] = {
    "betting": betting,
    "empirical-bernstein": empirical_bernstein,
    "chernoff-kl": chernoff_kl,
    "hoeffding": hoeffding,
}


def upper_confidence_bound(
    values: FloatArray, alpha: float, least: float, most: float, limit: str = "betting", seen: FloatArray = NOTHING
) -> float:
    """Upper confidence bound for the mean of independent values in [least, most], at level 1 - alpha.

    Parameters
    ----------
    values : float array (N,)
        Independent, with ``least <= value <= most`` fixed beforehand (no ranges from these values, A1); for betting
        in an order fixed beforehand.
    alpha : float
    least, most : float
    limit : str
        One of ``CONFIDENCE_BOUNDS``.
    seen : float array (n,), optional
        See ``betting``.

    Raises
    ------
    ValueError
        If there is no value, one is outside its range, or ``limit`` is unknown.

    Examples
    --------
    >>> round(upper_confidence_bound(np.array([2.0, 4.0] * 500), 0.05, 0.0, 10.0, "hoeffding"), 4)
    3.387
    """
    check_word("limit", limit, tuple(CONFIDENCE_BOUNDS))
    check_number("alpha", alpha, above=0, below=1, why="; take e.g. 0.05")
    if not len(values):
        raise ValueError("`values` must have at least one value; got none. Draw evaluation sequences.")
    width = most - least
    slack = 1e-9 * max(1.0, abs(least), abs(most))
    if not (least - slack <= values.min() and values.max() <= most + slack):
        raise ValueError(
            f"`values` must lie in [{least:.6g}, {most:.6g}], the range that was fixed beforehand; got "
            f"{values.min():.6g} to {values.max():.6g}."
        )
    if width <= 0:  # one possible value: nothing is uncertain
        return most
    # Rounding of floats may push a value an ulp out, or a calibration value of another range further.
    scaled, known = (np.clip((np.asarray(v, np.float64) - least) / width, 0.0, 1.0) for v in (values, seen))
    return least + width * CONFIDENCE_BOUNDS[limit](scaled, alpha, known)


def _least_above(function: Callable[[float], float], level: float, start: float) -> float:
    """Upper end of a bracket of the m in [start, 1] where an increasing function reaches ``level``; 1 if nowhere."""
    low, high = start, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if function(middle) > level:
            high = middle
        else:
            low = middle
    return high
