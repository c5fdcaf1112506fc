"""Several processes on one batch: torchrun on the CPU (gloo), as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import boundprobe
from boundprobe.runs import load_run
from boundprobe.training import load_models
from tests.helpers.commands import replaced

TRAIN = [
    "-m", "boundprobe", "train", "--task", "selective-copying", "-p", "n_numbers=2", "-p", "n_letters=2",
    "-p", "seq_len=8", "--model", "mamba-attn", "--d-model", "8", "--window", "4", "--d-state", "2",
    "--steps", "300", "--batch", "6", "--lr", "0.003,0.01", "--eval-sequences", "400", "--json",
]  # fmt: skip
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
