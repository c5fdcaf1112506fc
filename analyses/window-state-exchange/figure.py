"""The trade-off plane with trained hybrids, and accuracy by distance, from the tables beside this file.

    python analyses/window-state-exchange/figure.py

Writes exchange.png and exchange.svg, and prints the verdict.
"""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import t

from boundprobe.plots import PlanePoint, draw_plane, project_style, save_figure
from boundprobe.tasks import AbstractTask, MultiQueryRecall, SelectiveCopying

HERE = Path(__file__).parent
TASKS: tuple[AbstractTask, ...] = (
    SelectiveCopying(n_numbers=4, n_letters=8, seq_len=24),
    MultiQueryRecall(n_pairs=4, n_keys=4, n_values=8, gap=4, seq_len=16),
)
#: Accuracy over all answers that marks stand for, and the state size whose models are drawn.
LEVELS, D_STATE = {"selective-copying": 0.8, "mqar": 0.7}, 8
Table = list[dict[str, float]]


def read(task: AbstractTask, name: str) -> Table:
    """Rows of a table as numbers."""
    with (HERE / task.name / name).open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def reaches(exchange: Table) -> dict[int, int]:
    """Reach of each window, in tokens, convolutions included."""
    return {int(row["window"]): int(row["lag"]) for row in exchange}


def plane_points(exchange: Table, level: float) -> list[PlanePoint]:
    """Least bits of each window with which the mean accuracy over all answers is certainly so high.

    Certain for each window by itself, at 95 per cent for its sizes together.
    """
    points = []
    for window, reach in sorted(reaches(exchange).items()):
        rows = [row for row in exchange if row["window"] == window and row["all_lower"] >= level]
        points.append(PlanePoint("mamba-attn", reach, min((int(row["bits"]) for row in rows), default=None)))
    return points


def gap(retention: Table, window: int, reach: int, d_state: int = D_STATE) -> tuple[float, float, float]:
    """Mean over seeds of accuracy within reach less accuracy beyond it, with a 95 % t-interval."""
    of = [row for row in retention if row["window"] == window and row["d_state"] == d_state]
    differences = []
    for seed in sorted({row["seed"] for row in of}):
        near = [row["accuracy"] for row in of if row["seed"] == seed and row["distance"] < reach]
        far = [row["accuracy"] for row in of if row["seed"] == seed and row["distance"] >= reach]
        differences.append(np.mean(near) - np.mean(far))
    mean, n = float(np.mean(differences)), len(differences)
    half = float(t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def draw_retention(ax: Axes, retention: Table, reach_of: dict[int, int]) -> None:
    """Accuracy of each answer by how far its token lies from the query; a line for each window."""
    colors = mpl.cm.viridis(np.linspace(0.1, 0.9, len(reach_of)))
    markers = "osD^v"
    for (window, reach), color, marker in zip(sorted(reach_of.items()), colors, markers, strict=True):
        of = [row for row in retention if row["window"] == window and row["d_state"] == D_STATE]
        distances = sorted({row["distance"] for row in of})
        by = [[row["accuracy"] for row in of if row["distance"] == distance] for distance in distances]
        means = [float(np.mean(each)) for each in by]
        ax.plot(distances, means, f"{marker}-", color=color, ms=5, lw=1, label=f"window {window}: reach {reach}")
        for distance, each in zip(distances, by, strict=True):
            ax.plot([distance, distance], [min(each), max(each)], color=color, lw=0.8, alpha=0.6)
    ax.set_xticks(distances)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("tokens between the answer's token and the query")
    ax.set_ylabel("accuracy (mean and range of 11 seeds)")
    ax.set_title("retention by distance", fontsize=10)
    ax.legend(fontsize=8, loc="lower left")


def main() -> None:
    """Draw, and print what it says."""
    with project_style():
        figure = Figure(figsize=(11, 8.8), layout="constrained")
        FigureCanvasAgg(figure)
        for task, (left, right) in zip(TASKS, figure.subplots(2, 2), strict=True):
            retention, exchange = read(task, "retention.csv"), read(task, "exchange.csv")
            reach_of, points = reaches(exchange), plane_points(exchange, LEVELS[task.name])
            draw_plane(left, task, points, LEVELS[task.name])
            draw_retention(right, retention, reach_of)
            print(task.name)
            for point in points:
                print(f"  reach {point.reach}: least bits {point.bits}")
            for window, reach in sorted(reach_of.items()):
                distances = {row["distance"] for row in retention}
                if any(d < reach for d in distances) and any(d >= reach for d in distances):
                    mean, low, high = gap(retention, window, reach)
                    print(f"  reach {reach}: accuracy within less beyond {mean:.3f} [{low:.3f}, {high:.3f}]")
    save_figure(figure, HERE / "exchange")


if __name__ == "__main__":
    main()
