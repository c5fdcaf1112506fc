"""The ladder as a figure: what theory requires, what a model uses, holds and could hold, by part and by distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator

from boundprobe.plots.figure import project_style, save_figure

#: One probe document (``boundprobe.probe/1``) per model.
Probe = Mapping[str, Any]

#: Rungs: place within a row, marker, whether it is filled, label.
RUNGS = {
    "required": (0.3, "|", True, "required at the measured error (S3, S1)"),
    "used": (0.15, "^", True, "used, certified (T1, the model itself)"),
    "present": (0.0, "o", True, "present, certified (T1, best decoder)"),
    "states": (-0.15, "D", True, "states, certified: log2 of their number"),
    "needed": (-0.3, "s", False, "needed: rounded, and really run"),
    "nominal": (0.0, "|", True, "nominal: entries times precision"),
}
KINDS = ("recurrent", "conv", "cache")
#: Left end of the axis of bits; a mark there means less.
LEFT_BITS = 0.5
#: Groups of answers whose bits are written into the figure.
MOST_WRITTEN = 10
#: Models that one figure shows.
MOST_ROWS = 24


def rungs(probe: Probe) -> dict[str, float | None]:
    """The numbers of the ladder in bits; None for what was not measured."""
    states = probe["states_bits"]
    return {
        "required": probe["required_bits_lower"],
        "used": probe["used_bits"]["lower"],
        "present": probe["present_bits"]["lower"],
        "states": None if states is None else states["lower"],
        "needed": probe["needed_bits"],
        "nominal": probe["nominal_bits"],
    }


def draw_rungs(ax: Axes, probes: Sequence[Probe]) -> Axes:
    """One row for each model, bits on a log axis; the grey region is more than the task's entropy."""
    colors = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    entropy = probes[0]["entropy_bits"]
    right = 2 * max(entropy, *(probe["nominal_bits"] for probe in probes))
    ax.axvline(entropy, color="0.35", ls=":", lw=1)
    ax.annotate(
        f"{_entropy_name(probes[0])} = {entropy:.1f}", (entropy, 1.0), xycoords=("data", "axes fraction"), fontsize=8,
        color="0.35", va="bottom", ha="center",
    )  # fmt: skip
    for i, (name, (offset, marker, filled, label)) in enumerate(RUNGS.items()):
        color = "0.25" if name in ("required", "nominal") else colors[i - 1]
        points = [(value, row) for row, probe in enumerate(probes) if (value := rungs(probe)[name]) is not None]
        ax.plot(
            [max(value, LEFT_BITS) for value, _ in points], [row - offset for _, row in points], marker, color=color,
            mfc=color if filled else "white", ms=13 if name == "nominal" else 7, mew=2 if marker == "|" else 1,
            ls="none", label=label, clip_on=False, zorder=5,
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xlim(LEFT_BITS, right)
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=8))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("bits at the cut")
    ax.set_yticks(range(len(probes)), [_name(probe) for probe in probes])
    ax.set_ylim(len(probes) - 0.5, -0.5)
    for row in range(1, len(probes)):
        ax.axhline(row - 0.5, color="0.9", lw=0.8, zorder=0)
    return ax


def draw_parts(ax: Axes, probes: Sequence[Probe]) -> Axes:
    """Certified bits in what each layer keeps of each kind, one bar each; they may overlap, so they do not add up."""
    for row, probe in enumerate(probes):
        parts = probe["present_by_part"]
        height = 0.8 / max(len(parts), 1)
        for i, part in enumerate(parts):
            at, bits = row - 0.4 + (i + 0.5) * height, part["present_bits"]["lower"]
            ax.barh(at, bits, 0.85 * height, color=_color(part["kind"]), alpha=0.85)
            ax.annotate(f" layer {part['layer']}", (bits, at), fontsize=6, va="center", color="0.3")
    ax.axvline(probes[0]["entropy_bits"], color="0.35", ls=":", lw=1)
    ax.set_xlim(0, 1.25 * probes[0]["entropy_bits"])
    ax.set_xlabel("certified bits in one layer's state")
    return ax


def draw_retention(ax: Axes, probes: Sequence[Probe]) -> Axes:
    """Certified bits of each answer, by the distance of its token to the cut: blue is kept, white is not certified."""
    groups = sorted({held["group"] for probe in probes for held in probe["retention"]["groups"]})
    kept = np.full((len(probes), len(groups)), np.nan)
    for row, probe in enumerate(probes):
        for held in probe["retention"]["groups"]:
            kept[row, groups.index(held["group"])] = held["lower"]
    most = probes[0]["entropy_bits"] / len(probes[0]["answer_errors"]["estimate"])
    image = ax.imshow(kept, aspect="auto", cmap="Blues", vmin=0, vmax=most, interpolation="none")
    if len(groups) <= MOST_WRITTEN:
        for row, column in np.argwhere(np.isfinite(kept)):
            bits = kept[row, column]
            color = "white" if bits > 0.6 * most else "0.25"
            ax.annotate(f"{bits:.2f}", (column, row), ha="center", va="center", fontsize=7, color=color)
    step = math.ceil(len(groups) / 8)
    ax.set_xticks(range(0, len(groups), step), [str(group) for group in groups[::step]])
    far = probes[0]["retention"]["by"] == "distance"
    ax.set_xlabel("tokens back from the cut" if far else "answer")
    figure = ax.get_figure()
    assert figure is not None  # axes are made by figures
    bar = figure.colorbar(image, ax=ax, pad=0.03)
    bar.set_label("certified bits of the answer", fontsize=8)
    return ax


def draw(probes: Sequence[Probe]) -> Figure:
    """All panels for models of one task."""
    shown = probes[:MOST_ROWS]
    retained = all(probe["retention"] for probe in shown)
    with project_style():
        figure = Figure(figsize=(12.5, 2.9 + 0.65 * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2 + retained, sharey=True, width_ratios=[1.9, 1.1] + [1.0] * retained)
        draw_rungs(axes[0], shown)
        draw_parts(axes[1], shown)
        axes[0].set_title("The ladder", pad=16)
        axes[1].set_title("By layer and kind", pad=16)
        if retained:
            draw_retention(axes[2], shown)
            axes[2].set_title("Retention", pad=16)
        level = 100 * min(probe["confidence"] for probe in shown)
        more = f"; {len(shown)} of {len(probes)} models" if len(probes) > len(shown) else ""
        figure.suptitle(f"{shown[0]['task']['name']}: what the state holds (certified at {level:.4g}% a model{more})")
        handles, _ = axes[0].get_legend_handles_labels()
        kinds = {part["kind"] for probe in shown for part in probe["present_by_part"]}
        handles += [Patch(color=_color(kind), alpha=0.85, label=f"{kind} state") for kind in KINDS if kind in kinds]
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def save(probes: Sequence[Probe], stem: Path) -> list[Path]:
    """Write the figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    return save_figure(draw(probes), stem)


def _entropy_name(probe: Probe) -> str:
    """The entropy of the answers, given which are defined where some may be absent."""
    return "H(Y)" if probe["stream"] == "keys-once" else "H(Y | defined)"


def _name(probe: Probe) -> str:
    return f"{probe['model']['architecture']}\nseed {probe['seed_index']}"


def _color(kind: str) -> str:
    """The colour of a kind of state."""
    color: str = mpl.rcParams["axes.prop_cycle"].by_key()["color"][-1 - KINDS.index(kind)]
    return color
