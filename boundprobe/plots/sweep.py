"""A sweep: accuracy over seeds against size, and against memory at the cut with the forbidden region."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from boundprobe.plots.bound_vs_empirical import WINDOW_EDGE, draw_state_region, draw_window_region
from boundprobe.plots.figure import project_style, save_figure
from boundprobe.plots.looks import looks_of
from boundprobe.tasks.base import AbstractTask

#: A reported seed, as ``boundprobe.runs.collect.seed_rows`` makes it.
Row = Mapping[str, Any]

KINDS = ("recurrent_bits", "conv_bits", "cache_bits")


def draw_size_panel(ax: Axes, rows: Sequence[Row]) -> Axes:
    """Accuracy on the training distribution against parameters: mean, 10th to 90th percentile, and every seed."""
    _draw_series(ax, rows, lambda row: row["n_params"], "accuracy", joined=True)
    ax.set_xscale("log")
    sizes = [row["n_params"] for row in rows]
    ax.xaxis.set_major_locator(MaxNLocator(3) if max(sizes) < 10 * min(sizes) else LogLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("parameters")
    ax.set_ylabel("accuracy, training distribution")
    return ax


def draw_memory_panel(ax: Axes, task: AbstractTask, rows: Sequence[Row]) -> Axes:
    """Accuracy on the state-hard half against the bits of the whole state at the cut, beside the forbidden region."""
    draw_state_region(ax, task, 2 * max(map(_nominal_bits, rows)))
    _draw_series(ax, rows, _nominal_bits, "accuracy_state-hard", joined=False)
    return ax


def draw_reach_panel(ax: Axes, task: AbstractTask, rows: Sequence[Row]) -> Axes:
    """Accuracy on the window-hard half against the tokens that the last position sees, beside the forbidden region.

    Models that see everything stand right of the edge, in the order of their series and of their sizes.
    """
    draw_window_region(ax, task)
    everything = task.window_case().seq_len
    names = list(dict.fromkeys(map(_series, rows)))
    runs = [run[0]["run_id"] for run in _runs(rows)]

    def place(row: Row) -> float:
        if row["receptive_field"] is not None and row["receptive_field"] < everything:
            return float(row["receptive_field"])
        side = (names.index(_series(row)) + runs.index(row["run_id"]) / len(runs)) / len(names)
        return everything * (1 + (WINDOW_EDGE - 1) * (0.1 + 0.8 * side))

    _draw_series(ax, rows, place, "accuracy_window-hard", joined=False)
    return ax


def draw(task: AbstractTask, rows: Sequence[Row]) -> Figure:
    """The three panels of a sweep on one task."""
    with project_style():
        figure = Figure(figsize=(13.5, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 3)
        draw_size_panel(axes[0], rows)
        draw_memory_panel(axes[1], task, rows)
        draw_reach_panel(axes[2], task, rows)
        for ax, title in zip(axes, ("Size", "Memory", "Reach"), strict=True):
            ax.set_ylim(0, 1.05)
            ax.set_title(title)
        counts = sorted({len(series) for series in _runs(rows)})
        n_seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        figure.suptitle(f"{task.name}: mean over {n_seeds} seeds, 10th to 90th percentile (bars), every seed (dots)")
        labels = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(list(labels.values()), list(labels), loc="outside lower center", ncols=4)
    return figure


def save(task: AbstractTask, rows: Sequence[Row], stem: Path) -> list[Path]:
    """Write the figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    return save_figure(draw(task, rows), stem)


def _draw_series(ax: Axes, rows: Sequence[Row], place: Callable[[Row], float], value: str, *, joined: bool) -> None:
    """The means of each series of runs at their places; joined by a line where nothing is forbidden between two."""
    looks = looks_of({_series(row): row["architecture"] for row in rows})
    for name, (color, marker) in looks.items():
        runs = sorted(_runs([row for row in rows if _series(row) == name]), key=lambda run: place(run[0]))
        at = np.array([place(run[0]) for run in runs], dtype=float)
        values = [np.array([row[value] for row in run]) for run in runs]
        mean = np.array([v.mean() for v in values])
        low, high = (np.array([np.percentile(v, q) for v in values]) for q in (10, 90))
        # The mean of a few seeds that fail and many that do not lies below the 10th percentile.
        ax.vlines(at, low, high, color=color, lw=1.5, zorder=4)
        style = marker + ("-" if joined else "")
        ax.plot(at, mean, style, color=color, ms=6, mec="white", lw=1, zorder=5, label=name)
        for x, v in zip(at, values, strict=True):
            ax.plot(np.full(len(v), x), v, ".", color=color, ms=4, alpha=0.35, mew=0, zorder=3)


def _runs(rows: Iterable[Row]) -> list[list[Row]]:
    """The seeds of each run."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(row["run_id"], []).append(row)
    return list(runs.values())


def _series(row: Row) -> str:
    """The architecture, and what else is set that is no size of the model."""
    settings = [f"{key.partition('.')[2] or key} {row[key]}" for key in row if key.startswith(("train.", "task."))]
    return ", ".join([row["architecture"], *settings])


def _nominal_bits(row: Row) -> int:
    return sum(int(row[kind]) for kind in KINDS)
