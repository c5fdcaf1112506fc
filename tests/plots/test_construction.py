"""The figure of a construction: its lines are its formulas, its regions the bounds, and it is the same twice."""

import numpy as np
import pytest

from boundprobe.constructions import SCALES, scaling_row
from boundprobe.plots.construction import LONGEST, draw, save
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying
from tests.helpers.figures import assert_drawn_twice

COPYING, RECALL = SelectiveCopying(), AssociativeRecallDecoding()


def document(architecture, position="learned", n_layers=2, recurrent=4):
    """A document of ``construct``, as far as the figure reads it."""
    return {
        "theorem": "Theorem",
        "model": {"architecture": architecture, "position": position},
        "n_layers": n_layers,
        "memory": {
            "nominal": {"recurrent_bits": 384, "cache_bits": 7680},
            "rounded": {"recurrent_bits": recurrent, "cache_bits": 60},
        },
    }


CASES = [
    (COPYING, document("mamba-attn")),
    (COPYING, document("mamba-attn", "rope")),
    (RECALL, document("ssm-attn")),
    (RECALL, document("ssm-attn-attn", n_layers=3, recurrent=0)),
]
each_case = pytest.mark.parametrize(
    ("task", "found"), CASES, ids=["copying", "copying, rope", "recall", "three layers"]
)


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """Angles of large sizes take a quarter of a second each."""
    monkeypatch.setattr("boundprobe.plots.construction.POINTS_PER_DECADE", 2)


def lines(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


@each_case
def test_lines_are_the_formulas(task, found):
    window_of = next(iter(SCALES[type(task)].windows.values()))
    scale = SCALES[type(task)]
    for ax, size, length in zip(draw(task, found).axes, (None, scale.sizes[2]), (10_000, LONGEST), strict=True):
        grown = scale.of_size(task, size or scale.size_of(task), length)
        row = scaling_row(grown, found["model"]["position"], found["n_layers"], window_of(grown))
        drawn = lines(ax)
        caches = [line for label, line in drawn.items() if label.startswith("cache of the hybrid")]
        (cache,) = (line for line in caches if line.get_linestyle() == "-")
        for line, bits in ((cache, row.cache_bits), (drawn["recurrent state of the hybrid"], row.recurrent_bits)):
            x, y = line.get_data()
            assert y[list(x).index(size or length)] == bits


@each_case
def test_regions_are_the_bounds(task, found):
    length_ax, size_ax = draw(task, found).axes
    for ax, needed in (
        (length_ax, lambda x: x - 1),
        (size_ax, lambda x: SCALES[type(task)].of_size(task, int(x), LONGEST).state_case().zero_error_bits),
    ):
        (region,) = ax.collections
        vertices = region.get_paths()[0].vertices
        top = vertices[vertices[:, 1] > 0.6]
        assert len(top) > 5
        for x in np.unique(top[:, 0]):
            assert min(abs(top[top[:, 0] == x, 1] / needed(x) - 1)) < 1e-9


@each_case
def test_the_built_model_is_marked_by_kind(task, found):
    drawn = lines(draw(task, found).axes[0])
    for kind in ("cache", "recurrent state"):
        for how, memory in (("float32 tensors", "nominal"), ("rounded and run", "rounded")):
            bits = found["memory"][memory]["cache_bits" if kind == "cache" else "recurrent_bits"]
            label = f"{kind}, built: {how}"
            assert (label in drawn) == (bits > 0)
            if bits:
                assert drawn[label].get_ydata() == [bits]
    left, right = draw(task, found).axes[0].get_xlim()
    assert all(left < x <= right for line in drawn.values() for x in line.get_xdata())


@each_case
def test_every_axis_says_what_it_is(task, found):
    figure = draw(task, found)
    for ax in figure.axes:
        assert ax.get_xlabel()
        assert ax.get_title()
        assert "bits" in ax.get_ylabel()
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert task.name in figure.get_suptitle()
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == len(set(names))
    assert any("right on every input" in name for name in names)


@each_case
def test_it_is_rendered_without_a_warning_and_the_same_twice(task, found, tmp_path):
    assert_drawn_twice(lambda stem: save(task, found, stem), tmp_path, 900, (0.35, 0.6))
