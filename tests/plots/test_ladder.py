"""The figure of the ladder: every model in its row, and nothing that was not measured."""

import warnings

import matplotlib.image
import pytest

from boundprobe.plots.ladder import LEFT_BITS, MOST_ROWS, RUNGS, draw, rungs, save
from tests.helpers.ladders import model_ladder as probe


def marks(figure, name):
    """Places (bits, row) of one rung."""
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == RUNGS[name][-1]]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_every_rung_is_where_its_number_is():
    probes = [probe(), probe("attn", 1, low=5.0, needed=30)]
    figure = draw(probes)
    for name in RUNGS:
        drawn = marks(figure, name)
        assert [bits for bits, _ in drawn] == [rungs(model.ladder)[name] for model in probes]
        assert [round(row) for _, row in drawn] == [0, 1]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mamba\nseed 0", "attn\nseed 1"]
    assert "own task" in figure.get_suptitle()
    assert "95%" in figure.get_suptitle()


def test_what_was_not_measured_is_not_drawn():
    figure = draw([probe(states=None, needed=None), probe(seed=1)])
    assert [round(row) for _, row in marks(figure, "states")] == [1]
    assert [round(row) for _, row in marks(figure, "needed")] == [1]


def test_numbers_off_the_axis_stand_at_its_end():
    figure = draw([probe(low=0.0)])
    assert marks(figure, "used")[0][0] == LEFT_BITS
    left, right = figure.axes[0].get_xlim()
    for name in RUNGS:
        assert all(left <= bits <= right for bits, _ in marks(figure, name))


def test_marks_at_the_left_end_are_inside_the_axes():
    figure = draw([probe(required=(0.0, 0.1), low=0.0)])
    assert figure.axes[0].get_xlim()[0] < LEFT_BITS


def test_the_legend_has_what_is_drawn_and_no_more():
    def names(models):
        (legend,) = draw(models).legends
        return " ".join(text.get_text() for text in legend.get_texts())

    assert "states" not in names([probe(states=None)])
    assert "needed" not in names([probe(needed=None)])
    assert "states" in names([probe(states=None), probe()])


@pytest.mark.parametrize("low", [3.0, 12.0])
def test_the_name_of_a_layer_is_in_front_of_the_line_of_the_entropy(low):
    panel = draw([probe(low=low)]).axes[1]
    (text,) = (text for text in panel.texts if text.get_text() == "layer 0")
    assert text.get_bbox_patch() is not None
    assert text.get_zorder() > max(line.get_zorder() for line in panel.lines)


def test_panels_fill_the_figure_with_and_without_retention():
    for groups in (0, 4):
        figure = draw([probe(groups=groups, states=None), probe("attn", 1, groups=groups, states=None)])
        figure.draw_without_rendering()
        left, bottom, _, _ = figure.axes[0].get_position().bounds
        assert left < 0.1
        assert bottom < 0.3


def test_required_names_the_theorems_that_hold():
    from dataclasses import replace

    model = probe()
    required = replace(model.ladder.required, theorem="S1")
    legend = draw([replace(model, ladder=replace(model.ladder, required=required))]).legends[0]
    assert "required at the measured error (S1)" in [text.get_text() for text in legend.get_texts()]


def test_many_models_are_cut_off_and_it_is_said():
    figure = draw([probe(seed=i) for i in range(30)])
    assert len(marks(figure, "used")) == MOST_ROWS == 24
    assert "24 of 30 models" in figure.get_suptitle()
    assert "of 24 models" not in draw([probe(seed=i) for i in range(24)]).get_suptitle()


@pytest.mark.parametrize(("groups", "n_panels"), [((4, 4), 3), ((4, 0), 2), ((0, 0), 2), ((4, 40), 3)])
def test_retention_is_shown_where_every_model_has_it(groups, n_panels):
    figure = draw([probe(groups=n, seed=n) for n in groups])
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert len(panels) == n_panels


@pytest.mark.parametrize(
    "probes",
    [
        [probe()],
        [probe(kinds=("recurrent", "conv", "cache") * 4)],
        [probe(kinds=())],
        [probe(kinds=(), nominal=0, low=0.0, states=None, needed=0)],
        [probe(nominal=10**9)],
        [probe(groups=60)],
        [probe(groups=1)],
        [probe(states=None, groups=0, needed=None)],
    ],
    ids=["one", "12 parts", "no part", "no state", "wide", "60 groups", "1 group", "little"],
)
def test_it_is_rendered_without_a_warning(probes, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png, svg = save(probes, tmp_path / "ladder")
    height, width, _ = matplotlib.image.imread(png).shape
    assert width > 900
    assert 0.1 < height / width < 2
    assert "</svg>" in svg.read_text()


def test_it_is_the_same_twice(tmp_path):
    first, again = (save([probe(), probe("attn", 1)], tmp_path / stem) for stem in ("a", "b"))
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
