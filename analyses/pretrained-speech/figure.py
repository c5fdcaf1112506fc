"""Certified bits of each sound in the state of a voice-activity detector, from the tables beside this file.

    python analyses/pretrained-speech/figure.py

Writes retention.png and retention.svg.
"""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from boundprobe.plots import project_style, save_figure

HERE = Path(__file__).parent
MOST_BITS, MARKERS = 3.0, "osD^"
Table = list[dict[str, float]]


def read(name: str) -> Table:
    """Rows of a table, its numbers as numbers."""
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if key != "decoder"} for row in csv.DictReader(file)]


def of_form(row: dict[str, float]) -> tuple[float, float]:
    """Duration of a row's sounds in chunks, and how many others come before."""
    return row["chunks"], row["n_before"]


def draw(ax: Axes, held: Table, settings: Table, form: tuple[float, float]) -> None:
    """One duration, and number of sounds before: certified bits by place, a line for each loudness."""
    chunks, n_before = form
    held, settings = ([row for row in table if of_form(row) == form] for table in (held, settings))
    louds = sorted({row["loudness_db"] for row in held})
    for loud, color, marker in zip(louds, mpl.cm.viridis(np.linspace(0.05, 0.85, len(louds))), MARKERS, strict=True):
        rows = [row for row in held if row["loudness_db"] == loud]
        (total,) = (row for row in settings if row["loudness_db"] == loud)
        ax.plot(
            [row["distance"] for row in rows], [row["certified_bits"] for row in rows], f"{marker}-", color=color, ms=5,
            lw=1, label=f"{loud:g} dB: {total['certified_bits']:.1f}",
        )  # fmt: skip
    ax.axhline(MOST_BITS, color="0.35", ls=":", lw=1)
    ax.invert_xaxis()
    ax.set_ylim(0, 3.3)
    ax.set_xlabel("sounds back from the end")
    after = f"{n_before:g} others" if n_before else "silence"
    ax.set_title(f"{32 * chunks:g} ms a sound,\nafter {after}", fontsize=10)
    ax.legend(
        fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), title="loudness: bits of all six, of 18",
        title_fontsize=8,
    )  # fmt: skip


def main() -> None:
    """Draw."""
    held, settings = read("retention.csv"), read("settings.csv")
    forms = list(dict.fromkeys(map(of_form, held)))
    with project_style():
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(forms), sharey=True)
        for ax, form in zip(axes, forms, strict=True):
            draw(ax, held, settings, form)
        axes[0].set_ylabel("certified bits of a sound, of 3")
    save_figure(figure, HERE / "retention")


if __name__ == "__main__":
    main()
