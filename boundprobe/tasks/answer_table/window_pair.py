"""The two inputs of W1: they agree on the last tokens and differ in the answer."""

from __future__ import annotations

import numpy as np

from boundprobe.tasks.base import IGNORE

#: Queries that are looked at together: columns of a row-major table are slow to read one by one.
_BLOCK = 64


def farthest_pair(
    prefixes: np.ndarray, queries: np.ndarray, table: np.ndarray
) -> tuple[int, tuple[int, int], tuple[int, int]] | None:
    """Two inputs that agree on as many last tokens as can be and differ in the answer.

    For one query the best two prefixes are neighbours when prefixes are sorted from their last token on, as
    the agreement of any two is the least of that between neighbours on the way.

    Parameters
    ----------
    prefixes : int64 array (n_prefixes, prefix_len), distinct rows
    queries : int64 array (n_queries, query_len), distinct rows
    table : int array (n_prefixes, n_queries)
        ``IGNORE`` where undefined; such inputs are in no pair.

    Returns
    -------
    distance : int, in tokens
        d: the two agree on the last d tokens, and no two inputs agree on more and differ in the answer.
    first, second : (prefix, query), indices
        None in place of all three if all answers are the same.

    References
    ----------
    Statement W1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Assumption 3.6 and Theorem 3.7.

    Examples
    --------
    >>> words = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> farthest_pair(words, np.array([[0], [1]]), words)
    (2, (0, 0), (2, 0))
    """
    order = np.lexsort(prefixes.T)  # the last key, here the last token, counts first
    backwards = prefixes[order, ::-1]
    differs = backwards[1:] != backwards[:-1]
    common = differs.argmax(axis=1)  # prefixes are distinct, so neighbours differ somewhere
    best: tuple[int, int, int, int] | None = None
    columns = (
        (start + j, column)
        for start in range(0, table.shape[1], _BLOCK)
        for j, column in enumerate(np.ascontiguousarray(table[:, start : start + _BLOCK].T)[:, order])
    )
    for a, column in columns:
        defined = np.flatnonzero(column != IGNORE)
        changes = np.flatnonzero(column[defined][1:] != column[defined][:-1])
        if len(changes):
            agree = common
            if len(defined) < len(column):
                agree = np.minimum.reduceat(common[: defined[-1]], defined[:-1])
            k = changes[agree[changes].argmax()]
            if best is None or agree[k] > best[0]:
                best = int(agree[k]), int(order[defined[k]]), int(order[defined[k + 1]]), a
    if best is not None:
        return queries.shape[1] + best[0], (best[1], best[3]), (best[2], best[3])
    # The prefix never matters: only the queries can differ.
    asked = [(int(np.argmax(column != IGNORE)), a) for a, column in enumerate(table.T) if (column != IGNORE).any()]
    for length in range(queries.shape[1] - 1, -1, -1):
        seen: dict[tuple[int, ...], tuple[int, int]] = {}
        for i, a in asked:
            other = seen.setdefault(tuple(queries[a, queries.shape[1] - length :].tolist()), (i, a))
            if table[other] != table[i, a]:
                return length, other, (i, a)
    return None
