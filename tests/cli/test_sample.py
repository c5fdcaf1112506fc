"""``boundprobe sample``: the same arrays in every format, from the same seed always."""

import json

import numpy as np
import pyarrow.parquet
import pytest

TASKS = {
    "selective-copying": ["-p", "n_numbers=3", "-p", "n_letters=4", "-p", "seq_len=9"],
    "ar-decoding": ["-p", "word_bits=2", "-p", "seq_len=12"],
}


@pytest.fixture
def draw(call, tmp_path):
    """Arrays that ``sample`` wrote, by format."""

    def run(task, *argv, form="npz", name="data"):
        path = tmp_path / f"{name}.{form}"
        code, out, err = call("sample", "--task", task, *TASKS[task], *argv, "--format", form, "--out", path)
        assert (code, out) == (0, "")
        assert str(path) in err
        if form == "npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        if form == "jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            shared = {"queries": rows[0]["queries"]} if "queries" in rows[0] else {}
            assert all(row.get("queries") == shared.get("queries") for row in rows)
        else:
            table = pyarrow.parquet.read_table(path)
            rows = table.to_pylist()
            # The query set, the same for every row, is in the schema's metadata.
            shared = {key.decode(): json.loads(value) for key, value in (table.schema.metadata or {}).items()}
        columns = {key: [row[key] for row in rows] for key in rows[0]} | shared
        return {key: np.array(column) for key, column in columns.items()}

    return run


def equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("law", ["uniform", "state-hard", "window-hard", "mixture"])
def test_formats_hold_the_same(draw, task, law):
    argv = [task, "-n", "20", "--distribution", law, "--seed", "5"]
    npz = draw(*argv)
    assert equal(npz, draw(*argv, form="jsonl"))
    assert equal(npz, draw(*argv, form="parquet"))
    assert all(array.dtype == np.int64 for array in npz.values())
    more = {"prefix", "queries", "answers"} if law == "state-hard" else set()
    assert set(npz) == {"tokens", "targets"} | more
    assert npz["tokens"].shape == npz["targets"].shape == (20, 9 if task == "selective-copying" else 12)


@pytest.mark.parametrize("law", ["uniform", "state-hard"])
def test_the_seed_decides(draw, law):
    argv = ["selective-copying", "-n", "30", "--distribution", law]
    first = draw(*argv, "--seed", "1")
    assert equal(first, draw(*argv, "--seed", "1", name="again"))
    assert not np.array_equal(first["tokens"], draw(*argv, "--seed", "2")["tokens"])
    assert equal(draw(*argv), draw(*argv, "--seed", "0"))


@pytest.mark.parametrize("task", TASKS)
def test_state_hard_parts_belong_together(draw, task):
    arrays = draw(task, "-n", "200", "--distribution", "state-hard")
    tokens, targets, prefix, queries = (arrays[name] for name in ("tokens", "targets", "prefix", "queries"))
    cut = prefix.shape[1]
    assert (tokens[:, :cut] == prefix).all()
    suffix = tokens[:, cut:]
    asked = (suffix[:, None] == queries).all(-1)
    assert (asked.sum(1) == 1).all()
    assert (arrays["answers"][asked] == targets[:, -1]).all()
    assert set(asked.argmax(1)) == set(range(len(queries)))  # 200 draws of at most 3 queries ask each
    assert arrays["answers"].shape == (200, len(queries))


def test_targets_are_what_the_definition_says(draw):
    arrays = draw("selective-copying", "-n", "50")
    for tokens, targets in zip(arrays["tokens"], arrays["targets"], strict=True):
        back = None
        for t, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            back = int(token) + 1 if token < 3 else back
            defined = back is not None and t - back >= 0
            assert target == (tokens[t - back] if defined else -100)


def test_json_holds_the_same_arrays(draw, document):
    argv = ["-n", "4", "--distribution", "state-hard", "--seed", "9"]
    report = document("sample", "--task", "selective-copying", *TASKS["selective-copying"], *argv)
    arrays = draw("selective-copying", *argv)
    assert report["schema"] == "boundprobe.sample/1"
    assert equal({name: np.array(value) for name, value in report["arrays"].items()}, arrays)
    assert report["shapes"] == {name: list(array.shape) for name, array in arrays.items()}


def test_json_with_a_file_describes_it(document, tmp_path):
    path = tmp_path / "x.jsonl"
    report = document("sample", "--task", "ar-decoding", "-n", "3", "--format", "jsonl", "--out", path)
    assert (report["out"], report["format"], report["n"]) == (str(path), "jsonl", 3)
    assert "arrays" not in report
    assert len(path.read_text().splitlines()) == 3


def test_the_table_for_people(call, empty):
    code, out, err = call("sample", "--task", "ar-decoding", "-n", "2", "-p", "word_bits=2", "-p", "seq_len=12")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["tokens", "targets"] * 2
    assert len({len(line) for line in out.splitlines()}) == 1
    assert list(empty.iterdir()) == []


def test_a_directory_is_no_file_to_write(call, empty):
    (empty / "x.npz").mkdir()
    code, out, err = call("sample", "--task", "ar-decoding", "--out", "x.npz")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert [path.name for path in empty.rglob("*")] == ["x.npz"]
