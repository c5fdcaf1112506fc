"""Draws coverage.csv: violations of every method beside what it is allowed, and how near certificates are to the truth.

    python analyses/coverage/figure.py [--table coverage.csv] [--out FOLDER]

Writes coverage.png.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from boundprobe.plots import project_style, save_figure
from boundprobe.runs import write_whole

HERE = Path(__file__).parent
LIMITS = {
    "betting": ("#0072B2", "betting"),
    "empirical-bernstein": ("#009E73", "empirical Bernstein"),
    "clopper-pearson": ("#CC79A7", "Clopper-Pearson, per answer"),
    "chernoff-kl": ("#E69F00", "Chernoff, kl"),
    "hoeffding": ("#56B4E9", "Hoeffding"),
}
CONTROL = "#D55E00"
MOST_VIOLATIONS = 131
EXPECTED = 100  # of 2,000 at alpha = 0.05, by a limit that wastes nothing
#: statistics.md, "Reference figures": medians at N = 200, 1,000, 5,000.
REFERENCE = {
    "betting": (48.7, 50.4, 50.7),
    "empirical-bernstein": (44.8, 49.3, 50.4),
    "clopper-pearson": (43.5, 47.9, 49.6),
    "hoeffding": (41.8, 46.7, 49.0),
}
REFERENCE_CHANNEL = "storage 16x16, kept 0.9"
Line = dict[str, str]


def names_of(lines: list[Line]) -> list[str]:
    """What each line is counted under: its channel, or what is certified of it."""
    special = {"control": "{form}", "joint": "{form}, {channel}"}
    return [special.get(line["kind"], "{channel}").format(**line) for line in lines]


def draw_violations(ax: Axes, lines: list[Line]) -> None:
    """Violations by channel: filled against the population, open against the truth."""
    counted = [line for line in lines if line["kind"] != "tightness"]
    named = names_of(counted)
    order = list(dict.fromkeys(named))
    for line, name in zip(counted, named, strict=True):
        y = order.index(name)
        control = line["kind"] == "control"
        color = CONTROL if control else LIMITS[line["limit"]][0]
        # Forms side by side, in the order of the table.
        forms = ("tangent-fano", "fano", "cross-entropy")
        shift = 0.22 * (forms.index(line["form"]) - 1) if line["form"] in forms else 0.0
        for column, filled in (("above_population", True), ("above_truth", False)):
            count = int(line[column])
            if count >= 0:
                ax.plot(
                    count, y + shift, "D" if control else "o", ms=4.5 if control else 3.5, mew=0.9, color=color,
                    mfc=color if filled else "none", clip_on=False, zorder=3 if filled else 2,
                )  # fmt: skip
                if not control:  # one violation more than this fails
                    allowed = int(line["allowed_" + column.removeprefix("above_")])
                    ax.plot(allowed + 0.5, y + shift, "|", ms=5, mew=0.9, color=color, alpha=0.5, zorder=1)
    ax.axvline(MOST_VIOLATIONS, color="0.2", lw=1.2)
    ax.axvline(EXPECTED, color="0.6", lw=0.9, ls=":")
    ax.annotate(
        "131: the most of any", (MOST_VIOLATIONS, -1), (4, 0), textcoords="offset points", fontsize=8, va="center"
    )
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(-0.6, 2000)
    ax.set_xticks([0, 5, 10, 30, 100, 300, 2000], ["0", "5", "10", "30", "100", "300", "2,000"])
    ax.set_yticks(range(len(order)), order, fontsize=8)
    ax.set_ylim(len(order) - 0.4, -1.5)
    ax.grid(axis="y", color="0.93", lw=0.7)
    ax.set_axisbelow(True)
    ax.set_xlabel("violations in 2,000 repetitions at alpha = 0.05")
    handles = [Line2D([], [], ls="", marker="o", ms=4, color=color, label=label) for color, label in LIMITS.values()]
    handles += [
        Line2D([], [], ls="", marker="D", ms=4.5, color=CONTROL, label="not valid: must fail"),
        Line2D([], [], ls="", marker="o", ms=4, color="0.3", label="filled: decoder's own value"),
        Line2D([], [], ls="", marker="o", ms=4, color="0.3", mfc="none", label="open: true information"),
        Line2D([], [], ls="", marker="|", ms=5, color="0.3", label="more than this fails"),
    ]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.35, 1.0), ncols=3, columnspacing=1.0)


def draw_tightness(ax: Axes, lines: list[Line]) -> None:
    """Median certified share of the truth against N, for each limit; crosses are the reference figures."""
    mine = [
        line
        for line in lines
        if (line["kind"], line["channel"], line["sampling"]) == ("method", REFERENCE_CHANNEL, "population")
        and line["form"] != "cross-entropy"
    ]
    truth = float(mine[0]["truth_bits"])
    for limit, (color, label) in LIMITS.items():
        points = sorted(
            (int(line["n_sequences"]), float(line["median_bits"])) for line in mine if line["limit"] == limit
        )
        ax.plot(
            [n for n, _ in points], [100 * bits / truth for _, bits in points], "o-", ms=4, color=color, label=label
        )
        if limit in REFERENCE:
            ax.plot((200, 1000, 5000), [100 * b / truth for b in REFERENCE[limit]], "x", ms=7, color=color, mew=1.2)
    ax.axhline(100, color="0.2", lw=1)
    ax.set_xscale("log")
    ax.set_xticks([200, 500, 1000, 2000, 5000], ["200", "500", "1,000", "2,000", "5,000"])
    ax.minorticks_off()
    ax.set_xlabel("evaluation sequences, N")
    ax.set_ylabel("median certified, per cent of the truth")
    ax.set_title(f"{REFERENCE_CHANNEL}: {truth:.2f} of 64 bits\n(crosses: reference figures)", fontsize=10)
    ax.legend(loc="lower right")


def draw(lines: list[Line]) -> Figure:
    """Both panels."""
    with project_style():
        figure = Figure(figsize=(12.5, 12.5), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1.0])
        draw_violations(left, lines)
        draw_tightness(right, lines)
    return figure


def main() -> None:
    """Read the table, write the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, default=HERE / "coverage.csv")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    with arguments.table.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder:
        png, _ = save_figure(draw(lines), Path(folder) / "coverage")
        picture = png.read_bytes()
    write_whole(arguments.out / "coverage.png", lambda path: path.write_bytes(picture))


if __name__ == "__main__":
    main()
