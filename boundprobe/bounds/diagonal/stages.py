"""A stack as stages that a diagonal cut can lag behind: windows that it looks back through, and what it carries.

Stages follow each other from input to output.  A Mamba layer is one stage, as its convolution and its recurrence can
lag together (a recurrence gains nothing by a lag and loses nothing); the branches of a parallel layer are one stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.checks import check_integer, check_word

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Inputs of a stage that its next output still needs: a convolution's buffer, a cache.

    Attributes
    ----------
    kind : "conv" | "cache"
    bits : int
        Of one entry of the buffer or cache: one token's, or one summary's.
    reach : int
        Entries before the newest that an output needs: w - 1 for a window of w.
    every : int, in tokens
        From one entry to the next: 1, or the length of the chunks that are summarised.

    Examples
    --------
    A window of 4, cut at token 10: three entries cross, two at lag 1, none at lag 3.

    >>> [int(Window("cache", 32, 3).crossing(10, 10 + lag)) // 32 for lag in range(5)]
    [3, 2, 1, 0, 0]
    """

    kind: str
    bits: int
    reach: int
    every: int = 1

    def __post_init__(self) -> None:
        check_word("kind", self.kind, ("conv", "cache"))
        for name, least in (("bits", 0), ("reach", 0), ("every", 1)):
            check_integer(name, getattr(self, name), least)

    @property
    def tokens(self) -> int:
        """The least lag at which nothing crosses, wherever the cut is."""
        return self.reach * self.every

    def crossing(self, before: int | IntArray, after: int | IntArray) -> IntArray:
        """Bits that cross where inputs up to ``before`` are left behind and outputs up to ``after``.

        An output after token ``after`` needs the last ``reach`` entries that are complete at ``after``, and of these
        the ones that end at ``before`` or earlier cannot be made again.
        """
        made, oldest = np.asarray(before) // self.every, np.asarray(after) // self.every - self.reach
        crossing: IntArray = self.bits * np.maximum(made - np.maximum(oldest, 0), 0)
        return crossing


@dataclass(frozen=True)
class Stage:
    """Windows that read one input side by side, and what crosses whatever the lag.

    Attributes
    ----------
    windows : tuple of Window
    recurrent_bits : int
        Of the recurrent state, wherever it is cut.
    conv_bits, cache_bits : int
        Of buffers and caches for which no lag is accounted: those inside a branch that has a later window.
    """

    windows: tuple[Window, ...] = ()
    recurrent_bits: int = 0
    conv_bits: int = 0
    cache_bits: int = 0

    def __post_init__(self) -> None:
        for name in ("recurrent_bits", "conv_bits", "cache_bits"):
            check_integer(name, getattr(self, name), 0)

    @property
    def reach(self) -> int:
        """The least lag at which no window crosses, in tokens."""
        return max((window.tokens for window in self.windows), default=0)

    def by_kind(self, before: int, after: int) -> tuple[int, int, int]:
        """Bits that cross: recurrent, convolution, cache."""
        of = {"conv": self.conv_bits, "cache": self.cache_bits}
        for window in self.windows:
            of[window.kind] += int(window.crossing(before, after))
        return self.recurrent_bits, of["conv"], of["cache"]
