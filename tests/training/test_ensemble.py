"""Members side by side are members alone, bit for bit on a CPU, whoever is beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from boundprobe.models import ModelSpec, SequenceModel
from boundprobe.tasks import IGNORE, AssociativeRecallDecoding, SelectiveCopying
from boundprobe.training import (
    ActiveMember,
    Ensemble,
    Member,
    ProcessGroup,
    Schedule,
    Stepper,
    TrainConfig,
    build_model,
)
from boundprobe.training.data import STEPS_PER_DRAW, draw
from boundprobe.training.optimizer import schedule_factor

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
SIZES = {"d_model": 8, "window": 4, "d_state": 2, "d_head": 8, "mlp_ratio": 2}
ARCHITECTURES = {
    "mamba-attn": 200, "mamba|attn": 200, "mamba2-gla": 50, "deltanet-gated-deltanet": 50, "lstm-gru": 50, "ssm": 50,
    "mamba+chunks": 50, "kda-rwkv7": 20, "gated-attn": 20,
}  # fmt: skip
SCHEDULE = Schedule("mixture", steps=200, batch=8, warmup_steps=20)


def members(architecture: str, schedule: Schedule = SCHEDULE) -> list[ActiveMember]:
    """Four that differ in all that members may differ in."""
    config = TrainConfig(TASK, ModelSpec(architecture, **SIZES), schedule)
    other = replace(config, schedule=replace(schedule, weight_decay=0.5, clip_norm=0.3, distribution="uniform"), seed=3)
    law = replace(config, task=replace(TASK, number_probability=0.3))
    return [
        ActiveMember(config, Member("report", 0.01, 0)),
        ActiveMember(config, Member("report", 0.003, 1)),
        ActiveMember(other, Member("calibration", 0.02, 0)),
        ActiveMember(law, Member("report", 0.005, 2)),
    ]


def train_together(pairs: list[ActiveMember], steps: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights (M, P) after some steps."""
    stepper = Stepper(Ensemble.of([build_model(*pair).to(dtype) for pair in pairs]), pairs, ProcessGroup())
    for first in range(0, steps, STEPS_PER_DRAW):
        n_steps = min(STEPS_PER_DRAW, steps - first)
        tokens, targets = draw(pairs, first, n_steps)
        for i in range(n_steps):
            stepper.step(tokens[:, i], targets[:, i], stepper.scalars_of(first + i, 1)[0])
    return stepper.ensemble.values


@pytest.mark.parametrize(("architecture", "steps"), ARCHITECTURES.items())
def test_a_member_equals_itself_alone(architecture: str, steps: int) -> None:
    """To 1e-5 after 200 steps, whoever is beside it; slow mixers take fewer."""
    pairs = members(architecture)
    together = train_together(pairs, steps)
    for i, pair in enumerate(pairs[:2]):
        alone = train_together([pair], steps)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-5)
    # Negative control: another seed is far away.
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize("architecture", ["mamba-attn", "deltanet-gated-deltanet"])
def test_company_does_not_matter_bit_for_bit(architecture: str) -> None:
    pairs = members(architecture)
    together = train_together(pairs, 60)
    assert torch.equal(train_together(pairs[:1], 60), together[:1])
    assert torch.equal(train_together(pairs[:2], 60), together[:2])
    assert torch.equal(train_together([pairs[3], pairs[1], pairs[0]], 60), together[[3, 1, 0]])


LEARNERS = {
    "gated-attn": {"n_heads": 2, "n_kv_heads": 1},
    "kda": {"n_heads": 2, "d_value": 6, "n_groups": 1, "beta_max": 2},
    "rwkv7": {"d_state": 8},
    "mamba2": {"d_head": 4, "n_groups": 2},
}


@pytest.mark.parametrize("architecture", LEARNERS)
def test_the_loss_falls(architecture: str) -> None:
    """Through autograd, of two members at once; the other's answers are shuffled, and are not learned in that time."""
    spec = ModelSpec(architecture, **{**SIZES, **LEARNERS[architecture]})
    schedule = Schedule("uniform", steps=100, batch=16, warmup_steps=10)
    config = TrainConfig(TASK, spec, schedule)
    permuted = replace(config, schedule=replace(schedule, targets="random"))
    member = Member("report", 0.01, 0)
    pairs = [ActiveMember(config, member), ActiveMember(permuted, member)]
    stepper = Stepper(Ensemble.of([build_model(*pair) for pair in pairs]), pairs, ProcessGroup())
    losses = []
    for first in range(0, schedule.steps, STEPS_PER_DRAW):
        tokens, targets = draw(pairs, first, STEPS_PER_DRAW)
        for i in range(STEPS_PER_DRAW):
            losses.append(stepper.step(tokens[:, i], targets[:, i], stepper.scalars_of(first + i, 1)[0]))
    right, shuffled = torch.stack(losses[-20:]).mean(0)
    assert right < 0.7 * losses[0][0]
    assert right < 0.9 * shuffled


