"""Required sizes: the fewest state entries for an error, the least window for a depth."""

from __future__ import annotations

import math

from boundprobe.bounds.state.fano import required_bits
from boundprobe.bounds.window import min_sum_window_minus_one
from boundprobe.checks import check_integer, check_number
from boundprobe.tasks.cases import StateCase, WindowCase


def required_state_entries(case: StateCase, error: float, entry_bits: float = 32.0) -> int:
    """Fewest numbers that a state at the cut can be made of, at a given precision, for a mean error.

    ceil(required bits / bits of an entry): a lower bound, as S1 and S3 are.

    Parameters
    ----------
    case : StateCase
    error : float, in [0, 1]
        Mean error over the query set.
    entry_bits : float, in bits, above 0
        Precision of one entry: 32 for float32, 16 for bfloat16, 1 for a sign.

    Returns
    -------
    int, in entries

    Raises
    ------
    ValueError
        If the error or the precision is outside its range.

    References
    ----------
    Statements S1 and S3 and Lemma 3.5 of Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859).

    Examples
    --------
    >>> case = StateCase(16, 16, 64.0, True, 64.0, "Theorem 3.3", "store every value")
    >>> [required_state_entries(case, 0.0, bits) for bits in (32, 16, 1)]
    [2, 4, 64]
    """
    precision = check_number("entry_bits", entry_bits, above=0.0, why="; give the bits of one entry, such as 32")
    # A hair less, so that rounding of the bits never asks for an entry more: a lower bound must not be too high.
    return math.ceil(float(required_bits(case, float(error))) / precision * (1.0 - 1e-12))


def required_window(case: WindowCase, n_layers: int) -> int:
    """Least window for a stack of equal windowed layers to see every token that matters: 1 + ceil(d / layers).

    Parameters
    ----------
    case : WindowCase
    n_layers : int, at least 1
        Layers, all with the same window: itself and the window - 1 tokens before it.

    Returns
    -------
    int, in tokens
        A smaller window is right on at most half of the worst two inputs.

    Raises
    ------
    ValueError
        If there is no layer.

    References
    ----------
    Statement W1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.7.

    Examples
    --------
    >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
    >>> [required_window(case, layers) for layers in (1, 2, 3)]
    [100, 51, 34]
    """
    layers = check_integer("n_layers", n_layers, 1, why="; without a layer only the last token is seen; give a depth")
    return 1 + -(-min_sum_window_minus_one(case) // layers)
