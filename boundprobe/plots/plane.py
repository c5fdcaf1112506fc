"""The trade-off plane: reach of the windows against bits of state, what D1 forbids in it, and trained models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from boundprobe.bottleneck.curve import BottleneckCurve
from boundprobe.bounds.diagonal.ceiling import frontier
from boundprobe.plots.figure import FORBIDDEN, project_style, save_figure
from boundprobe.plots.looks import kind_of, looks_of
from boundprobe.tasks.base import AbstractTask

#: Accuracy that models are marked at and the grey region forbids, and those of contour lines.
ACCURACY, CONTOURS = 0.9, (0.99, 0.5)
#: Height of hollow marks, of that of the axes.
HOLLOW = 0.96


@dataclass(frozen=True)
class PlanePoint:
    """A trained model in the plane.

    Attributes
    ----------
    architecture : str
    reach : int, in tokens
        Sum over layers of (window - 1), convolutions included.
    bits : int or None
        Least exact bits across the diagonal cut with which the accuracy was reached; None: with none that was tried.
    """

    architecture: str
    reach: int
    bits: int | None


def least_bits(curve: BottleneckCurve, accuracy: float) -> int | None:
    """Least bits of a curve whose mean accuracy over all answers is certainly so high; None if none is.

    Parameters
    ----------
    curve : BottleneckCurve
    accuracy : float
        Held against the lower confidence bound of ``BottleneckPoint.all_accuracy``.
    """
    return min((point.total_bits for point in curve.points if point.all_accuracy.lower >= accuracy), default=None)


def draw_plane(ax: Axes, task: AbstractTask, points: Sequence[PlanePoint], accuracy: float = ACCURACY) -> Axes:
    """Draw the plane of a task whose answers lie at known places.

    Parameters
    ----------
    ax : Axes
    task : AbstractTask
    points : sequence of PlanePoint
        Models at the least bits with which they reach ``accuracy``; those that never do are hollow, at the top.
    accuracy : float
        It is what the grey region forbids, so that no mark may lie in it.
    """
    case = task.state_case()
    assert case.places is not None  # frontier says so where it is wrong
    right = max([int(case.places.distances().max()) + 1, *(point.reach for point in points)])
    reaches = range(right + 1)
    top = 1.25 * max([case.entropy_bits, *(point.bits or 0 for point in points)])

    def needs(wanted: float) -> list[float]:
        return [point.required_bits for point in frontier(case, reaches, 1 - wanted)]

    ax.fill_between(reaches, needs(accuracy), color=FORBIDDEN, lw=0, zorder=0)
    middle = right / 5
    ax.annotate(
        f"impossible for any model:\naccuracy {accuracy:g} (D1)",
        (middle, 0.62 * float(np.interp(middle, reaches, needs(accuracy)))),
        ha="center", va="center", fontsize=8, color="0.3",
    )  # fmt: skip
    for wanted, style in zip(CONTOURS, ("--", ":"), strict=True):
        ax.plot(reaches, needs(wanted), style, color="0.35", lw=1, label=f"least bits for accuracy {wanted:g}")
    looks = looks_of({point.architecture: point.architecture for point in points})
    for name, (color, marker) in looks.items():
        own = [point for point in points if point.architecture == name]
        for filled in (True, False):
            shown = [point for point in own if (point.bits is not None) == filled]
            (marks,) = ax.plot(
                [point.reach for point in shown],
                [HOLLOW * top if point.bits is None else point.bits for point in shown],
                marker, color=color, mfc=color if filled else "none", ms=7, ls="none", clip_on=False, zorder=4,
            )  # fmt: skip
            marks.set_in_layout(False)  # their extent is another before the limits are final
        ax.plot([], [], marker, color=color, ms=7, ls="none", label=f"{kind_of(name)}: {name}")
    if any(point.bits is None for point in points):
        ax.plot([], [], "o", color="0.35", mfc="none", ms=7, ls="none", label=f"never reaches accuracy {accuracy:g}")
    ax.set_xlim(-0.3, right + 0.3)
    ax.set_ylim(0, top)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("reach D in tokens: sum of (window - 1)")
    ax.set_ylabel(f"bits across the diagonal cut\n(markers: least for accuracy {accuracy:g})")
    ax.set_title(f"{task.name}: window against state", fontsize=10)
    ax.legend(fontsize=8, loc="best", frameon=True, facecolor="white", edgecolor="none", framealpha=1)
    return ax


def save(task: AbstractTask, points: Sequence[PlanePoint], stem: Path, accuracy: float = ACCURACY) -> list[Path]:
    """Draw the plane; write ``stem``.png and ``stem``.svg."""
    with project_style():
        figure = Figure(figsize=(6.2, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        draw_plane(figure.subplots(), task, points, accuracy)
    return save_figure(figure, stem)
