"""Expectations over Gaussian noise, by a rule whose error is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Quadrature nodes reach so many standard deviations; the tail beyond weighs exp(-98).
_REACH = 14.0


def letters_loss_bits(letters: Sequence[float], noise: float) -> float:
    """Most bits of H(V|Z) for a letter V of any distribution and Z = V + noise g, g standard normal.

    H(V|Z) is always at most the expected code length of the posterior under a uniform prior, and that
    expectation at most its largest for one letter: max_a E log2 sum_b exp(-((a + noise g - b)^2 - (noise g)^2) /
    (2 noise^2)).  For two letters it is the same for both, and H(V|Z) itself if they are equally likely.

    Parameters
    ----------
    letters : sequence of float
        Values that V can take.
    noise : float, at least 0
        Standard deviation.

    Returns
    -------
    float, in bits, to 1e-12

    Notes
    -----
    The trapezoid rule on the whole line: for an integrand that is analytic within ``a`` of it the error is of order
    exp(-2 pi a / step) (Trefethen and Weideman 2014, SIAM Review 56(3), Theorem 5.1).  The nearest singularities are
    at pi noise / (distance of letters), and the step below makes that exp(-78).

    Examples
    --------
    >>> round(letters_loss_bits((-1.0, 1.0), 1.0), 6)
    0.514056
    >>> letters_loss_bits((-1.0, 1.0), 0.0)
    0.0
    """
    values = np.array(letters, dtype=np.float64)
    if noise == 0:
        return 0.0
    # Finer than 1/1000 is of no use: there the loss is 0 in floats, and the steep place weighs nothing.
    step = min(max(noise / (4 * float(np.ptp(values))), 1e-3), 0.25)
    g = np.arange(-round(_REACH / step), round(_REACH / step) + 1) * step
    weight = np.exp(-(g**2) / 2) * step / math.sqrt(2 * math.pi)

    def code_length(letter: float) -> NDArray[np.float64]:
        apart = (letter - values[:, None]) / noise  # (letters, 1)
        scores = -(apart**2) / 2 - apart * g  # 0 for the letter itself
        top = scores.max(axis=0)
        excess: NDArray[np.float64] = (top + np.log(np.exp(scores - top).sum(axis=0))) / math.log(2)
        return excess

    return max(float(weight @ code_length(letter)) for letter in values.tolist())
