"""The command line as a user types it: in this process where that will do, in a new one where it matters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import boundprobe
from boundprobe.cli.main import main
from tests.helpers.commands import Done, run_here

#: A training run of a few seconds: two learning rates, two reported members.
TINY = [
    "train", "--task", "selective-copying", "-p", "n_numbers=2", "-p", "n_letters=2", "-p", "seq_len=8",
    "--model", "mamba-attn", "--d-model", "8", "--window", "4", "--d-state", "2", "--steps", "60",
    "--batch", "8", "--lr", "0.003,0.01", "--seeds", "2", "--eval-sequences", "50",
]  # fmt: skip


@pytest.fixture
def call(capsys):
    """Run a command in this process."""

    def run(*argv):
        capsys.readouterr()
        code = main([str(word) for word in argv])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def document(call):
    """Run a command with ``--json`` that ends well; its one document."""

    def run(*argv):
        code, out, _ = call(*argv, "--json")
        assert code == 0
        return json.loads(out)

    return run


@pytest.fixture
def here(monkeypatch):
    """No worker processes."""
    run_here(monkeypatch)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A new directory to stand in; nothing may be written to it by a command that is refused."""
    directory = tmp_path / "empty"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def refused(call, empty, monkeypatch):
    """Run a command that must be refused: exit code, one line on stderr, and nothing else at all."""

    def accepted(*args, **kwargs):
        raise AssertionError("not refused: it went on to train")  # for minutes

    monkeypatch.setattr("boundprobe.training.loop.train", accepted)
    monkeypatch.setattr("boundprobe.sweep.driver.run_jobs", accepted)
    monkeypatch.setattr("boundprobe.sweep.jobs.run_jobs", accepted)  # of the demo; after the driver has imported it

    def run(*argv, code=2):
        outcome = call(*argv)
        assert outcome.code == code, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("boundprobe: ")
        assert outcome.err.count("\n") == 1, outcome.err
        assert outcome.err.endswith("\n")
        assert list(empty.iterdir()) == []
        return outcome.err

    return run


@pytest.fixture(scope="session")
def command():
    """Arguments of Popen that run ``python -m boundprobe`` from this checkout, whatever directory it stands in."""
    root = Path(boundprobe.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return {"args": [sys.executable, "-m", "boundprobe"], "env": environment}


@pytest.fixture
def typed(command, tmp_path):
    """Run a command in a new process."""

    def run(*argv, cwd=tmp_path):
        done = subprocess.run(
            command["args"] + [str(word) for word in argv], env=command["env"], cwd=cwd, capture_output=True,
            text=True, timeout=300, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny():
    """The command line of the tiny training run."""
    return list(TINY)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Directory of a finished tiny run."""
    root = tmp_path_factory.mktemp("trained")
    assert main([*TINY, "--out", str(root), "-q"]) == 0
    (path,) = root.glob("train-*")
    return path
