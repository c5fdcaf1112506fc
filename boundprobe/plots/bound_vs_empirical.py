"""Bound against measurement: the forbidden region, partial storage, and trained models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from boundprobe.bottleneck.curve import BottleneckCurve, MeasuredModel
from boundprobe.bounds.state.fano import fano_accuracy_ceiling, packing_accuracy_ceiling, store_some_accuracy
from boundprobe.bounds.window import receptive_field, window_accuracy_ceiling
from boundprobe.plots.figure import FORBIDDEN, project_style, save_figure
from boundprobe.plots.looks import looks_of
from boundprobe.probes.certificates.binomial import Proportion
from boundprobe.tasks.base import AbstractTask

N_POINTS = 400
#: Left end of the axis of bits; a triangle there means less.
LEFT_BITS = 0.5
#: Right end of the axis of tokens, over the length of the sequence: room for models that see everything.
WINDOW_EDGE = 1.2


def draw_state_panel(ax: Axes, task: AbstractTask, models: Sequence[MeasuredModel]) -> Axes:
    """Accuracy on the state-hard half against bits of state at the cut (log axis).

    The forbidden region is above the ceiling S3, or S1 where S3 does not hold; each model stands at its nominal
    bits with the confidence bounds of its accuracy, its rounded machines are small dots, and a triangle on the axis
    is the memory it certainly uses.
    """
    draw_state_region(ax, task, 2 * max((model.of_model.ladder.nominal_bits for model in models), default=1.0))
    for model, look in zip(models, _looks(models), strict=True):
        ladder = model.of_model.ladder
        ax.plot(
            [machine.total_bits for machine in ladder.rounded], [machine.accuracy for machine in ladder.rounded],
            ".-", color=look["color"], ms=4, lw=0.7, alpha=0.6,
        )  # fmt: skip
        _mark(ax, ladder.nominal_bits, ladder.state_hard, look)
        # On the axis and not at the model's accuracy: this is information, the region is about states.
        ax.plot(
            max(ladder.used.lower, LEFT_BITS), 0.0, "^", color=look["color"], ms=8, clip_on=False, zorder=6,
            alpha=0.85,
        )  # fmt: skip
        if model.curve is not None and not model.curve.lag:  # the panel is of all answers
            _draw_bottlenecks(ax, model.curve, look["color"])
    if any(model.curve is not None and not model.curve.lag for model in models):
        ax.plot([], [], "k*", ms=9, mec="white", mew=0.5, ls="none", label="same model, bottleneck at the cut")
    ax.plot([], [], "k.-", ms=4, lw=0.7, alpha=0.6, label="same model, state rounded")
    ax.plot([], [], "k^", ms=7, alpha=0.85, ls="none", label="bits certainly used (height has no meaning)")
    return ax


def draw_state_region(ax: Axes, task: AbstractTask, largest: float) -> Axes:
    """Draw what is impossible on the state-hard half, against bits of state at the cut (log axis).

    The forbidden region is above the ceiling S3, or S1 where S3 does not hold; the dashed line is partial storage.

    Parameters
    ----------
    ax : Axes
    task : AbstractTask
    largest : float
        Bits that the axis reaches to at least.
    """
    case = task.state_case()
    n, q = case.n_answers, case.n_values
    right = max(largest, 2 * case.zero_error_bits)
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
        label = "partial storage, guess the rest"
        ax.plot(bits, store_some_accuracy(bits, n, q), color="0.35", ls="--", lw=1.2, label=label)
    ax.axvline(case.zero_error_bits, color="0.35", ls=":", lw=1)
    ax.annotate(  # S4, which is above the entropy where answers are not uniform
        f"needed for no error (S4): {case.zero_error_bits:.1f} bits", (case.zero_error_bits, 0.1), rotation=90,
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


def _draw_bottlenecks(ax: Axes, curve: BottleneckCurve, color: str) -> None:
    """Accuracy of the encoder-decoder pairs of exactly so many bits, with confidence bounds.

    No line joins them: between two sizes it would cross the forbidden region, where no machine is.
    """
    points = curve.by_bits
    at = [point.total_bits for point in points]
    estimate, lower, upper = (
        np.array([getattr(point.accuracy, name) for point in points]) for name in ("estimate", "lower", "upper")
    )
    ax.errorbar(
        at, estimate, yerr=[estimate - lower, upper - estimate], fmt="*", color=color, ms=9, mec="white", mew=0.5,
        capsize=2, zorder=5,
    )  # fmt: skip


def draw_window_panel(ax: Axes, task: AbstractTask, models: Sequence[MeasuredModel]) -> Axes:
    """Accuracy on the window-hard half against the tokens that the model sees; the ceiling is W2."""
    everything = task.window_case().seq_len
    draw_window_region(ax, task)
    looks = _looks(models)
    seen = [receptive_field(model.of_model.spec.windows) or everything for model in models]
    for i, (model, look) in enumerate(zip(models, looks, strict=True)):
        # Models that see everything would hide each other: they stand side by side, right of the edge.
        rank = sum(field >= everything for field in seen[:i])
        place = seen[i] if seen[i] < everything else everything * (1.03 + 0.16 * rank / len(models))
        _mark(ax, place, model.of_model.ladder.window_hard, look)
    return ax


def draw_window_region(ax: Axes, task: AbstractTask) -> Axes:
    """Draw what is impossible on the window-hard half, above W2, against the number of last tokens seen."""
    case = task.window_case()
    everything = case.seq_len
    fields = np.arange(1, everything + 1)
    ceiling = [window_accuracy_ceiling(case, int(field)) for field in fields]
    edge = everything * WINDOW_EDGE
    x, y = np.append(fields, edge), np.append(ceiling, 1.0)
    ax.fill_between(x, y, 1.05, step="post", color=FORBIDDEN, lw=0)
    ax.step(x, y, where="post", color="0.35", lw=1.2)
    ax.set_xlim(0, edge)
    set_reach_ticks(ax, everything)
    ax.set_xlabel("tokens that the last position sees")
    ax.set_ylabel("accuracy, window-hard half")
    return ax


def set_reach_ticks(ax: Axes, everything: int) -> None:
    """Whole numbers of tokens, each once, and the last said to be all."""
    ticks = sorted({int(tick) for tick in np.linspace(0, everything, 5).round() if tick > 0})
    ax.set_xticks(ticks, [*map(str, ticks[:-1]), f"all ({everything})"])


def draw(task: AbstractTask, models: Sequence[MeasuredModel]) -> Figure:
    """Both panels of one task as a figure."""
    with project_style():
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        state_ax, window_ax = figure.subplots(1, 2, width_ratios=[1.6, 1])
        draw_state_panel(state_ax, task, models)
        draw_window_panel(window_ax, task, models)
        for ax in (state_ax, window_ax):
            ax.set_ylim(0, 1.05)
        state_ax.set_title(f"Memory: {task.state_case().theorem.split(' (')[0]}")
        window_ax.set_title(f"Reach: {task.window_case().theorem.split(' (')[0]}")
        confidence = min((model.of_model.ladder.confidence for model in models), default=0.95)
        figure.suptitle(f"{task.name}: measured memory against the bound ({100 * confidence:.4g}% intervals per model)")
        handles, labels = state_ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def save(task: AbstractTask, models: Sequence[MeasuredModel], stem: Path) -> list[Path]:
    """Write the figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    return save_figure(draw(task, models), stem)


def _looks(models: Sequence[MeasuredModel]) -> list[dict[str, str]]:
    """One colour and marker per architecture, and a label for its first model."""
    architectures = [model.of_model.model.architecture for model in models]
    fixed, looks, labelled = looks_of({name: name for name in architectures}), [], set()
    for name in architectures:
        label = "_" if name in labelled else name
        labelled.add(name)
        looks.append({**fixed[name]._asdict(), "label": label})
    return looks


def _mark(ax: Axes, x: float, accuracy: Proportion, look: Mapping[str, str]) -> None:
    """A marker with the confidence bounds of its accuracy."""
    below, above = accuracy.estimate - accuracy.lower, accuracy.upper - accuracy.estimate
    ax.errorbar(
        x, accuracy.estimate, yerr=[[below], [above]], fmt=look["marker"], color=look["color"], ms=7,
        mec="white", mew=0.8, capsize=3, zorder=5, label=look["label"],
    )  # fmt: skip
