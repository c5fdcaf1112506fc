"""Tables of many runs: every row comes from the documents, and reads back as it was."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.errors import MissingDependencyError
from boundprobe.runs import CollectedRun, check_table, run_row, seed_rows, write_table
from boundprobe.runs.collect import FORMATS
from boundprobe.training.results import summarise
from tests.helpers.ladders import model_ladder


def member(index: int, accuracy: float, loss: float | None = 0.25) -> dict[str, Any]:
    """A member of a training result."""
    return {
        "phase": "report",
        "learning_rate": 0.01,
        "seed_index": index,
        "accuracy": accuracy,
        "accuracy_by_distribution": {"mixture": accuracy, "state-hard": accuracy / 2, "window-hard": accuracy / 4},
        "loss": loss,
        "steps": 40 + index,
        "converged": loss is not None,
        "late_improvement": None,
        "n_params": 123,
        "memory": {"recurrent_bits": 64, "conv_bits": 32, "cache_bits": 16},
        "tokens_per_second": 1000 * index,
    }


MEMBERS = [member(0, 0.5), member(1, 1.0), member(2, 0.1, None)]
RUN = CollectedRun(
    settings={"model.architecture": "mamba-attn", "train.weight_decay": 0.1, "seed": 3},
    config={"model": {"architecture": "mamba-attn"}},
    result={"run_id": "train-abc", "learning_rate": 0.01, "members": MEMBERS, "summary": summarise(MEMBERS)},
    receptive_field=None,
)


PROBED = replace(
    RUN,
    ladders=[
        model_ladder(seed=i, required=(0.0, 4.5 + i), low=1.25 * i, present=2.5 * i, violations=("so much",) * i)
        for i in range(3)
    ],
    receptive_field=7,
)


# rows


def test_a_row_for_a_run() -> None:
    assert run_row(RUN) == {
        "architecture": "mamba-attn",  # once, though it is a setting too
        "train.weight_decay": 0.1,
        "seed": 3,
        "run_id": "train-abc",
        "n_params": 123,
        "recurrent_bits": 64,
        "conv_bits": 32,
        "cache_bits": 16,
        "receptive_field": None,
        "learning_rate": 0.01,
        "n_seeds": 3,
        "n_converged": 2,
        "accuracy_mean": pytest.approx(1.6 / 3),
        "accuracy_median": 0.5,
        "accuracy_percentile_10": pytest.approx(0.18),
        "accuracy_percentile_90": pytest.approx(0.9),
        "accuracy_state-hard": pytest.approx(0.8 / 3),
        "accuracy_window-hard": pytest.approx(0.4 / 3),
    }
    assert run_row(PROBED) == run_row(RUN) | {"receptive_field": 7}


def test_a_row_for_every_seed() -> None:
    rows = seed_rows(RUN)
    assert [row["accuracy"] for row in rows] == [0.5, 1.0, 0.1]
    for i, row in enumerate(rows):
        assert row == {
            **{key: run_row(RUN)[key] for key in ("architecture", "train.weight_decay", "seed", "run_id", "n_params")},
            **MEMBERS[i]["memory"],
            "receptive_field": None,
            "seed_index": i,
            "learning_rate": 0.01,
            "accuracy": MEMBERS[i]["accuracy"],
            "accuracy_state-hard": MEMBERS[i]["accuracy"] / 2,
            "accuracy_window-hard": MEMBERS[i]["accuracy"] / 4,
            "loss": MEMBERS[i]["loss"],
            "steps": 40 + i,
            "converged": i != 2,
        }
    assert all("tokens_per_second" not in row for row in rows), "no clock: the same runs give the same table"


def test_a_probed_seed_has_its_certified_bits() -> None:
    for i, (row, plain) in enumerate(zip(seed_rows(PROBED), seed_rows(RUN), strict=True)):
        assert row == plain | {
            "receptive_field": 7,
            "required_bits": 4.5 + i,
            "used_bits_lower": 1.25 * i,
            "present_bits_lower": 2.5 * i,
            "bits_confidence": 0.99,
            "n_violations": i,
        }


# files

CELLS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=9)
)


def written(value: object) -> str:
    """A value as a table of text must say it."""
    return "" if value is None else str(value)


@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b, c": CELLS, 'd"e': CELLS}), min_size=1, max_size=5))
def test_csv_reads_back_and_is_the_same_twice(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(path, rows)
    content = path.read_bytes()
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert read == [{key: written(value) for key, value in row.items()} for row in rows]
    for row, given_row in zip(read, rows, strict=True):
        for key, value in given_row.items():
            if isinstance(value, float):
                assert float(row[key]) == value  # as it was, to the last bit
    write_table(path, rows)
    assert path.read_bytes() == content
    assert b"\r" not in content
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_rows_as_a_sweep_writes_them(tmp_path: Path) -> None:
    """Columns are in the order in which they first come; what a row has not is an empty cell."""
    rows = [*seed_rows(RUN), *seed_rows(PROBED)]
    write_table(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        read = list(reader)
    assert reader.fieldnames == list(seed_rows(PROBED)[0])
    assert [row["required_bits"] for row in read] == ["", "", "", "4.5", "5.5", "6.5"]
    assert [row["loss"] for row in read] == ["0.25", "0.25", ""] * 2
    assert [row["receptive_field"] for row in read] == [""] * 3 + ["7"] * 3
    for row, expected in zip(read, rows, strict=True):
        assert row == {key: written(expected.get(key)) for key in reader.fieldnames}


def test_parquet_reads_back_with_its_types(tmp_path: Path) -> None:
    rows = [*seed_rows(RUN), *seed_rows(PROBED)]
    write_table(tmp_path / "t.parquet", rows)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.column_names == list(seed_rows(PROBED)[0])
    assert table.to_pylist() == [{column: row.get(column) for column in table.column_names} for row in rows]
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types["architecture"] == "string"
    assert types["converged"] == "bool"
    assert (types["n_params"], types["steps"], types["receptive_field"]) == ("int64",) * 3
    assert (types["accuracy"], types["loss"], types["used_bits_lower"]) == ("double",) * 3


def test_numbers_at_the_ends(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e-05, 2**53 + 1]
    for suffix in FORMATS:
        path = tmp_path / f"t{suffix}"
        write_table(path, [{"x": value} for value in values[:6]] + [{"x": None}])
        if suffix == ".csv":
            read: list[Any] = [float(text) if text else None for text in path.read_text().splitlines()[1:-1]]
            assert path.read_text().splitlines()[-1] in ("", '""')
        else:
            *read, last = pq.read_table(path)["x"].to_pylist()
            assert last is None
        assert read == values[:6]
        assert math.copysign(1, read[4]) == -1
    write_table(tmp_path / "t.csv", [{"x": values[6]}])
    assert (tmp_path / "t.csv").read_text() == "x\n9007199254740993\n"


@pytest.mark.parametrize(
    "values",
    [
        [0, 0.5],
        [[0.1], [0.1, 0.2]],
        [0.1, [0.1, 0.2]],
        ["none", 0.3],
    ],
    ids=str,
)
def test_settings_of_several_kinds(values: list[Any], tmp_path: Path) -> None:
    """A grid may give one key a number and a text, or a number and a list."""
    rows = [{"setting": value, "accuracy": 0.5} for value in values]
    write_table(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text().count("\n") == 3
    write_table(tmp_path / "t.parquet", rows)
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 2


# what is refused


@pytest.mark.parametrize("name", ["table.txt", "table", "table.CSV", ".csv", "table.csv.gz"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    for refused in (check_table, lambda path: write_table(path, [{"a": 1}])):
        with pytest.raises(ValueError, match=r"must end with \.csv or \.parquet") as caught:
            refused(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # importing it raises ImportError
    for refused in (check_table, lambda path: write_table(path, [{"a": 1}])):
        with pytest.raises(MissingDependencyError, match=r"pip install 'boundprobe\[analysis\]'") as caught:
            refused(tmp_path / "t.parquet")
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert check_table(tmp_path / "t.csv") == tmp_path / "t.csv"
    write_table(tmp_path / "t.csv", [{"a": 1}])
    assert (tmp_path / "t.csv").read_text() == "a\n1\n"


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    write_table(path, [{"a": 1}])

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_table(path, [{"a": 2}])
    assert path.read_text() == "a\n1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]
