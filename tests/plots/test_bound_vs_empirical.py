"""The figure: what is drawn where, and that it is drawn at all."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from boundprobe.bottleneck import MeasuredModel
from boundprobe.bounds import packing_accuracy_ceiling, window_accuracy_ceiling
from boundprobe.plots.bound_vs_empirical import draw, save, set_reach_ticks
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying, wrap_task
from tests.helpers.figures import assert_drawn_twice
from tests.helpers.ladders import model_ladder

TASKS = [SelectiveCopying(n_numbers=4, n_letters=4, seq_len=16), AssociativeRecallDecoding(word_bits=2, seq_len=12)]


def probe(architecture="attn", nominal=256, state_hard=0.5, window_hard=0.3, used=3.0):
    """A model as far as the figure reads it."""
    return MeasuredModel(
        model_ladder(architecture, nominal=nominal, state_hard=state_hard, window_hard=window_hard, low=used)
    )


PROBES = [
    probe(),
    probe("mamba-mamba", 512, 0.8, 0.9),
    probe("mamba-attn", 1024, 0.9, 0.95, used=0.0),
    probe("mamba-attn", 1024, 0.85, 0.9),
]


def bars(ax):
    """Marker, place and limits of each model."""
    return [
        (bar[0].get_marker(), float(bar[0].get_xdata()[0]), bar[2][0].get_segments()[0][:, 1].tolist())
        for bar in ax.containers
    ]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_two_panels_with_every_model_in_both(task):
    figure = draw(task, PROBES)
    state_ax, window_ax = figure.axes
    assert task.name in figure.get_suptitle()
    for ax, half in ((state_ax, "state-hard"), (window_ax, "window-hard")):
        assert half in ax.get_ylabel()
        assert ax.get_xlabel()
        assert ax.get_title()
        assert ax.get_ylim() == (0, 1.05)
        drawn = bars(ax)
        assert len(drawn) == len(PROBES)
        for (_, _, limits), model in zip(drawn, PROBES, strict=True):
            ladder = model.of_model.ladder
            accuracy = ladder.state_hard if half == "state-hard" else ladder.window_hard
            assert limits == pytest.approx([accuracy.lower, accuracy.upper])
        markers = [marker for marker, _, _ in drawn]
        assert markers[2] == markers[3]  # one architecture, one look
        assert len(set(markers)) == 3
    assert [x for _, x, _ in bars(state_ax)] == [256, 512, 1024, 1024]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_forbidden_region_begins_at_the_ceiling(task):
    state_ax, window_ax = draw(task, PROBES).axes
    case = task.state_case()
    for ax, ceiling in (
        (state_ax, lambda x: packing_accuracy_ceiling(x, case.n_answers, case.n_values)),
        (window_ax, lambda x: window_accuracy_ceiling(task.window_case(), int(x))),
    ):
        (region,) = ax.collections[:1]
        vertices = region.get_paths()[0].vertices
        inside = vertices[(vertices[:, 1] < 1.05) & (vertices[:, 0] < task.window_case().seq_len)]
        assert len(inside) > 5
        for x in np.unique(inside[:, 0]):
            assert min(abs(inside[inside[:, 0] == x, 1] - ceiling(x))) < 1e-9


def test_windows_stand_at_their_receptive_field_and_recurrent_models_side_by_side():
    task = TASKS[0]
    _, window_ax = draw(task, PROBES).axes
    places = [x for _, x, _ in bars(window_ax)]
    assert places[0] == 5
    assert all(place > task.seq_len for place in places[1:])
    assert len(set(places)) == len(places)
    assert max(places) < window_ax.get_xlim()[1]


def test_the_legend_names_each_architecture_once():
    figure = draw(TASKS[0], PROBES)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert [name for name in names if "attn" in name or "mamba" in name] == ["attn", "mamba-mamba", "mamba-attn"]
    assert any("forbidden" in name for name in names)
    assert not any(name.startswith("_") for name in names)


def test_no_error_is_marked_at_s4():
    """Where answers are not uniform it is above their entropy."""

    class Largest:
        def prefixes(self):
            return [(a, b) for a in range(4) for b in range(4)]

        def queries(self):
            return [(4,), (5,)]

        def answer(self, prefix, query):
            return max(prefix) if query == (4,) else prefix[0]

    task = wrap_task(Largest())
    case = task.state_case()
    assert case.zero_error_bits > case.entropy_bits + 0.1
    state_ax = draw(task, PROBES).axes[0]
    assert any(line.get_xdata()[0] == case.zero_error_bits for line in state_ax.lines if len(line.get_xdata()) == 2)
    (said,) = (text.get_text() for text in state_ax.texts)
    assert said == f"needed for no error (S4): {case.zero_error_bits:.1f} bits"


@pytest.mark.parametrize("everything", [1, 2, 3, 4, 7, 100])
def test_ticks_of_reach_are_whole_numbers_each_once(everything):
    ax = Figure().subplots()
    set_reach_ticks(ax, everything)
    places, labels = ax.get_xticks().tolist(), [label.get_text() for label in ax.get_xticklabels()]
    assert places == sorted(set(map(int, places)))
    assert labels == [*(str(int(place)) for place in places[:-1]), f"all ({everything})"]


def test_the_legend_says_what_triangles_are_and_the_title_what_intervals_are_for():
    figure = draw(TASKS[0], PROBES)
    assert "95% intervals per model" in figure.get_suptitle()
    assert any("height has no meaning" in text.get_text() for text in figure.legends[0].get_texts())


def test_no_models_is_a_figure_of_the_bounds_alone():
    figure = draw(TASKS[0], [])
    assert [bars(ax) for ax in figure.axes] == [[], []]


def test_all_is_inside_the_axes():
    """At the ends: nothing used, no error, no limits."""
    extreme = [probe(nominal=1, state_hard=0.05, window_hard=0.05, used=0.0), probe("mamba", 10**6, 0.96, 0.96)]
    for ax in draw(TASKS[0], extreme).axes:
        left, right = ax.get_xlim()
        for _, x, _ in bars(ax):
            assert left <= x <= right


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_it_is_rendered_without_a_warning_and_the_same_twice(task, tmp_path):
    assert_drawn_twice(lambda stem: save(task, PROBES, stem), tmp_path, 900, (0.35, 0.6))
