"""Every verb's ``--json`` and the files of a run keep their keys and their numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.golden.commands import exact_documents, measured_documents

HERE = Path(__file__).parent


def kept(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def differences(made: Any, golden: Any, *, numbers: bool, at: str = "") -> Iterator[str]:
    """Where two documents differ; numbers are compared to nine digits, or only by being numbers."""
    if isinstance(made, dict) and isinstance(golden, dict):
        for key in sorted(made.keys() | golden.keys()):
            if key in made and key in golden:
                yield from differences(made[key], golden[key], numbers=numbers, at=f"{at}/{key}")
            else:
                yield f"{at}/{key} is only in {'the new' if key in made else 'the golden'} document"
    elif isinstance(made, list) and isinstance(golden, list) and len(made) == len(golden):
        for i, pair in enumerate(zip(made, golden, strict=True)):
            yield from differences(*pair, numbers=numbers, at=f"{at}[{i}]")
    elif isinstance(made, (int, float)) and isinstance(golden, (int, float)):
        if numbers and not math.isclose(made, golden, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{at} is {made!r}, was {golden!r}"
    elif isinstance(made, list) or type(made) is not type(golden) or (numbers and made != golden):
        yield f"{at} is {made!r}, was {golden!r}"


def test_documents_of_theory_are_the_golden_ones(tmp_path: Path) -> None:
    assert list(differences(exact_documents(tmp_path), kept("exact"), numbers=True)) == []


@pytest.mark.slow
def test_documents_of_trained_models_have_the_golden_keys(tmp_path: Path) -> None:
    """Their numbers are compared by ``tests/golden/make.py --compare``, on the machine that made them."""
    assert list(differences(measured_documents(tmp_path), kept("measured"), numbers=False)) == []


@pytest.mark.parametrize(
    ("made", "numbers", "n_differences"),
    [
        ({"a": [1.0, "x"]}, True, 0),
        ({"a": [1.0 + 1e-6, "x"]}, True, 1),
        ({"a": [2.0, "x"]}, False, 0),
        ({"a": [None, "x"]}, False, 1),
        ({"a": [1.0]}, False, 1),
        ({"b": [1.0, "x"]}, False, 2),
        ({"a": [1.0, "y"]}, True, 1),
    ],
)
def test_a_difference_is_seen(made: Any, numbers: bool, n_differences: int) -> None:
    """The negative control."""
    assert len(list(differences(made, {"a": [1.0, "x"]}, numbers=numbers))) == n_differences
