"""Bounds for a stack that sees only the last tokens (W1 and W2; docs/theory/bounds.md).

A layer of window w lets a position see itself and the w - 1 positions before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from boundprobe.bounds.max_count import expected_max_count
from boundprobe.checks import check_integer
from boundprobe.tasks.cases import WindowCase


def receptive_field(windows: Sequence[int | None]) -> int | None:
    """Number of last tokens that a stack of causal layers sees: R = 1 + sum_i (w_i - 1).

    A layer of window w lets a position see itself and the w - 1 before it; a causal convolution of width c
    counts as a window of c; a recurrent layer or full attention is unbounded (None).

    Parameters
    ----------
    windows : sequence of int or None, in tokens
        One per layer; None is unbounded.

    Returns
    -------
    int or None, in tokens
        None if any layer is unbounded.

    Raises
    ------
    ValueError
        If a window is below 1.

    References
    ----------
    W1 (docs/theory/bounds.md); Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.7.

    Examples
    --------
    >>> receptive_field([11, 4])
    14
    >>> receptive_field([11, None]) is None
    True
    """
    bounded = [check_integer("window", w, 1) for w in windows if w is not None]
    if len(bounded) < len(windows):
        return None
    return 1 + sum(w - 1 for w in bounded)


def window_accuracy_ceiling(case: WindowCase, receptive_field: int | None) -> float:
    """Best accuracy on the window-hard distribution of a model that sees the last R tokens.

    value = (E[max count of v balls in q bins] + (r - v) / q) / r, with r candidates left by the control
    tokens in sight and v of them in sight.  When every control token is in sight, or there is none, it is known
    which candidate is wanted: the mean over candidates of 1 if in sight, else 1/q.

    When the control tokens in sight leave some candidates only, v is taken as large as it can be.  So the
    value is exact whenever all candidates remain or all are in sight, as with control tokens that come before
    every candidate, and a valid upper bound elsewhere (it grows with v, and is at most that with every control
    token in sight).

    Parameters
    ----------
    case : WindowCase
    receptive_field : int or None, in tokens
        R, the position itself included (a window of w sees itself and the w - 1 before); None is unbounded.

    Returns
    -------
    float, a probability in [1/q, 1]

    Raises
    ------
    ValueError
        If the receptive field is below 1, or there is no control token and not exactly one candidate.

    References
    ----------
    Statement W2; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.7.

    Examples
    --------
    >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
    >>> [round(window_accuracy_ceiling(case, r), 6) for r in (1, 99, 100)]
    [0.038462, 0.201518, 1.0]
    """
    _check_control(case)
    if receptive_field is None:
        return 1.0
    sees = check_integer("receptive_field", receptive_field, 1)
    n_blind = sum(distance >= sees for distance in case.control_distances)
    n_candidates, n_seen = len(case.candidate_distances), sum(distance < sees for distance in case.candidate_distances)
    told = (n_seen + (n_candidates - n_seen) / case.n_values) / n_candidates
    if n_blind == 0:
        return told
    remaining = case.candidates_if_blind_to[n_blind - 1]
    # To be told which candidate is wanted never hurts.
    return min(told, _plurality_accuracy(remaining, min(remaining, n_seen), case.n_values))


def blind_accuracy(case: WindowCase) -> float:
    """Best accuracy without any control token, all candidates in sight.

    E[max count of r balls in q bins] / r, with r candidates and q values.  Where no token picks the answer,
    its one candidate is the token that matters: 1/q without it.

    Parameters
    ----------
    case : WindowCase

    Returns
    -------
    float, a probability in [1/q, 1]

    References
    ----------
    Statement W2; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.7.

    Examples
    --------
    >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
    >>> round(blind_accuracy(case), 6)
    0.201518
    """
    _check_control(case)
    if not case.control_distances:
        return 1.0 / case.n_values
    remaining = case.candidates_if_blind_to[-1]
    return _plurality_accuracy(remaining, remaining, case.n_values)


def min_receptive_field(case: WindowCase) -> int:
    """Fewest last tokens that a model must see to be right always: d + 1, the position itself included.

    d is the distance of the farthest token that matters, control or candidate.

    Parameters
    ----------
    case : WindowCase

    Returns
    -------
    int, in tokens

    References
    ----------
    Statement W1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.7.

    Examples
    --------
    >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
    >>> min_receptive_field(case)
    100
    """
    return min_sum_window_minus_one(case) + 1


def min_sum_window_minus_one(case: WindowCase) -> int:
    """Least sum over layers of (w_i - 1) for success above 1/2 on the worst two inputs: d.

    Parameters
    ----------
    case : WindowCase

    Returns
    -------
    int, in tokens

    References
    ----------
    Statement W1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.7.

    Examples
    --------
    >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
    >>> min_sum_window_minus_one(case)
    99
    """
    _check_control(case)
    return case.sensitivity_distance


def _check_control(case: WindowCase) -> None:
    """Raise ``ValueError`` if no token says which of several candidates is wanted, or there is no candidate."""
    if len(case.candidate_distances) != 1 and not (case.control_distances and case.candidate_distances):
        raise ValueError(
            "the window case must have one candidate, or control tokens that pick one of several; got "
            f"{len(case.candidate_distances)} candidates and {len(case.control_distances)} control tokens."
        )


def _plurality_accuracy(remaining: int, visible: int, n_values: int) -> float:
    """Accuracy of naming the most frequent visible value; any remaining candidate may be the answer."""
    return (expected_max_count(visible, n_values) + (remaining - visible) / n_values) / remaining
