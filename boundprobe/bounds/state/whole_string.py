"""S5, exact recall: when every answer must be right at once, each state serves one memory part."""

from __future__ import annotations

import numpy as np

from boundprobe.bounds.information import Floats, error_rates, like, state_sizes
from boundprobe.checks import check_number


def whole_success_ceiling(state_bits: Floats, memory_bits: float) -> Floats:
    """Best chance that all answers are right at once: min(1, M / number of memory parts).

    A state gives one list of answers, which is right for one memory part, so M states are right for M of them.

    Parameters
    ----------
    state_bits : float or array of any shape, in bits, at least 0
        log2 of the number of states, M.
    memory_bits : float, in bits, at least 0
        log2 of the number of memory parts that some query tells apart, when they are equally likely; their
        entropy then.  For others their min-entropy, -log2 of the largest probability: M states are right with
        probability M times that at most.

    Returns
    -------
    float or array of the same shape, a probability

    Raises
    ------
    ValueError
        If a number of bits is negative.

    References
    ----------
    Statement S5; for copying, Jelassi, Brandfonbrener, Kakade, Malach 2024 (arXiv 2402.01032).

    Examples
    --------
    >>> whole_success_ceiling(3.0, memory_bits=4.0)
    0.5
    """
    memory = check_number("memory_bits", memory_bits, least=0.0)
    return like(np.exp2(np.minimum(0.0, state_sizes(state_bits) - memory)), state_bits)


def whole_success_bits(success: Floats, memory_bits: float) -> Floats:
    """Fewest bits of state for a chance that all answers are right at once: memory bits + log2 success.

    Parameters
    ----------
    success : float or array of any shape, in [0, 1]
        Probability that every answer is right.
    memory_bits : float, in bits, at least 0
        As for ``whole_success_ceiling``.

    Returns
    -------
    float or array of the same shape, in bits; 0 says nothing (vacuous)

    Raises
    ------
    ValueError
        If a success is outside [0, 1] or the memory is negative.

    References
    ----------
    Statement S5, *Inverting*.

    Examples
    --------
    >>> whole_success_bits(0.5, memory_bits=4.0)
    3.0
    """
    memory = check_number("memory_bits", memory_bits, least=0.0)
    p = error_rates(success)
    with np.errstate(divide="ignore"):
        return like(np.maximum(0.0, memory + np.log2(p)), success)
