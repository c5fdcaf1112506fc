"""Round the state at the cut to b bits an entry: an encoder-decoder pair of exactly known size, which is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from boundprobe.models.memory import CutState

#: Bits per entry that are tried.
ENTRY_BITS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)


@dataclass(frozen=True)
class Rounding:
    """Uniform quantiser of each state entry between frozen limits.

    Attributes
    ----------
    low, high : Tensor (entries,)
        Limits of each entry, from states that are not evaluated (assumption A1: no ranges from the
        evaluation batch).  An entry with ``low == high`` is replaced by that constant and costs no bits.
    entry_bits : int
        Bits per entry, b; the entry takes one of 2^b values.
    """

    low: Tensor
    high: Tensor
    entry_bits: int

    @property
    def total_bits(self) -> int:
        """Bits of the rounded state: b for each entry that is not constant."""
        return self.entry_bits * int((self.high > self.low).sum())

    def codes(self, entries: Tensor) -> Tensor:
        """Code of each entry, 0 .. 2^b - 1, of states (batch, entries): the rounded state itself, as int64.

        NaN, which is on neither side of any limit, has code 0: a value of its own would be one too many.
        """
        # In float64, because half precision cannot count to 2^b.
        low, high, levels = self.low.double(), self.high.double(), 2**self.entry_bits - 1
        width = torch.where(high > low, high - low, 1.0)
        exact = entries.double()
        exact = torch.where(exact.isnan(), low, exact)
        codes: Tensor = ((exact.clamp(low, high) - low) / width * levels).round().long()
        return codes

    def __call__(self, state: CutState) -> CutState:
        """The state that is read back from its codes."""
        low, high, levels = self.low.double(), self.high.double(), 2**self.entry_bits - 1
        return state.unflatten(low + (high - low) * (self.codes(state.flatten()) / levels))


def entry_limits(states: Iterable[CutState]) -> tuple[Tensor, Tensor]:
    """Least and greatest finite value of each entry over states: the frozen limits of a ``Rounding``.

    An entry that is never finite gets the limits 0 and 0: a constant.
    """
    low = high = None
    for state in states:
        entries = state.flatten()
        finite = entries.isfinite()
        chunk_low = torch.where(finite, entries, torch.inf).amin(0)
        chunk_high = torch.where(finite, entries, -torch.inf).amax(0)
        low = chunk_low if low is None else torch.minimum(low, chunk_low)
        high = chunk_high if high is None else torch.maximum(high, chunk_high)
    if low is None or high is None:
        raise ValueError("`states` must hold at least one state; got none. Draw calibration sequences.")
    never = low > high
    return torch.where(never, 0.0, low), torch.where(never, 0.0, high)
