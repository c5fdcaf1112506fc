"""One colour and marker for each architecture, the same in every figure."""

import itertools

import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb

from boundprobe.models import MIXERS
from boundprobe.plots.looks import COLORS, MARKERS, SHADES, kind_of, looks_of


def of(*names):
    return looks_of({name: name for name in names})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("attn", "attention"), ("attn-attn", "attention"), ("gated-attn", "attention"), ("mamba-mamba", "recurrent"),
        ("gated-deltanet-gru", "recurrent"), ("mamba-attn", "hybrid"), ("mamba|attn", "hybrid"),
        ("llama (transformers)", "recurrent"),
    ],
)  # fmt: skip
def test_kinds_are_read_from_the_mixers(name, kind):
    assert kind_of(name) == kind
    assert of(name)[name].marker in MARKERS[kind]


def test_the_plain_stacks_have_the_looks_of_the_demo():
    looks = of("attn-attn", "mamba-mamba", "mamba-attn")
    assert [looks[name].marker for name in ("attn-attn", "mamba-mamba", "mamba-attn")] == ["o", "s", "D"]
    assert [looks[name].color for name in ("attn-attn", "mamba-mamba", "mamba-attn")] == list(COLORS.values())
    for name, shallow in (("attn", "attn-attn"), ("mamba", "mamba-mamba"), ("mamba-attn-mamba-attn", "mamba-attn")):
        assert of(name)[name] == of(shallow)[shallow]


def test_a_look_does_not_depend_on_who_else_is_there():
    names = [*MIXERS, "mamba-attn", "attn-mamba", "gla-attn", "mamba2-attn"]
    alone = {name: of(name)[name] for name in names}
    for pair in itertools.combinations(names, 2):
        looks = of(*pair)
        assert looks[pair[0]] == alone[pair[0]]
        assert looks[pair[1]] == alone[pair[1]] or alone[pair[0]] == alone[pair[1]]


def test_no_two_of_a_figure_look_alike_and_none_is_grey():
    most = len(SHADES) * min(map(len, MARKERS.values()))
    names = [f"mamba-attn, lr {i}" for i in range(most)]
    looks = looks_of(dict.fromkeys(names, "mamba-attn"))
    assert len(set(looks.values())) == most
    for color, _ in looks.values():
        assert rgb_to_hsv(to_rgb(color))[1] > 0.3  # grey means impossible
