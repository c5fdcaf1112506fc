"""S2, rate-distortion: bits that one answer takes at a given distortion, as a certified interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from boundprobe.bounds.information import FloatArray, Floats, error_rates, fano_loss_bits, like
from boundprobe.checks import check_integer, check_number

#: Numbers are moved outward by so many bits per bit: far above the rounding of the sums that make them.
_ROUNDING = 1e-13

#: By what the power of a step grows while steps help; 1.1 to 2 serve about as well.
_GROWTH = 1.2


@dataclass(frozen=True)
class RatePoint:
    """One slope of a rate-distortion curve, with a certificate that needs no faith in convergence.

    Attributes
    ----------
    slope : float, in bits per unit of distortion
        s, at least 0: minus the slope of the curve.
    distortion : float
        Mean distortion D of the channel that was reached.
    upper_bits : float
        Its information I(X;Y): R(D) <= upper_bits, as the channel is there.
    intercept_bits : float
        R(d) >= intercept_bits - s d at every d: the dual's line.
    iterations : int
    """

    slope: float
    distortion: float
    upper_bits: float
    intercept_bits: float
    iterations: int

    @property
    def lower_bits(self) -> float:
        """Lower bound on R at ``distortion``."""
        return max(0.0, self.intercept_bits - self.slope * self.distortion)

    @property
    def gap_bits(self) -> float:
        """Duality gap: the difference of the two bounds on R at ``distortion``."""
        return self.upper_bits - self.lower_bits


def rate_distortion_uniform(error: Floats, n_values: int) -> Floats:
    """Rate-distortion function of a uniform K-ary answer under Hamming distortion, in closed form.

    R(p) = log2 K - h(p) - p log2(K - 1) for p <= 1 - 1/K, and 0 beyond: S1's number, so S1 cannot be improved
    for long blocks.

    Parameters
    ----------
    error : float or array of any shape, in [0, 1]
        Probability that the answer is wrong, p.
    n_values : int, at least 1
        Number of values that the answer can take, K.

    Returns
    -------
    float or array of the same shape, in bits per answer, in [0, log2 K]

    Raises
    ------
    ValueError
        If an error is outside [0, 1] or ``n_values`` is below 1.

    References
    ----------
    Statement S2; Cover and Thomas, Elements of Information Theory, 2nd ed., section 10.3 and problem 10.5.

    Examples
    --------
    >>> round(rate_distortion_uniform(0.1, 2), 6)
    0.531004
    """
    check_integer("n_values", n_values, 1)
    rate = math.log2(n_values) - fano_loss_bits(error_rates(error), n_values)
    return like(np.maximum(0.0, rate), error)


def blahut_arimoto(
    source: ArrayLike,
    distortion: ArrayLike,
    slope: float,
    *,
    tolerance_bits: float = 1e-9,
    max_iterations: int = 2000,
) -> RatePoint:
    """The point of a rate-distortion curve with one slope, by Blahut's iteration, with its duality gap.

    With A = 2^(-s d), q the distribution of reproductions, l(x) = 1 / sum_y q(y) A(x,y) and
    c(y) = sum_x p(x) l(x) A(x,y), the iteration is q <- q c.  Every q gives a channel q(y) A(x,y) l(x), so
    R(D) <= I, and a feasible dual l / max c, so R(d) >= -s d + sum_x p(x) log2 l(x) - log2 max c at every d.
    Steps q c^power, with a growing power while they help, are hundreds of times faster near corners of the curve;
    the certificate does not care where q comes from.

    Parameters
    ----------
    source : float array (n_letters,), probabilities
        p; scaled to sum to 1 if it does so up to 1e-9.
    distortion : float array (n_letters, n_reproductions), at least 0, or inf where a reproduction is not allowed
        d(x, y); every letter needs a finite entry.
    slope : float, in bits per unit of distortion, at least 0
        s.
    tolerance_bits : float, above 0
        The iteration stops at a duality gap of this many bits.
    max_iterations : int, at least 1
        It stops here too; the certificate then is wider, and true all the same.

    Returns
    -------
    RatePoint

    Raises
    ------
    ValueError
        If the source is no distribution, the distortion does not fit it, or a number is outside its range.

    References
    ----------
    Statement S2; Blahut 1972 and Arimoto 1972 (both IEEE Trans. Inf. Theory 18); the dual: Csiszar 1974,
    Berger 1971, Theorem 2.5.3.

    Examples
    --------
    >>> point = blahut_arimoto([0.5, 0.5], [[0, 1], [1, 0]], slope=math.log2(9))  # h'(0.1) = log2 9
    >>> round(point.distortion, 6), round(point.lower_bits, 6), point.gap_bits < 1e-9
    (0.1, 0.531004, True)
    """
    p, d, floor = checked_source(source, distortion)
    s = check_number("slope", slope, least=0.0)
    check_number("tolerance_bits", tolerance_bits, above=0.0)
    check_integer("max_iterations", max_iterations, 1)
    return iterate(p, d, floor, s, tolerance_bits, max_iterations)


def checked_source(source: ArrayLike, distortion: ArrayLike) -> tuple[FloatArray, FloatArray, float]:
    """Distribution, distortion less each letter's least, and the mean of those least ones; or raise ``ValueError``.

    Letters of probability 0 are dropped.
    """
    p, d = np.asarray(source, dtype=np.float64), np.asarray(distortion, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not np.all(p >= 0.0) or not abs(float(p.sum()) - 1.0) <= 1e-9:
        raise ValueError(
            f"`source` must be one probability for each letter, at least 0, with sum 1; got shape {p.shape} with sum "
            f"{float(p.sum())!r}."
        )
    if d.ndim != 2 or d.shape[0] != len(p) or d.shape[1] == 0:
        raise ValueError(
            f"`distortion` must have shape ({len(p)}, n_reproductions), a row for each letter; got shape {d.shape}."
        )
    if not np.all(d >= 0.0) or not np.all(np.isfinite(d).any(axis=1)):
        raise ValueError(
            "`distortion` must be at least 0, or inf where a reproduction is ruled out, with a finite entry in each "
            "row; got a negative entry or a row without a finite one."
        )
    p, d = p[p > 0.0] / p.sum(), d[p > 0.0]
    least = d.min(axis=1)
    return p, d - least[:, None], float(p @ least)


def iterate(p: FloatArray, d: FloatArray, floor: float, slope: float, tolerance: float, limit: int) -> RatePoint:
    """The accelerated iteration; ``p``, ``d`` and ``floor`` are from ``checked_source``.

    Slope inf allows each letter its best reproductions alone; its line holds at the least distortion only.
    """
    allowed = np.isfinite(d) if math.isfinite(slope) else d == 0.0
    used = slope if math.isfinite(slope) else 0.0
    finite = np.where(allowed, d, 0.0)
    a = np.where(allowed, np.exp2(-used * finite), 0.0)
    q = last = np.full(d.shape[1], 1.0 / d.shape[1])
    c, power, objective, steps = np.ones(d.shape[1]), 1.0, math.inf, 0
    while True:
        steps += 1
        mix = a @ q
        reached = -float(p @ np.log2(mix))
        if (
            reached > objective and power > 1.0 and steps < limit
        ):  # the long step went too far: a plain one from where it began
            q, power = _step(last, c, 1.0), 1.0
            continue
        c = (p / mix) @ a
        mass = q * c
        gap = math.log2(float(c.max())) - float(np.sum(mass * np.log2(np.where(mass > 0.0, c, 1.0))))
        if gap <= tolerance or steps >= limit:
            break
        last, objective = q, reached
        q, power = _step(q, c, power), _GROWTH * power
    distortion = float((p / mix) @ (a * finite) @ q)
    intercept = reached - math.log2(float(c.max()))
    slack = _ROUNDING * (1.0 + abs(intercept) + used * distortion)
    upper = max(0.0, intercept - used * distortion + gap) + slack
    # The line is for distortion less its floor; shifted back, slope * floor goes to the intercept.
    return RatePoint(used, distortion + floor, upper, intercept + used * floor - slack, steps)


def _step(q: FloatArray, c: FloatArray, power: float) -> FloatArray:
    """The distribution q c^power, normalised; what is tiny stays above 0, so that it can grow again."""
    with np.errstate(under="ignore"):
        moved = np.maximum(q * c**power, 1e-300)
    return cast(FloatArray, moved / moved.sum())
