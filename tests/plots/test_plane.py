"""The trade-off plane: what is grey is what D1 forbids, and marks stand where models are."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from boundprobe.bottleneck import BottleneckCurve, BottleneckPoint
from boundprobe.bounds import frontier
from boundprobe.plots import PlanePoint, draw_plane, least_bits
from boundprobe.probes.certificates import CertifiedBound, Proportion
from boundprobe.tasks import SelectiveCopying

TASK = SelectiveCopying(n_numbers=4, n_letters=8, seq_len=24)
POINTS = [
    PlanePoint("mamba-mamba", 0, 16),
    PlanePoint("mamba-attn", 1, 13),
    PlanePoint("mamba|attn", 2, None),
    PlanePoint("attn-attn", 6, 0),
]


@pytest.fixture(scope="module")
def axes():
    return draw_plane(Figure().subplots(), TASK, POINTS)


def test_the_grey_region_is_below_the_frontier_of_its_accuracy(axes):
    (region,) = [each for each in axes.collections if isinstance(each, PolyCollection)]
    vertices = region.get_paths()[0].vertices
    for point in frontier(TASK.state_case(), range(7), 0.1):
        heights = vertices[np.isclose(vertices[:, 0], point.reach), 1]
        assert heights.max() == pytest.approx(point.required_bits)
        assert heights.min() == pytest.approx(0.0)


def test_marks_stand_at_their_reach_and_bits_and_hollow_at_the_top(axes):
    marks = [line for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata())]
    at = {
        (x, y): line.get_markerfacecolor()
        for line in marks
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    top = 0.96 * axes.get_ylim()[1]
    assert set(at) == {(0, 16), (1, 13), (2, top), (6, 0)}
    assert [place for place, face in at.items() if face == "none"] == [(2, top)]
    assert "never reaches accuracy 0.9" in {text.get_text() for text in axes.get_legend().get_texts()}


def test_least_bits_count_what_is_certain_over_all_answers():
    def point(bits, lower, of_all):
        far, everything = Proportion(lower, lower, 1.0), Proportion(0.99, of_all, 1.0)
        used = CertifiedBound(0.0, "lower", 0.0, 0.95, "S1", "clopper-pearson")
        return BottleneckPoint(1, bits, bits, far, everything, 1.0, None, used, 2, ())

    points = tuple(point(*each) for each in ((2, 0.9, 0.5), (4, 0.6, 0.8), (6, 0.3, 0.95)))
    curve = BottleneckCurve("", "", "", {}, {}, 0, 0.95, points, 2, 2)
    assert least_bits(curve, 0.5) == 2
    assert least_bits(curve, 0.8) == 4
    assert least_bits(curve, 0.81) == 6
    assert least_bits(curve, 0.99) is None
