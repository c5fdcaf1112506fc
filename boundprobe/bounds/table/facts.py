"""Properties of an answer table: conditions checked by counting, and bounds that need no condition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boundprobe.bounds.information import error_rates, fano_loss_bits
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.checks import check_number
from boundprobe.tasks.answer_table.rows import answer_case, is_uniform_product, row_classes, value_counts
from boundprobe.tasks.answer_table.window_pair import farthest_pair
from boundprobe.tasks.base import IGNORE

IntArray = NDArray[np.integer]


@dataclass(frozen=True)
class TableFacts:
    """Facts about an answer table, all by counting; prefixes are equally likely.

    Attributes
    ----------
    n_prefixes, n_queries : int
    n_values : tuple of int
        Values that the defined answers to each query take, K_a.
    defined : tuple of float
        Share of prefixes for which each query has an answer, e_a.
    distinct_rows : int
        An undefined answer counts as a value of its own.
    zero_error_bits : float, in bits
        log2 of the most distinct rows that are defined at the same queries: what zero error takes of any
        machine, also of one that may say anything where nothing is defined.  Where all answers are defined,
        log2 of the distinct rows (S4).
    entropy_bits : float, in bits
        H(Y_A | which are defined); the joint entropy H(Y_A) where all are.
    independent : bool
        Whether the answers are all defined and independent.
    uniform_product : bool
        Whether they are all defined, independent and uniform: every combination, equally often.
    """

    n_prefixes: int
    n_queries: int
    n_values: tuple[int, ...]
    defined: tuple[float, ...]
    distinct_rows: int
    zero_error_bits: float
    entropy_bits: float
    independent: bool
    uniform_product: bool

    @property
    def injective(self) -> bool:
        """True if the queries tell all prefixes apart."""
        return self.distinct_rows == self.n_prefixes

    @property
    def all_defined(self) -> bool:
        """True if every prefix has an answer to every query."""
        return min(self.defined) == 1.0

    @property
    def packs(self) -> bool:
        """True if S3 applies: a uniform product of equal alphabets."""
        return self.uniform_product and len(set(self.n_values)) == 1


def table_facts(table: IntArray) -> TableFacts:
    """Count everything that the bounds ask of a table.

    Parameters
    ----------
    table : integer array (n_prefixes, n_queries)
        ``IGNORE`` where undefined.

    Raises
    ------
    ValueError
        If the table has not two axes, is empty, or has no defined answer.

    References
    ----------
    Conditions of statements S1 to S4.

    Examples
    --------
    >>> facts = table_facts(np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    >>> facts.injective, facts.independent, facts.entropy_bits
    (True, False, 2.0)
    """
    table = np.asarray(table)
    if table.ndim != 2 or not table.size or table.dtype.kind not in "iu" or (table == IGNORE).all():
        raise ValueError(
            f"the answer table must be integers of shape (n_prefixes, n_queries), some of them defined (not {IGNORE}); "
            f"got shape {table.shape} and type {table.dtype}."
        )
    case, values = answer_case(table), value_counts(table)
    _, first, counts = row_classes(table)
    defined = [float(share) for share in 1.0 - (table == IGNORE).mean(axis=0)]
    return TableFacts(
        n_prefixes=table.shape[0],
        n_queries=table.shape[1],
        n_values=tuple(values),
        defined=tuple(defined),
        distinct_rows=len(first),
        zero_error_bits=case.zero_error_bits,
        entropy_bits=case.entropy_bits,
        independent=_independent(table[first], counts, values),
        uniform_product=is_uniform_product(table, values, counts),
    )


def _independent(rows: IntArray, counts: NDArray[np.int64], values: list[int]) -> bool:
    """Check in integers that every row occurs n times the product of the shares of its answers."""
    if math.prod(values) != len(rows) or (rows == IGNORE).any():
        return False  # some combination of answers never occurs
    n = int(counts.sum())
    shares = []
    for column in rows.T:
        _, labels = np.unique(column, return_inverse=True)
        of_value = [int(total) for total in np.bincount(labels, weights=counts).round()]
        shares.append([of_value[label] for label in labels])
    power = n ** (len(values) - 1)
    return all(
        int(count) * power == math.prod(row) for count, row in zip(counts, zip(*shares, strict=True), strict=True)
    )


def table_fano_bits(facts: TableFacts, errors: ArrayLike) -> float:
    """S1 for the joint distribution of a table, answers absent or not: H(Y_A | D) - sum_a e_a Phi_a(p_a).

    D says which answers are defined, a function of the prefix.  I(U;S) >= I(Y_A;S | D), and given D each answer
    leaves open at most Phi_a of its error; Phi_a is concave, so errors may be averaged over D.  No
    independence is needed.  Phi_a has the query's own number of values, K_a.

    Parameters
    ----------
    facts : TableFacts
    errors : float array (n_queries,), in [0, 1]
        Probability that each answer is wrong, given that it is defined, p_a; or one number, an upper limit
        for each of them.

    Returns
    -------
    float, in bits; 0 says nothing (vacuous)

    Raises
    ------
    ValueError
        If an error is no probability or their shape does not fit.

    References
    ----------
    Statement S1 and *Absent answers*; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3.

    Examples
    --------
    >>> facts = table_facts(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    >>> round(table_fano_bits(facts, [0.0, 0.1]), 6)
    1.531004
    """
    p = error_rates(errors)
    if p.shape not in ((), (facts.n_queries,)):
        raise ValueError(
            f"`errors` must be one number or have shape ({facts.n_queries},), one per query; got shape {p.shape}."
        )
    p = np.broadcast_to(p, (facts.n_queries,))
    loss = sum(
        e * fano_loss_bits(float(p_a), k) for e, p_a, k in zip(facts.defined, p, facts.n_values, strict=True) if k
    )
    return max(0.0, facts.entropy_bits - loss)


def table_mean_error_bits(facts: TableFacts, error: float) -> float:
    """S1 at a mean error over defined answers: H(Y_A | D) - (sum_a e_a) Phi(p), K the most values of a query.

    Parameters
    ----------
    facts : TableFacts
    error : float, in [0, 1]
        Error of a defined (prefix, query) drawn uniformly.

    Returns
    -------
    float, in bits; 0 says nothing (vacuous)

    References
    ----------
    As ``table_fano_bits``.

    Examples
    --------
    >>> round(table_mean_error_bits(table_facts(np.array([[0, 0], [0, 1], [1, 0], [1, 1]])), 0.1), 6)
    1.062009
    """
    loss = sum(facts.defined) * fano_loss_bits(float(error), max(facts.n_values))
    return max(0.0, facts.entropy_bits - loss)


def table_packing_bits(facts: TableFacts, error: float) -> float | None:
    """S3 at a mean error, or None where the answers are no uniform product of equal alphabets.

    Parameters
    ----------
    facts : TableFacts
    error : float, in [0, 1]
        Mean error over prefixes and queries.

    Returns
    -------
    float, in bits, or None

    References
    ----------
    Statement S3.

    Examples
    --------
    >>> table = np.array(list(np.ndindex(2, 2, 2)))
    >>> round(table_packing_bits(table_facts(table), 0.25), 6), table_packing_bits(table_facts(table[:7]), 0.25)
    (1.0, None)
    """
    check_number("error", error, least=0)
    return float(packing_bits(float(error), facts.n_queries, facts.n_values[0])) if facts.packs else None


def sensitivity_distance(prefixes: IntArray, queries: IntArray, table: IntArray) -> int | None:
    """The greatest d such that two inputs agree on the last d tokens and differ in the answer; None if none do.

    Parameters
    ----------
    prefixes : int64 array (n_prefixes, prefix_len), distinct rows
    queries : int64 array (n_queries, query_len), distinct rows
    table : integer array (n_prefixes, n_queries), ``IGNORE`` where undefined

    Returns
    -------
    int or None, in tokens
        Success above 1/2 on the two takes a receptive field of more than d tokens, sum_i (w_i - 1) >= d.

    References
    ----------
    Statement W1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Assumption 3.6 and Theorem 3.7.

    Examples
    --------
    >>> words = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> sensitivity_distance(words, np.array([[0], [1]]), words)
    2
    """
    pair = farthest_pair(np.asarray(prefixes), np.asarray(queries), np.asarray(table))
    return None if pair is None else pair[0]
