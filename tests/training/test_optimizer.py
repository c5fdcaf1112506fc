"""The optimizer: clipped, decayed, and at the rate of its step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from boundprobe.models.spec import ModelSpec
from boundprobe.tasks import SelectiveCopying
from boundprobe.training import loop
from boundprobe.training.config import Schedule, TrainConfig
from boundprobe.training.optimizer import Optimizer, schedule_factor


def make(**schedule: float) -> tuple[nn.Linear, Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, Optimizer(model, Schedule(steps=10, warmup_steps=4, **schedule), 0.1)


def test_every_step_of_a_run_has_its_own_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = Optimizer.step

    def spy(optimizer: Optimizer, number: int) -> None:
        step(optimizer, number)
        rates.append(optimizer.adamw.param_groups[0]["lr"])

    monkeypatch.setattr(Optimizer, "step", spy)
    monkeypatch.setattr(loop, "STEPS_PER_DRAW", 5)
    schedule = Schedule(steps=12, batch=2, learning_rates=(0.02,), warmup_steps=4, n_eval=5)
    task = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
    loop.train(TrainConfig(task, ModelSpec("attn", d_model=4, window=3), schedule), tmp_path)
    assert rates == [0.02 * schedule_factor(number, 12, 4) for number in range(12)]


@pytest.mark.parametrize(("norm", "expected"), [(100.0, 2.0), (1.5, 1.5)])
def test_gradients_are_clipped_to_a_norm(norm: float, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = make(clip_norm=2.0)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, norm / 8**0.5)  # 8 entries
    norms: list[float] = []

    def spy() -> None:
        norms.append(float(torch.cat([p.grad.flatten() for p in parameters]).norm()))

    monkeypatch.setattr(optimizer.adamw, "step", spy)
    optimizer.step(3)
    assert norms == pytest.approx([expected], rel=1e-4)


def test_a_step_is_that_of_adamw_and_clears_gradients() -> None:
    """First step: the sign of the gradient times the rate, after decay by rate times weight decay."""
    model, optimizer = make(weight_decay=0.5)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    signs = [torch.where(torch.rand_like(value) < 0.5, -1.0, 1.0) for value in before]
    for parameter, sign in zip(model.parameters(), signs, strict=True):
        parameter.grad = sign.clone()
    optimizer.step(1)
    rate = 0.1 * 2 / 4
    for parameter, value, sign in zip(model.parameters(), before, signs, strict=True):
        assert parameter.grad is None
        torch.testing.assert_close(parameter.detach(), value * (1 - rate * 0.5) - rate * sign, atol=1e-5, rtol=1e-5)
