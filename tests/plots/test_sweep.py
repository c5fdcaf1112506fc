"""The figure of a sweep: marks where the rows say, and nothing in the forbidden region that no row has put there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from boundprobe.bounds import fano_accuracy_ceiling, packing_accuracy_ceiling, window_accuracy_ceiling
from boundprobe.plots.figure import FORBIDDEN
from boundprobe.plots.sweep import draw, save
from boundprobe.tasks import AbstractTask, AssociativeRecallDecoding, PositionRetrieval, SelectiveCopying
from tests.helpers.figures import assert_drawn_twice

COPYING = SelectiveCopying(n_numbers=4, n_letters=4, seq_len=16)
TASKS = [COPYING, AssociativeRecallDecoding(word_bits=2, seq_len=12), PositionRetrieval(seq_len=6)]
N_SEEDS = 5


def run(
    run_id: str,
    architecture: str = "attn",
    *,
    n_params: int = 1000,
    bits: tuple[int, int, int] = (0, 0, 256),
    reach: int | None = 5,
    accuracies: Sequence[float] = (0.2, 0.4, 0.5, 0.55, 0.6),
    **settings: Any,
) -> list[dict[str, Any]]:
    """Rows of one run, as far as the figure reads them; the halves' accuracies are told apart by a factor."""
    return [
        {
            "architecture": architecture,
            **settings,
            "run_id": run_id,
            "seed_index": i,
            "n_params": n_params,
            **dict(zip(("recurrent_bits", "conv_bits", "cache_bits"), bits, strict=True)),
            "receptive_field": reach,
            "accuracy": accuracy,
            "accuracy_state-hard": accuracy * 0.9,
            "accuracy_window-hard": accuracy * 0.5,
        }
        for i, accuracy in enumerate(accuracies)
    ]


#: Two architectures and three sizes; what sees everything has no receptive field.
ROWS = [
    *run("a", n_params=1000),
    *run("b", n_params=4000, bits=(0, 0, 1024), reach=9, accuracies=(0.6, 0.7, 0.7, 0.8, 0.95)),
    *run("c", "mamba-attn", n_params=2000, bits=(512, 64, 128), reach=None, accuracies=(0.9, 0.1, 1.0, 1.0, 1.0)),
    *run("d", "mamba-attn", n_params=9000, bits=(2048, 64, 128), reach=None, accuracies=(1.0, 1.0, 1.0, 1.0, 1.0)),
]
PANELS = {"accuracy": 0, "accuracy_state-hard": 1, "accuracy_window-hard": 2}


