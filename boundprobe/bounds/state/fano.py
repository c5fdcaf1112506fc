"""Fano bounds: the bits of state that a given error requires, and the accuracy that given bits allow."""

from __future__ import annotations

import math

import numpy as np

from boundprobe.bounds.information import (
    FloatArray,
    Floats,
    error_rates,
    fano_loss_bits,
    inverse_fano_loss,
    like,
    state_sizes,
)
from boundprobe.bounds.state.packing import packing_bits, packing_error_floor
from boundprobe.checks import check_integer, check_number
from boundprobe.tasks.cases import StateCase


def fano_bits(entropy_bits: float, n_values: int, errors: FloatArray) -> float:
    """S1 with one error per answer: max(0, H(Y_A) - sum_a Phi(p_a)).

    Parameters
    ----------
    entropy_bits : float, in bits
        Joint entropy of all answers, H(Y_A).
    n_values : int, at least 1
        Number of values that each answer can take, K.
    errors : float array (n_answers,), in [0, 1]
        Probability that the answer to each query is wrong.  For one mean error see ``mean_error_fano_bits``.

    Returns
    -------
    float, in bits
        Lower bound on I(U;S), so on log2 of the number of states; 0 says nothing (vacuous).

    Raises
    ------
    ValueError
        If ``errors`` has not one axis, an error is outside [0, 1], or the entropy is more than the answers
        can carry.

    References
    ----------
    Statement S1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3, exact form.

    Examples
    --------
    >>> round(fano_bits(3.0, 2, np.array([0.0, 0.0, 0.1])), 6)
    2.531004
    """
    p = error_rates(errors)
    if p.ndim != 1:
        raise ValueError(
            f"`errors` must have shape (n_answers,); got shape {p.shape}. For a mean error use mean_error_fano_bits."
        )
    _check_entropy(entropy_bits, len(p), n_values)
    return max(0.0, entropy_bits - float(np.sum(fano_loss_bits(p, n_values))))


def mean_error_fano_bits(entropy_bits: float, n_answers: int, n_values: int, error: Floats) -> Floats:
    """S1 with the mean error over the answers: max(0, H(Y_A) - |A| Phi(p)), by concavity of Phi.

    Parameters
    ----------
    entropy_bits : float, in bits
        Joint entropy of all answers, H(Y_A).
    n_answers : int
        Size of the query set, |A|.
    n_values : int
        Number of values that each answer can take, K.
    error : float or array of any shape, in [0, 1]
        Mean error over the queries, p.

    Returns
    -------
    float or array of the same shape, in bits; 0 says nothing (vacuous)

    Raises
    ------
    ValueError
        If an error is outside [0, 1] or the entropy is more than the answers can carry.

    References
    ----------
    Statement S1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3, exact form.

    Examples
    --------
    >>> round(mean_error_fano_bits(10 * math.log2(36), 10, 36, 1 / 3), 6)
    25.418682
    """
    _check_entropy(entropy_bits, n_answers, n_values)
    loss = fano_loss_bits(error_rates(error), n_values)
    return like(np.maximum(0.0, entropy_bits - n_answers * loss), error)


def fano_accuracy_ceiling(state_bits: Floats, entropy_bits: float, n_answers: int, n_values: int) -> Floats:
    """Best mean accuracy that S1 allows a state of this many bits: 1 - Phi^-1((H - bits) / |A|).

    Parameters
    ----------
    state_bits : float or array of any shape, in bits, at least 0
    entropy_bits : float, in bits
        Joint entropy of all answers, H(Y_A).
    n_answers, n_values : int
        Size of the query set and number of values of each answer.

    Returns
    -------
    float or array of the same shape, a probability; 1 from ``entropy_bits`` on

    Raises
    ------
    ValueError
        If a number of bits is negative or the entropy is more than the answers can carry.

    References
    ----------
    Statement S1, *Inverting*; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3.

    Examples
    --------
    >>> round(fano_accuracy_ceiling(25.418682, 10 * math.log2(36), 10, 36), 6)
    0.666667
    """
    _check_entropy(entropy_bits, n_answers, n_values)
    bits = state_sizes(state_bits)
    missing = np.clip((entropy_bits - bits) / n_answers, 0.0, math.log2(n_values))
    return like(1.0 - inverse_fano_loss(missing, n_values), state_bits)


