"""Finite stacks: layers of tables over small alphabets, on which statements about stacks can be checked on every input.

Three kinds of layer, in any order: a recurrence with a few states, a sliding window, and full attention (any function
of all inputs so far, here of how often each letter occurred, modulo 2).  Nothing is averaged or rounded, so whatever a
layer could say it says: if outputs are a function of what crosses a cut here, no structure of weights was needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.diagonal.stages import Stage, Window

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

IntArray = NDArray[np.int64]

RECURRENCE, WINDOW, ATTENTION = "recurrence", "window", "attention"


@dataclass(frozen=True)
class FiniteLayer:
    """One layer: letters in, letters out.

    Attributes
    ----------
    kind : "recurrence" | "window" | "attention"
    n_letters : int
        Of its inputs and outputs.
    size : int
        States of a recurrence, tokens of a window (itself included); of no meaning for attention.
    seed : int
        Of its tables.
    """

    kind: str
    n_letters: int
    size: int
    seed: int

    @property
    def reach(self) -> int | None:
        """Inputs before the newest that an output reads; None without limit."""
        return {RECURRENCE: 0, WINDOW: self.size - 1, ATTENTION: None}[self.kind]

    def read(self, letters: IntArray, state: tuple[int, ...] = ()) -> tuple[list[int], tuple[int, ...]]:
        """Outputs for letters (T,) after a state, and the state after them.

        The state is what a recurrence is in, or the inputs that are kept: the last ``size - 1`` of a window, all of
        attention.
        """
        rng = np.random.default_rng(self.seed)
        if self.kind == RECURRENCE:
            after = rng.integers(self.size, size=(self.size, self.n_letters))
            said = rng.integers(self.n_letters, size=(self.size, self.n_letters))
            at, outputs = (state[0] if state else 0), []
            for letter in letters:
                at = int(after[at, letter])
                outputs.append(int(said[at, letter]))
            return outputs, (at,)
        seen, outputs = list(state), []
        table = rng.integers(
            self.n_letters, size=(self.n_letters + 1,) * self.size if self.kind == WINDOW else (2,) * self.n_letters
        )
        for letter in letters:
            seen.append(int(letter))
            if self.kind == WINDOW:
                seen = seen[-self.size :]
                # Before the first letter there is an empty place.
                outputs.append(int(table[(*(-1,) * (self.size - len(seen)), *seen)]))
            else:
                outputs.append(int(table[tuple(np.bincount(seen, minlength=self.n_letters) % 2)]))
        return outputs, tuple(seen[1 - self.size :] if self.size > 1 else ()) if self.kind == WINDOW else tuple(seen)

    @property
    def stage(self) -> Stage:
        """The layer for diagonal cuts: bits are counts of entries, and a recurrence has one."""
        if self.kind == RECURRENCE:
            return Stage(recurrent_bits=1)
        return Stage((Window("cache", 1, self.size - 1 if self.kind == WINDOW else 10**9),))


@dataclass(frozen=True)
class FiniteStack:
    """Layers from input to output.

    Attributes
    ----------
    layers : tuple of FiniteLayer

    Examples
    --------
    >>> stack = FiniteStack((FiniteLayer("window", 2, 2, seed=0), FiniteLayer("recurrence", 2, 3, seed=1)))
    >>> tokens = np.array([0, 1, 1, 0])
    >>> crossing = stack.crossing(tokens, start=2, lags=(1, 0))
    >>> stack.answer(crossing, tokens[2:], lags=(1, 0)) == stack.read(tokens)[3:]
    True
    """

    layers: tuple[FiniteLayer, ...]

    def read(self, tokens: IntArray) -> list[int]:
        """Outputs of the last layer at every position."""
        letters = list(tokens)
        for layer in self.layers:
            letters, _ = layer.read(np.array(letters))
        return letters

    def crossing(self, tokens: IntArray, start: int, lags: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Things that cross the diagonal cut from ``start`` with a lag for each layer, layer by layer."""
        letters, before, crossing = list(tokens), start, []
        for layer, lag in zip(self.layers, lags, strict=True):
            after = before + lag
            if layer.kind == RECURRENCE:
                crossing.append(layer.read(np.array(letters[:after], np.int64))[1])
            else:
                oldest = 0 if layer.reach is None else max(0, after - layer.reach)
                crossing.append(tuple(int(letter) for letter in letters[oldest:before]))
            letters, before = layer.read(np.array(letters, np.int64))[0], after
        return tuple(crossing)

    def answer(self, crossing: tuple[tuple[int, ...], ...], tokens: IntArray, lags: Sequence[int]) -> list[int]:
        """Outputs after the last lag, from what crosses and the tokens after the start of the cut.

        Windows are read as if nothing had been before what crosses; their first outputs are then wrong and left out.
        So the start of the cut must lie ``size - 1`` or more tokens after the beginning.
        """
        letters = list(tokens)
        for layer, carried, lag in zip(self.layers, crossing, lags, strict=True):
            if layer.kind == RECURRENCE:
                letters = layer.read(np.array(letters[lag:], np.int64), carried)[0]
            else:
                letters = layer.read(np.array(letters, np.int64), carried)[0][lag:]
        return letters


def finite_stacks(most_layers: int = 3, most_letters: int = 3) -> SearchStrategy[FiniteStack]:
    """Random finite stacks.

    Parameters
    ----------
    most_layers, most_letters : int

    Raises
    ------
    ModuleNotFoundError
        If hypothesis is not installed.
    """
    from hypothesis import strategies as st

    def stack(n_letters: int) -> SearchStrategy[FiniteStack]:
        layer = st.builds(
            FiniteLayer,
            st.sampled_from((RECURRENCE, WINDOW, ATTENTION)),
            st.just(n_letters),
            st.integers(1, 3),
            st.integers(0, 2**32 - 1),
        )
        return st.lists(layer, min_size=1, max_size=most_layers).map(lambda layers: FiniteStack(tuple(layers)))

    return st.integers(2, most_letters).flatmap(stack)


def diagonal_lags(stages: Sequence[Stage], most: int = 4) -> SearchStrategy[tuple[int, ...]]:
    """Random lags for stages, some beyond the reach of their windows."""
    from hypothesis import strategies as st

    return st.tuples(*(st.integers(0, min(most, stage.reach + 1)) for stage in stages))
