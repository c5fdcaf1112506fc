"""Ensembles on a CUDA device: recorded steps are steps, members are themselves, and the CPU agrees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from boundprobe.models import ModelSpec
from boundprobe.tasks import SelectiveCopying
from boundprobe.training import (
    ActiveMember,
    Ensemble,
    Member,
    ProcessGroup,
    Replayer,
    Schedule,
    Stepper,
    TrainConfig,
    build_model,
    train,
)
from boundprobe.training.data import draw

pytestmark = pytest.mark.gpu

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
SIZES = {"d_model": 8, "window": 4, "d_state": 2, "d_head": 8, "mlp_ratio": 2}
SCHEDULE = Schedule("mixture", steps=200, batch=8, warmup_steps=20)


def train_together(architecture: str, device: str, n_steps: int, *, recorded: bool, seeds: tuple[int, ...]) -> Tensor:
    """Weights (M, P) after some steps."""
    config = TrainConfig(TASK, ModelSpec(architecture, **SIZES), SCHEDULE)
    pairs = [ActiveMember(config, Member("report", 0.01, seed)) for seed in seeds]
    stepper = Stepper(Ensemble.of([build_model(*pair).to(device) for pair in pairs]), pairs, ProcessGroup())
    replayer = Replayer(stepper)
    step = replayer.step if recorded else stepper.step
    tokens, targets = (x.to(device) for x in draw(pairs, 0, n_steps))
    numbers = stepper.scalars_of(0, n_steps)
    for i in range(n_steps):
        step(tokens[:, i], targets[:, i], numbers[i])
    if recorded and device == "cuda":
        assert replayer._graph is not None, "the step was not recorded"
    return stepper.ensemble.values.cpu()


@pytest.mark.parametrize("architecture", ["mamba-attn", "attn-attn", "mamba2-gla", "lstm-gru"])
def test_a_recorded_step_is_a_step(architecture: str) -> None:
    eager = train_together(architecture, "cuda", 20, recorded=False, seeds=(0, 1, 2))
    recorded = train_together(architecture, "cuda", 20, recorded=True, seeds=(0, 1, 2))
    # mamba-ssm's backward adds with atomics: rounding differs from run to run.
    torch.testing.assert_close(recorded, eager, rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["mamba-attn", "attn-attn"])
def test_members_and_devices_agree(architecture: str) -> None:
    cuda = train_together(architecture, "cuda", 20, recorded=True, seeds=(0, 1, 2))
    cpu = train_together(architecture, "cpu", 20, recorded=True, seeds=(0, 1, 2))
    torch.testing.assert_close(cuda, cpu, rtol=0, atol=1e-3)
    alone = train_together(architecture, "cuda", 20, recorded=True, seeds=(1,))
    torch.testing.assert_close(alone[0], cuda[1], rtol=0, atol=1e-3)


def test_members_that_stop_leave_the_graph(tmp_path: Path) -> None:
    """A lost member goes after the first draw; what is left is recorded anew and learns."""
    schedule = replace(SCHEDULE, learning_rates=(1e30, 0.01), clip_norm=1e30)
    run = train(TrainConfig(TASK, ModelSpec("attn", **SIZES), schedule), tmp_path, device="cuda")
    lost, kept = run.result()["calibration"]
    assert (lost["loss"], lost["steps"]) == (None, 50)
    assert kept["steps"] == 200