def packing_accuracy_ceiling(state_bits: Floats, n_coordinates: int, n_values: int) -> Floats:
    """Best mean accuracy of any machine with this many bits, on n uniform coordinates: 1 - the S3 floor.

    Parameters
    ----------
    state_bits : float or array of any shape, in bits, at least 0
    n_coordinates, n_values : int
        n coordinates of q values each.

    Returns
    -------
    float or array of the same shape, a probability in [1/q, 1]

    Raises
    ------
    ValueError
        If a number of bits is negative or a count is below 1.

    References
    ----------
    Statement S3, *Inverting*; the one-shot form of Theorem 3.3 (Cooper et al. 2026, arXiv 2603.08859).

    Examples
    --------
    >>> packing_accuracy_ceiling(1.0, 3, 2)
    0.75
    """
    return like(1.0 - packing_error_floor(state_sizes(state_bits), n_coordinates, n_values), state_bits)


def store_some_accuracy(state_bits: Floats, n_coordinates: int, n_values: int) -> Floats:
    """Accuracy that anyone can build: keep k = floor(bits / log2 q) coordinates, guess the rest.

    accuracy = (k + (n - k) / q) / n

    Parameters
    ----------
    state_bits : float or array of any shape, in bits, at least 0
    n_coordinates, n_values : int
        n coordinates of q values each.

    Returns
    -------
    float or array of the same shape, a probability in [1/q, 1]

    Raises
    ------
    ValueError
        If a number of bits is negative or a count is below 1.

    References
    ----------
    *Inverting*, the store-some strategy (``accuracy_floor_strategy`` in reports).

    Examples
    --------
    >>> round(store_some_accuracy(2 * math.log2(36), 10, 36), 6)
    0.222222
    """
    n = check_integer("n_coordinates", n_coordinates, 1)
    q = check_integer("n_values", n_values, 1)
    bits = state_sizes(state_bits)
    if q == 1:
        return like(np.ones_like(bits), state_bits)
    # 2 * log2(36) / log2(36) may come out an ulp below 2: a hair is added before the floor is taken.
    kept = np.minimum(np.floor(bits / math.log2(q) * (1.0 + 1e-12)), n)
    return like((kept + (n - kept) / q) / n, state_bits)


def required_bits(case: StateCase, error: Floats) -> Floats:
    """Bits that every state at the cut needs for a mean error: S1, and S3 where the answers are independent.

    Parameters
    ----------
    case : StateCase
    error : float or array of any shape, in [0, 1]
        Mean error over the query set.

    Returns
    -------
    float or array of the same shape, in bits

    Raises
    ------
    ValueError
        If an error is outside [0, 1].

    References
    ----------
    Statements S1 and S3; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3 and Lemma 3.5.

    Examples
    --------
    >>> case = StateCase(16, 16, 64.0, True, 64.0, "Theorem 3.3", "store every value")
    >>> round(required_bits(case, 0.1), 3)
    54.759
    """
    e = error_rates(error)
    bits = mean_error_fano_bits(case.entropy_bits, case.n_answers, case.n_values, e)
    if case.independent_uniform:
        bits = np.maximum(bits, packing_bits(e, case.n_answers, case.n_values))
    return like(bits, error)


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


def _check_entropy(entropy_bits: float, n_answers: int, n_values: int) -> None:
    """Raise ``ValueError`` if the entropy exceeds that of the answers, for which S1 would be invalid."""
    check_integer("n_answers", n_answers, 1)
    check_integer("n_values", n_values, 1)
    most_bits = n_answers * math.log2(n_values)
    if not 0.0 <= entropy_bits <= most_bits * (1.0 + 1e-9):
        raise ValueError(
            f"`entropy_bits` must lie in [0, {most_bits:.6f}], the joint entropy of {n_answers} answers of {n_values} "
            f"values; got {entropy_bits!r}."
        )
