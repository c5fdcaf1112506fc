"""Bits of state required when a query has an answer for some prefixes only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from boundprobe.bounds.information import error_rates, fano_loss_bits
from boundprobe.checks import check_integer


def absent_answers_bits(defined_probability: ArrayLike, n_values: int, errors: ArrayLike) -> float:
    """Bits of state for answers that may be absent: sum_a e_a [log2 K - Phi(p_a)].

    Which answers are defined is part of the prefix, so I(U;S) >= I(Y;S | which are defined); given that, the
    defined answers are independent and uniform, and S1 counts each as often as it is defined.  A concave Phi
    lets the errors be averaged over what else is defined.

    Parameters
    ----------
    defined_probability : float array (n_answers,), in [0, 1]
        Probability that each query has an answer, e_a.
    n_values : int, at least 1
        Number of values that each answer can take, K.
    errors : float or float array (n_answers,), in [0, 1]
        Probability that the answer is wrong given that there is one, p_a; one number for all.

    Returns
    -------
    float, in bits; 0 says nothing (vacuous)

    Raises
    ------
    ValueError
        If a probability is none, or the shapes do not fit.

    References
    ----------
    *Absent answers* (docs/theory/bounds.md); S1, so Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859),
    Theorem 3.3, exact form.

    Examples
    --------
    16 keys drawn 16 times with replacement, each value one of 16: a key is there with probability 0.644.

    >>> present = 1 - (1 - 1 / 16) ** 16
    >>> round(absent_answers_bits([present] * 16, 16, 0.0), 3)
    41.211
    """
    check_integer("n_values", n_values, 1)
    e, p = error_rates(defined_probability), error_rates(errors)
    if e.ndim != 1 or p.shape not in ((), e.shape):
        raise ValueError(
            "`defined_probability` must have shape (n_answers,), and `errors` the same or be one number; got shapes "
            f"{e.shape} and {p.shape}."
        )
    # Phi is at most log2 K, so no term is negative.
    return float(np.sum(e * (math.log2(n_values) - fano_loss_bits(p, n_values))))
