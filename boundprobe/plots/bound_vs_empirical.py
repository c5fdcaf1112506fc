"""Bound against measurement: the forbidden region, what anyone can build, and where trained models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from boundprobe.bounds.state.fano import fano_accuracy_ceiling, packing_accuracy_ceiling, store_some_accuracy
from boundprobe.bounds.window import receptive_field, window_accuracy_ceiling
from boundprobe.models.spec import ModelSpec
from boundprobe.plots.figure import FORBIDDEN, project_style, save_figure
from boundprobe.tasks.base import AbstractTask

#: One probe document (``boundprobe.probe/1``) per trained model.
Probe = Mapping[str, Any]

MARKERS = "osD^vP*X"
N_POINTS = 400
#: Left end of the axis of bits; a triangle there means less.
LEFT_BITS = 0.5
#: Right end of the axis of tokens, over the length of the sequence: room for models that see everything.
WINDOW_EDGE = 1.2


def draw_state_panel(ax: Axes, task: AbstractTask, probes: Sequence[Probe]) -> Axes:
    """Accuracy on the state-hard half against bits of state at the cut (log axis).

    The forbidden region is above the ceiling S3, or S1 where S3 does not hold; each model stands at its nominal
    bits with the limits of its accuracy, its rounded machines are small dots, and a triangle on the axis is the
    memory it certainly uses.
    """
    draw_state_region(ax, task, 2 * max((probe["nominal_bits"] for probe in probes), default=1.0))
    for probe, look in zip(probes, _looks(probes), strict=True):
        accuracy = probe["accuracy"]["state-hard"]
        rounded = probe["rounded"]
        ax.plot(
            [machine["bits"] for machine in rounded], [machine["accuracy"] for machine in rounded],
            ".-", color=look["color"], ms=4, lw=0.7, alpha=0.6,
        )  # fmt: skip
        _mark(ax, probe["nominal_bits"], accuracy, look)
        # On the axis and not at the model's accuracy: this is information, the region is about states.
        ax.plot(
            max(probe["used_bits"]["lower"], LEFT_BITS), 0.0, "^", color=look["color"], ms=8, clip_on=False, zorder=6,
            alpha=0.85,
        )  # fmt: skip
        _draw_bottlenecks(ax, probe, look["color"])
    if any("bottleneck" in probe for probe in probes):
        ax.plot([], [], "k*", ms=9, mec="white", mew=0.5, ls="none", label="same model, bottleneck at the cut")
    ax.plot([], [], "k.-", ms=4, lw=0.7, alpha=0.6, label="same model, state rounded")
    ax.plot([], [], "k^", ms=7, alpha=0.85, ls="none", label="bits certainly used")
    return ax


def draw_state_region(ax: Axes, task: AbstractTask, largest: float) -> Axes:
    """What no machine can do on the state-hard half, against bits of state at the cut (log axis).

    The forbidden region is above the ceiling S3, or S1 where S3 does not hold; the dashed line can be built by anyone.

    Parameters
    ----------
    ax : Axes
    task : AbstractTask
    largest : float
        Bits that the axis reaches to at least.
    """
    case = task.state_case()
    n, q = case.n_answers, case.n_values
    right = max(largest, 2 * case.entropy_bits)
    bits = np.geomspace(LEFT_BITS, right, N_POINTS)
    # S3, and the strategy that keeps some coordinates, are for independent uniform answers only.
    theorem = "S3" if case.independent_uniform else "S1"
    ceiling = (
        packing_accuracy_ceiling(bits, n, q)
        if case.independent_uniform
        else fano_accuracy_ceiling(bits, case.entropy_bits, n, q)
    )
    ax.fill_between(bits, ceiling, 1.05, color=FORBIDDEN, lw=0, label=f"forbidden: no machine ({theorem})")
    ax.plot(bits, ceiling, color="0.35", lw=1.2)
    if case.independent_uniform:
        label = "store some, guess the rest"
        ax.plot(bits, store_some_accuracy(bits, n, q), color="0.35", ls="--", lw=1.2, label=label)
    ax.axvline(case.entropy_bits, color="0.35", ls=":", lw=1)
    ax.annotate(
        f"needed for no error: {case.entropy_bits:.1f} bits", (case.entropy_bits, 0.06), rotation=90,
        xytext=(3, 0), textcoords="offset points", fontsize=8, color="0.35", va="bottom", zorder=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xlim(LEFT_BITS, right)
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("bits of state at the cut")
    ax.set_ylabel("accuracy, state-hard half")
    return ax


def _draw_bottlenecks(ax: Axes, probe: Probe, color: str) -> None:
    """Accuracy of the machines of exactly so many bits, with limits, where they were trained.

    No line joins them: between two sizes it would cross the forbidden region, where no machine is.
    """
    if "bottleneck" not in probe:
        return
    points = sorted(probe["bottleneck"]["points"], key=lambda point: int(point["bits"]))
    at = [point["bits"] for point in points]
    estimate, lower, upper = (
        np.array([point["accuracy"][name] for point in points]) for name in ("estimate", "lower", "upper")
    )
    ax.errorbar(
        at, estimate, yerr=[estimate - lower, upper - estimate], fmt="*", color=color, ms=9, mec="white", mew=0.5,
        capsize=2, zorder=5,
    )  # fmt: skip


def draw_window_panel(ax: Axes, task: AbstractTask, probes: Sequence[Probe]) -> Axes:
    """Accuracy on the window-hard half against the tokens that the model sees; the ceiling is W2."""
    everything = task.window_case().seq_len
    draw_window_region(ax, task)
    looks = _looks(probes)
    seen = [receptive_field(_spec(probe).windows) or everything for probe in probes]
    for i, (probe, look) in enumerate(zip(probes, looks, strict=True)):
        # Models that see everything would hide each other: they stand side by side, right of the edge.
        rank = sum(field >= everything for field in seen[:i])
        place = seen[i] if seen[i] < everything else everything * (1.03 + 0.16 * rank / len(probes))
        _mark(ax, place, probe["accuracy"]["window-hard"], look)
    return ax


def draw_window_region(ax: Axes, task: AbstractTask) -> Axes:
    """What no model can do on the window-hard half that sees so many of the last tokens: above the ceiling W2."""
    case = task.window_case()
    everything = case.seq_len
    fields = np.arange(1, everything + 1)
    ceiling = [window_accuracy_ceiling(case, int(field)) for field in fields]
    edge = everything * WINDOW_EDGE
    x, y = np.append(fields, edge), np.append(ceiling, 1.0)
    ax.fill_between(x, y, 1.05, step="post", color=FORBIDDEN, lw=0)
    ax.step(x, y, where="post", color="0.35", lw=1.2)
    ax.set_xlim(0, edge)
    ticks = [tick for tick in np.linspace(0, everything, 5).round().astype(int) if tick > 0]
    ax.set_xticks(ticks, [*map(str, ticks[:-1]), f"all {everything}"])
    ax.set_xlabel("tokens that the last position sees")
    ax.set_ylabel("accuracy, window-hard half")
    return ax


def draw(task: AbstractTask, probes: Sequence[Probe]) -> Figure:
    """Both panels of one task as a figure."""
    with project_style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        state_ax, window_ax = figure.subplots(1, 2, width_ratios=[1.6, 1])
        draw_state_panel(state_ax, task, probes)
        draw_window_panel(window_ax, task, probes)
        for ax in (state_ax, window_ax):
            ax.set_ylim(0, 1.05)
        state_ax.set_title(f"Memory: {task.state_case().theorem.split(' (')[0]}")
        window_ax.set_title(f"Reach: {task.window_case().theorem.split(' (')[0]}")
        confidence = min((probe["confidence"] for probe in probes), default=0.95)
        figure.suptitle(f"{task.name}: measured memory against the bound (limits at {100 * confidence:.4g}% a model)")
        handles, labels = state_ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def save(task: AbstractTask, probes: Sequence[Probe], stem: Path) -> list[Path]:
    """Write the figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    return save_figure(draw(task, probes), stem)


def _spec(probe: Probe) -> ModelSpec:
    return ModelSpec(**probe["model"])


def _looks(probes: Sequence[Probe]) -> list[dict[str, str]]:
    """One colour and marker per architecture, and a label for its first model."""
    names = list(dict.fromkeys(probe["model"]["architecture"] for probe in probes))
    colours = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    looks, labelled = [], set()
    for probe in probes:
        name = probe["model"]["architecture"]
        i = names.index(name)
        label = "_" if name in labelled else name
        labelled.add(name)
        looks.append({"color": colours[i % len(colours)], "marker": MARKERS[i % len(MARKERS)], "label": label})
    return looks


def _mark(ax: Axes, x: float, accuracy: Mapping[str, float], look: Mapping[str, str]) -> None:
    """A marker with the limits of its accuracy."""
    below, above = accuracy["estimate"] - accuracy["lower"], accuracy["upper"] - accuracy["estimate"]
    ax.errorbar(
        x, accuracy["estimate"], yerr=[[below], [above]], fmt=look["marker"], color=look["color"], ms=7,
        mec="white", mew=0.8, capsize=3, zorder=5, label=look["label"],
    )  # fmt: skip
