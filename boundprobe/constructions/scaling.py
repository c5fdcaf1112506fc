"""Scaling of the construction and of its rivals to any size, by formulas alone: no model and no torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boundprobe.constructions.ar_decoding import hard_case_window
from boundprobe.constructions.score_margins import fits_float32
from boundprobe.constructions.sizes import count_parameters
from boundprobe.constructions.theorems import theorem_of
from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.selective_copying import SelectiveCopying


@dataclass(frozen=True)
class ScalingRow:
    """One size of a task, the construction for it, and what pure models need.

    Attributes
    ----------
    size : int
        Numbers n, or words W.
    seq_len : int, in tokens
    d_model, window, n_params : int
        Of the construction.
    recurrent_bits, cache_bits : int, in bits
        Of its state at the cut, written with as few bits as tell its values apart.
    state_bits : float, in bits
        What the whole state of any model needs for no error (S4), so the recurrent state of a pure SSM.
    attention_tokens : int, in tokens
        What the windows of a pure attention stack have to reach back (W1), so the tokens in its caches; nominally at
        least as many bits.
    """

    size: int
    seq_len: int
    d_model: int
    window: int
    n_params: int
    recurrent_bits: int
    cache_bits: int
    state_bits: float
    attention_tokens: int


#: A window in tokens for a task; None for the smallest that is right on every input.
WindowOf = Callable[[Any], int | None]


def on_every_input(task: AbstractTask) -> int | None:
    """The window that makes a construction right on every input."""
    return None


@dataclass(frozen=True)
class Scale:
    """The growth of a task.

    Attributes
    ----------
    label : str
        What ``size`` counts.
    of_size : callable (task, size, seq_len) -> task
    size_of : callable (task) -> int
    sizes : tuple of int
        Of the table.
    windows : mapping of str to callable (task) -> int or None
        By the inputs that it makes the construction right on; the table's first.
    """

    label: str
    of_size: Callable[[Any, int, int], AbstractTask]
    size_of: Callable[[Any], int]
    sizes: tuple[int, ...]
    windows: Mapping[str, WindowOf]


def _copying(task: SelectiveCopying, size: int, seq_len: int) -> SelectiveCopying:
    return SelectiveCopying(size, task.first_number, task.n_letters, seq_len, offset=task.offset)


def _recall(task: AssociativeRecallDecoding, size: int, seq_len: int) -> AssociativeRecallDecoding:
    return AssociativeRecallDecoding((size - 1).bit_length(), seq_len, task.bit_probability, task.gap)


#: How each task with a construction grows.
SCALES: dict[type, Scale] = {
    SelectiveCopying: Scale(
        label="numbers",
        of_size=_copying,
        size_of=lambda task: task.n_numbers,
        sizes=(10, 100, 1_000, 10_000, 100_000, 999_998),  # the last is the most that fit into 10^6 tokens
        windows={"every input": on_every_input},
    ),
    AssociativeRecallDecoding: Scale(
        label="words",
        of_size=_recall,
        size_of=lambda task: task.n_words,
        sizes=(32, 256, 1_024, 8_192, 65_536),
        windows={"the hard distributions": hard_case_window, "every input": on_every_input},
    ),
}


@functools.lru_cache(maxsize=1024)  # angles of large sizes take a quarter of a second, and figures ask again
def scaling_row(task: AbstractTask, position: str, n_layers: int, window: int | None = None) -> ScalingRow:
    """Sizes of the construction for a task, and of pure models that can do it.

    Parameters
    ----------
    task : AbstractTask
    position : str
    n_layers : int
    window : int or None, in tokens
        None for the smallest that is right on every input.

    Returns
    -------
    ScalingRow

    Examples
    --------
    >>> row = scaling_row(SelectiveCopying(n_numbers=100_000, seq_len=1_000_000), "learned", 2)
    >>> row.d_model, row.recurrent_bits, row.cache_bits, round(row.state_bits), row.attention_tokens
    (36, 17, 1700000, 1661002, 999999)
    """
    theorem = theorem_of(task)
    spec = theorem.smallest_spec(task, position, n_layers, window)
    bits = theorem.coded_bits(task, spec, theorem.n_cached(task, spec))
    return ScalingRow(
        size=SCALES[type(task)].size_of(task),
        seq_len=task.seq_len,
        d_model=spec.d_model,
        window=spec.window,
        n_params=count_parameters(spec, task.n_token_ids),
        recurrent_bits=bits.recurrent_bits,
        cache_bits=bits.cache_bits,
        state_bits=task.state_case().zero_error_bits,
        attention_tokens=task.window_case().sensitivity_distance,
    )


def scaling_rows(
    task: AbstractTask,
    position: str,
    n_layers: int,
    lengths: Sequence[int],
    sizes: Sequence[int],
    window_of: WindowOf = on_every_input,
) -> list[ScalingRow]:
    """Rows for the task's own size at each length, then for each size at the greatest length; impossible ones left out.

    Parameters
    ----------
    task : AbstractTask
    position : str
    n_layers : int
    lengths : sequence of int, in tokens
    sizes : sequence of int
    window_of : callable (task) -> int or None
        One of ``Scale.windows``.

    Returns
    -------
    list of ScalingRow
    """
    scale = SCALES[type(task)]
    own = scale.size_of(task)
    cases = [(own, length) for length in lengths] + [(size, max(lengths)) for size in sizes if size != own]
    rows = []
    for size, length in cases:
        try:
            grown = scale.of_size(task, size, length)
            rows.append(scaling_row(grown, position, n_layers, window_of(grown)))
        except ValueError:  # the sequence is too short for so many, or there are too many for rotations
            continue
    return rows


def float32_suffices(task: AbstractTask, position: str, n_layers: int, row: ScalingRow) -> bool:
    """Check that float32 provably carries the scores of a row's construction; float64 does where it does not.

    Unlike the sizes, it takes arrays over the vocabulary.
    """
    grown = SCALES[type(task)].of_size(task, row.size, row.seq_len)
    theorem = theorem_of(grown)
    return fits_float32(theorem.program(grown, theorem.smallest_spec(grown, position, n_layers, row.window)))


def decades(least: int, most: int, per_decade: int = 1) -> list[int]:
    """Whole numbers about evenly spaced in their logarithms, ends included.

    >>> decades(10, 1000)
    [10, 100, 1000]
    """
    n_points = round(per_decade * math.log10(most / least)) + 1
    return sorted({round(least * (most / least) ** (i / max(1, n_points - 1))) for i in range(n_points)})
