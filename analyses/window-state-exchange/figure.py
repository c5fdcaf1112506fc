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
from boundprobe.tasks import SelectiveCopying

HERE = Path(__file__).parent
TASK = SelectiveCopying(n_numbers=4, n_letters=8, seq_len=24)
N_ANSWERS, LEVEL, D_STATE = 4, 0.85, 8
Table = list[dict[str, float]]


def read(name: str) -> Table:
    """Rows of a table as numbers."""
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def plane_points(exchange: Table, level: float = LEVEL) -> list[PlanePoint]:
    """Least bits of each window with which the mean accuracy over all answers is so high.

    Far answers by their lower bound (95 per cent for the bottlenecks of a window), near ones by their estimate.
    """
    points = []
    for window in sorted({row["window"] for row in exchange}):
        rows = [row for row in exchange if row["window"] == window]
        reached = [
            int(row["bits"])
            for row in rows
            if (row["far_answers"] * row["far_lower"] + (N_ANSWERS - row["far_answers"]) * row["near_accuracy"])
            >= level * N_ANSWERS
        ]
        points.append(PlanePoint("mamba-attn", int(window) - 1, min(reached, default=None)))
    return points


def gap(retention: Table, window: int, d_state: int = D_STATE) -> tuple[float, float, float]:
    """Mean over seeds of accuracy within the window less accuracy beyond it, with a 95 % t-interval."""
    of = [row for row in retention if row["window"] == window and row["d_state"] == d_state]
    differences = []
    for seed in sorted({row["seed"] for row in of}):
        near = [row["accuracy"] for row in of if row["seed"] == seed and row["distance"] < window - 1]
        far = [row["accuracy"] for row in of if row["seed"] == seed and row["distance"] >= window - 1]
        differences.append(np.mean(near) - np.mean(far))
    mean, n = float(np.mean(differences)), len(differences)
    half = float(t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def draw_retention(ax: Axes, retention: Table) -> None:
    """Accuracy of each answer by how far its token lies from the query; a line for each window."""
    colors = mpl.cm.viridis(np.linspace(0.1, 0.9, 5))
    for window, color in zip(range(1, 6), colors, strict=True):
        of = [row for row in retention if row["window"] == window and row["d_state"] == D_STATE]
        if not of:
            continue
        distances = range(N_ANSWERS)
        by = [[row["accuracy"] for row in of if row["distance"] == distance] for distance in distances]
        means = [float(np.mean(each)) for each in by]
        ax.plot(distances, means, "o-", color=color, ms=5, lw=1, label=f"window {window}: sees {window - 1}")
        for distance, each in zip(distances, by, strict=True):
            ax.plot([distance, distance], [min(each), max(each)], color=color, lw=0.8, alpha=0.6)
    ax.set_xticks(range(N_ANSWERS))
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("tokens between the answer's token and the query")
    ax.set_ylabel("accuracy (mean and range of 11 seeds)")
    ax.set_title("retention by distance", fontsize=10)
    ax.legend(fontsize=8, loc="lower left")


def main() -> None:
    """Draw, and print what it says."""
    retention, exchange = read("retention.csv"), read("exchange.csv")
    with project_style():
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        draw_plane(left, TASK, plane_points(exchange), LEVEL)
        draw_retention(right, retention)
    save_figure(figure, HERE / "exchange")
    for window in range(2, 5):
        mean, low, high = gap(retention, window)
        print(f"window {window}: accuracy within less beyond {mean:.3f} [{low:.3f}, {high:.3f}]")
    for point in plane_points(exchange):
        print(f"reach {point.reach}: least bits {point.bits}")


if __name__ == "__main__":
    main()
