"""The state-hard case of an answer table, by counting its rows."""

from __future__ import annotations

import math

import numpy as np

from boundprobe.checks import check_integer
from boundprobe.tasks.base import IGNORE
from boundprobe.tasks.cases import StateCase
from boundprobe.tasks.custom.read import PrefixSampler

_THEOREM = "Theorem 3.3 (Cooper et al. 2026)"
_FORCES = "tell {} rows of answers apart until the query comes"


def row_classes(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equal rows share a class.

    Parameters
    ----------
    table : array (n_rows, n_columns), any type

    Returns
    -------
    labels : int64 array (n_rows,)
        Class of each row, 0..n_classes-1.
    first : int64 array (n_classes,)
        A row of each class.
    counts : int64 array (n_classes,)

    Examples
    --------
    >>> labels, first, counts = row_classes(np.array([[0, 1], [1, 1], [0, 1]]))
    >>> labels.tolist(), first.tolist(), counts.tolist()
    ([0, 1, 0], [0, 1], [2, 1])
    """
    if table.shape[1] == 0:
        return np.zeros(len(table), np.int64), np.zeros(1, np.int64), np.array([len(table)])
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * table.shape[1]))).ravel()
    _, first, labels, counts = np.unique(rows, return_index=True, return_inverse=True, return_counts=True)
    return labels, first, counts


def entropy_bits(counts: np.ndarray) -> float:
    """Entropy of a distribution given by counts: log2 N - sum_c (c / N) log2 c, in bits.

    >>> entropy_bits(np.array([2, 1, 1]))
    1.5
    """
    n = int(counts.sum())
    return max(0.0, math.log2(n) - float(np.sum(counts * np.log2(counts))) / n)


def value_counts(table: np.ndarray) -> list[int]:
    """For each query, the number of values that its defined answers take, K_a.

    >>> value_counts(np.array([[0, 1], [5, IGNORE]]))
    [2, 1]
    """
    blocks = (np.ascontiguousarray(table[:, a : a + 64].T) for a in range(0, table.shape[1], 64))
    return [len(np.setdiff1d(column, [IGNORE])) for block in blocks for column in block]


def answer_case(table: np.ndarray) -> StateCase:
    """The state-hard case of equally likely prefixes, exactly.

    ``entropy_bits`` is H(Y_A | D), D telling which answers are defined: which of them are is never asked, so
    I(U;S) >= I(Y_A;S | D) >= H(Y_A | D) - sum_a e_a Phi(p_a), as in *Absent answers* but for any joint distribution.
    Where all are defined it is H(Y_A).  ``zero_error_bits`` counts rows that are defined at the same queries:
    no two of them can share a state, whatever a machine says where nothing is asked.

    Parameters
    ----------
    table : int array (n_prefixes, n_queries)
        ``IGNORE`` where undefined.

    Returns
    -------
    StateCase

    References
    ----------
    Statements S1, S4 and *Absent answers*; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 3.3.

    Examples
    --------
    >>> case = answer_case(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    >>> case.entropy_bits, case.zero_error_bits, case.independent_uniform
    (2.0, 2.0, True)
    """
    _, first, counts = row_classes(table)
    patterns, _, pattern_rows = row_classes(table[first] == IGNORE)
    n_patterns = len(pattern_rows)
    pattern_counts = np.bincount(patterns, weights=counts, minlength=n_patterns)
    entropy = max(0.0, entropy_bits(counts) - entropy_bits(pattern_counts))
    values = value_counts(table)
    product = is_uniform_product(table, values, counts) and len(set(values)) == 1
    return StateCase(
        n_answers=table.shape[1],
        n_values=max(values),
        entropy_bits=table.shape[1] * math.log2(values[0]) if product else entropy,
        independent_uniform=product,
        zero_error_bits=math.log2(int(pattern_rows.max())),
        theorem=_THEOREM,
        forces=_FORCES.format(int(pattern_rows.max())),
    )


def is_uniform_product(table: np.ndarray, values: list[int], counts: np.ndarray) -> bool:
    """Check that all answers are defined, independent and uniform: all combinations occur equally often.

    ``values`` are those of ``value_counts``, ``counts`` those of ``row_classes``.

    >>> table = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> is_uniform_product(table, [2, 2], np.ones(4)), is_uniform_product(table[:3], [2, 2], np.ones(3))
    (True, False)
    """
    return bool(math.prod(values) == len(counts) and (counts == counts[0]).all() and not (table == IGNORE).any())


def stated_entropy(sampler: PrefixSampler, has_absent: bool) -> float:
    """H(Y_A | D) by the author's word, in bits, where D tells which answers are defined.

    Raises
    ------
    ValueError
        If answers are absent and only H(Y_A) is stated: which answers are defined is part of that, and no bound and no
        certificate may count it.
    """
    conditional = getattr(sampler, "conditional_entropy_bits", None)
    if conditional is None and has_absent:
        raise ValueError(
            "the sampler must state `conditional_entropy_bits`, the entropy of the answers given which of them are "
            "defined, H(Y | D), as some of its prefixes have no answer to some query; got entropy_bits alone"
        )
    return float(sampler.entropy_bits if conditional is None else conditional)


def sampled_case(table: np.ndarray, sampler: PrefixSampler, vocab_size: int) -> StateCase:
    """The state-hard case of prefixes that come from a sampler: the entropy is the author's word.

    An answer may take any value that a sample has not shown, so K is the vocabulary's size unless the sampler
    says ``n_values``.  Zero error takes H(Y_A) bits, as there are at least 2^H(Y_A) rows, and at least as many
    states as rows were seen.

    Parameters
    ----------
    table : int array (n_prefixes, n_queries)
        Answers of a sample of prefixes.
    sampler : PrefixSampler
    vocab_size : int

    Returns
    -------
    StateCase

    Raises
    ------
    ValueError
        If the answers cannot carry the entropy, or the sample shows more values than ``n_values``.
    """
    n_answers = table.shape[1]
    seen = answer_case(table)
    n_values = check_integer(
        "the sampler's n_values", getattr(sampler, "n_values", vocab_size), seen.n_values, vocab_size,
        why="; a sample showed so many values of one answer: correct it",
    )  # fmt: skip
    most = n_answers * math.log2(n_values)
    stated = stated_entropy(sampler, bool((table == IGNORE).any()))
    if stated > most * (1 + 1e-9):
        raise ValueError(
            f"the sampler's entropy must be at most {most:.6f} bits, what {n_answers} answers of {n_values} values can "
            f"carry; got {stated}"
        )
    entropy = min(stated, most)
    # Only independent uniform answers reach the most that answers can carry.
    product = entropy >= most * (1 - 1e-12) and not bool((table == IGNORE).any())
    return StateCase(
        n_answers=n_answers,
        n_values=n_values,
        entropy_bits=entropy,
        independent_uniform=product,
        zero_error_bits=max(entropy, seen.zero_error_bits),
        theorem=_THEOREM,
        forces=f"hold {entropy:.1f} bits of what the queries ask for, as its sampler states",
    )
