"""Run directories: one per configuration, refused when damaged or foreign, finished by their last file."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.errors import RunDirectoryError
from boundprobe.runs import Run, config_hash, files, load_run, open_run, write_json, write_text, write_whole
from boundprobe.runs.store import without_none

CONFIG: dict[str, Any] = {
    "seed": 3,
    "task": {"name": "copying", "extra": None},
    "rates": [0.1, 0.01],
    "text": 'a "b"\n',
}

scalars = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
keys = st.text("abcd_-. é", min_size=1, max_size=4)
configs = st.dictionaries(
    keys,
    scalars | st.none() | st.lists(scalars, max_size=3) | st.dictionaries(keys, scalars | st.none(), max_size=3),
    max_size=4,
)


def refused(match: str) -> Any:
    return pytest.raises(RunDirectoryError, match=match)


def everything(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def finish(run: Run, result: dict[str, Any]) -> None:
    with run.session(device="cpu", seeds={"seed": 3}):
        run.finish(result)


# Names


@given(configs)
def test_the_hash_ignores_order_and_none(config: dict[str, Any]) -> None:
    turned = {
        key: dict(reversed(value.items())) | {"none": None} if isinstance(value, dict) else value
        for key, value in reversed(config.items())
    }
    assert config_hash(turned | {"nothing": None}) == config_hash(config)
    assert config_hash(without_none(config)) == config_hash(config)
    assert len(config_hash(config)) == 12
    assert set(config_hash(config)) <= set("0123456789abcdef")


@given(configs, configs)
def test_the_hash_tells_configurations_apart(first: dict[str, Any], second: dict[str, Any]) -> None:
    def typed(value: Any) -> Any:
        """Equal only if type and value are: True is not 1, and 1 is not 1.0."""
        if isinstance(value, dict):
            return {key: typed(item) for key, item in value.items()}
        return [typed(item) for item in value] if isinstance(value, list) else (type(value), repr(value))

    same = typed(without_none(first)) == typed(without_none(second))
    assert (config_hash(first) == config_hash(second)) == same


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"seed": 3.0}, {"seed": "3"}, {"seed": [3]}, {"sed": 3}, {}, {"seed": None}]
)
def test_the_hash_changes_with_a_value(other: dict[str, Any]) -> None:
    assert config_hash(other) != config_hash({"seed": 3})


@settings(max_examples=50)
@given(configs)
def test_every_configuration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]
) -> None:
    """Otherwise a run directory would refuse the command that made it."""
    run = open_run(tmp_path_factory.mktemp("runs"), "study", config)
    assert run.config == without_none(config)
    assert load_run(run.path).config == run.config


# Opening


def test_one_directory_for_one_configuration(tmp_path: Path) -> None:
    run = open_run(tmp_path / "new" / "runs", "study", CONFIG)
    assert run.path == (tmp_path / "new" / "runs" / f"study-{config_hash(CONFIG)}").resolve()
    assert run.path.name == run.run_id
    assert run.verb == "study"
    assert run.config == tomllib.loads((run.path / "config.toml").read_text()) == without_none(CONFIG)
    before = everything(run.path)
    same = open_run(tmp_path / "new" / "runs", "study", dict(reversed(CONFIG.items())))
    assert same.path == run.path
    assert everything(run.path) == before
    others = [open_run(run.path.parent, "study", CONFIG | {"seed": 4}), open_run(run.path.parent, "probe", CONFIG)]
    assert len({run.path, *(other.path for other in others)}) == 3
    assert {path.name for path in run.path.parent.iterdir()} == {run.run_id, *(other.run_id for other in others)}
    assert run.result() is None
    assert run.metrics() == []


def test_an_edited_configuration_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    file = run.path / "config.toml"
    file.write_text(file.read_text().replace("seed = 3", "seed = 4"))
    before = everything(tmp_path)
    for attempt in (lambda: open_run(tmp_path, "study", CONFIG), lambda: load_run(run.path)):
        with refused("must be named after the configuration that it holds") as caught:
            attempt()
        assert caught.value.exit_code == 4
        assert str(run.path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert everything(tmp_path) == before


def test_a_moved_run_is_still_a_run_and_a_renamed_one_is_not(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (tmp_path / "elsewhere").mkdir()
    moved = run.path.rename(tmp_path / "elsewhere" / run.run_id)
    assert load_run(moved).config == run.config
    with refused(f"If it was renamed, rename it back to {run.run_id}; else"):
        load_run(moved.rename(tmp_path / "study-0123456789ab"))


@pytest.mark.parametrize("name", ["mine", "study-copy", "x"])
def test_a_renamed_run_is_told_its_own_name(name: str, tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / "result.json").write_text('{"schema": "boundprobe.study/1"}')
    with refused(f"Rename it back to {run.run_id}."):
        load_run(run.path.rename(tmp_path / name))


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe", b"seed = 3\nseed = 4\n"])
def test_a_damaged_configuration_is_refused(content: bytes, tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / "config.toml").write_bytes(content)
    with refused(r"config\.toml must be as boundprobe wrote it") as caught:
        open_run(tmp_path, "study", CONFIG)
    assert "\n" not in str(caught.value)
    assert (run.path / "config.toml").read_bytes() == content


def test_a_configuration_with_a_date_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / "config.toml").write_text("seed = 2020-01-01\n")
    with refused("configuration|damaged"):
        load_run(run.path)


@pytest.mark.parametrize("kind", ["empty", "foreign", "file"])
def test_a_foreign_directory_is_refused_and_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"study-{config_hash(CONFIG)}"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
    if kind == "foreign":
        (path / "thesis.tex").write_text("mine")
    before = everything(tmp_path)
    with refused("must be a directory that boundprobe made") as caught:
        open_run(tmp_path, "study", CONFIG)
    assert str(path.resolve()) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.exists()
    assert everything(tmp_path) == before


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a directory that boundprobe made; got .*, which does not exist"):
        load_run(tmp_path / "study-0123456789ab")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="must be a directory, or a new name in one") as caught:
        open_run(tmp_path / "file", "study", CONFIG)
    assert "\n" not in str(caught.value)


def test_a_crash_while_a_run_is_made_leaves_no_half_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", crash)
        with pytest.raises(OSError, match="disk full"):
            open_run(tmp_path, "study", CONFIG)
    assert not (tmp_path / f"study-{config_hash(CONFIG)}").exists()
    assert open_run(tmp_path, "study", CONFIG).config == without_none(CONFIG)


def test_two_processes_may_make_a_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def slow(source: Path, target: Path) -> None:
        """Somebody else finishes the same directory in between."""
        monkeypatch.setattr(os, "rename", rename)
        open_run(tmp_path, "study", CONFIG)
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow)
    run = open_run(tmp_path, "study", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == [run.run_id]


# Results


def test_a_result_is_the_done_mark_and_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    order: list[str] = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    with run.session(device="cpu", seeds={"seed": 3}):
        assert run.result() is None
        monkeypatch.setattr(os, "replace", spy)
        run.finish({"accuracy": 0.5})
    assert order[-1] == "result.json"
    assert order.count("result.json") == 1
    assert run.result() == load_run(run.path).result() == {"accuracy": 0.5}
    (session,) = json.loads((run.path / "manifest.json").read_text())["sessions"]
    assert session["finished"] is not None
    assert session["device"] == "cpu"


@pytest.mark.parametrize("content", [b"", b'{"accuracy": 0.', b"\xff"])
def test_a_damaged_result_is_refused(content: bytes, tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    finish(run, {"accuracy": 0.5})
    (run.path / "result.json").write_bytes(content)
    with refused(r"result\.json must be as boundprobe wrote it") as caught:
        run.result()
    assert "\n" not in str(caught.value)
    assert str(run.path) in str(caught.value)


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / "manifest.json").write_text('{"sessions": [')
    with refused(r"manifest\.json must be as boundprobe wrote it"), run.session(device="cpu", seeds={}):
        pass


def test_the_manifest_says_what_made_the_run(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    for device in ("cpu", "cuda"):
        with run.session(device=device, seeds={"seed": 3}):
            pass
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["seeds"] == {"seed": 3}
    assert [session["device"] for session in manifest["sessions"]] == ["cpu", "cuda"]
    for session in manifest["sessions"]:
        assert session["argv"] == sys.argv
        assert session["finished"] is None
        assert {"boundprobe", "numpy", "scipy", "torch"} <= set(session["versions"])
        assert session["started"]
        assert session["python"]
        assert session["platform"]
        assert "git_revision" in session


# Metrics


@pytest.mark.parametrize("cut", range(1, 25, 4))
def test_a_line_cut_in_half_is_left_out(cut: int, tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    lines = [{"member": 0, "step": step, "loss": 0.1 + 0.2} for step in (10, 20)]
    for line in lines:
        run.append_metrics(line)
    assert run.metrics() == lines
    file = run.path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert run.metrics() == lines[:1]
    run.replace_metrics(run.metrics())
    run.append_metrics(lines[1])
    assert run.metrics() == lines


@pytest.mark.parametrize("content", [b'{"step": 1\n{"step": 2}\n', b"\x00\x00\n"])
def test_damage_in_the_middle_of_metrics_is_refused(content: bytes, tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / "metrics.jsonl").write_bytes(content)
    with refused(r"metrics\.jsonl must be as boundprobe wrote it"):
        run.metrics()


def test_metrics_that_are_no_text_are_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / "metrics.jsonl").write_bytes(b"\xff\n")
    with refused(r"metrics\.jsonl must be as boundprobe wrote it"):
        run.metrics()


# Locks


def test_a_run_is_worked_on_by_one_at_a_time(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    with run.session(device="cpu", seeds={}):
        before = everything(run.path)
        with refused("is in use by another process") as caught, load_run(run.path).session(device="cpu", seeds={}):
            pass
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 4
        assert everything(run.path) == before
        assert load_run(run.path).metrics() == []  # reading is free
    with run.session(device="cpu", seeds={}):
        pass


def test_a_lock_is_released_by_an_error(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    with pytest.raises(KeyError), run.session(device="cpu", seeds={}):
        raise KeyError
    with run.session(device="cpu", seeds={}):
        pass


def test_a_lock_holds_between_processes_and_dies_with_its_own(tmp_path: Path) -> None:
    run = open_run(tmp_path, "study", CONFIG)
    (run.path / ".lock").touch()
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(run.path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        with refused("is in use"), run.session(device="cpu", seeds={}):
            pass
        process.kill()
        process.wait()
    with run.session(device="cpu", seeds={}), (run.path / ".lock").open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Files


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def crash(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        write_whole(path, crash)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_text() == "old"
    write_text(path, "né\n")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_bytes() == "né\n".encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_not_json_is_not_written(value: object, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "result.json", {"loss": value})
    assert list(tmp_path.iterdir()) == []
