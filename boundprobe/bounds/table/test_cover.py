"""A smallest set of queries that separates all rows of an answer table: a minimum test cover, by rows on demand."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.checks import check_number
from boundprobe.tasks.answer_table.rows import entropy_bits, row_classes

IntArray = NDArray[np.integer]

#: Pairs that one round adds to the integer program.
_PAIRS_PER_ROUND = 200

#: Rows on which the greedy choice compares queries.
_ROWS_PER_GAIN = 5_000

#: Labels up to this are counted in an array, beyond by sorting.
_MOST_LABELS = 2**22


@dataclass(frozen=True)
class SeparatingSet:
    """Queries that tell apart all rows that any queries tell apart.

    Attributes
    ----------
    queries : tuple of int
        Columns of the table, in order.
    lower_bound : int
        No set of fewer queries separates the rows.
    method : str
        What gave ``lower_bound``: ``counting`` (entropies of the answers) or ``milp`` (the solver's bound).
    n_pairs : int
        Pairs of rows that the integer program was given; the rest were separated without.

    Examples
    --------
    >>> SeparatingSet((0, 2), 2, "counting", 0).optimal
    True
    """

    queries: tuple[int, ...]
    lower_bound: int
    method: str
    n_pairs: int

    @property
    def optimal(self) -> bool:
        """True if no smaller set exists."""
        return len(self.queries) == self.lower_bound

    @property
    def gap(self) -> float:
        """(size - lower bound) / size, 0 where the set is proved smallest."""
        return (len(self.queries) - self.lower_bound) / max(1, len(self.queries))


def smallest_separating_set(table: IntArray, time_limit: float = 10.0) -> SeparatingSet:
    """A minimum test cover of the distinct rows of an answer table.

    minimise sum_a x_a  subject to  sum_{a separates (i, j)} x_a >= 1 for all pairs of rows i, j.  Pairs are
    never all formed: the program is solved for a pool of pairs; rows that the chosen queries leave together
    give new pairs.  A choice that is optimal for the pool and separates all rows is optimal.  The entropy of
    all rows is at most the sum of those of the chosen answers: sum_a H(Y_a) x_a >= log2(rows) is added.

    Parameters
    ----------
    table : integer array (n_prefixes, n_queries)
        An undefined answer counts as a value of its own.
    time_limit : float, in seconds
        For the integer programs, all together; then the best set so far and the bound so far are returned.

    Returns
    -------
    SeparatingSet

    Raises
    ------
    ValueError
        If the time limit is no number from 0 up.

    References
    ----------
    *A user's own task*, by enumeration (docs/tasks.md); Moret and Shapiro 1985 (SIAM J. Sci. Stat. Comput. 6:983) on
    minimum test sets.

    Examples
    --------
    >>> table = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1, i % 3] for i in range(8)])
    >>> found = smallest_separating_set(table)
    >>> len(found.queries), found.optimal, separates_all(table, found.queries)
    (3, True, True)
    """
    check_number("time_limit", time_limit, least=0)
    columns, names = _columns(table)
    n_rows = columns.shape[1]
    if n_rows == 1:
        return SeparatingSet((), 0, "counting", 0)
    entropies = np.array([entropy_bits(np.bincount(column)[np.unique(column)]) for column in columns])
    # A hair off, so that rounding can only weaken the bound.
    needed = math.log2(n_rows) * (1 - 1e-9)
    lower = int(np.searchsorted(np.cumsum(np.sort(entropies)[::-1]), needed)) + 1
    best, pairs = _greedy(columns, ())
    best = _without_redundant(columns, best)
    method, n_pairs = "counting", 0
    if len(best) > lower:
        best, lower, method, n_pairs = _solve(columns, entropies, needed, best, lower, pairs, time_limit)
    return SeparatingSet(tuple(sorted(int(names[a]) for a in best)), lower, method, n_pairs)


def separates_all(table: IntArray, queries: Iterable[int]) -> bool:
    """Check that some queries tell apart all rows that the whole table tells apart.

    >>> separates_all(np.array([[0, 0], [0, 1]]), [0])
    False
    """
    chosen = table[:, list(queries)]
    return len(row_classes(chosen)[1]) == len(row_classes(table)[1])


def _columns(table: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct rows, turned: one partition of the rows per query, each kept once, none of them trivial."""
    # In no order: the first rows are used as a sample.
    rows = table[np.random.default_rng(0).permutation(row_classes(table)[1])]
    kept: dict[bytes, int] = {}
    partitions = []
    for start in range(0, rows.shape[1], 64):
        for a, values in enumerate(np.ascontiguousarray(rows[:, start : start + 64].T), start):
            column = _partition(values)
            if column.any() and kept.setdefault(column.tobytes(), a) == a:
                partitions.append(column)
    if not partitions:
        return np.zeros((0, 1), np.int8), np.zeros(0, np.int64)
    return np.stack(partitions), np.array(list(kept.values()))