def runs_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each run."""
    return {name: [row for row in rows if row["run_id"] == name] for name in dict.fromkeys(r["run_id"] for r in rows)}


def dots(ax: Axes) -> list[tuple[float, list[float]]]:
    """Place and values of the seeds of each run."""
    lines = [line for line in ax.lines if line.get_marker() == "."]
    assert all(len(set(line.get_xdata())) == 1 for line in lines)
    return [(float(line.get_xdata()[0]), list(line.get_ydata())) for line in lines]


def means(ax: Axes) -> dict[str, list[tuple[float, float]]]:
    """Places and means of the runs of each series."""
    lines = [line for line in ax.lines if line.get_marker() not in (".", "None", "")]
    return {line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in lines}


def bars(ax: Axes) -> dict[float, tuple[float, float]]:
    """Ends of the bar at each place."""
    found = {}
    for collection in ax.collections:
        for segment in getattr(collection, "get_segments", list)():
            (x, low), (_, high) = segment
            found[float(x)] = (float(low), float(high))
    return found


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_seed_mean_and_percentile_is_where_the_rows_say(task: AbstractTask) -> None:
    axes = draw(task, ROWS).axes
    assert len(axes) == 3
    for column, i in PANELS.items():
        ax = axes[i]
        expected = {name: [row[column] for row in rows] for name, rows in runs_of(ROWS).items()}
        assert sorted(values for _, values in dots(ax)) == sorted(expected.values())
        series = means(ax)
        assert list(series) == ["attn", "mamba-attn"]
        drawn = [mean for points in series.values() for _, mean in points]
        assert sorted(drawn) == pytest.approx(sorted(np.mean(values) for values in expected.values()))
        limits = [np.percentile(values, (10, 90)) for values in expected.values()]
        np.testing.assert_allclose(sorted(bars(ax).values()), sorted(limits, key=tuple), rtol=1e-12)
        # Bars, means and seeds of a run stand above each other.
        places = {x for x, _ in dots(ax)}
        assert places == set(bars(ax)) == {x for points in series.values() for x, _ in points}
        assert len(places) == 4
    sizes = [x for x, _ in dots(axes[0])]
    assert sorted(sizes) == [1000, 2000, 4000, 9000]
    assert {x: values for x, values in dots(axes[0])}[2000] == [0.9, 0.1, 1.0, 1.0, 1.0]
    # The whole state counts, of whatever kind it is.
    assert sorted(x for x, _ in dots(axes[1])) == [256, 512 + 64 + 128, 1024, 2048 + 64 + 128]


def test_windows_stand_at_their_reach_and_what_sees_everything_right_of_the_edge() -> None:
    ax = draw(COPYING, [*ROWS, *run("e", "gru", reach=COPYING.seq_len)]).axes[2]
    series = means(ax)
    assert [x for x, _ in series["attn"]] == [5, 9]
    right = [x for name in ("mamba-attn", "gru") for x, _ in series[name]]
    assert len(set(right)) == 3
    assert all(COPYING.seq_len < x < ax.get_xlim()[1] for x in right)
    assert right == sorted(right)


# the forbidden region


def ceiling(task: AbstractTask, panel: int, x: float) -> float:
    """The best accuracy at a place, from the theorems; 1 where a model sees everything."""
    if panel == 2:
        seen = int(x + 1e-6)  # of places that were on the screen and back
        return window_accuracy_ceiling(task.window_case(), seen) if seen < task.window_case().seq_len else 1.0
    case = task.state_case()
    if case.independent_uniform:
        return float(packing_accuracy_ceiling(np.array([x]), case.n_answers, case.n_values)[0])
    return float(fano_accuracy_ceiling(np.array([x]), case.entropy_bits, case.n_answers, case.n_values)[0])


def points_between(ax: Axes, line: Any) -> list[tuple[float, float]]:
    """Where the ink of a line is: its marks, and what joins them, straight on the screen."""
    data = np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float)
    if line.get_linestyle() in ("None", "none", " ", ""):
        return [(float(x), float(y)) for x, y in data]
    on_screen = ax.transData.transform(data)
    steps = np.linspace(0, 1, 101)[:, None]
    pieces = [a + steps * (b - a) for a, b in pairwise(on_screen)]
    found = ax.transData.inverted().transform(np.concatenate([*pieces, on_screen]))
    return [(float(x), float(y)) for x, y in found]


def ink_above_the_ceiling(task: AbstractTask, rows: Sequence[dict[str, Any]]) -> list[tuple[int, float, float]]:
    """Panel and place of all that is drawn for the rows where no machine can be."""
    figure = draw(task, rows)
    figure.canvas.draw()
    found = []
    for panel in (1, 2):
        ax = figure.axes[panel]
        for line in ax.lines:
            if line.get_marker() in ("None", ""):
                continue  # the ceiling itself, and what anyone can build
            found += [(panel, x, y) for x, y in points_between(ax, line) if y > ceiling(task, panel, x) + 1e-6]
        for x, (_, high) in bars(ax).items():
            found += [(panel, x, high)] if high > ceiling(task, panel, x) + 1e-6 else []
    return found


def possible_rows(task: AbstractTask) -> list[dict[str, Any]]:
    """Runs at the ceiling of both panels, from a few bits to many and from a short reach to all."""
    rows, everything = [], task.window_case().seq_len
    seen = [2, everything // 2, everything - 1, None]
    for i, (bits, reach) in enumerate(zip((1, 2, 5, 4096), seen, strict=True)):
        own = run(str(i), n_params=1000 * (i + 1), bits=(bits, 0, 0), reach=reach)
        for j, row in enumerate(own):
            worse = 1 - 0.05 * j
            row["accuracy_state-hard"] = worse * ceiling(task, 1, bits)
            row["accuracy_window-hard"] = worse * ceiling(task, 2, reach or everything)
        rows += own
    return rows


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_marks_of_what_is_possible_are_outside_the_forbidden_region(task: AbstractTask) -> None:
    """Where each run is a series of its own, so that no line joins them."""
    apart = [row | {"architecture": f"model {row['run_id']}"} for row in possible_rows(task)]
    assert ink_above_the_ceiling(task, apart) == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_nothing_is_drawn_in_the_forbidden_region_that_is_not_in_the_rows(task: AbstractTask) -> None:
    """No line from one possible model to another may go where none is."""
    assert ink_above_the_ceiling(task, possible_rows(task)) == []


def test_a_violation_is_drawn_where_it_is() -> None:
    """The negative control, and no figure hides one: a row in the forbidden region is a mark in it."""
    rows = possible_rows(COPYING)
    rows[0]["accuracy_state-hard"] = rows[0]["accuracy_window-hard"] = 1.0
    found = ink_above_the_ceiling(COPYING, rows)
    assert (1, 1.0, 1.0) in found
    assert (2, 2.0, 1.0) in found


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_region_is_that_of_the_theorems(task: AbstractTask) -> None:
    for panel in (1, 2):
        ax = draw(task, ROWS).axes[panel]
        (region,) = (c for c in ax.collections if to_rgba(FORBIDDEN) in map(tuple, c.get_facecolor()))
        vertices = region.get_paths()[0].vertices
        inside = vertices[(vertices[:, 1] < 1.05) & (vertices[:, 0] < task.window_case().seq_len)]
        assert len(inside) > 5
        for x in np.unique(inside[:, 0]):
            assert min(abs(inside[inside[:, 0] == x, 1] - ceiling(task, panel, x))) < 1e-9


# how it looks


def test_series_are_told_apart_by_what_is_no_size() -> None:
    """Sizes of a model go along the axes; other settings make series."""
    rows = [
        *run("a", **{"train.weight_decay": 0.0, "model.d_model": 8}),
        *run("b", **{"train.weight_decay": 0.1, "model.d_model": 8}),
        *run("c", n_params=2000, **{"train.weight_decay": 0.1, "model.d_model": 16}),
    ]
    figure = draw(COPYING, rows)
    assert {name: len(points) for name, points in means(figure.axes[0]).items()} == {
        "attn, weight_decay 0.0": 1, "attn, weight_decay 0.1": 2,
    }  # fmt: skip
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert [name for name in names if name.startswith("attn")] == ["attn, weight_decay 0.0", "attn, weight_decay 0.1"]
    assert any("forbidden" in name for name in names)
    assert len(names) == len(set(names))


def test_the_title_says_how_many_seeds() -> None:
    assert f"mean over {N_SEEDS} seeds, 10th to 90th percentile" in draw(COPYING, ROWS).get_suptitle()
    mixed = [*ROWS, *run("e", accuracies=(0.5, 0.6))]
    assert f"mean over 2 to {N_SEEDS} seeds" in draw(COPYING, mixed).get_suptitle()


def test_all_is_inside_the_axes() -> None:
    """At the ends: nothing right and all right, a bit and millions, one token and all."""
    rows = [
        *run("a", n_params=10, bits=(1, 0, 0), reach=1, accuracies=(0.0,)),
        *run("b", n_params=10**8, bits=(10**7, 0, 0), reach=None, accuracies=(1.0,)),
    ]
    for ax in draw(COPYING, rows).axes:
        left, right = ax.get_xlim()
        bottom, top = ax.get_ylim()
        for x, values in dots(ax):
            assert left <= x <= right
            assert all(bottom <= value <= top for value in values)


def test_many_series_have_looks_enough(tmp_path: Path) -> None:
    """More series than colours: it is drawn all the same."""
    rows = [row for i in range(14) for row in run(str(i), f"model{i}", n_params=100 * (i + 1), reach=None)]
    save(COPYING, rows, tmp_path / "many")
    assert len(means(draw(COPYING, rows).axes[0])) == 14


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]], ids=["a sweep", "one seed of one run"])
def test_the_same_rows_are_the_same_bytes(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    assert_drawn_twice(lambda stem: save(COPYING, rows, stem), tmp_path, 1200, (0.25, 0.5))


def test_other_rows_are_another_figure(tmp_path: Path) -> None:
    """The negative control of the bytes."""
    changed = [ROWS[0] | {"accuracy": 0.21}, *ROWS[1:]]
    one, other = (save(COPYING, rows, tmp_path / stem) for rows, stem in ((ROWS, "a"), (changed, "b")))
    assert one[1].read_bytes() != other[1].read_bytes()
