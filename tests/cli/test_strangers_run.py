"""A run directory from a stranger: what is edited, linked or no file is refused; nothing of it is executed."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.strangers import copied, edit, forget, record

PROBE = ["-n", "200", "--calibration", "100", "--train", "150", "--decoders", "linear"]


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """A trained run with the ladder of its first member beside it."""
    from boundprobe.cli.main import main

    root = tmp_path_factory.mktemp("measured")
    run = copied(trained, root)
    assert main(["probe", str(run), *PROBE, "-q"]) == 0
    return run


@pytest.fixture
def theirs(measured, tmp_path):
    """A copy of that run with its probe: (run, probe)."""
    shutil.copytree(measured.parent, tmp_path / "theirs")
    (probe,) = (tmp_path / "theirs").glob("probe-*")
    return tmp_path / "theirs" / measured.name, probe


@pytest.fixture
def fails(call):
    """Run a command that must end with a code and one line."""

    def run(*argv, code=4):
        outcome = call(*argv)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1), outcome
        return outcome.err

    return run


def put(*path_and_value):
    """A change of a document: the value at a path of keys."""
    *path, last, value = path_and_value

    def change(document):
        for key in path:
            document = document[key]
        document[last] = value

    return change


def drop(*path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


# Documents

TRAINED = {
    "another schema": (put("schema", "boundprobe.train/2"), "boundprobe.train/1"),
    "no schema": (drop("schema"), "`schema`"),
    "a schema of another verb": (put("schema", "boundprobe.probe/1"), "`schema`"),
    "another run": (put("run_id", "train-0123456789ab"), "another run"),
    "accuracy 7": (put("members", 0, "accuracy", 7), "members.0.accuracy"),
    "accuracy below 0": (put("calibration", 1, "accuracy", -0.25), "calibration.1.accuracy"),
    "accuracy of one half": (put("members", 1, "accuracy_by_distribution", "state-hard", 1.5), "state-hard"),
    "half a parameter": (put("members", 0, "n_params", 1584.0), "n_params"),
    "a bool for a number": (put("members", 0, "steps", True), "steps"),
    "a text for a number": (put("learning_rate", "0.01"), "learning_rate"),
    "a table for a list": (put("members", {}), "members"),
    "no members": (put("members", []), "members"),
    "one member twice": (lambda d: d["members"].__setitem__(1, d["members"][0]), "members"),
    "an infinite loss": (put("members", 0, "loss", float("inf")), "finite"),
    "no loss": (drop("members", 0, "loss"), "members.0.loss"),
    "an unknown key": (put("members", 0, "acuracy", 0.5), "acuracy"),
    "a summary of others": (put("summary", "mean", 0.999), "summary.mean"),
    "another rate": (put("members", 0, "learning_rate", 0.5), "learning_rate"),
    "negative bits": (put("members", 0, "memory", "cache_bits", -1), "cache_bits"),
    "another size": (put("members", 1, "memory", "cache_bits", 10**9), "memory"),
}
MEASURED = {
    "a billion bits present": (put("present_bits", "lower", 1e9), "entropy"),
    "a little above the entropy": (put("used_bits", "lower", 4.001), "entropy"),
    "an estimate above the entropy": (put("present_by_part", 0, "present_bits", "estimate", 5.0), "entropy"),
    "retention above the entropy": (put("retention", "groups", 0, "lower", 77.0), "more than log2"),
    "more states than bits": (put("states_bits", "lower", 1e6), "entropy"),
    "required above nominal": (put("required_bits_lower", 1e7), "violations"),
    "a rounded state with more than its bits": (put("rounded", 0, "bits", 0), "violations|bits"),
    "above the ceiling": (put("window_accuracy_ceiling", 0.0), "violations"),
    "invented violations": (put("violations", ["a", "b"]), "violations"),
    "another sum of bits": (put("nominal_bits", 9), "nominal_bits"),
    "accuracy of other errors": (
        put("accuracy", "state-hard", {"estimate": 1.0, "lower": 0.99, "upper": 1.0}), "state-hard",
    ),
    "a limit on the wrong side": (put("accuracy", "window-hard", "lower", 1.0), "window-hard"),
    "errors without limits": (put("answer_errors", "upper", [1.0]), "answer_errors"),
    "confidence 1.5": (put("confidence", 1.5), "confidence"),
    "a bool for bits": (put("entropy_bits", True), "entropy_bits"),
    "another model": (put("model", "d_model", 4096), "present_by_part|diagonal"),
    "another task": (put("task", "n_letters", 3), "entropy_bits"),
    "another member": (put("seed_index", 1), "seed"),
    "an unknown kind": (put("present_by_part", 0, "kind", "soul"), "kind"),
    "another confidence": (put("confidence", 0.99), "settings|sizes|confidence|follows"),
    "another member of the run": (put("member", 1), "sizes|member"),
    "another distribution": (put("stream", "replacement"), "information_upper_bits|sizes"),
    "a control that certifies": (put("null_control", "constant", "lower", 0.5), "null_control"),
    "no control": (drop("null_control"), "null_control"),
    "a number for a text": (put("assumptions", 0, "checked", 1), "checked"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_an_edited_training_result_is_refused(name, fails, theirs):
    change, said = TRAINED[name]
    run, _ = theirs
    edit(run / "result.json", change)
    err = fails("probe", run, *PROBE)
    assert said in err
    assert str(run) in err


@pytest.mark.parametrize("name", MEASURED)
def test_an_edited_ladder_is_refused(name, fails, theirs):
    change, said = MEASURED[name]
    run, probe = theirs
    edit(probe / "result.json", change)
    err = fails("probe", run, *PROBE)
    assert any(word in err for word in said.split("|")), err
    assert str(probe) in err


@pytest.mark.parametrize("of", ["run", "probe"])
def test_a_change_that_contradicts_nothing_is_seen_by_its_hash(of, fails, call, theirs):
    run, probe = theirs
    file = {"run": run, "probe": probe}[of] / "result.json"
    key = {"run": ("members", 0, "tokens_per_second", 7), "probe": ("present_bits", "lower", 0.0)}[of]
    edit(file, lambda document: (put(*key)(document), document.update(run_dir="/elsewhere")), hashes=False)
    assert f"{file} has changed since its run was finished" in fails("probe", run, *PROBE)
    record(file)
    assert call("probe", run, *PROBE).code == 0  # what the hash alone can see


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 50_000, "", "[1, 2]", "null", '"text"', "\ud800"])
def test_what_is_no_document_is_refused(content, fails, theirs):
    run, _ = theirs
    (run / "result.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    record(run / "result.json")
    assert "result.json" in fails("probe", run, *PROBE)


def test_a_configuration_nested_too_deeply_is_refused(fails, theirs, tmp_path):
    run, _ = theirs
    (run / "config.toml").write_text("a = " + "[" * 20_000 + "]" * 20_000)
    assert "nested" in fails("probe", run, *PROBE)
    own = tmp_path / "own.toml"
    own.write_text((run / "config.toml").read_text())
    for argv in (["train", "--config", own], ["sweep", own], ["bounds", "--task", "copying", "--config", own]):
        assert "nested too deeply" in fails(*argv, code=2)


def test_a_run_without_hashes_is_read_and_says_so_when_asked(call, theirs):
    run, probe = theirs
    forget(run)
    forget(probe)
    assert call("probe", run, *PROBE).err.count("no hash on record") == 0
    done = call("probe", run, *PROBE, "-v")
    assert done.code == 0
    assert "result.json: no hash on record" in done.err


@pytest.mark.parametrize("of", ["run", "probe"])
def test_a_finished_run_without_its_manifest_is_damaged(of, fails, theirs):
    """Every version writes one: without it edited numbers would be believed."""
    run, probe = theirs
    ({"run": run, "probe": probe}[of] / "manifest.json").unlink()
    assert "must have its manifest.json" in fails("probe", run, *PROBE)


# Weights


@pytest.mark.parametrize("damage", ["altered", "cut", "deleted"])
@pytest.mark.parametrize("verb", ["probe", "plot"])
def test_a_ladder_that_was_measured_earlier_hides_no_damaged_weights(verb, damage, fails, theirs):
    run, _ = theirs
    file = run / "model.safetensors"
    data = file.read_bytes()
    file.unlink()
    if damage != "deleted":
        file.write_bytes(data[:-1] + (bytes([data[-1] ^ 1]) if damage == "altered" else b""))
    assert "model.safetensors" in fails(verb, run, *PROBE)


def halved(tensors):
    return {name: value.half() for name, value in tensors.items()}


WEIGHTS = {
    "float16": halved,
    "int64": lambda tensors: {name: value.long() for name, value in tensors.items()},
    "bool": lambda tensors: {name: value > 0 for name, value in tensors.items()},
    "one of float64": lambda tensors: tensors | {next(iter(tensors)): next(iter(tensors.values())).double()},
    "another shape": lambda tensors: tensors | {next(iter(tensors)): torch.zeros(3, 5)},
    "one missing": lambda tensors: dict(list(tensors.items())[1:]),
    "one too many": lambda tensors: tensors | {"member0.extra": torch.zeros(1)},
    "another member": lambda tensors: tensors | {"member7.head.weight": torch.zeros(1)},
    "another name": lambda tensors: tensors | {"backdoor": torch.zeros(1)},
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_another_kind_are_refused(name, fails, theirs):
    run, probe = theirs
    shutil.rmtree(probe)
    save_file(WEIGHTS[name](load_file(run / "model.safetensors")), run / "model.safetensors")
    assert "model.safetensors has changed" in fails("probe", run, *PROBE)
    record(run / "model.safetensors")
    assert "model.safetensors must be as boundprobe wrote it" in fails("probe", run, *PROBE)
    assert not list(run.parent.glob("probe-*"))


def test_a_header_that_says_it_is_huge_allocates_nothing(fails, theirs):
    run, probe = theirs
    shutil.rmtree(probe)
    for length in (2**62, 2**34, 99_999_999):
        (run / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
        record(run / "model.safetensors")
        assert "model.safetensors must be as boundprobe wrote it" in fails("probe", run, *PROBE)


# Other kinds of files

KINDS = {
    "pipe": lambda path, aim: os.mkfifo(path),
    "link": lambda path, aim: path.symlink_to(aim),
    "dangling link": lambda path, aim: path.symlink_to(aim.with_name("nowhere")),
    "directory": lambda path, aim: path.mkdir(),
    "link to a device": lambda path, aim: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["result.json", "config.toml", "manifest.json", "model.safetensors"])
def test_what_is_no_regular_file_is_not_opened(name, kind, fails, theirs):
    run, probe = theirs
    shutil.rmtree(probe)
    aim = run.parent / "aim"
    (run / name).rename(aim)
    KINDS[kind](run / name, aim)
    before = aim.read_bytes()
    assert f"{name} must be a regular file" in fails("probe", run, *PROBE)
    assert aim.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "train_state.pt"])
def test_nor_is_what_an_unfinished_run_has(name, kind, fails, theirs, tiny):
    """The link ``.lock`` would empty what it points to."""
    run, _ = theirs
    aim = run.parent / "aim"
    aim.write_text("precious")
    for file in ("result.json", "model.safetensors", name):
        (run / file).unlink(missing_ok=True)
    KINDS[kind](run / name, aim)
    assert f"{name} must be a regular file" in fails(*tiny, "--out", run.parent)
    assert aim.read_text() == "precious"


def test_a_run_that_is_a_link_is_not_followed_out_of_its_place(fails, theirs, tiny, tmp_path):
    """Figures, locks and checkpoints would be written where it leads."""
    run, probe = theirs
    away = tmp_path / "away"
    away.mkdir()
    for found, argv in ((probe, ["probe", run, *PROBE]), (run, [*tiny, "--out", run.parent])):
        found.rename(away / found.name)
        found.symlink_to(away / found.name)
        before = {path: os.lstat(path).st_mtime_ns for path in away.rglob("*")}
        assert "symbolic link" in fails(*argv)
        assert {path: os.lstat(path).st_mtime_ns for path in away.rglob("*")} == before


@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_an_output_replaces_regular_files_only(kind, fails, tmp_path):
    aim, out = tmp_path / "aim", tmp_path / "out.npz"
    aim.write_text("precious")
    KINDS[kind](out, aim)
    before = os.lstat(out)
    assert "`--out` must be a regular file" in fails("sample", "--task", "copying", "--out", out, code=2)
    assert os.lstat(out).st_ino == before.st_ino
    assert aim.read_text() == "precious"
    fails("sample", "--task", "copying", "--out", "/dev/null", code=2)


# Moved and copied


def test_a_copied_run_draws_where_it_is(call, measured, theirs):
    """``run_dir`` in its result is that of the run it was copied from."""
    run, probe = theirs
    before = {path: path.stat().st_mtime_ns for path in measured.parent.rglob("*")}
    assert call("probe", run, *PROBE).code == 0
    assert (probe / "ladder.png").exists()
    assert {path: path.stat().st_mtime_ns for path in measured.parent.rglob("*")} == before
    moved = run.parent.rename(run.parent.with_name("moved"))
    code, out, _ = call("probe", moved / run.name, *PROBE, "--json")
    assert code == 0
    assert json.loads(out)["run_dir"] == str(moved / probe.name)


# What the machine lacks


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "permissions"), (errno.EPERM, "permissions"), (errno.EIO, "disk"), (errno.EMFILE, "files"),
        (errno.ENOMEM, "memory"), (errno.ENOSPC, "space"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["result.json", "config.toml", "model.safetensors"])
def test_what_the_machine_lacks_is_no_damage(name, number, advice, fails, theirs, monkeypatch):
    run, probe = theirs
    shutil.rmtree(probe)
    real = os.open

    def lack(path, *args, **kwargs):
        if str(path).endswith(f"{run.name}/{name}"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", lack)
    err = fails("probe", run, *PROBE, code=2)
    assert os.strerror(number) in err
    assert advice in err
    assert "damaged" not in err
    assert "away" not in err


def test_no_memory_for_a_file_is_no_damage(fails, theirs, monkeypatch):
    run, _ = theirs

    def lack(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("boundprobe.runs.files.json.loads", lack)
    assert "must fit into memory" in fails("probe", run, *PROBE, code=2)


# Text


def test_control_characters_of_a_run_do_not_reach_the_terminal(call, fails, theirs, capsys):
    run, probe = theirs
    evil = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
    edit(probe / "result.json", put("assumptions", 0, "checked", f"checked{evil}"))
    code, out, _ = call("probe", run, *PROBE)
    assert code == 0
    assert "checked\\u001b[2J" in out
    assert not set("\x1b\x07\u202e\x9b") & set(out)
    edit(run / "result.json", put(f"key{evil}", 1))
    for argv in (["probe", run, *PROBE], ["bounds", "--task", f"x{evil}"], ["train", f"--{evil}"], [evil]):
        err = call(*argv).err
        assert err.count("\n") == 1
        assert not set("\x1b\x07\u202e\x9b") & set(err)


def test_a_name_with_control_characters_is_drawn_as_escapes(tmp_path):
    from matplotlib.figure import Figure

    from boundprobe.plots.figure import save_figure

    figure = Figure()
    figure.suptitle("a\x1b[31m$\\frac")
    save_figure(figure, tmp_path / "figure")
    assert "a\\u001b[31m$" in figure.get_suptitle()
