"""States with the right answers of independent sequences, and their three disjoint parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.tasks.base import IGNORE

FloatArray = NDArray[np.float64] | NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """States and answers of independent sequences.

    Attributes
    ----------
    states : float array (N, d)
        One state per sequence, all entries side by side.
    answers : int64 array (N, n)
        Index of the right value of each answer, 0..K-1; ``IGNORE`` (-100) where it is undefined.
    """

    states: FloatArray
    answers: IntArray

    def __post_init__(self) -> None:
        for name, array in (("states", self.states), ("answers", self.answers)):
            if array.ndim != 2 or not array.size:
                raise ValueError(f"{name} has shape {array.shape}; allowed: (sequences, columns), both at least 1")
        if len(self.states) != len(self.answers):
            raise ValueError(
                f"there are {len(self.states)} states and {len(self.answers)} rows of answers; allowed: one state for "
                "each row; give as many"
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

    def rows(self, which: IntArray | slice) -> Sample:
        """The sample of some of the sequences."""
        return Sample(self.states[which], self.answers[which])


@dataclass(frozen=True)
class Splits:
    """Three samples that share no sequence: decoders are fitted on one, all else is fixed on the next, and the last is
    measured."""

    fit: Sample
    calibration: Sample
    evaluation: Sample
