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
