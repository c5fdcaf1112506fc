"""The ladder as a figure: required, used, present and nominal bits, by part and distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator

from boundprobe.plots.figure import project_style, save_figure
from boundprobe.probes.ladder import Ladder
from boundprobe.probes.run import ModelLadder

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


def rungs(ladder: Ladder) -> dict[str, float | None]:
    """The numbers of the ladder in bits; None for what was not measured."""
    return {
        "required": ladder.required.lower,
        "used": ladder.used.lower,
        "present": ladder.present.lower,
        "states": None if ladder.states is None else ladder.states.lower,
        "needed": ladder.needed_bits,
        "nominal": ladder.nominal_bits,
    }


def draw_rungs(ax: Axes, models: Sequence[ModelLadder]) -> Axes:
    """One row for each model, bits on a log axis; the grey region is more than the task's entropy."""
    colors = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    entropy, theorems = models[0].ladder.entropy_bits, {model.ladder.required.theorem for model in models}
    right = 2 * max(entropy, *(model.ladder.nominal_bits for model in models))
    ax.axvline(entropy, color="0.35", ls=":", lw=1)
    ax.annotate(
        f"{_entropy_name(models[0].ladder)} = {entropy:.1f}", (entropy, 1.0), xycoords=("data", "axes fraction"),
        fontsize=8, color="0.35", va="bottom", ha="center",
    )  # fmt: skip
    for i, (name, (offset, marker, filled, label)) in enumerate(RUNGS.items()):
        color = "0.25" if name in ("required", "nominal") else colors[i - 1]
        points = [(bits, row) for row, model in enumerate(models) if (bits := rungs(model.ladder)[name]) is not None]
        (marks,) = ax.plot(
            [max(bits, LEFT_BITS) for bits, _ in points], [row - offset for _, row in points], marker, color=color,
            mfc=color if filled else "white", ms=13 if name == "nominal" else 7, mew=2 if marker == "|" else 1,
            ls="none", label=label.replace("S3, S1", "S3, S1" if "S3" in theorems else "S1"), clip_on=False, zorder=5,
        )  # fmt: skip
        marks.set_in_layout(False)  # before the limits are final their extent is another, and the layout would keep it
    ax.set_xscale("log", base=2)
    # A little of margin: marks that stand at the left end would be cut off by what is left of the axes.
    ax.set_xlim(LEFT_BITS * 0.8, right)
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=8))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("bits at the cut")
    ax.set_yticks(range(len(models)), [_name(model) for model in models])
    ax.set_ylim(len(models) - 0.5, -0.5)
    for row in range(1, len(models)):
        ax.axhline(row - 0.5, color="0.9", lw=0.8, zorder=0)
    return ax


def draw_parts(ax: Axes, models: Sequence[ModelLadder]) -> Axes:
    """Certified bits in what each layer keeps of each kind, one bar each; they may overlap, so they do not add up."""
    for row, model in enumerate(models):
        parts = model.ladder.parts
        height = 0.8 / max(len(parts), 1)
        for i, part in enumerate(parts):
            at, bits = row - 0.4 + (i + 0.5) * height, part.present.lower
            ax.barh(at, bits, 0.85 * height, color=_color(part.kind), alpha=0.85)
            ax.annotate(
                f"layer {part.layer}", (bits, at), fontsize=6, va="center", color="0.3", zorder=6, xytext=(4, 0),
                textcoords="offset points", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1},
            )  # fmt: skip
    entropy = models[0].ladder.entropy_bits
    ax.axvline(entropy, color="0.35", ls=":", lw=1)
    ax.set_xlim(0, 1.25 * entropy)
    ax.set_xlabel("certified bits in one layer's state")
    return ax


def draw_retention(ax: Axes, ladders: Sequence[Ladder]) -> Axes:
    """Certified bits of each answer, by the distance of its token to the cut: blue is kept, white is not certified."""
    retained = [ladder.retention for ladder in ladders if ladder.retention is not None]
    groups = sorted({held.group for retention in retained for held in retention.groups})
    kept = np.full((len(retained), len(groups)), np.nan)
    for row, retention in enumerate(retained):
        for held in retention.groups:
            kept[row, groups.index(held.group)] = held.bits.lower
    most = ladders[0].entropy_bits / len(ladders[0].errors.estimate)
    image = ax.imshow(kept, aspect="auto", cmap="Blues", vmin=0, vmax=most, interpolation="none")
    if len(groups) <= MOST_WRITTEN:
        for row, column in np.argwhere(np.isfinite(kept)):
            bits = kept[row, column]
            color = "white" if bits > 0.6 * most else "0.25"
            ax.annotate(f"{bits:.2f}", (column, row), ha="center", va="center", fontsize=7, color=color)
    step = math.ceil(len(groups) / 8)
    ax.set_xticks(range(0, len(groups), step), [str(group) for group in groups[::step]])
    far = retained[0].by == "distance"
    ax.set_xlabel("tokens back from the cut" if far else "answer")
    figure = ax.get_figure()
    assert figure is not None  # axes are made by figures
    bar = figure.colorbar(image, ax=ax, pad=0.03)
    bar.set_label("certified bits of the answer", fontsize=8)
    return ax


def draw(models: Sequence[ModelLadder]) -> Figure:
    """All panels for models of one task."""
    shown = models[:MOST_ROWS]
    ladders = [model.ladder for model in shown]
    retained = all(ladder.retention is not None for ladder in ladders)
    with project_style():
        figure = Figure(figsize=(12.5, 2.9 + 0.65 * len(shown)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2 + retained, sharey=True, width_ratios=[1.9, 1.1] + [1.0] * retained)
        draw_rungs(axes[0], shown)
        draw_parts(axes[1], shown)
        axes[0].set_title("The ladder", pad=16)
        axes[1].set_title("By layer and kind", pad=16)
        if retained:
            draw_retention(axes[2], ladders)
            axes[2].set_title("Retention", pad=16)
        level = 100 * min(ladder.confidence for ladder in ladders)
        more = f"; {len(shown)} of {len(models)} models" if len(models) > len(shown) else ""
        figure.suptitle(f"{shown[0].task_name}: what the state holds (certified at {level:.4g}% per model{more})")
        handles = [line for line in axes[0].get_legend_handles_labels()[0] if len(line.get_xdata())]
        kinds = {part.kind for ladder in ladders for part in ladder.parts}
        handles += [Patch(color=_color(kind), alpha=0.85, label=f"{kind} state") for kind in KINDS if kind in kinds]
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def save(models: Sequence[ModelLadder], stem: Path) -> list[Path]:
    """Write the figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    return save_figure(draw(models), stem)


def _entropy_name(ladder: Ladder) -> str:
    """The entropy of the answers, given which are defined where some may be absent."""
    if ladder.lag:
        return f"H(Y beyond lag {ladder.lag})"
    return "H(Y)" if ladder.stream == "keys-once" else "H(Y | defined)"


def _name(model: ModelLadder) -> str:
    return f"{model.model.architecture}\n{model.which}"


def _color(kind: str) -> str:
    """The colour of a kind of state."""
    color: str = mpl.rcParams["axes.prop_cycle"].by_key()["color"][-1 - KINDS.index(kind)]
    return color
