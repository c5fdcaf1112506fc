"""The diagonal cuts of a stack: for each lag, the one that fewest bits cross.

A cut starts at token t_0 and has a lag d_l for each stage; t_l = t_0 + d_1 + .. + d_l, and it ends at the cut of the
task, t_k = P, before the query.  What crosses at stage l depends on t_{l-1} and t_l alone, so the least total over all
cuts that start at t_0 is a shortest path, found for every t_0 by one pass over the stages from the last to the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.checks import check_integer

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Crossing:
    """One diagonal cut.

    Attributes
    ----------
    lags : tuple of int, in tokens
        One for each stage.
    recurrent_bits, conv_bits, cache_bits : int
        What crosses it.
    """

    lags: tuple[int, ...]
    recurrent_bits: int
    conv_bits: int
    cache_bits: int

    @property
    def lag(self) -> int:
        """Tokens from its start to the cut of the task, D."""
        return sum(self.lags)

    @property
    def total_bits(self) -> int:
        """Bits of all kinds: at most 2 to this many things can cross."""
        return self.recurrent_bits + self.conv_bits + self.cache_bits


class DiagonalCuts:
    """Cuts of a stack of stages before the query of a task.

    Parameters
    ----------
    stages : sequence of Stage
        From input to output.
    prefix_len : int, in tokens
        P, tokens before the query.
    most_lag : int, optional
        Lags above it are not looked at; default the reach of all windows together.

    Examples
    --------
    A recurrence of 64 bits and a window of 4 with 16 bits a token, at token 10:

    >>> from boundprobe.bounds.diagonal import Stage, Window
    >>> cuts = DiagonalCuts([Stage(recurrent_bits=64), Stage((Window("cache", 16, 3),))], prefix_len=10)
    >>> cuts.total_bits.tolist()
    [112, 96, 80, 64]
    >>> cuts.crossing(2)
    Crossing(lags=(0, 2), recurrent_bits=64, conv_bits=0, cache_bits=16)
    """

    def __init__(self, stages: Sequence[Stage], prefix_len: int, most_lag: int | None = None) -> None:
        check_integer("prefix_len", prefix_len, 0)
        self.stages, self.prefix_len = tuple(stages), prefix_len
        reach = min(sum(stage.reach for stage in self.stages), prefix_len)
        self.most_lag = reach if most_lag is None else min(reach, check_integer("most_lag", most_lag, 0))
        #: Least bits from stage l to the end, for each start t of it: t = P - most_lag .. P.
        self._least = [np.where(np.arange(self.most_lag + 1) == self.most_lag, 0.0, np.inf)]
        for stage in reversed(self.stages):
            self._least.insert(0, self._pass(stage, self._least[0]))

    @property
    def total_bits(self) -> IntArray:
        """Least bits that cross a cut of lag 0, 1, .. ``most_lag``."""
        bits: IntArray = self._least[0][::-1].astype(np.int64)
        return bits

    def crossing(self, lag: int) -> Crossing:
        """The cut of this lag that fewest bits cross; among equals, early stages lag least.

        Raises
        ------
        ValueError
            If the lag is above ``most_lag``.
        """
        at = self.most_lag - check_integer("lag", lag, 0, self.most_lag)
        lags, kinds = [], []
        for stage, after in zip(self.stages, self._least[1:], strict=True):
            there = np.arange(at, min(at + stage.reach, self.most_lag) + 1)
            times = self._time(at), self._time(there)
            bits = sum((window.crossing(*times) for window in stage.windows), np.zeros(len(there), np.int64))
            to = at + int((bits + after[there]).argmin())
            kinds.append(stage.by_kind(int(self._time(at)), int(self._time(to))))
            lags.append(to - at)
            at = to
        return Crossing(tuple(lags), *(sum(column) for column in zip(*kinds, strict=True)))

    def _time(self, index: int | IntArray) -> IntArray:
        """Tokens before the start of an index."""
        return np.asarray(index) + (self.prefix_len - self.most_lag)

    def _pass(self, stage: Stage, after: FloatArray) -> FloatArray:
        """Least bits from this stage on, given those from the next on.

        Up to the lag at which a window stops to cross, what crosses it is made(before) - max(oldest(after), 0), a
        function of each end: so the best end is a minimum over a sliding range, for each set of windows that cross.
        """
        n, time = len(after), self._time(np.arange(len(after)))
        best = np.full(n, np.inf)
        if any(window.every > 1 for window in stage.windows):
            for lag in range(min(stage.reach, self.most_lag) + 1):
                bits = sum(window.crossing(time[: n - lag], time[lag:]) for window in stage.windows)
                best[: n - lag] = np.minimum(best[: n - lag], bits + after[lag:])
        else:
            low = 0
            windows = sorted(stage.windows, key=lambda window: window.tokens)
            for i, high in enumerate([*(window.tokens for window in windows), stage.reach]):
                crossing = windows[i:]
                left = sum((w.bits * np.maximum(time - w.reach, 0) for w in crossing), np.zeros(n))
                made = sum((w.bits * time for w in crossing), np.zeros(n))
                best = np.minimum(best, made + _least_ahead(after - left, low, high))
                low = high
        return best + stage.recurrent_bits + stage.conv_bits + stage.cache_bits


def _least_ahead(values: FloatArray, low: int, high: int) -> FloatArray:
    """Minimum of values[i + low .. i + high] for each i, of those that exist; infinity if there is none."""
    n = len(values)
    low, high = min(low, n), min(high, n)
    ahead = np.concatenate([values[low:], np.full(high + 1, np.inf)])
    span, width = 1, high - low + 1
    while 2 * span <= width:  # minima over ranges of 1, 2, 4, .. that begin at each place
        ahead[:-span] = np.minimum(ahead[:-span], ahead[span:])
        span *= 2
    shift = width - span
    least: FloatArray = np.minimum(ahead[:n], ahead[shift : shift + n]) if shift else ahead[:n]
    return np.concatenate([least, np.full(n - len(least), np.inf)])
