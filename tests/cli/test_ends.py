"""How commands end: what the machine lacks, what is a bug, what is told to end, and what refused commands leave."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import time

import pytest

from boundprobe.errors import RunDirectoryError, Terminated, UnfinishedError, describe_error
from boundprobe.sweep.executors.base import attempt
from tests.helpers.sweeps import sweep_text

# Unexpected errors


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), KeyError("schema"), AssertionError("x"), RuntimeError("y")])
@pytest.mark.parametrize(
    ("where", "argv"),
    [
        ("boundprobe.cli.bounds.task_of", ["bounds", "--task", "copying"]),
        ("boundprobe.cli.sample.task_of", ["sample", "--task", "copying"]),
        ("boundprobe.runs.store.load_run", ["probe", "."]),
        ("boundprobe.runs.store.load_run", ["plot", "."]),
        ("boundprobe.cli.train.find_device", ["train", "--task", "copying"]),
        ("boundprobe.cli.demo.find_device", ["demo"]),
    ],
)
def test_a_bug_is_one_line_and_code_5(where, argv, error, refused, call, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(where, fail)
    err = refused(*argv, code=5)
    assert f"a bug: {type(error).__name__}" in err
    assert "Traceback" not in err
    code, _, err = call(*argv, "-v")
    assert code == 5
    assert "Traceback" in err
    assert f"in {fail.__name__}\n" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), 2), (MemoryError(), 2), (RecursionError("deep"), 2), (OSError(28, "No space"), 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2),
        (OverflowError("int too large to convert"), 2),
        (RuntimeError("Storage size calculation overflowed with sizes=[9, 9]"), 2),
        (RunDirectoryError("x"), 4), (UnfinishedError("x", exit_code=3), 3),
        (RuntimeError("shapes do not fit"), 5), (IndexError("x"), 5), (TypeError("x"), 5),
    ],
)  # fmt: skip
def test_every_error_has_its_code_in_workers_as_well(error, code):
    assert describe_error(error)[1] == code

    def job(report):
        raise error

    assert attempt(job, print).exit_code == code


def test_a_bug_in_a_worker_is_a_bug_of_the_sweep(call, here, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("in a worker")

    monkeypatch.setattr("boundprobe.training.loop.train_group", fail)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    argv = ["sweep", tmp_path / "sweep.toml", "--out", tmp_path / "runs", "-q"]
    code, out, err = call(*argv)
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert "ZeroDivisionError: in a worker" in err
    code, _, err = call(*argv, "-v")
    assert code == 5
    assert "Traceback" in err
    assert "in fail\n" in err


# Sizes

HUGE = [
    ["train", "--task", "copying", "--model", "gru", "--d-model", str(10**7)],
    ["train", "--task", "copying", "--model", "gru", "--d-model", str(10**12)],
    ["train", "--task", "copying", "--model", "attn", "--d-model", str(10**30)],
    ["train", "--task", "copying", "-p", f"n_tokens={10**12}"],
]


@pytest.mark.parametrize("argv", HUGE, ids=" ".join)
def test_sizes_that_no_memory_holds_are_refused_before_anything_is_made(argv, call, empty):
    outcome = call(*argv)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), outcome
    assert list(empty.iterdir()) == []


# What refused commands leave

TRAIN = {"steps": 120, "batch": 4, "n_seeds": 1, "n_calibration_seeds": 1, "n_eval": 20}
SWEEP = sweep_text(train=TRAIN, model={"architecture": "attn"})


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--task", "copying", "--distribution", "nonsense"],
        ["train", "--task", "copying", "--model", "gla", "--backend", "fla", "--out", "new/runs"],
        ["train", "--task", "copying", "--batch", "0"],
        ["probe", "missing", "--out", "new"],
        ["plot", "missing", "--out", "new/figures"],
        ["construct", "--task", "mqar", "--out", "new"],
        ["sample", "--task", "copying", "--out", "new/file.npz"],
        ["demo", "--sequences", "0", "--out", "new"],
        ["sweep", "missing.toml", "--out", "new"],
    ],
    ids=" ".join,
)
def test_a_refused_command_leaves_nothing(argv, call, empty):
    outcome = call(*argv)
    assert outcome.code in (2, 3)
    assert outcome.err.count("\n") == 1
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        ["--stream", "nonsense"], ["--member", "7"], ["--confidence", "2"], ["--budgets", "1x99"],
        ["--decoders", "none"], ["--device", "cuda"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_nor_does_a_refused_measurement(change, trained, call, empty):
    before = sorted(trained.parent.iterdir())
    for verb in ("probe", "plot"):
        if verb == "plot" and "--member" in change:
            continue
        outcome = call(verb, trained, *change, "--out", "new")
        assert outcome.code in (2, 3), outcome
    assert list(empty.iterdir()) == []
    assert sorted(trained.parent.iterdir()) == before


@pytest.mark.parametrize("executor", [["--executor", "slurm"], ["--table", "missing/x.csv"], ["--workers", "0"]])
def test_nor_does_a_refused_sweep(executor, call, empty, tmp_path, monkeypatch):
    monkeypatch.setattr("boundprobe.sweep.executors.slurm.PROGRAMS", ("no-such-program",))
    (tmp_path / "sweep.toml").write_text(SWEEP)
    assert call("sweep", tmp_path / "sweep.toml", *executor).code in (2, 3)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--task", "copying", "--steps", "1"], ["demo"], ["construct", "--task", "selective-copying"],
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("out", ["a file", "in a file", "no permission"])
def test_an_output_that_cannot_be_is_refused_at_once(argv, out, call, empty, monkeypatch):
    (empty / "file").write_text("precious")
    place = {"a file": "file", "in a file": "file/below", "no permission": "new"}[out]
    if out == "no permission":
        monkeypatch.setattr("boundprobe.runs.files.os.access", lambda *args: False)
    outcome = call(*argv, "--out", place)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "`--out` must be" in outcome.err
    assert [path.name for path in empty.iterdir()] == ["file"]


def test_an_output_that_cannot_be_made_is_named_with_what_to_do(tiny, call, tmp_path):
    for argv in ([*tiny, "--out", "/proc/nope"], ["construct", "--task", "selective-copying", "--out", "/proc/nope"]):
        outcome = call(*argv, "-q")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert "`--out` must be a directory that can be made; got /proc/nope" in outcome.err
        assert "Name another." in outcome.err
        assert "[Errno" not in outcome.err


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EFBIG, "ulimit -f"), (errno.ENOSPC, "free some space"), (errno.ENXIO, "see what is")]
)
def test_an_error_in_writing_names_the_place_and_what_to_do(number, advice, tiny, call, tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(number, os.strerror(number))  # as the system says it of a write: without a name

    monkeypatch.setattr("boundprobe.runs.files.os.fsync", fails)
    outcome = call(*tiny, "--out", tmp_path / "runs")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"boundprobe: {os.strerror(number)}: {tmp_path / 'runs'}")
    assert advice in outcome.err
    assert "[Errno" not in outcome.err


# Told to end


@pytest.mark.parametrize(
    ("argv", "where", "said"),
    [
        (["train", "--task", "copying"], "training.loop.train", "there was no checkpoint yet"),
        (["bounds", "--task", "copying"], "bounds.report.task.bounds_report", "nothing was kept"),
        (["probe", "RUN"], "probes.run.probe_member", "probe keeps no checkpoint"),
        (["plot", "RUN"], "probes.run.probe_run", "plot keeps no checkpoint"),
        (["demo"], "sweep.jobs.run_jobs", "runs that are finished or have a checkpoint are kept"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("ended", [KeyboardInterrupt, Terminated])
def test_what_is_said_of_an_ended_command_is_true(ended, argv, where, said, call, trained, empty, monkeypatch):
    def end(*args, **kwargs):
        raise ended

    monkeypatch.setattr(f"boundprobe.{where}", end)
    outcome = call(*[trained if word == "RUN" else word for word in argv])
    assert outcome.code == {KeyboardInterrupt: 130, Terminated: 143}[ended]
    assert said in outcome.err
    assert "resume" not in outcome.err


def test_a_resumed_run_says_where_it_goes_on(call, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("boundprobe.training.loop.STEPS_PER_CHECKPOINT", 50)
    argv = [*[word if word != "0.003,0.01" else "0.01" for word in tiny], "--out", tmp_path]
    real = importlib.import_module("boundprobe.training.loop")._save

    def save(*args):
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("boundprobe.training.loop._save", save)
        assert "interrupted; repeat the command to resume from the last checkpoint" in call(*argv).err
    assert "resumed at step 50 of 60\n" in call(*argv).err
    assert "resumed at" not in call(*argv).err  # it is finished


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_sigterm_ends_training_with_143_and_nothing_is_lost(command, call, tiny, trained, tmp_path):
    root, long = tmp_path / "runs", [word if word != "60" else "400000" for word in tiny]
    process = subprocess.Popen(
        [*command["args"], *long, "--out", str(root)],
        env=command["env"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: any(path.stat().st_size for path in root.glob("train-*/metrics.jsonl")))
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, b"")
    assert err == b"boundprobe: terminated; repeat the command to resume from the last checkpoint\n"
    assert time.monotonic() - started < 20
    (state,) = root.glob("train-*/train_state.pt")
    import torch

    assert torch.load(state, weights_only=True)["batch"]["step"] > 0


@pytest.mark.slow
def test_sigterm_of_a_sweep_reaches_its_workers(command, call, here, tmp_path):
    (tmp_path / "sweep.toml").write_text(sweep_text(train=TRAIN | {"steps": 300_000}, model={"architecture": "attn"}))
    root = tmp_path / "runs"
    argv = ["sweep", str(tmp_path / "sweep.toml"), "--out", str(root), "--workers", "1"]
    process = subprocess.Popen([*command["args"], *argv], env=command["env"], stderr=subprocess.PIPE)
    wait_for(lambda: any(path.stat().st_size for path in root.glob("train-*/metrics.jsonl")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert list(root.glob("*/train_state.pt"))
    assert not list(root.glob("*/.[0-9]*")), "a file was left half written"


# What changes results without a word


def test_without_numbas_compiler_other_backends_are_taken_and_it_is_said(command, tiny, tmp_path):
    few = [word if word != "60" else "4" for word in tiny]
    done = subprocess.run(
        [*command["args"], *few, "--out", str(tmp_path / "runs"), "--json"],
        env=command["env"] | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("NUMBA_DISABLE_JIT is set") == 1
    backends = json.loads(done.stdout)["backends"]
    assert not [name for name, backend in backends.items() if "numba" in backend]


def test_other_cpu_kernels_are_recorded_and_said_at_a_resume(call, tiny, tmp_path, monkeypatch):
    """As ``ATEN_CPU_CAPABILITY`` or another machine would have them."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr("boundprobe.training.run_writer.RunWriter.finish", lambda *args: os.kill(os.getpid(), 15))
    assert call(*tiny, "--out", tmp_path).code == 143
    monkeypatch.undo()
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")
    code, _, err = call(*tiny, "--out", tmp_path)
    assert code == 0
    assert "AVX2" in err
    assert "DEFAULT" in err
    assert "may differ in rounding" in err
    (manifest,) = tmp_path.glob("train-*/manifest.json")
    assert [each["cpu_capability"] for each in json.loads(manifest.read_text())["sessions"]] == ["AVX2", "DEFAULT"]
