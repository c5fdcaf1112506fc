"""Brute-force oracles: enumeration of every encoder of a small answer table.

An answer table has one row per prefix and one column per query.  Prefixes are equally likely and every query
is asked equally often.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.information import FloatArray
from boundprobe.checks import check_integer
from boundprobe.tasks.base import IGNORE

#: Most prefixes whose partitions are enumerated; 12 have 4,213,597 of them.
MAX_PREFIXES = 12


def distinct_rows(answer_table: NDArray[np.int64]) -> int:
    """Number of distinct rows: the least number of states for zero error.

    An undefined answer (``IGNORE``) counts as a value of its own: the number is for machines that must say
    so.  A machine that may say anything there can do with fewer states, so the number is no bound on it.

    Parameters
    ----------
    answer_table : int64 array (n_prefixes, n_queries)

    Returns
    -------
    int, in states

    Raises
    ------
    ValueError
        If the table has not two axes or is empty.

    References
    ----------
    Statement S4 (Myhill-Nerode classes; deterministic one-way communication complexity).

    Examples
    --------
    >>> distinct_rows(np.array([[0, 1], [1, 1], [0, 1]]))
    2
    """
    return len(np.unique(_checked_table(answer_table), axis=0))


def zero_error_bits(answer_table: NDArray[np.int64]) -> float:
    """log2 of the number of distinct rows: bits of state that zero error takes.

    Parameters
    ----------
    answer_table : int64 array (n_prefixes, n_queries)
        ``IGNORE`` counts as a value of its own, see ``distinct_rows``.

    Returns
    -------
    float, in bits

    Raises
    ------
    ValueError
        If the table has not two axes or is empty.

    References
    ----------
    Statement S4.

    Examples
    --------
    >>> zero_error_bits(np.array([[0, 1], [1, 1], [0, 1]]))
    1.0
    """
    return math.log2(distinct_rows(answer_table))


def encoders(n_prefixes: int, n_states: int) -> Iterator[tuple[int, ...]]:
    """Every way to send prefixes to states, once up to renaming: restricted growth strings.

    Label i is at most 1 + the largest label before it, and below ``n_states``.

    Parameters
    ----------
    n_prefixes : int, 1 to 12
    n_states : int, at least 1

    Yields
    ------
    tuple of int (n_prefixes,)
        The state of each prefix.

    Raises
    ------
    ValueError
        If there are too many prefixes to enumerate, or a count is below 1.

    References
    ----------
    The machines that statements S1 and S3 quantify over.

    Examples
    --------
    >>> list(encoders(3, 2))
    [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    """
    check_integer("n_states", n_states, 1)
    if check_integer("n_prefixes", n_prefixes, 1) > MAX_PREFIXES:
        raise ValueError(
            f"`n_prefixes` must be an integer from 1 to {MAX_PREFIXES}, to try every partition; got {n_prefixes}. Take "
            "a smaller task."
        )

    def grow(labels: tuple[int, ...], used: int) -> Iterator[tuple[int, ...]]:
        if len(labels) == n_prefixes:
            yield labels
            return
        for label in range(min(used + 1, n_states)):
            yield from grow((*labels, label), max(used, label + 1))

    return grow((), 0)


def encoder_errors(answer_table: NDArray[np.int64], labels: Sequence[int]) -> FloatArray:
    """Error of each answer when every state gives its most frequent answer: the best decoder of one encoder.

    Parameters
    ----------
    answer_table : int64 array (n_prefixes, n_queries), all defined
    labels : sequence of int (n_prefixes,)
        The state of each prefix.

    Returns
    -------
    float array (n_queries,), probabilities

    Raises
    ------
    ValueError
        If the table is malformed or has an undefined answer, or the labels do not fit it.

    References
    ----------
    The p_a of statement S1.

    Examples
    --------
    >>> encoder_errors(np.array([[0, 0], [0, 1], [1, 1]]), (0, 0, 1))
    array([0.        , 0.33333333])
    """
    table = _defined_table(answer_table)
    states = np.asarray(labels)
    if states.shape != (len(table),):
        raise ValueError(f"`labels` must have shape ({len(table)},), one state per prefix; got shape {states.shape}.")
    return 1.0 - _right_answers(_one_hot(table), states) / len(table)


def encoder_information_bits(labels: Sequence[int]) -> float:
    """I(U;S) of one encoder on equally likely prefixes: the entropy of its states, as S is a function of U.

    Parameters
    ----------
    labels : sequence of int (n_prefixes,)
        The state of each prefix.

    Returns
    -------
    float, in bits

    References
    ----------
    The I(U;S) of statement S1.

    Examples
    --------
    >>> encoder_information_bits((0, 0, 1, 1))
    1.0
    """
    share = np.unique(np.asarray(labels), return_counts=True)[1] / len(labels)
    return float(-np.sum(share * np.log2(share)))


def best_encoder_error(answer_table: NDArray[np.int64], n_states: int) -> float:
    """Least mean error of any machine with this many states, by trying every encoder.

    Parameters
    ----------
    answer_table : int64 array (n_prefixes, n_queries), all defined, at most 12 prefixes
    n_states : int, at least 1

    Returns
    -------
    float, a probability

    Raises
    ------
    ValueError
        If the table is malformed, has an undefined answer, or has more than 12 rows.

    References
    ----------
    The oracle of statements S1, S3 and S4.

    Examples
    --------
    >>> words = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    >>> best_encoder_error(words, 2)
    0.25
    """
    table = _defined_table(answer_table)
    one_hot = _one_hot(table)
    right = max(_right_answers(one_hot, np.array(labels)).sum() for labels in encoders(len(table), n_states))
    return 1.0 - float(right) / table.size


def _one_hot(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Answers as indicators, (n_prefixes, n_queries, n_values), so that counts are sums."""
    return np.equal(table[:, :, None], np.unique(table)).astype(np.int64)


def _right_answers(one_hot: NDArray[np.int64], states: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each query, for how many prefixes the most frequent answer of the prefix's state is right."""
    members = np.equal(states, np.arange(states.max() + 1)[:, None]).astype(np.int64)
    counts: NDArray[np.int64] = np.tensordot(members, one_hot, axes=1)  # (n_states, n_queries, n_values)
    right: NDArray[np.int64] = counts.max(axis=2).sum(axis=0)
    return right


def _checked_table(answer_table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a table (n_prefixes, n_queries), or raise ``ValueError``."""
    table = np.asarray(answer_table)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(
            f"`answer_table` must have shape (n_prefixes, n_queries) and not be empty; got shape {table.shape}."
        )
    return table


def _defined_table(answer_table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a table without undefined answers, or raise ``ValueError``."""
    table = _checked_table(answer_table)
    if np.any(table == IGNORE):
        raise ValueError(
            f"`answer_table` must have only defined answers; got some that are not ({IGNORE}). Drop those queries or "
            "rows."
        )
    return table
