"""States of any type as float32 entries that say the same: no cast merges what differed.

An integer that float32 does not hold, and a float of which it tells fewer apart, is written as several entries:
x = f(x) + f(x - f(x)) + .., until nothing is left, or as pieces of 24 bits, which is exact for integers of 64 bits.
States of more than a few thousand entries are summed up by a count sketch, block by block, so that no second copy of
the whole array is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.seeds import generator

#: Decoders see no more entries than this; wider states are reduced to it by a count sketch.
MOST_ENTRIES = 8192
#: Numbers converted at a time: small beside a state array of gigabytes.
BLOCK = 2**23
#: Share of a column's distinct values that float32 may merge: real numbers rounded to 24 bits sometimes meet.
MOST_MERGED = 0.01
#: Low bits of an integer that float32 holds exactly.
LOW_BITS = 24
#: Parts of a float: three hold float64 in one scale, more what is small beside it.
USUAL_PARTS, MOST_PARTS = 3, 8
#: Floats below the first are subnormal in float32; columns below the second are scaled before they are read in parts.
SMALLEST_NORMAL, SMALL = 2.0**-126, 2.0**-30


def row_blocks(states: NDArray[Any]) -> Iterator[slice]:
    """Slices over the rows of states (N, d), of about ``BLOCK`` numbers each."""
    step = max(1, BLOCK // max(1, states.shape[1]))
    return (slice(start, start + step) for start in range(0, len(states), step))


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
    exponents : int64 array
        Power of two that each of these is divided by: not 0 where float32 would underflow.
    n_parts : int
        Entries that each of these is written as, where it is a float.
    exact : bool
        Whether nothing at all is rounded, in the rows that were looked at.
    n_rows : int
        So many were; 0 where the type says it of all rows.
    """

    in_parts: NDArray[np.int64]
    exponents: NDArray[np.int64]
    n_parts: int
    exact: bool
    n_rows: int

    @classmethod
    def fit(cls, states: NDArray[Any]) -> Encoding:
        """Find the entries that float32 would merge, by states (N, d) of the fit split.

        Those are integers that it does not hold, and floats of which it tells fewer apart, or which underflow.

        Raises
        ------
        ValueError
            If an entry is NaN, infinite or too large, or ``MOST_PARTS`` do not tell its values apart.
        """
        none = np.empty(0, np.int64)
        if states.dtype.itemsize <= (4 if states.dtype.kind == "f" else 2):
            return cls(none, none, 1, True, 0)
        _check_finite(states)
        with np.errstate(under="ignore"):
            cast = states.astype(np.float32)
        if states.dtype.kind != "f":
            exact = (cast.astype(np.float64) == states.astype(np.float64)).all(0)
            in_parts = np.flatnonzero(~exact | (np.abs(cast) > 2.0**LOW_BITS).any(0))
            return cls(in_parts, np.zeros(len(in_parts), np.int64), 1, True, len(states))
        exact = (cast.astype(states.dtype) == states).all(0)
        whole = (states == np.floor(states)).all(0)
        tiny = ((states != 0) & (np.abs(states) < SMALLEST_NORMAL)).any(0)
        split = _merges(states, cast) | (whole & ~exact) | tiny
        in_parts = np.flatnonzero(split)
        largest = np.abs(states[:, in_parts]).max(0)
        exponents = np.where(largest < SMALL, np.frexp(largest)[1], 0).astype(np.int64)
        n_parts, rest = _parts_needed(np.ldexp(states[:, in_parts], -exponents))
        return cls(in_parts, exponents, n_parts, bool((exact | split).all() and not rest.any()), len(states))

    @property
    def says(self) -> str:
        """A sentence on the conversion, for the report."""
        how = (
            "read as float32, exactly"
            if self.exact
            else "rounded to float32 (relative error 6e-8), which merges no more than 1% of the values of an entry"
        )
        parts = ""
        if len(self.in_parts):
            parts = f", but for {len(self.in_parts)} entries that float32 would merge, read in parts"
        return f"states {how}{parts}{f', by {self.n_rows} rows looked at' if self.n_rows else ''}"

    def __call__(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """States (N, d) as float32 (N, entries).

        Raises
        ------
        ValueError
            If an entry is NaN or infinite, or too large for float32.
        """
        wrong = sum(_check_finite(states[rows], count=True) for rows in row_blocks(states))
        if wrong:
            raise ValueError(
                f"`state` must have finite entries that float32 holds, up to 3.4e38; got others in {wrong} rows"
            )
        first, *blocks = row_blocks(states)
        encoded = self._encoded(states[first])
        # Written in place: small arrays that outlive large ones would hold the memory of these.
        out = np.empty((len(states), encoded.shape[1]), np.float32)
        out[first] = encoded
        for rows in blocks:
            out[rows] = self._encoded(states[rows])
        return out

    def _encoded(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(under="ignore"):
            columns = [rows.astype(np.float32)]
        split = rows[:, self.in_parts]
        if split.size and split.dtype.kind == "f":
            parts, _ = _parts(np.ldexp(split, -self.exponents), self.n_parts)
            columns[0][:, self.in_parts] = parts[0]
            columns += parts[1:]
        elif split.size:
            wide, low = split.astype(np.uint64 if split.dtype.kind == "u" else np.int64), 2**LOW_BITS - 1
            columns += [((wide >> shift) & low).astype(np.float32) for shift in (0, LOW_BITS, 2 * LOW_BITS)]
        flat = torch.from_numpy(np.concatenate(columns, axis=1))
        sketched: NDArray[np.float32] = count_sketch(flat).numpy()
        return sketched


def _parts(values: NDArray[Any], n_parts: int) -> tuple[list[NDArray[np.float32]], NDArray[Any]]:
    """Floats (N, d) as so many float32 parts, each of what the one before leaves times 2^24; and what all leave."""
    most, parts, rest = float(np.finfo(np.float32).max), [], values
    for _ in range(n_parts):
        with np.errstate(under="ignore"):
            parts.append(np.clip(rest, -most, most).astype(np.float32))  # a scaled entry may be new, and larger
        rest = (rest - parts[-1]) * 2.0**LOW_BITS
    return parts, rest


def _parts_needed(values: NDArray[Any]) -> tuple[int, NDArray[Any]]:
    """Parts after which nothing of floats (N, d) is left, at least the usual three, and what ``MOST_PARTS`` leave."""
    rest = values
    for n_parts in range(USUAL_PARTS, MOST_PARTS + 1):
        _, rest = _parts(values, n_parts)
        if not rest.any():
            return n_parts, rest
    left = np.ldexp(rest, -LOW_BITS * MOST_PARTS)
    merged = _merges(values, values - left)
    if merged.any():
        raise ValueError(
            f"`state` must have entries whose values {MOST_PARTS} parts of {LOW_BITS} bits tell apart; got "
            f"{int(merged.sum())} entries of {values.dtype} with smaller differences: give such digits as entries of "
            "their own"
        )
    return MOST_PARTS, rest


def _merges(values: NDArray[Any], cast: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True for columns of which a cast tells fewer values apart, relative to how many there are."""
    n_values = _distinct(values)
    fewer: NDArray[np.bool_] = n_values - _distinct(cast) > MOST_MERGED * n_values
    return fewer


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
