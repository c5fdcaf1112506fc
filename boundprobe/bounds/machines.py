"""All encoder-decoder pairs of a tiny answer table, with sizes and errors: no lower bound may exceed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.enumeration import encoder_information_bits, encoders
from boundprobe.tasks.base import IGNORE


@dataclass(frozen=True)
class Machine:
    """One encoder of a table's prefixes with one decoder; a lower bound must not exceed it.

    Attributes
    ----------
    n_states : int
    information_bits : float, in bits
        I(U;S) for equally likely prefixes.
    errors : float64 array (n_queries,)
        Probability that each answer is wrong, given that it is defined; 0 where it never is.
    defined : float64 array (n_queries,)
        Share of prefixes for which each answer is defined.
    labels : tuple of int (n_prefixes,)
        State of each prefix.
    """

    n_states: int
    information_bits: float
    errors: NDArray[np.float64]
    defined: NDArray[np.float64]
    labels: tuple[int, ...]

    @property
    def mean_error(self) -> float:
        """Error of a defined (prefix, query) drawn uniformly."""
        return float(self.errors @ self.defined / self.defined.sum())


def machines(table: NDArray[np.int64]) -> Iterator[Machine]:
    """Every encoder of a table, each with its best decoder and its worst.

    The worst decoder names the rarest answer: bounds must hold for machines that are wrong more often than not.

    Parameters
    ----------
    table : int64 array (n_prefixes, n_queries), at most 12 prefixes
        ``IGNORE`` where undefined.

    Yields
    ------
    Machine

    Examples
    --------
    >>> min(m.mean_error for m in machines(np.array(list(np.ndindex(2, 2, 2)))) if m.n_states == 2)
    0.25
    """
    values = np.setdiff1d(table, [IGNORE])
    one_hot = np.equal(table[:, :, None], values).astype(np.int64)
    occurs = one_hot.sum(axis=0) > 0  # (n_queries, n_values)
    asked = (table != IGNORE).sum(axis=0)
    defined = asked / len(table)
    for labels in encoders(len(table), len(table)):
        n_states = max(labels) + 1
        members = np.equal(np.array(labels), np.arange(n_states)[:, None]).astype(np.int64)
        counts = np.tensordot(members, one_hot, axes=1)
        information = encoder_information_bits(labels)
        best = counts.max(axis=2)
        worst = np.where(occurs, counts, len(table) + 1).min(axis=2)
        for right in (best, np.minimum(worst, best)):
            errors = np.where(asked > 0, 1.0 - right.sum(axis=0) / np.maximum(asked, 1), 0.0)
            yield Machine(n_states, information, errors, defined, labels)
