"""The numbers of docs/theory/constructions.md are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from boundprobe.constructions import construct
from boundprobe.constructions.ar_decoding import ar_decoding_program, smallest_spec
from boundprobe.constructions.score_margins import OTHERS, fits_float32
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying

PAGE = (Path(__file__).parents[2] / "docs/theory/constructions.md").read_text("utf-8")
PAPER = SelectiveCopying.presets["paper"]
ROWS = [
    (SelectiveCopying(), "default", {"position": "learned"}),
    (SelectiveCopying(), "default", {"position": "rope"}),
    (SelectiveCopying(**PAPER), "paper", {"position": "learned"}),
    (SelectiveCopying(**PAPER), "paper", {"position": "rope"}),
    (AssociativeRecallDecoding(), "default, paper", {"n_layers": 2}),
    (AssociativeRecallDecoding(), "default, paper", {"n_layers": 3}),
    (AssociativeRecallDecoding(), "default, paper", {"n_layers": 2, "window": 36}),
    (AssociativeRecallDecoding(), "default, paper", {"n_layers": 3, "window": 36}),
]


def row(task, sizes: str, shape: dict) -> str:
    built = construct(task, **shape)
    spec, coded, nominal = built.spec, built.coded, built.nominal
    cells = [
        task.name, sizes, f"`{spec.architecture}`", spec.position, spec.d_model, spec.window, f"{built.n_params:,}",
        f"{coded.recurrent_bits:,}", f"{coded.cache_bits:,}", f"{nominal.total_bits:,}",
        f"{task.state_case().zero_error_bits:.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


@pytest.mark.parametrize(("task", "sizes", "shape"), ROWS, ids=str)
def test_the_table_is_what_is_built(task, sizes, shape) -> None:
    assert row(task, sizes, shape) in PAGE


@pytest.mark.parametrize(("b", "n_layers", "longest"), [(5, 2, 26_689), (5, 3, 2_268), (10, 2, 9_333), (10, 3, 1_089)])
def test_float32_ends_where_the_page_says(b: int, n_layers: int, longest: int) -> None:
    assert f"{longest:,}" in PAGE
    for window, expected in ((longest, True), (longest + 1, False)):
        task = AssociativeRecallDecoding(word_bits=b, seq_len=window + 1)
        assert fits_float32(ar_decoding_program(task, smallest_spec(task, n_layers))) is expected


def test_what_others_weigh() -> None:
    assert f"e^-12 = {OTHERS:.1e}" in PAGE
