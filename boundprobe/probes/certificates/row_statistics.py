"""Tests of independence by statistics of whole rows: answers are compared with as many rows drawn from the prior.

Some dependence is spread so thin that no pair of answers shows it: pointers that form a tree, answers that are all
different, or in order.  A statistic of a row does, and its distribution needs no formula: rows are drawn from the
prior, with the same answers defined, and how often each value of the statistic occurs is compared by Fisher's exact
test, which holds for every sample size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE

IntArray = NDArray[np.int64]

#: Values of a statistic that are told apart; larger ones count as this.
MOST_CELLS = 12


def repeats(rows: IntArray) -> IntArray:
    """Answers of a row that equal another one of it before, in order of size: 0 if all differ."""
    ordered = np.sort(np.where(rows == IGNORE, -1 - np.arange(rows.shape[1]), rows), axis=1)
    return _per_row(ordered[:, 1:] == ordered[:, :-1])


def ascents(rows: IntArray) -> IntArray:
    """Answers that are greater than the one before."""
    known = (rows[:, 1:] != IGNORE) & (rows[:, :-1] != IGNORE)
    return _per_row(known & (rows[:, 1:] > rows[:, :-1]))


def fixed_points(rows: IntArray) -> IntArray:
    """Answers that are their own index."""
    return _per_row(rows == np.arange(rows.shape[1]))


def two_cycles(rows: IntArray) -> IntArray:
    """Pairs of answers that are each other's index."""
    n = rows.shape[1]
    inside = (rows >= 0) & (rows < n)
    there = np.take_along_axis(rows, np.where(inside, rows, 0), axis=1)
    return _per_row(inside & (there == np.arange(n)) & (rows > np.arange(n)))


def _per_row(holds: NDArray[np.bool_]) -> IntArray:
    counts: IntArray = holds.sum(axis=1, dtype=np.int64)
    return counts


#: What is counted in each row.
STATISTICS: dict[str, Callable[[IntArray], IntArray]] = {
    "equal answers": repeats,
    "rising neighbours": ascents,
    "answers that are their own index": fixed_points,
    "pairs of answers that are each other's index": two_cycles,
}


def check_row_statistics(answers: IntArray, n_values: int, level: float, premise: str = "as the prior says") -> None:
    """Refuse answers of which whole rows look unlike rows of independent uniform answers.

    Parameters
    ----------
    answers : int64 array (N, n)
        ``IGNORE`` where undefined.
    n_values : int
        K.
    level : float
        Probability, at most, that a true prior is refused.
    premise : str
        Who says that they are independent and uniform, for the message.

    Raises
    ------
    ValueError
        If they do; names the statistic.
    """
    drawn = generator(0, "split", 6).integers(n_values, size=answers.shape)
    drawn = np.where(answers == IGNORE, IGNORE, drawn)
    n_rows = len(answers)
    for name, statistic in STATISTICS.items():
        # Rows of many answers: cells of a few values each, around what the prior has most.
        here, there = statistic(answers), statistic(drawn)
        width = max(1, int(np.ceil(4 * there.std() / MOST_CELLS)))
        middle = int(np.median(there))
        cells = [np.clip((each - middle) // width, -MOST_CELLS, MOST_CELLS) for each in (here, there)]
        for cell in np.unique(cells[1]):
            found, expected = (int((each == cell).sum()) for each in cells)
            # Given how many rows of both have it, those of the answers are hypergeometric.
            both = hypergeom(2 * n_rows, found + expected, n_rows)
            chance = min(both.sf(found - 1), both.cdf(found))
            if chance < level / (len(STATISTICS) * 2 * (2 * MOST_CELLS + 1)):
                low = middle + cell * width
                which = f"{low}" if width == 1 else f"{low} to {low + width - 1}"
                raise ValueError(
                    f"`answers` must be independent and uniform over 0 to {n_values - 1}, {premise}; got {found} of "
                    f"{n_rows} sequences with {which} {name}, where {expected} of as many that were drawn so are like "
                    "that; state the answers' joint entropy, given which are defined (--entropy-bits)"
                )
