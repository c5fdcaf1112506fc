"""Neighbouring theorems on copying, recall and index lookup, in exact one-shot form.

Where a source gives no constant, or could not be read, the form here is derived from S1, S3, S4 or S5; what each
source says, and how we know it, is in ``boundprobe.bounds.report.catalogue``.
"""

from __future__ import annotations

import math

import numpy as np

from boundprobe.bounds.information import Floats, error_rates, fano_loss_bits, like, state_sizes
from boundprobe.bounds.state.fano import mean_error_fano_bits
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.bounds.state.whole_string import whole_success_bits
from boundprobe.checks import check_integer


def copying_bits(success: Floats, n_tokens: int, n_values: int) -> Floats:
    """Fewest bits of state to repeat a uniform string whole: M >= success * V^n states.

    Parameters
    ----------
    success : float or array of any shape, in [0, 1]
        Probability that the whole string is right.
    n_tokens : int, at least 1
        Length of the string, n.
    n_values : int, at least 1
        Size of the alphabet, V.

    Returns
    -------
    float or array of the same shape, in bits: max(0, n log2 V + log2 success)

    Raises
    ------
    ValueError
        If a success is outside [0, 1] or a count is below 1.

    References
    ----------
    Statement S5; Jelassi, Brandfonbrener, Kakade, Malach 2024 (arXiv 2402.01032), Theorem 2.7 as
    quoted by others: error above 1 - M / V^n.  M states do attain 1 - M / V^n, so here it is "at least".

    Examples
    --------
    >>> copying_bits(0.5, n_tokens=3, n_values=2)
    2.0
    """
    check_integer("n_tokens", n_tokens, 1)
    check_integer("n_values", n_values, 1)
    return whole_success_bits(success, n_tokens * math.log2(n_values))


def recall_bits(error: Floats, n_pairs: int, n_values: int) -> Floats:
    """Fewest bits of state to recall the values of N known keys: N [log2 V - Phi(error)].

    Parameters
    ----------
    error : float or array of any shape, in [0, 1]
        Mean error over the keys.
    n_pairs : int, at least 1
        Pairs of a known key and an independent uniform value, N.
    n_values : int, at least 1
        Number of values, V.

    Returns
    -------
    float or array of the same shape, in bits; N log2 V at error 0

    Raises
    ------
    ValueError
        If an error is outside [0, 1] or a count is below 1.

    References
    ----------
    Statement S1.  Arora et al. 2024 (Based, arXiv 2402.18668), Theorem 3.1, has Omega(N) bits without a
    constant; Arora et al. 2023 (Zoology, arXiv 2312.04927) for the task.

    Examples
    --------
    >>> recall_bits(0.0, n_pairs=8, n_values=64)
    48.0
    """
    check_integer("n_pairs", n_pairs, 1)
    check_integer("n_values", n_values, 1)
    return mean_error_fano_bits(n_pairs * math.log2(n_values), n_pairs, n_values, error)


def index_lookup_bits(error: Floats, n_positions: int, n_values: int) -> Floats:
    """Fewest bits of a one-way message from which any of n symbols can be named: S3, one shot.

    The holder of the string speaks first, the holder of the index answers: the state at the cut is the message.
    At error 0 it is the deterministic one-way communication complexity, n log2 V.

    Parameters
    ----------
    error : float or array of any shape, in [0, 1]
        Error at a uniform index, for a uniform string.
    n_positions : int, at least 1
        Length of the string, n.
    n_values : int, at least 1
        Size of the alphabet, V.

    Returns
    -------
    float or array of the same shape, in bits

    Raises
    ------
    ValueError
        If an error is outside [0, 1] or a count is below 1.

    References
    ----------
    Statements S3 and S4.  Bhattamishra, Hahn, Blunsom, Kanade 2024 (arXiv 2406.09347) show that a recurrent
    model needs a hidden state of linear size.

    Examples
    --------
    >>> index_lookup_bits(0.0, n_positions=10, n_values=2)
    10.0
    >>> round(index_lookup_bits(0.25, n_positions=3, n_values=2), 6)
    1.0
    """
    return packing_bits(error, n_positions, n_values)


def index_lookup_width(error: float, n_positions: int, n_values: int, entry_bits: float) -> int:
    """Least width of a hidden state, in entries of a given precision, for index lookup.

    Parameters
    ----------
    error : float, in [0, 1]
    n_positions, n_values : int, at least 1
    entry_bits : float, in bits, above 0
        Precision of one entry.

    Returns
    -------
    int, in entries

    Raises
    ------
    ValueError
        If a number is outside its range.

    References
    ----------
    See ``index_lookup_bits``.

    Examples
    --------
    >>> index_lookup_width(0.0, n_positions=100, n_values=2, entry_bits=8)
    13
    """
    if not entry_bits > 0.0:
        raise ValueError(f"entry_bits is {entry_bits!r}; allowed: above 0; give the bits of one entry, such as 32")
    # A hair less, so that rounding never asks for an entry more.
    return math.ceil(index_lookup_bits(float(error), n_positions, n_values) / entry_bits * (1.0 - 1e-12))


def recall_capacity(state_bits: Floats, n_values: int, error: float = 0.0) -> Floats:
    """Most pairs that a state of constant size can recall, however long the sequence: bits / [log2 V - Phi(error)].

    Parameters
    ----------
    state_bits : float or array of any shape, in bits, at least 0
    n_values : int, at least 2
        Number of values, V, independent and uniform; the keys are known.
    error : float, in [0, 1)
        Mean error over the pairs that count as recalled; below 1 - 1/V, or guessing recalls any number.

    Returns
    -------
    float or array of the same shape, in pairs; inf where guessing is allowed

    Raises
    ------
    ValueError
        If a number is outside its range.

    References
    ----------
    Statement S1 inverted.  It is the part that holds of the efficiency-compactness-recall bound of arXiv
    2605.05066, O(poly(d) / log V) pairs; that paper is reported as withdrawn, and nothing here rests on it.

    Examples
    --------
    >>> recall_capacity(48.0, n_values=64)
    8.0
    """
    check_integer("n_values", n_values, 2)
    bits_per_pair = math.log2(n_values) - fano_loss_bits(float(error_rates(error)), n_values)
    bits = state_sizes(state_bits)
    return like(bits / bits_per_pair if bits_per_pair > 0.0 else np.full_like(bits, math.inf), state_bits)
