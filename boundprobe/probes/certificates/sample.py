"""States with the right answers of sequences, the independent units that these form, and their three disjoint parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.tasks.base import IGNORE

FloatArray = NDArray[np.float64] | NDArray[np.float32]
IntArray = NDArray[np.int64]


def unit_means(values: NDArray[np.generic], groups: IntArray | None) -> NDArray[np.float64]:
    """Mean over the sequences of each group, in ascending order of its number: one observation for each unit.

    Parameters
    ----------
    values : array (N, ...)
        One row per sequence.
    groups : int64 array (N,) or None
        None: every sequence is a unit of its own.

    Returns
    -------
    float64 array (n_units, ...)

    Examples
    --------
    >>> unit_means(np.array([1.0, 3.0, 5.0]), np.array([7, 7, 2])).tolist()
    [5.0, 2.0]
    """
    rows = np.asarray(values, np.float64)
    if groups is None:
        return rows
    names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), *rows.shape[1:]))
    np.add.at(sums, index, rows)
    means: NDArray[np.float64] = sums / counts.reshape(-1, *[1] * (rows.ndim - 1))
    return means


def count_units(n_sequences: int, groups: IntArray | None) -> int:
    """Number of independent units among ``n_sequences`` sequences."""
    return n_sequences if groups is None else len(np.unique(groups))


@dataclass(frozen=True)
class Sample:
    """States and answers of sequences.

    Attributes
    ----------
    states : float array (N, d)
        One state per sequence, all entries side by side.
    answers : int64 array (N, n)
        Index of the right value of each answer, 0..K-1; ``IGNORE`` (-100) where it is undefined.
    groups : int64 array (N,), optional
        Sequences of one group share a source; groups are independent.  None: every sequence is independent of all
        others.
    """

    states: FloatArray
    answers: IntArray
    groups: IntArray | None = None

    def __post_init__(self) -> None:
        for name, array in (("states", self.states), ("answers", self.answers)):
            if array.ndim != 2 or not array.size:
                raise ValueError(f"`{name}` must have shape (sequences, columns), both at least 1; got {array.shape}")
        if len(self.states) != len(self.answers):
            raise ValueError(
                f"`states` must have a row for each of the {len(self.answers)} rows of answers; got {len(self.states)}"
            )
        if self.groups is not None and self.groups.shape != (len(self.answers),):
            raise ValueError(
                f"`groups` must have shape ({len(self.answers)},), a number for each sequence; got {self.groups.shape}"
            )

    @property
    def n_sequences(self) -> int:
        """Number of sequences, N."""
        return len(self.answers)

    @property
    def defined(self) -> NDArray[np.bool_]:
        """Mask of the defined answers, (N, n)."""
        defined: NDArray[np.bool_] = self.answers != IGNORE
        return defined

    @property
    def n_units(self) -> int:
        """Number of independent units: groups, or sequences where there are none."""
        return count_units(self.n_sequences, self.groups)

    def rows(self, which: IntArray | slice) -> Sample:
        """The sample of some of the sequences."""
        groups = None if self.groups is None else self.groups[which]
        return Sample(self.states[which], self.answers[which], groups)

    def one_per_group(self, rng: np.random.Generator) -> Sample:
        """A sequence of each group, drawn at random: an independent sample without groups."""
        if self.groups is None:
            return self
        order = rng.permutation(self.n_sequences)
        _, first = np.unique(self.groups[order], return_index=True)
        few = self.rows(np.sort(order[first]))
        return Sample(few.states, few.answers)


@dataclass(frozen=True)
class Splits:
    """Three samples that share no sequence and no group: decoders are fitted on one, all else is fixed on the next, and
    the last is measured."""

    fit: Sample
    calibration: Sample
    evaluation: Sample
