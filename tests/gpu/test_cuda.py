"""On a CUDA device: the same answers as on the CPU, and training that learns."""

import numpy as np
import pytest
import torch

from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.ladder import ProbeConfig, measure
from boundprobe.tasks import SelectiveCopying
from boundprobe.training.config import Schedule, TrainConfig
from boundprobe.training.loop import load_models, train

pytestmark = pytest.mark.gpu

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)


@pytest.mark.parametrize("architecture", ["attn-attn", "mamba-mamba", "mamba-attn"])
def test_logits_and_gradients_agree_with_the_cpu(architecture: str) -> None:
    torch.manual_seed(0)
    cpu = SequenceModel(ModelSpec(architecture, d_model=8, window=4, d_state=4), TASK.vocab_size)
    cuda = SequenceModel(cpu.spec, TASK.vocab_size)
    cuda.load_state_dict(cpu.state_dict())
    cuda.cuda()
    tokens = torch.randint(TASK.vocab_size, (4, TASK.seq_len))
    logits = {device: model(tokens.to(device)) for device, model in (("cpu", cpu), ("cuda", cuda))}
    torch.testing.assert_close(logits["cuda"].cpu(), logits["cpu"], atol=1e-4, rtol=1e-4)
    for output in logits.values():
        output.square().mean().backward()
    for (name, expected), actual in zip(cpu.named_parameters(), cuda.parameters(), strict=True):
        torch.testing.assert_close(
            actual.grad.cpu(), expected.grad, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("architecture", ["attn-attn", "mamba-mamba", "mamba-attn"])
def test_prefill_and_answer_are_the_full_pass(architecture: str) -> None:
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec(architecture, d_model=8, window=4, d_state=4), TASK.vocab_size).cuda()
    tokens = torch.randint(TASK.vocab_size, (4, TASK.seq_len), device="cuda")
    answered = model.answer(model.prefill(tokens[:, :5]), tokens[:, 5:])
    torch.testing.assert_close(answered, model(tokens)[:, 5:], atol=1e-5, rtol=1e-5)


def test_training_and_probing_run_on_the_device(tmp_path) -> None:
    config = TrainConfig(
        TASK,
        ModelSpec("mamba-attn", d_model=8, window=4, d_state=4),
        Schedule(steps=300, learning_rates=(0.01,), n_eval=500),
    )
    run = train(config, tmp_path, device="cuda")
    (model,) = load_models(run, "cuda")
    ladder = measure(model, TASK, ProbeConfig(n_sequences=500, n_calibration=200))
    chance = 1 / TASK.vocab_size
    # 500 sequences: the standard error of an accuracy is at most 0.023, so 0.2 above chance is no accident.
    assert run.result()["members"][0]["accuracy"] > chance + 0.2
    assert ladder.violations == ()
    assert np.isfinite(ladder.used.lower)
