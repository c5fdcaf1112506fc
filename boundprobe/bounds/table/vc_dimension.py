"""VC dimension of an answer table: queries that take all combinations of answers, and the state that they require."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.checks import check_integer
from boundprobe.tasks.answer_table.rows import row_classes, value_counts
from boundprobe.tasks.base import IGNORE

#: Rows that the search looks at before it stops, all tests together: some seconds.
WORK_LIMIT = 200_000_000


@dataclass(frozen=True)
class VCDimension:
    """The greatest number of queries that prefixes answer in all 2^d ways, or what is known of it.

    Attributes
    ----------
    shattered : tuple of int
        The most queries found, a certificate.
    sauer_shelah : int
        Least d with sum_{i<=d} C(n_queries, i) >= distinct rows: the dimension is at least that.
    upper : int
        floor(log2(distinct rows)), or the dimension if the search ended.
    n_tests : int
        Sets of queries that were tested.
    """

    shattered: tuple[int, ...]
    sauer_shelah: int
    upper: int
    n_tests: int

    @property
    def lower(self) -> int:
        """Proved lower bound on the dimension."""
        return max(len(self.shattered), self.sauer_shelah)

    @property
    def exact(self) -> bool:
        """True if the dimension is known exactly."""
        return self.lower == self.upper


def vc_dimension(table: NDArray[np.integer], work_limit: int = WORK_LIMIT) -> VCDimension | None:
    """VC dimension of the rows of a table of binary answers, by a search that is cut off.

    Every subset of a shattered set is shattered, so sets grow one query at a time.

    A set of d shattered queries is a hard case: one prefix for each of the 2^d patterns, all equally likely,
    makes the d answers independent uniform bits.  So a state that answers these queries with mean error p
    holds at least d (1 - h(p)) bits (S1), and ball packing (S3) at (d, 2) holds as well.  A machine, randomised
    or not, whose error is at most p on every prefix and query has that mean error: with these constants this
    is the lower bound of Kremer, Nisan and Ron on one-way communication.

    Parameters
    ----------
    table : integer array (n_prefixes, n_queries)
    work_limit : int
        Rows that all tests together may look at.

    Returns
    -------
    VCDimension, or None
        None if an answer is undefined or a query has more than two answers.

    References
    ----------
    Kremer, Nisan, Ron 1999 (Computational Complexity 8:21), cited from memory, proved here;
    Sauer 1972 and Shelah 1972; S1, S3.

    Examples
    --------
    >>> table = np.array([[i >> a & 1 for a in range(3)] for i in range(8)])
    >>> vc_dimension(table).shattered, vc_dimension(table[:7]).lower, vc_dimension(table[:7]).exact
    ((0, 1, 2), 2, True)
    """
    check_integer("work_limit", work_limit, 0)
    values = value_counts(table)
    if (table == IGNORE).any() or max(values) > 2:
        return None
    rows = table[row_classes(table)[1]]
    n_rows, n_queries = rows.shape
    search = _Search(rows, values, work_limit)
    search.extend((), np.zeros(n_rows, np.int64), 0)
    upper = search.depth_limit if search.stopped else len(search.best)
    shattered = tuple(sorted(int(search.order[k]) for k in search.best))
    return VCDimension(shattered, _sauer_shelah(n_rows, n_queries), upper, search.n_tests)


class _Search:
    """Depth-first search for the largest shattered set; the most balanced queries come first."""

    def __init__(self, rows: NDArray[np.integer], values: list[int], work_limit: int) -> None:
        bits = np.ascontiguousarray((rows != rows.min(axis=0)).T)
        share = bits.mean(axis=1)
        order = np.argsort(np.abs(share - 0.5), kind="stable")
        self.order = order[np.array(values)[order] == 2]
        self.columns = bits[self.order]
        self.depth_limit = len(rows).bit_length() - 1
        self.work_left = work_limit
        self.best: tuple[int, ...] = ()
        self.n_tests = 0
        self.stopped = False

    def extend(self, chosen: tuple[int, ...], labels: NDArray[np.int64], start: int) -> None:
        """Try every query from ``start`` on beside the chosen ones, whose pattern ``labels`` holds."""
        for k in range(start, len(self.columns)):
            if len(chosen) + len(self.columns) - k <= len(self.best) or len(self.best) == self.depth_limit:
                return
            if self.work_left < len(labels):
                self.stopped = True
                return
            self.work_left -= len(labels)
            self.n_tests += 1
            longer = labels * 2 + self.columns[k]
            if np.bincount(longer, minlength=2 ** (len(chosen) + 1)).min() > 0:
                if len(chosen) + 1 > len(self.best):
                    self.best = (*chosen, k)
                self.extend((*chosen, k), longer, k + 1)


def _sauer_shelah(n_rows: int, n_queries: int) -> int:
    """Least d for which d can be the dimension of so many rows."""
    total = d = 0
    while True:
        total += math.comb(n_queries, d)
        if total >= n_rows:
            return d
        d += 1
