"""On a CUDA device: the same answers as on the CPU, training that learns, and probes that hold."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from boundprobe.bottleneck import (
    BottleneckConfig,
    CurveConfig,
    load_bottleneck,
    measure_bottleneck,
    probe_bottleneck,
    train_bottleneck,
)
from boundprobe.models import BUILDERS, MIXERS, CutState, ModelSpec, Rounding, SequenceModel, entry_limits
from boundprobe.probes import ProbeConfig, measure
from boundprobe.runs import load_run
from boundprobe.tasks import SelectiveCopying
from boundprobe.testing import check_mixer
from boundprobe.training import Schedule, TrainConfig, load_models, train

pytestmark = pytest.mark.gpu

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=10)
SIZES = {"d_model": 8, "window": 4, "n_heads": 2, "d_state": 4, "d_conv": 3, "d_head": 4, "chunk": 3, "mlp_ratio": 2}
ARCHITECTURES = (*MIXERS, "attn-attn", "mamba-attn", "mamba|attn-mamba2", "2xgated-deltanet|gru")

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def pair(architecture: str, backend: str = "auto") -> tuple[SequenceModel, SequenceModel]:
    """The same model on the CPU and on the device."""
    torch.manual_seed(0)
    cpu = SequenceModel(ModelSpec(architecture, **SIZES), TASK.vocab_size, backend)
    return cpu, copy.deepcopy(cpu).cuda()


def draw(n: int = 4) -> Tensor:
    return torch.randint(TASK.vocab_size, (n, TASK.seq_len), generator=torch.Generator().manual_seed(1))


def assert_same_state(found: CutState, expected: CutState, tolerance: float) -> None:
    for layer, same in zip(found.layers, expected.layers, strict=True):
        for tensor, other in zip(layer, same, strict=True):
            assert (tensor.name, tensor.kind) == (other.name, other.kind)
            torch.testing.assert_close(tensor.value.cpu(), other.value.cpu(), atol=tolerance, rtol=tolerance)


@each_architecture
def test_logits_states_and_gradients_agree_with_the_cpu(architecture: str) -> None:
    cpu, cuda = pair(architecture)
    tokens = draw()
    (expected, state), (found, cuda_state) = cpu.extend(tokens), cuda.extend(tokens.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
    assert {tensor.value.device.type for layer in cuda_state.layers for tensor in layer} == {"cuda"}
    assert cuda_state.bits() == state.bits()
    assert_same_state(cuda_state, state, 1e-4)
    for logits in (expected, found):
        logits.square().mean().backward()
    for (name, parameter), other in zip(cuda.named_parameters(), cpu.parameters(), strict=True):
        torch.testing.assert_close(
            parameter.grad.cpu(), other.grad, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


@each_architecture
@torch.no_grad()
def test_the_state_carries_all_across_the_cut(architecture: str) -> None:
    _, model = pair(architecture)
    tokens = draw().cuda()
    whole = model(tokens)
    for cut in (1, 4, 5, 9):
        answered = model.answer(model.prefill(tokens[:, :cut]), tokens[:, cut:])
        torch.testing.assert_close(answered, whole[:, cut:], atol=1e-5, rtol=1e-5)
    logits, states = model.return_states(tokens, (2, 7))
    torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-5)
    for position, state in zip((2, 7), states, strict=True):
        assert_same_state(state, model.prefill(tokens[:, :position]), 1e-5)


@each_architecture
@torch.no_grad()
def test_half_precision(architecture: str) -> None:
    """Both devices round the same weights, at places of their own: some thirty roundings of relative size 2^-9."""
    cpu, cuda = (model.bfloat16() for model in pair(architecture))
    tokens = draw()
    expected = cpu.float()(tokens)
    found, state = cuda.extend(tokens.cuda())
    assert {tensor.value.dtype for layer in state.layers for tensor in layer} == {torch.bfloat16}
    assert (found.float().cpu() - expected).norm() / expected.norm() < 30 * 2**-9


@each_architecture
def test_an_ensemble_is_its_members_one_by_one(architecture: str) -> None:
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(SequenceModel(ModelSpec(architecture, **SIZES), TASK.vocab_size).cuda())
    parameters, buffers = torch.func.stack_module_state(models)
    base, tokens = copy.deepcopy(models[0]).to("meta"), draw().cuda()

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(base, (parameters, buffers), (tokens,)).square().mean()

    values = {name: value.detach() for name, value in parameters.items()}
    gradients = torch.func.vmap(torch.func.grad(loss))(values, buffers)
    for i, model in enumerate(models):
        model(tokens).square().mean().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_keeps_the_contract(mixer: str) -> None:
    spec = ModelSpec(mixer, **SIZES)
    check_mixer(lambda: BUILDERS[mixer](spec, "auto"), d_model=8, device="cuda")


@each_architecture
@torch.no_grad()
def test_a_state_travels_to_the_cpu(architecture: str, tmp_path: Path) -> None:
    cpu, cuda = pair(architecture)
    tokens = draw()
    state = cuda.prefill(tokens[:, :6].cuda())
    state.save(tmp_path / "state.safetensors")
    read = CutState.load(tmp_path / "state.safetensors")
    assert {tensor.value.device.type for layer in read.layers for tensor in layer} == {"cpu"}
    assert torch.equal(read.flatten(), state.flatten().cpu())
    torch.testing.assert_close(cpu.answer(read, tokens[:, 6:]), cpu(tokens)[:, 6:], atol=1e-4, rtol=1e-4)


@each_architecture
@torch.no_grad()
def test_rounding_is_that_of_the_cpu(architecture: str) -> None:
    _, cuda = pair(architecture)
    state = cuda.prefill(draw(40)[:, :6].cuda())
    on_cpu = state.map(Tensor.cpu)
    found, expected = (Rounding(*entry_limits([s]), 3)(s) for s in (state, on_cpu))
    # In float64 on both; an entry at the middle between two levels may go either way.
    step = (on_cpu.flatten().amax(0) - on_cpu.flatten().amin(0)) / 7
    apart = (found.flatten().cpu() - expected.flatten()).abs()
    assert (apart <= step * (1 + 1e-5) + 1e-6).all()
    assert (apart > 1e-6).double().mean() < 0.001


def config() -> TrainConfig:
    return TrainConfig(
        TASK,
        ModelSpec("mamba-attn", d_model=8, window=4, d_state=4),
        Schedule(steps=300, learning_rates=(0.01,), n_eval=500),
    )


def test_training_and_probing_run_on_the_device(tmp_path: Path) -> None:
    run = train(config(), tmp_path, device="cuda")
    (model,) = load_models(run, "cuda")
    ladder = measure(model, TASK, ProbeConfig(n_sequences=500, n_calibration=200))
    chance = 1 / TASK.vocab_size
    # 500 sequences: the standard error of an accuracy is at most 0.023, so 0.2 above chance is no accident.
    assert run.result()["members"][0]["accuracy"] > chance + 0.2
    assert ladder.violations == ()
    assert np.isfinite(ladder.used.lower)


def test_a_bottleneck_is_trained_on_the_device() -> None:
    _, model = pair("mamba-attn")
    before = copy.deepcopy(model.state_dict())
    budget = BottleneckConfig(2, 2, steps=20, batch=64, n_states=600, hidden=16)
    first, again = (train_bottleneck(model, TASK, budget, seed=0) for _ in range(2))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert {value.device.type for value in first.state_dict().values()} == {"cuda"}
    # Sums on the device may be added up in another order, so twenty steps are the same up to rounding.
    torch.testing.assert_close(first.bottleneck.codebooks, again.bottleneck.codebooks, atol=1e-2, rtol=1e-2)
    state = first.prefill(draw().cuda())
    assert state.bits().total_bits == 4
    codes = state.layers[0][0].value
    assert codes.device.type == "cuda"
    assert 0 <= int(codes.min()) <= int(codes.max()) < 4
    point = measure_bottleneck(first, TASK, 500, 1e-6, 0)
    assert point.violations == ()
    assert point.n_states_seen <= 16


def test_a_curve_is_measured_on_the_device_and_loaded_on_both(tmp_path: Path) -> None:
    run = train(config(), tmp_path, device="cuda")
    curve = CurveConfig(((1, 2), (2, 2)), steps=60, n_sequences=500)
    document = probe_bottleneck(run, 0, curve, tmp_path, device="cuda")
    assert document.violations == ()
    for device in ("cpu", "cuda"):
        (model,) = load_models(run, device)
        machine = load_bottleneck(load_run(document.run_dir), model, TASK, (2, 2))
        assert {value.device.type for value in machine.state_dict().values()} == {device}
        point = measure_bottleneck(machine, TASK, 500, 0.025, 0)
        # The same machine on the same sequences; a code at a tie of two scores may go either way.
        assert point.accuracy.estimate == pytest.approx(document.points[1].accuracy.estimate, abs=0.02)
