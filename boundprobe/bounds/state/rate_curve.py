"""S2 both ways: R at a distortion and D at a rate, each as an interval that holds the true value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from boundprobe.bounds.state.distortion import RatePoint, checked_source, iterate
from boundprobe.checks import check_number

#: Most slopes that a search tries; each halves the range that is left.
_MAX_SLOPES = 80

#: Iterations for one slope; where they do not suffice, another slope does more.
_MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Interval:
    """Two numbers with the true one between them.

    Attributes
    ----------
    lower, upper : float
    """

    lower: float
    upper: float

    @property
    def gap(self) -> float:
        """The duality gap: upper minus lower end."""
        return self.upper - self.lower


def rate_distortion(
    source: ArrayLike, distortion: ArrayLike, level: float, *, tolerance_bits: float = 1e-8
) -> Interval:
    """R(D), the fewest bits per letter with which a mean distortion of at most D can be had.

    Points that some channel reaches, and the chords between them, bound R from above; the dual's lines bound it
    from below.  Slopes are tried by bisection until the two meet.

    Parameters
    ----------
    source : float array (n_letters,), probabilities
    distortion : float array (n_letters, n_reproductions), at least 0, or inf
    level : float, in units of distortion
        D, at least the mean over letters of the least distortion.
    tolerance_bits : float, above 0
        The search stops when the interval is this short, or when it can be made no shorter.

    Returns
    -------
    Interval, in bits per letter

    Raises
    ------
    ValueError
        If the source is no distribution, the distortion does not fit it, or no channel has so little distortion.

    References
    ----------
    Statement S2; Blahut 1972, Csiszar 1974; see ``blahut_arimoto``.

    Examples
    --------
    h(0.2) - h(0.1) for a biased bit:

    >>> rate = rate_distortion([0.2, 0.8], [[0, 1], [1, 0]], 0.1)
    >>> round(rate.lower, 6), round(rate.upper, 6)
    (0.252933, 0.252933)
    """
    curve = _Curve(source, distortion, tolerance_bits)
    d = check_number("level", level, least=curve.floor * (1.0 - 1e-12))
    best = curve.at(math.inf)
    if d <= curve.floor:
        return Interval(max(0.0, best.intercept_bits), best.upper_bits)
    return curve.search(lambda point: point.distortion > d, lambda: curve.rate(d))


def distortion_rate(source: ArrayLike, distortion: ArrayLike, rate_bits: float, *, tolerance: float = 1e-8) -> Interval:
    """D(R), the least mean distortion that can be had with R bits per letter: ``rate_distortion`` inverted.

    Parameters
    ----------
    source : float array (n_letters,), probabilities
    distortion : float array (n_letters, n_reproductions), at least 0, or inf
    rate_bits : float, in bits per letter, at least 0
        R.
    tolerance : float, above 0, in units of distortion
        The search stops when the interval is this short, or when it can be made no shorter.

    Returns
    -------
    Interval, in units of distortion

    Raises
    ------
    ValueError
        If the source is no distribution, the distortion does not fit it, or the rate is negative; also if the rate is
        too low for any finite distortion.

    References
    ----------
    Statement S2, *Inverting*; Blahut 1972, Csiszar 1974; see ``blahut_arimoto``.

    Examples
    --------
    >>> error = distortion_rate([0.5, 0.5], [[0, 1], [1, 0]], 0.531004)
    >>> round(error.lower, 6), round(error.upper, 6)
    (0.1, 0.1)
    """
    curve = _Curve(source, distortion, tolerance)
    bits = check_number("rate_bits", rate_bits, least=0.0)
    if bits >= curve.at(math.inf).upper_bits:
        return Interval(curve.floor, curve.floor)
    if bits < (least := curve.at(0.0).lower_bits):
        raise ValueError(f"`rate_bits` must be at least {least:.6f} for a finite distortion; got {bits!r}.")
    return curve.search(lambda point: point.upper_bits < bits, lambda: curve.distortion(bits))


class _Curve:
    """Points above a rate-distortion curve and lines below it, found so far."""

    def __init__(self, source: ArrayLike, distortion: ArrayLike, tolerance: float) -> None:
        self.tolerance = check_number("tolerance", tolerance, above=0.0)
        self.p, self.d, self.floor = checked_source(source, distortion)
        self.points: list[tuple[float, float]] = []  # (distortion, bits): R(distortion) <= bits
        self.lines: list[tuple[float, float]] = []  # (slope, intercept): R(d) >= intercept - slope d
        constant = float(np.min(self.p @ self.d))  # one reproduction for all letters takes no bits
        if math.isfinite(constant):
            self.points.append((constant + self.floor, 0.0))

    def at(self, slope: float) -> RatePoint:
        """Try one slope."""
        # A tenth of the tolerance, and not below what rounding leaves of a gap.
        gap = max(0.1 * self.tolerance, 1e-12)
        point = iterate(self.p, self.d, self.floor, slope, gap, _MAX_ITERATIONS)
        if math.isfinite(slope):
            self.lines.append((point.slope, point.intercept_bits))
        self.points.append((point.distortion, point.upper_bits))
        return point

    def search(self, too_flat: Callable[[RatePoint], bool], interval: Callable[[], Interval]) -> Interval:
        """Bisect on the slope until the interval, or the range of slopes, is as short as can be."""
        low, high = 0.0, math.inf
        for _ in range(_MAX_SLOPES):
            slope = 0.5 * (low + high) if math.isfinite(high) else max(1.0, 2.0 * low)
            if not low < slope < high:
                break
            if too_flat(self.at(slope)):
                low = slope
            else:
                high = slope
            if interval().gap <= self.tolerance:
                break
        return interval()

    def rate(self, distortion: float) -> Interval:
        """Enclose R at one distortion between the highest line and the lowest point or chord."""
        lower = max((b - s * distortion for s, b in self.lines), default=0.0)
        d, r = np.array(self.points).T
        left, right = d <= distortion, d > distortion
        upper = float(np.min(r[left], initial=math.inf))
        if left.any() and right.any():
            share = (distortion - d[left, None]) / (d[right] - d[left, None])
            upper = min(upper, float(np.min(r[left, None] + share * (r[right] - r[left, None]))))
        return _interval(max(0.0, lower), upper)

    def distortion(self, bits: float) -> Interval:
        """Enclose D at one rate, from the same lines, points and chords."""
        lower = max(((b - bits) / s for s, b in self.lines if s > 0.0), default=0.0)
        d, r = np.array(self.points).T
        low, high = r <= bits, r > bits
        upper = float(np.min(d[low], initial=math.inf))
        if low.any() and high.any():
            share = (r[high, None] - bits) / (r[high, None] - r[low])
            upper = min(upper, float(np.min(d[high, None] + share * (d[low] - d[high, None]))))
        return _interval(max(self.floor, lower), upper)


def _interval(lower: float, upper: float) -> Interval:
    """The interval, widened by rounding alone: a chord or a line is a sum of a few terms."""
    slack = 4.0 * float(np.finfo(np.float64).eps) * (1.0 + abs(lower))
    return Interval(max(0.0, lower - slack), upper + slack)
