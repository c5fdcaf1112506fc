"""Entropies and Fano's loss, in bits (docs/theory/bounds.md)."""

from __future__ import annotations

import math
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from boundprobe.checks import check_integer

FloatArray = NDArray[np.float64]

#: A float gives a float back, an array an array of the same shape.
Floats = TypeVar("Floats", float, FloatArray)


def binary_entropy_bits(probability: Floats) -> Floats:
    """Entropy of one biased coin: h(p) = -p log2 p - (1 - p) log2(1 - p).

    Parameters
    ----------
    probability : float or array of any shape, in [0, 1]

    Returns
    -------
    float or array of the same shape, in bits, in [0, 1]

    Raises
    ------
    ValueError
        If a probability is outside [0, 1].

    References
    ----------
    The h of statement S1.

    Examples
    --------
    >>> round(binary_entropy_bits(0.1), 6)
    0.468996
    """
    p = error_rates(probability)
    with np.errstate(divide="ignore", invalid="ignore"):
        # log1p keeps the second term when p is far below the spacing of floats near 1.
        first = np.where(p > 0.0, -p * np.log2(p), 0.0)
        second = np.where(p < 1.0, -(1.0 - p) * np.log1p(-p) / math.log(2.0), 0.0)
    return like(first + second, probability)


def fano_loss_bits(error: Floats, n_values: int) -> Floats:
    """Most bits that an answer can leave open when it is wrong with a given probability.

    Phi(e) = h(e) + e log2(K - 1) for e <= 1 - 1/K, and log2 K beyond; concave and never decreasing.
    Beyond 1 - 1/K the formula would fall again, but an answer that bad tells nothing: the cap is part of the
    bound.

    Parameters
    ----------
    error : float or array of any shape, in [0, 1]
        Probability that the answer is wrong, e.
    n_values : int, at least 1
        Number of values that the answer can take, K.

    Returns
    -------
    float or array of the same shape, in bits, in [0, log2 K]

    Raises
    ------
    ValueError
        If an error is outside [0, 1] or ``n_values`` is below 1.

    References
    ----------
    Statement S1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3.

    Examples
    --------
    >>> round(fano_loss_bits(1 / 3, 36), 6)
    2.628057
    >>> fano_loss_bits(0.99, 16)
    4.0
    """
    check_integer("n_values", n_values, 1)
    e = error_rates(error)
    full_bits = math.log2(n_values)
    if n_values == 1:
        return like(np.zeros_like(e), error)
    loss = binary_entropy_bits(e) + e * math.log2(n_values - 1)
    # Rounding can lift the loss an ulp above its maximum, log2 K, so the cap is applied on both sides.
    return like(np.where(e < 1.0 - 1.0 / n_values, np.minimum(loss, full_bits), full_bits), error)


def inverse_fano_loss(loss_bits: Floats, n_values: int) -> Floats:
    """Least error of an answer that leaves this many bits open: e in [0, 1 - 1/K] with Phi(e) = loss_bits.

    By bisection to the spacing of floats.  The lower end is returned: an error floor must not be rounded up.

    Parameters
    ----------
    loss_bits : float or array of any shape, in bits, in [0, log2 K]
    n_values : int, at least 1
        Number of values that the answer can take, K.

    Returns
    -------
    float or array of the same shape, a probability in [0, 1 - 1/K]

    Raises
    ------
    ValueError
        If a loss is outside [0, log2 K] or ``n_values`` is below 1.

    References
    ----------
    Statement S1, read backwards (*Inverting*).

    Examples
    --------
    >>> round(inverse_fano_loss(0.468996, 2), 6)
    0.1
    """
    check_integer("n_values", n_values, 1)
    bits = np.asarray(loss_bits, dtype=np.float64)
    full_bits = math.log2(n_values)
    if not np.all((bits >= 0.0) & (bits <= full_bits * (1.0 + 1e-12))):
        raise ValueError(
            f"`loss_bits` must lie in [0, log2({n_values})] = [0, {full_bits:.6f}], what one answer of {n_values} "
            f"values can leave open; got {_worst(bits, 0.0, full_bits)}."
        )
    top = 1.0 - 1.0 / n_values
    low, high = np.zeros_like(bits), np.full_like(bits, top)
    # 60 halvings reach the spacing of floats near 1, 200 reach it for errors down to 1e-44.
    for _ in range(200):
        middle = 0.5 * (low + high)
        if np.all((middle <= low) | (middle >= high)):
            break
        below = fano_loss_bits(middle, n_values) <= bits
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return like(np.where(bits >= full_bits, top, low), loss_bits)


def like(result: FloatArray, given: Floats) -> Floats:
    """Return ``result`` as a float where ``given`` was one number, unchanged otherwise."""
    return cast(Floats, float(result) if np.ndim(given) == 0 else result)


def error_rates(error: object) -> FloatArray:
    """Return errors as float64, or raise ``ValueError`` if one is no probability."""
    e = np.asarray(error, dtype=np.float64)
    if not np.all((e >= 0.0) & (e <= 1.0)):
        worst = _worst(e, 0.0, 1.0)
        raise ValueError(f"`probability` must lie in [0, 1]; got {worst}.")
    return e


def state_sizes(state_bits: object) -> FloatArray:
    """Return bits as float64, or raise ``ValueError`` if a machine would have less than one state."""
    bits = np.asarray(state_bits, dtype=np.float64)
    if not np.all(bits >= 0.0):
        worst = _worst(bits, 0.0, math.inf)
        raise ValueError(f"`state_bits` must be at least 0; got {worst}.")
    return bits


def _worst(values: FloatArray, low: float, high: float) -> float:
    """The first value outside [low, high], for an error message."""
    outside = ~((values >= low) & (values <= high))
    return float(values[outside].flat[0])
