"""Several processes on one batch: torchrun on the CPU (gloo), as a user types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import boundprobe
from boundprobe.export import SampleStream, SequenceDataset
from boundprobe.processes import process_rank
from boundprobe.runs import load_run
from boundprobe.training import load_models, train
from tests.helpers.commands import replaced
from tests.helpers.runs import TINY_RUN

TRAIN = [
    "-m", "boundprobe", "train", "--task", "selective-copying", "-p", "n_numbers=2", "-p", "n_letters=2",
    "-p", "seq_len=8", "--model", "mamba-attn", "--d-model", "8", "--window", "4", "--d-state", "2",
    "--steps", "300", "--batch", "6", "--lr", "0.003,0.01", "--eval-sequences", "400", "--json",
]  # fmt: skip
#: A process of a user's own script: a group that the environment says nothing about.
OWN_GROUP = """
import sys
from pathlib import Path

import torch.distributed as dist

from boundprobe.export import SampleStream, SequenceDataset
from boundprobe.training import train
from tests.helpers.runs import TINY_RUN

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
dataset = SequenceDataset(SampleStream(TINY_RUN.task, 50, "mixture"), 4)
run = train(TINY_RUN, folder)
print(dataset.rank, dataset.world, dist.get_world_size(), *sorted(row["tokens"].tolist() for row in dataset), sep="|")
"""
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]


def run(argv: list[str], *more: str, code: int = 0) -> Any:
    here = str(Path(boundprobe.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *argv, *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(TRAIN, "--out", str(tmp_path_factory.mktemp("alone")))


def test_two_processes_train_as_one(alone: Any, tmp_path: Path) -> None:
    """Each reads three of the six sequences of every batch; one document comes out."""
    together = run([*TORCHRUN, *TRAIN], "--out", str(tmp_path))
    assert together["run_id"] == alone["run_id"]
    assert together["learning_rate"] == alone["learning_rate"]
    for member, other in zip(together["members"], alone["members"], strict=True):
        # Sums of gradients in another order: rounding that 300 steps make larger.
        assert member["loss"] == pytest.approx(other["loss"], rel=0.02)
        assert member["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
    (path,) = tmp_path.glob("train-*")
    (session,) = json.loads((path / "manifest.json").read_text())["sessions"]
    assert session["device"] == "cpu, 2 processes"
    assert len(load_models(load_run(path))) == 1


@pytest.mark.slow
def test_bfloat16_and_pieces_with_the_same_command(tmp_path: Path) -> None:
    """What the models of 100 million parameters are trained with, at a tiny size."""
    flags = ["--precision", "bfloat16", "--micro-batch", "2", "--steps", "60", "--lr", "0.003"]
    document = run([*TORCHRUN, *TRAIN], *flags, "--out", str(tmp_path))
    assert document["members"][0]["loss"] > 0
    (model,) = load_models(load_run(Path(document["run_dir"])))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_batch_must_go_round(tmp_path: Path) -> None:
    said = run([*TORCHRUN, *replaced(TRAIN, {"--batch": 1})], "--out", str(tmp_path), code=1)
    assert "`batch` must be an integer of at least 2, one sequence for each process; got 1" in said


# Rank and number of processes where torchrun is not asked: of a group that is there, of the environment, or of one.


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable of torchrun is set."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, (0, 1)), ({"WORLD_SIZE": "1"}, (0, 1)), ({"RANK": "3"}, (0, 1)), ({"RANK": "1", "WORLD_SIZE": "3"}, (1, 3))],
    ids=str,
)
def test_a_process_is_the_one_that_the_environment_names(
    variables: dict[str, str], expected: tuple[int, int], environment: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert process_rank() == expected
    dataset = SequenceDataset(SampleStream(TINY_RUN.task, 50, "mixture"), 4)
    assert (dataset.rank, dataset.world) == expected
    assert (SequenceDataset(dataset.stream, 4, rank=0, world=1).rank, len(dataset)) == (
        0,
        50 if expected[1] == 1 else 16,
    )


def test_a_group_that_is_initialised_goes_before_the_environment(
    group_of_one: None, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("RANK", "1")
    environment.setenv("WORLD_SIZE", "2")
    assert process_rank() == (0, 1)
    assert len(SequenceDataset(SampleStream(TINY_RUN.task, 50, "mixture"), 4)) == 50
    assert train(TINY_RUN, tmp_path / "runs").result() is not None
    assert dist.is_initialized(), "the group is the user's"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "two"}, "`WORLD_SIZE` must be the number of processes, at least 1, or unset; got 'two'"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "`WORLD_SIZE` must be the number of processes, at least 1"),
        ({"WORLD_SIZE": "2"}, "`RANK` must be from 0 to 1, as WORLD_SIZE is 2; got none"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "`RANK` must be from 0 to 1, as WORLD_SIZE is 2; got '2'"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "`RANK` must be from 0 to 1, as WORLD_SIZE is 2; got '-1'"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "`MASTER_ADDR` must be set where WORLD_SIZE is above 1"),
    ],
    ids=str,
)
def test_variables_that_name_no_process_are_refused(
    variables: dict[str, str], said: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(said)):
        train(TINY_RUN, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_of_a_group_of_their_own_share_sequences_and_train_as_one(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each process took itself for the only one: it trained by itself, on a run directory that the other had locked."""
    (tmp_path / "script.py").write_text(OWN_GROUP)
    here = str(Path(boundprobe.__file__).parents[1])
    variables = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py"), str(rank), str(tmp_path)],
            env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], [error for _, error in ended]
    said = [out.strip().split("|") for out, _ in ended]
    assert [words[:3] for words in said] == [["0", "2", "2"], ["1", "2", "2"]]
    whole = SequenceDataset(SampleStream(TINY_RUN.task, 50, "mixture"), 4)
    assert sorted(said[0][3:] + said[1][3:]) == sorted(str(row["tokens"].tolist()) for row in whole)
    (path,) = tmp_path.glob("train-*")
    (session,) = json.loads((path / "manifest.json").read_text())["sessions"]
    assert session["device"] == "cpu, 2 processes"
