"""States of any type as float32 entries that say the same: no cast merges what differed.

An integer that float32 does not hold, and a float of which it tells fewer apart, is written as several entries:
x = f(x) + f(x - f(x)) + .., or as pieces of 24 bits, which is exact for float64 and for integers of 64 bits.  States of
more than a few thousand entries are summed up by a count sketch, block by block, so that no second copy of the whole
array is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.seeds import generator

#: Decoders see no more entries than this; wider states are reduced to it by a count sketch.
MOST_ENTRIES = 8192
#: Rows converted at a time.
BLOCK = 256
#: Share of a column's values that float32 may merge by chance: real numbers rounded to 24 bits sometimes meet.
MOST_MERGED = 0.01
#: Low bits of an integer that float32 holds exactly.
LOW_BITS = 24


def rows_to_look_at(n_entries: int) -> int:
    """Rows that are looked at to find the entries that float32 would merge."""
    return max(512, 2**22 // n_entries)


def count_sketch(flat: Tensor, most: int = MOST_ENTRIES) -> Tensor:
    """Entries (N, d) as at most ``most`` sums with random signs, the same for every call (Charikar et al. 2002).

    A function of the state alone, so that every certificate holds; what sums hide from the decoder is not certified.
    """
    if flat.shape[1] <= most:
        return flat
    rng = generator(0, "split", 1)
    bucket = torch.from_numpy(rng.integers(most, size=flat.shape[1])).to(flat.device)
    sign = torch.from_numpy(rng.choice(np.array([-1.0, 1.0], np.float32), flat.shape[1])).to(flat.device)
    return flat.new_zeros(len(flat), most).index_add_(1, bucket, flat * sign)


@dataclass(frozen=True)
class Encoding:
    """A frozen map from states to float32 entries.

    Attributes
    ----------
    in_parts : int64 array
        Entries that are written as several.
    exact : bool
        Whether nothing at all is rounded.
    """

    in_parts: NDArray[np.int64]
    exact: bool

    @classmethod
    def fit(cls, states: NDArray[Any]) -> Encoding:
        """Find the entries that float32 would merge, by states (N, d) of the fit split.

        Those are integers that it does not hold, and floats of which it tells fewer apart.
        """
        if states.dtype.itemsize <= 2 or states.dtype == np.float32:
            return cls(np.empty(0, np.int64), True)
        _check_finite(states)
        cast = states.astype(np.float32)
        exact = (cast.astype(np.float64) == states.astype(np.float64)).all(0)
        if states.dtype.kind != "f":
            return cls(np.flatnonzero(~exact | (np.abs(cast) > 2.0**LOW_BITS).any(0)), True)
        whole = (states == np.floor(states)).all(0)
        merged = _distinct(states) - _distinct(cast) > MOST_MERGED * len(states)
        in_parts = merged | (whole & ~exact)
        return cls(np.flatnonzero(in_parts), bool((exact | in_parts).all()))

    @property
    def says(self) -> str:
        """What was done, for the report."""
        how = (
            "read as float32, exactly" if self.exact else "rounded to float32 (relative error 6e-8), which merges none"
        )
        if not len(self.in_parts):
            return f"states {how}"
        return f"states {how}, but for {len(self.in_parts)} entries that float32 would merge, read in parts"

    def __call__(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """States (N, d) as float32 (N, entries).

        Raises
        ------
        ValueError
            If an entry is NaN or infinite, or too large for float32.
        """
        wrong = sum(_check_finite(states[start : start + BLOCK], count=True) for start in range(0, len(states), BLOCK))
        if wrong:
            raise ValueError(
                f"`state` must have finite entries that float32 holds, up to 3.4e38; got others in {wrong} rows"
            )
        pieces = [self._encoded(states[start : start + BLOCK]) for start in range(0, len(states), BLOCK)]
        return np.concatenate(pieces)

    def _encoded(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        columns = [rows.astype(np.float32)]
        split = rows[:, self.in_parts]
        if split.dtype.kind == "f":
            for _ in range(2):
                split = split - split.astype(np.float32)
                columns.append(split.astype(np.float32))
        elif split.size:
            wide, low = split.astype(np.uint64 if split.dtype.kind == "u" else np.int64), 2**LOW_BITS - 1
            columns += [((wide >> shift) & low).astype(np.float32) for shift in (0, LOW_BITS, 2 * LOW_BITS)]
        flat = torch.from_numpy(np.concatenate(columns, axis=1))
        sketched: NDArray[np.float32] = count_sketch(flat).numpy()
        return sketched


def _check_finite(rows: NDArray[Any], *, count: bool = False) -> int:
    """Number of rows with an entry that float32 does not hold."""
    if rows.dtype.kind != "f":
        return 0
    with np.errstate(over="ignore"):
        n_wrong = int((~np.isfinite(rows.astype(np.float32, copy=False))).any(1).sum())
    if n_wrong and not count:
        raise ValueError(
            f"`state` must have finite entries that float32 holds, up to 3.4e38; got others in {n_wrong} rows"
        )
    return n_wrong


def _distinct(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Number of distinct values of each column."""
    ordered = np.sort(rows, axis=0)
    counts: NDArray[np.int64] = 1 + (ordered[1:] != ordered[:-1]).sum(0)
    return counts
