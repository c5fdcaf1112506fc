"""Convergence of a member: a stated rule on the losses of its draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Parts of the budget that are compared, and the fall of the loss (nats) that still counts as improvement.
N_PARTS, LEAST_IMPROVEMENT = 5, 0.01
#: Part of the budget over which a loss must stay below ``Schedule.stop_below``.
STOP_PART = 10


def improvement(losses: Sequence[float], n_draws: int) -> float | None:
    """Fall of the mean loss from the fourth fifth of the budget to the last.

    Parameters
    ----------
    losses : sequence of float
        Mean loss (nats) of each draw of the member.
    n_draws : int
        Draws of the whole budget; with fewer losses, the last fifth of a budget before the last loss counts.

    Returns
    -------
    float or None
        None where there are too few draws to compare, or a loss is not finite.

    Examples
    --------
    >>> improvement([3.0, 2.0, 1.0, 0.5, 0.25], n_draws=5)
    0.25
    """
    part = max(n_draws // N_PARTS, 1)
    if len(losses) < 2 * part or not all(map(math.isfinite, losses)):
        return None
    before, last = losses[-2 * part : -part], losses[-part:]
    return (sum(before) - sum(last)) / part


def has_converged(losses: Sequence[float], n_draws: int) -> bool:
    """No improvement in the last fifth of the budget: the loss fell by less than 0.01 nats.

    >>> has_converged([3.0, 2.0, 1.0, 0.5, 0.25], n_draws=5)
    False
    >>> has_converged([3.0, 2.0, 0.2, 0.105, 0.1], n_draws=5)
    True
    """
    fall = improvement(losses, n_draws)
    return fall is not None and fall < LEAST_IMPROVEMENT


def may_stop(losses: Sequence[float], n_draws: int, stop_below: float) -> bool:
    """Return True if a loss is not finite, or the mean loss over a tenth of the budget is below a threshold.

    >>> may_stop([0.5, math.nan], 10, stop_below=0.0), may_stop([0.5, 0.01], 10, stop_below=0.1)
    (True, True)
    """
    part = max(n_draws // STOP_PART, 1)
    if not math.isfinite(losses[-1]):
        return True
    return len(losses) >= part and sum(losses[-part:]) / part < stop_below
