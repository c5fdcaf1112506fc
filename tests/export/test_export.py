"""Streams of sequences: the same in every format, in blocks, in any number of workers."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from boundprobe.export import SampleStream, SequenceDataset, blocks, to_hugging_face, write_stream
from boundprobe.export.files import WRITERS
from boundprobe.tasks import TASKS, AssociativeRecallDecoding, SelectiveCopying

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6)
RECALL = AssociativeRecallDecoding(word_bits=2, seq_len=8)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SEQUENCES", 16)


def whole(stream: SampleStream) -> dict[str, np.ndarray]:
    pieces = list(stream.blocks())
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]} | stream.shared()


def read(path: Path, file_format: str) -> dict[str, np.ndarray]:
    if file_format == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if file_format == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return arrays | ({"queries": arrays["queries"][0]} if "queries" in arrays else {})
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    metadata = {key.decode(): np.array(json.loads(value)) for key, value in (table.schema.metadata or {}).items()}
    return {name: np.array(table[name].to_pylist()) for name in table.column_names} | metadata


@pytest.mark.parametrize("task", [TASK, RECALL], ids=lambda task: task.name)
@pytest.mark.parametrize("distribution", ["uniform", "state-hard", "window-hard", "mixture"])
def test_every_format_holds_the_stream(tmp_path: Path, task, distribution: str) -> None:
    stream = SampleStream(task, 37, distribution, seed=3)
    expected = whole(stream)
    assert {name: array.shape for name, array in expected.items()} == stream.shapes()
    for file_format in WRITERS:
        write_stream(stream, tmp_path / "file", file_format)
        actual = read(tmp_path / "file", file_format)
        assert actual.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(actual[name], array)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_stream(tmp_path: Path, name: str) -> None:
    stream = SampleStream(TASKS[name](), 20, "state-hard", seed=1)
    expected = whole(stream)
    assert {array: value.shape for array, value in expected.items()} == stream.shapes()
    assert (expected["targets"][:, -1] >= 0).all()
    for file_format in WRITERS:
        write_stream(stream, tmp_path / "file", file_format)
        actual = read(tmp_path / "file", file_format)
        assert {array: value.tolist() for array, value in actual.items()} == {
            array: value.tolist() for array, value in expected.items()
        }
    rows = list(to_hugging_face(stream))
    assert [row["tokens"] for row in rows] == expected["tokens"].tolist()


def test_state_hard_rows_are_a_prefix_and_a_query() -> None:
    stream = SampleStream(RECALL, 40, "state-hard")
    arrays = whole(stream)
    prefix_len = arrays["prefix"].shape[1]
    np.testing.assert_array_equal(arrays["tokens"][:, :prefix_len], arrays["prefix"])
    for tokens, target, answers in zip(arrays["tokens"], arrays["targets"][:, -1], arrays["answers"], strict=True):
        (asked,) = np.flatnonzero((arrays["queries"] == tokens[prefix_len:]).all(1))
        assert target == answers[asked] == RECALL.reference_answer(tokens)


def test_a_stream_is_a_function_of_its_fields() -> None:
    first, again, other = (whole(SampleStream(TASK, 40, "mixture", seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["tokens"], again["tokens"])
    assert (first["tokens"] != other["tokens"]).any()
    longer = whole(SampleStream(TASK, 48, "mixture", 1))
    np.testing.assert_array_equal(longer["tokens"][:32], first["tokens"][:32])  # whole blocks do not change


def test_blocks_differ() -> None:
    stream = SampleStream(TASK, 32)
    assert (stream.block(0)["tokens"] != stream.block(1)["tokens"]).any()


def test_torch_workers_share_out_the_sequences() -> None:
    from torch.utils.data import DataLoader

    stream = SampleStream(TASK, 50, "mixture")
    expected = whole(stream)["tokens"]
    alone = np.stack([row["tokens"].numpy() for row in SequenceDataset(stream)])
    np.testing.assert_array_equal(alone, expected)
    dataset = SequenceDataset(stream, 4)
    assert len(dataset) == 50
    with pytest.raises(TypeError, match="`batch_size` must be given for a length"):
        len(SequenceDataset(stream))
    # Workers are told apart by torch itself; blocks of both arrive, each once.
    shared = np.concatenate([batch["tokens"].numpy() for batch in DataLoader(dataset, batch_size=4)])
    np.testing.assert_array_equal(shared, expected)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than a small machine has cores
@pytest.mark.parametrize(
    ("n", "batch_size", "n_workers", "world"), [(50, 4, 3, 1), (33, 10, 2, 1), (50, 7, 2, 3), (5, 4, 3, 2)]
)
def test_as_many_batches_as_the_length_says(n: int, batch_size: int, n_workers: int, world: int) -> None:
    from torch.utils.data import DataLoader

    stream = SampleStream(TASK, n, "mixture")
    rows: list[tuple[int, ...]] = []
    for rank in range(world):
        dataset = SequenceDataset(stream, batch_size, rank=rank, world=world)
        loader = DataLoader(dataset, batch_size=batch_size, num_workers=n_workers)
        batches = [batch["tokens"] for batch in loader]
        assert len(batches) == len(loader)
        assert sum(map(len, batches)) == len(dataset)
        rows += [tuple(row.tolist()) for batch in batches for row in batch]
    assert sorted(rows) == sorted(map(tuple, whole(stream)["tokens"].tolist()))


def test_a_rank_is_one_of_its_world() -> None:
    with pytest.raises(ValueError, match="`rank` must be an integer from 0 to 1; got 2"):
        SequenceDataset(SampleStream(TASK, 5), rank=2, world=2)
    with pytest.raises(ValueError, match="`rank` and `world` must be given together"):
        SequenceDataset(SampleStream(TASK, 5), rank=0)


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_each_worker_takes_its_own_blocks(monkeypatch: pytest.MonkeyPatch, n_workers: int) -> None:
    from types import SimpleNamespace

    from boundprobe.export import torch_dataset

    stream = SampleStream(TASK, 50, "mixture")
    rows = []
    for worker in range(n_workers):
        info = SimpleNamespace(id=worker, num_workers=n_workers)
        monkeypatch.setattr(torch_dataset, "get_worker_info", lambda info=info: info)
        rows += [tuple(row["tokens"].tolist()) for row in SequenceDataset(stream)]
    assert sorted(rows) == sorted(map(tuple, whole(stream)["tokens"].tolist()))


def test_hugging_face_rows_are_the_stream() -> None:
    pytest.importorskip("datasets", reason="the package datasets is not installed (extra hf)")
    stream = SampleStream(TASK, 40, "state-hard")
    rows = list(to_hugging_face(stream))
    expected = whole(stream)
    for name in ("tokens", "targets", "prefix", "answers"):
        np.testing.assert_array_equal(np.array([row[name] for row in rows]), expected[name])


def test_writing_takes_the_memory_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_SEQUENCES", 256)
    task = SelectiveCopying(seq_len=50)
    stream = SampleStream(task, 256 * 40, "uniform")
    whole_bytes = 2 * 256 * 40 * 50 * 8
    for file_format in ("npz", "jsonl"):
        tracemalloc.start()
        write_stream(stream, tmp_path / "file", file_format)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A block is 1/40 of the arrays; lists of Python ints take some eight times that while they are written.
        assert peak < whole_bytes / 2, file_format


def test_nothing_is_left_of_a_file_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SampleStream(TASK, 40)

    def fail(self: SampleStream, index: int) -> dict[str, np.ndarray]:
        if index == 2:
            raise OSError("disk full")
        return {"tokens": np.zeros((16, 6), np.int64), "targets": np.zeros((16, 6), np.int64)}

    monkeypatch.setattr(SampleStream, "block", fail)
    for file_format in WRITERS:
        with pytest.raises(OSError, match="disk full"):
            write_stream(stream, tmp_path / "file", file_format)
    assert list(tmp_path.iterdir()) == []


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="`n_sequences` must be an integer from 1 to 68719476736; got 0"):
        SampleStream(TASK, 0)
    with pytest.raises(
        ValueError, match=r"`distribution` must be one of uniform, state-hard, window-hard.*; got 'hard'"
    ):
        SampleStream(TASK, 1, "hard")
    with pytest.raises(ValueError, match="`index` must be an integer from 0 to 0; got 1"):
        SampleStream(TASK, 1).block(1)
    with pytest.raises(ValueError, match="`format` must be one of npz, jsonl, parquet; got 'csv'"):
        write_stream(SampleStream(TASK, 1), Path("nowhere"), "csv")
