"""A constructed hybrid against pure models: nominal bits over length and over size, with the built one marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from boundprobe.constructions.scaling import SCALES, ScalingRow, decades, scaling_rows
from boundprobe.plots.figure import FORBIDDEN, project_style, save_figure
from boundprobe.tasks.base import AbstractTask

#: What ``boundprobe construct --json`` prints (``boundprobe.construct/1``), as far as the figure reads it.
Document = Mapping[str, Any]

#: Greatest length that is drawn, in tokens.
LONGEST = 1_000_000
POINTS_PER_DECADE = 4
#: Line of each window of a construction, in the order of ``Scale.windows``.
LINES = ("-", "--")
#: Colour of the construction's memory by kind; pure models are grey.
COLOURS = {"cache_bits": "C0", "recurrent_bits": "C1"}
NAMES = {"cache_bits": "cache", "recurrent_bits": "recurrent state"}


def draw_length_panel(ax: Axes, task: AbstractTask, document: Document) -> Axes:
    """Bits against the length of the sequence, at the task's own size.

    A pure attention stack has to reach back L - 1 tokens (W1), so its caches hold as many tokens, and take at least
    as many bits; the hybrid's memory does not grow.
    """
    scale = SCALES[type(task)]
    lengths = decades(task.seq_len, LONGEST, POINTS_PER_DECADE)
    rows = _draw_hybrid(ax, task, document, lengths, [], lambda row: row.seq_len)
    needs = [row.attention_tokens for row in rows]
    text = "too little for the caches\nof pure attention (W1):\nL - 1 tokens, a bit each"
    _shade(ax, lengths, needs, [row.cache_bits for row in rows], "-", text)
    ax.axhline(rows[0].state_bits, color="0.35", ls=":", lw=1.2)
    _annotate(
        ax, lengths[-1], rows[0].state_bits, f"any whole state: {rows[0].state_bits:.4g} bits (S4)", "right", "top"
    )
    for kind, colour in COLOURS.items():
        # The two machines stand side by side, so that none hides another.
        for memory, face, left, how in (
            ("nominal", "white", 0.87, "float32 tensors"),
            ("rounded", colour, 1.0, "rounded and run"),
        ):
            bits = document["memory"][memory][kind]
            if bits > 0:  # a state that is the same after all prefixes is none
                place, label = left * task.seq_len, f"{NAMES[kind]}, built: {how}"
                ax.plot(place, bits, "o", color=colour, mfc=face, ms=6, zorder=5, label=label)
    ax.set_xlabel("tokens in the sequence, L")
    ax.set_title(f"Reach: {scale.size_of(task):,} {scale.label}")
    return _finish(ax, 0.7 * lengths[0], lengths[-1])


def draw_size_panel(ax: Axes, task: AbstractTask, document: Document) -> Axes:
    """Bits against the size of the task, at the greatest length.

    The whole state of every model has to hold n log V bits (S4).  A pure SSM has to hold them in its recurrent state;
    the hybrid holds them in its cache, above the same line, and its recurrent state is a number of log n bits.
    """
    scale = SCALES[type(task)]
    sizes = decades(min(scale.sizes), max(scale.sizes), POINTS_PER_DECADE)
    rows = _draw_hybrid(ax, task, document, [LONGEST], sizes, lambda row: row.size)
    places, needs = [row.size for row in rows], [row.state_bits for row in rows]
    text = (
        "too little for any whole state (S4): a pure SSM\nholds it all in its recurrent state, the hybrid in its cache"
    )
    _shade(ax, places, needs, [row.recurrent_bits for row in rows], ":", text)
    reach = rows[0].attention_tokens
    ax.axhline(reach, color="0.35", lw=1.2)
    _annotate(ax, places[0], reach, f"pure attention: {reach:,} tokens in its caches (W1)", "left", "bottom")
    ax.set_xlabel(f"{scale.label}, with L = {LONGEST:,}")
    ax.set_title("Memory: size of the task")
    return _finish(ax, places[0], places[-1])


def draw(task: AbstractTask, document: Document) -> Figure:
    """Both panels as a figure."""
    with project_style():
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        length_ax, size_ax = figure.subplots(1, 2)
        draw_length_panel(length_ax, task, document)
        draw_size_panel(size_ax, task, document)
        figure.suptitle(
            f"{task.name}: {document['model']['architecture']} with constructed weights, {document['theorem']}"
        )
        handles, labels = length_ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def save(task: AbstractTask, document: Document, stem: Path) -> list[Path]:
    """Write the figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    return save_figure(draw(task, document), stem)


def _draw_hybrid(
    ax: Axes,
    task: AbstractTask,
    document: Document,
    lengths: Sequence[int],
    sizes: Sequence[int],
    place: Callable[[ScalingRow], int],
) -> list[ScalingRow]:
    """One line for each kind of memory and each window; the rows of the first window, in order of place."""
    position, n_layers = document["model"]["position"], document["n_layers"]
    first: list[ScalingRow] = []
    for (right_on, window_of), line in zip(SCALES[type(task)].windows.items(), LINES, strict=False):
        rows = scaling_rows(task, position, n_layers, lengths, sizes, window_of)
        rows = sorted({place(row): row for row in rows}.values(), key=place)
        for kind, colour in COLOURS.items():
            if kind == "cache_bits" or not first:  # a window changes the cache alone
                label = f"{NAMES[kind]} of the hybrid" + (
                    f" that is right on {right_on}" if kind == "cache_bits" else ""
                )
                ax.plot(
                    [place(row) for row in rows], [getattr(row, kind) for row in rows], line, color=colour, label=label
                )
        first = first or rows
    return first


def _shade(ax: Axes, places: Sequence[int], needs: Sequence[float], holds: Sequence[int], line: str, text: str) -> None:
    """Shade sizes that are too small, with the reason at the region's wide end, clear of the hybrid's size."""
    ax.fill_between(places, needs, 0.5, color=FORBIDDEN, lw=0)
    ax.plot(places, needs, color="0.35", lw=1.2, ls=line)
    height = holds[-1] ** 0.75 * needs[-1] ** 0.25
    ax.annotate(
        text, (places[-1], height), xytext=(-6, 0), textcoords="offset points", fontsize=8, color="0.3", ha="right",
        va="center", zorder=7,
    )  # fmt: skip


def _annotate(ax: Axes, x: float, y: float, text: str, side: str, edge: str) -> None:
    """Say what a line is, at one end of it, above (edge "bottom") or below."""
    offset = (4 if side == "left" else -4, 3 if edge == "bottom" else -4)
    ax.annotate(
        text, (x, y), xytext=offset, textcoords="offset points", fontsize=8, color="0.3", va=edge, ha=side, zorder=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def _finish(ax: Axes, left: float, right: float) -> Axes:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom=1)
    ax.set_ylabel("bits of state at the cut")
    return ax
