"""The figure of the ladder: every model in its row, and nothing that was not measured."""

import warnings

import matplotlib.image
import pytest

from boundprobe.plots.ladder import LEFT_BITS, MOST_ROWS, RUNGS, draw, rungs, save


def probe(architecture="mamba", seed=0, *, states=7.0, needed=24, groups=4, kinds=("recurrent",), nominal=512, low=3.0):
    """A probe document, as far as the figure reads it."""
    held = {"lower": low, "estimate": low + 1, "confidence": 0.99}
    retention = {
        "by": "distance", "of": "I(Y_i;S)",
        "groups": [{"group": 2 * i + 1, "lower": 3.0 - i / 4, "estimate": 3.0, "error": 0.0, "n_sequences": 9}
                   for i in range(groups)],
    }  # fmt: skip
    return {
        "task": {"name": "a task of one's own"},
        "model": {"architecture": architecture},
        "seed_index": seed,
        "stream": "keys-once",
        "entropy_bits": 12.0,
        "information_upper_bits": 12.0,
        "required_bits": 5.0,
        "required_bits_lower": 4.0,
        "used_bits": held,
        "present_bits": held | {"lower": 2 * low},
        "states_bits": None if states is None else {"lower": states, "estimate": 8.0},
        "needed_bits": needed,
        "nominal_bits": nominal,
        "rounded_entropy_bits": None,
        "present_by_part": [
            {"layer": i, "kind": kind, "nominal_bits": 64, "present_bits": held} for i, kind in enumerate(kinds)
        ],
        "retention": retention if groups else None,
        "answer_errors": {"estimate": [0.0] * 4},
        "confidence": 0.95,
    }


def marks(figure, name):
    """Places (bits, row) of one rung."""
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == RUNGS[name][-1]]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_every_rung_is_where_its_number_is():
    probes = [probe(), probe("attn", 1, low=5.0, needed=30)]
    figure = draw(probes)
    for name in RUNGS:
        drawn = marks(figure, name)
        assert [bits for bits, _ in drawn] == [rungs(document)[name] for document in probes]
        assert [round(row) for _, row in drawn] == [0, 1]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["mamba\nseed 0", "attn\nseed 1"]
    assert "a task of one's own" in figure.get_suptitle()
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


def test_it_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError):
        save([{key: value for key, value in probe().items() if key != "used_bits"}], tmp_path / "ladder")
    assert list(tmp_path.iterdir()) == []