def test_the_plain_loop_is_the_oracle() -> None:
    """torch's own cross-entropy, clipping and AdamW on the module itself, for 50 steps, in double precision."""

    (config, member), *_ = pairs = members("mamba-attn")
    together = train_together(pairs, 50, torch.float64)
    model, schedule = build_model(config, member).double(), config.schedule
    adamw = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=schedule.weight_decay)
    tokens, targets = draw([pairs[0]], 0, 50)
    for i in range(50):
        logits = model(tokens[0, i])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[0, i].flatten(), ignore_index=IGNORE).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip_norm)
        adamw.param_groups[0]["lr"] = member.learning_rate * schedule_factor(i, schedule.steps, schedule.warmup_steps)
        adamw.step()
        adamw.zero_grad()
    expected = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.testing.assert_close(together[0], expected, rtol=0, atol=1e-9)


def test_a_lost_member_leaves_the_others_as_they_were() -> None:
    pairs = members("mamba-attn")
    lost = [ActiveMember(pairs[0].config, Member("report", 1e30, 5)), *pairs[1:]]
    assert torch.equal(train_together(lost, 20)[1:], train_together(pairs, 20)[1:])


@pytest.mark.parametrize("piece", [1, 3, 8])
def test_pieces_add_up_to_the_batch(piece: int) -> None:
    whole = train_together(members("mamba-attn"), 10)
    pieces = train_together(members("mamba-attn", replace(SCHEDULE, micro_batch=piece)), 10)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)


def test_bfloat16_is_near_and_not_the_same() -> None:
    """Three significant digits in activations; float32 weights stay float32."""
    whole = train_together(members("mamba-attn"), 10)
    half = train_together(members("mamba-attn", replace(SCHEDULE, precision="bfloat16")), 10)
    assert half.dtype == torch.float32
    difference = (half - whole).abs()
    assert 1e-6 < difference.mean() < 0.01


def test_random_targets_are_dealt_out() -> None:
    """The same questions and, all together, the same answers; but not one for one."""
    config = TrainConfig(TASK, ModelSpec("attn", **SIZES), replace(SCHEDULE, targets="random"))
    member = Member("report", 0.01, 0)
    tokens, targets = draw([ActiveMember(config, member)], 0, 50)
    same, right = draw([ActiveMember(replace(config, schedule=SCHEDULE), member)], 0, 50)
    assert torch.equal(tokens, same)
    assert torch.equal(targets == IGNORE, right == IGNORE)
    assert torch.equal(targets.flatten().sort().values, right.flatten().sort().values)
    assert not torch.equal(targets, right)


def test_members_of_another_shape_are_refused() -> None:
    model = SequenceModel(ModelSpec("attn", **SIZES), 4)
    with pytest.raises(ValueError, match=r"`values` must have shape \(members, "):
        Ensemble(model, torch.zeros(2, 5))


def test_recall_members_differ_in_what_they_draw(tmp_path: Path) -> None:
    """A parameter of the distribution may differ within an ensemble."""
    tasks = [AssociativeRecallDecoding(word_bits=3, seq_len=12, bit_probability=p) for p in (0.2, 0.8)]
    spec = ModelSpec("attn", **SIZES)
    pairs = [ActiveMember(TrainConfig(task, spec, SCHEDULE), Member("report", 0.01, 0)) for task in tasks]
    uniform = replace(SCHEDULE, distribution="uniform")
    tokens, _ = draw([ActiveMember(replace(c, schedule=uniform), m) for c, m in pairs], 0, 50)
    shares = [float((own < 2).double().mean()) for own in tokens]
    # 4,800 tokens, all but the last few bits with these probabilities: 5 standard errors are 0.04.
    assert [math.floor(10 * share + 0.5) for share in shares] == [2, 8]