def _partition(values: IntArray) -> IntArray:
    """Values renamed 0, 1, ... in the order in which they occur first, so that equal partitions are equal arrays."""
    codes = values.astype(np.int64) - int(values.min())
    if codes.max() > 2**16:
        codes = np.unique(values, return_inverse=True)[1]
    first = np.full(int(codes.max()) + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last one written, the first that occurs, stays
    used = np.argsort(first)[: int((first < len(codes)).sum())]
    rank = np.empty(len(first), np.min_scalar_type(len(used)))
    rank[used] = np.arange(len(used))
    return rank[codes]


def _n_pairs(labels: IntArray) -> int:
    """Pairs of rows with the same label."""
    counts = np.bincount(labels)
    return int((counts * (counts - 1)).sum()) // 2


def _split(labels: IntArray, column: IntArray) -> IntArray:
    """Labels that tell apart what ``labels`` or ``column`` does, not yet numbered without holes."""
    return labels * (int(column.max()) + 1) + column


def _greedy(columns: IntArray, start: Iterable[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Queries, each the one that separates most pairs that are left, and pairs that were hard to separate.

    Gains are counted on some thousand rows, whole classes where they fit: a choice among near equals.
    """
    chosen, hard = list(start), []
    labels, rows = _left(columns, chosen)
    while len(rows):
        some = np.argsort(labels, kind="stable")[:_ROWS_PER_GAIN]
        left = [_n_pairs(_split(labels[some], column)) for column in columns[:, rows[some]]]
        a = int(np.argmin(left))
        chosen.append(a)
        hard += _pairs(labels, rows, _PAIRS_PER_ROUND // 4)
        labels, rows = _refine(_split(labels, columns[a, rows]), rows)
    return chosen, hard


def _left(columns: IntArray, chosen: Iterable[int]) -> tuple[IntArray, IntArray]:
    """Rows that some other row shares all chosen answers with, and their class labels."""
    rows: IntArray = np.arange(columns.shape[1])
    labels: IntArray = np.zeros(len(rows), np.int64)
    for a in chosen:
        if not len(rows):
            break
        labels, rows = _refine(_split(labels, columns[a, rows]), rows)
    return labels, rows


def _refine(labels: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Number labels without holes, and drop rows that are alone."""
    if labels.max(initial=0) > _MOST_LABELS:
        labels = np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(labels)
    shared = counts[labels] > 1
    number = np.cumsum(counts > 1) - 1
    return number[labels[shared]], rows[shared]


def _pairs(labels: IntArray, rows: IntArray, most: int) -> list[tuple[int, int]]:
    """Neighbours within classes, spread evenly over them; at most ``most``."""
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(labels[order][1:] == labels[order][:-1])
    ends = ends[np.linspace(0, len(ends) - 1, min(most, len(ends))).astype(int)]
    return [(int(rows[order[k]]), int(rows[order[k + 1]])) for k in ends]


def _without_redundant(columns: IntArray, chosen: list[int]) -> list[int]:
    """Drop queries, the latest first, that the others make superfluous."""
    for a in chosen[::-1]:
        others = [b for b in chosen if b != a]
        if not len(_left(columns, others)[1]):
            chosen = others
    return chosen


def _solve(
    columns: IntArray,
    entropies: NDArray[np.float64],
    needed: float,
    best: list[int],
    lower: int,
    pairs: list[tuple[int, int]],
    time_limit: float,
) -> tuple[list[int], int, str, int]:
    """Row generation: best set, lower bound, what gave the bound, and pairs used."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, vstack

    end = time.monotonic() + time_limit
    method = "counting"
    constraints = csr_array((0, len(columns)))
    pool: dict[tuple[int, int], None] = {}
    while len(best) > lower and (left := end - time.monotonic()) > 0:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in pool]
        pool.update(dict.fromkeys(new))
        i, j = np.array(new).T
        separated = csr_array((columns[:, i] != columns[:, j]).T.astype(np.float64))
        constraints = vstack([constraints, separated], format="csr")
        result = milp(
            np.ones(len(columns)),
            integrality=np.ones(len(columns)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(constraints, 1, np.inf),
                LinearConstraint(entropies[None], needed, np.inf),
            ],
            options={"time_limit": left, "mip_rel_gap": 0.0},
        )
        bound = result.mip_dual_bound
        if bound is not None and math.isfinite(bound) and math.ceil(bound - 1e-6) > lower:
            lower, method = min(len(best), math.ceil(bound - 1e-6)), "milp"
        if result.x is None:
            break
        chosen = [int(a) for a in np.flatnonzero(result.x > 0.5)]
        labels, rows = _left(columns, chosen)
        whole = chosen if not len(rows) else _without_redundant(columns, _greedy(columns, chosen)[0])
        best = min(best, whole, key=len)
        if not len(rows):
            break  # separates all: optimal if the solver was not cut off, and the bound says which
        pairs = _pairs(labels, rows, _PAIRS_PER_ROUND)
    return best, lower, method, len(pool)
