"""What every mixer promises, checked on the linear recurrences and the classic RNNs."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from boundprobe.models.deltanet import DeltaNet
from boundprobe.models.gated_deltanet import GatedDeltaNet
from boundprobe.models.gla import GatedLinearAttention
from boundprobe.models.gru import GRU
from boundprobe.models.lstm import LSTM
from boundprobe.models.mamba2 import Mamba2
from boundprobe.models.memory import LayerState
from boundprobe.models.mixer import AbstractMixer

D = 8
BUILD: dict[str, Callable[[], AbstractMixer]] = {
    "mamba2": lambda: Mamba2(D, d_state=3, d_head=4, d_conv=4, expand=2),
    "mamba2 without convolution": lambda: Mamba2(D, d_state=3, d_head=4, d_conv=1, expand=2),
    "gla": lambda: GatedLinearAttention(D, n_heads=2, d_state=3),
    "deltanet": lambda: DeltaNet(D, n_heads=2, d_state=3, d_conv=4),
    "deltanet without convolution": lambda: DeltaNet(D, n_heads=2, d_state=3, d_conv=1),
    "gated-deltanet": lambda: GatedDeltaNet(D, n_heads=2, d_state=3, d_conv=4),
    "lstm": lambda: LSTM(D, expand=2),
    "gru": lambda: GRU(D, expand=2),
}
#: Entries of the state by kind, from the formulas of the docstrings.
ENTRIES = {
    "mamba2": {"recurrent": 2 * D * 3, "conv": 3 * (2 * D + 2 * 3)},
    "mamba2 without convolution": {"recurrent": 2 * D * 3, "conv": 0},
    "gla": {"recurrent": 3 * D},
    "deltanet": {"recurrent": 3 * D, "conv": 3 * (2 * 2 * 3 + D)},
    "deltanet without convolution": {"recurrent": 3 * D, "conv": 0},
    "gated-deltanet": {"recurrent": 3 * D, "conv": 3 * (2 * 2 * 3 + D)},
    "lstm": {"recurrent": 2 * 2 * D},
    "gru": {"recurrent": 2 * D},
}
each_mixer = pytest.mark.parametrize("name", BUILD)


def make(name: str, n_tokens: int = 37, seed: int = 0) -> tuple[AbstractMixer, Tensor]:
    """A mixer and a batch (2, n_tokens, D); 37 tokens are more than two chunks of 16."""
    torch.manual_seed(seed)
    return BUILD[name](), torch.randn(2, n_tokens, D)


def assert_same_state(found: LayerState, expected: LayerState, tolerance: float) -> None:
    assert [(t.name, t.kind) for t in found] == [(t.name, t.kind) for t in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.value, b.value, atol=tolerance, rtol=tolerance)


@each_mixer
@torch.no_grad()
def test_the_state_is_named_and_counted(name: str) -> None:
    mixer, x = make(name)
    for n_tokens in (1, 37):
        y, state = mixer(x[:, :n_tokens])
        assert y.shape == (2, n_tokens, D)
        assert tuple(tensor.name for tensor in state) == mixer.state_names
        found: dict[str, int] = {}
        for tensor in state:
            assert tensor.value.shape[0] == 2
            found[tensor.kind] = found.get(tensor.kind, 0) + tensor.value[0].numel()
        assert found == ENTRIES[name]


@each_mixer
@pytest.mark.parametrize("cuts", [(1,), (16,), (20,), (3, 5, 30), tuple(range(1, 37))], ids=lambda cuts: str(len(cuts)))
@torch.no_grad()
def test_reading_in_pieces_is_reading_whole(name: str, cuts: tuple[int, ...]) -> None:
    mixer, x = make(name)
    whole, last = mixer(x)
    state: LayerState = ()
    pieces = []
    for begin, end in zip((0, *cuts), (*cuts, 37), strict=True):
        y, state = mixer(x[:, begin:end], state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert_same_state(state, last, 1e-5)


@each_mixer
@torch.no_grad()
def test_the_state_matters(name: str) -> None:
    """The negative control of the test above: dropping the state at a cut changes what follows."""
    mixer, x = make(name)
    assert not torch.allclose(mixer(x[:, 20:])[0], mixer(x)[0][:, 20:], atol=1e-3)


@each_mixer
@torch.no_grad()
def test_no_token_hears_of_later_ones(name: str) -> None:
    mixer, x = make(name)
    other = x.clone()
    other[:, 20:] += 1
    before, after = mixer(x)[0], mixer(other)[0]
    torch.testing.assert_close(before[:, :20], after[:, :20], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(before[:, 20], after[:, 20], atol=1e-3)


@each_mixer
@torch.no_grad()
def test_sequences_of_a_batch_do_not_mix(name: str) -> None:
    mixer, x = make(name)
    torch.testing.assert_close(mixer(x)[0][:1], mixer(x[:1])[0], atol=1e-6, rtol=1e-6)


@each_mixer
@pytest.mark.parametrize("n_tokens", [3, 20])
def test_every_parameter_and_the_input_get_gradients(name: str, n_tokens: int) -> None:
    mixer, x = make(name, n_tokens)
    x.requires_grad_()
    y, _ = mixer(x)
    parameters = dict(mixer.named_parameters())
    gradients = torch.autograd.grad(y.sin().sum(), (x, *parameters.values()))
    for what, gradient in zip(("x", *parameters), gradients, strict=True):
        assert torch.isfinite(gradient).all(), what
        assert gradient.abs().max() > 1e-7, what


@each_mixer
def test_gradients_flow_through_the_state(name: str) -> None:
    mixer, x = make(name, 6)
    first = x[:, :3].clone().requires_grad_()
    _, state = mixer(first)
    y, _ = mixer(x[:, 3:], state)
    (found,) = torch.autograd.grad(y.sin().sum(), first)
    whole = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(mixer(whole)[0][:, 3:].sin().sum(), whole)
    assert found.abs().max() > 1e-4
    torch.testing.assert_close(found, expected[:, :3], atol=1e-5, rtol=1e-4)


@each_mixer
@torch.no_grad()
def test_float64_agrees_with_float32(name: str) -> None:
    mixer, x = make(name)
    y, state = copy.deepcopy(mixer).double()(x.double())
    assert y.dtype == torch.float64
    assert all(tensor.value.dtype == torch.float64 for tensor in state)
    torch.testing.assert_close(y.float(), mixer(x)[0], atol=1e-5, rtol=1e-4)


@each_mixer
@torch.no_grad()
def test_bfloat16_is_close_to_float32(name: str) -> None:
    """Some ten roundings between input and output, of at most 2^-8 each and of about 2^-9 on average.

    float32 is given the same rounded weights and inputs.
    """
    mixer, x = make(name)
    half = copy.deepcopy(mixer).bfloat16()
    y, state = half(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert all(tensor.value.dtype == torch.bfloat16 for tensor in state)
    expected, _ = half.float()(x.bfloat16().float())
    error = (y.float() - expected).norm() / expected.norm()
    assert error < 10 * 2**-9


@each_mixer
@torch.no_grad()
def test_it_is_deterministic_and_saves_and_loads(name: str) -> None:
    mixer, x = make(name)
    again, _ = make(name)
    assert torch.equal(mixer(x)[0], again(x)[0])  # same seed, same layer, same output
    other = BUILD[name]()
    assert not torch.equal(other(x)[0], mixer(x)[0])
    other.load_state_dict(mixer.state_dict())
    assert torch.equal(other(x)[0], mixer(x)[0])


@each_mixer
def test_ensembles_agree_one_by_one(name: str) -> None:
    """Outputs, states and gradients of three stacked members under vmap are those of each."""
    torch.manual_seed(0)
    members: list[nn.Module] = [BUILD[name]().double() for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(members)
    x = torch.randn(2, 19, D, dtype=torch.float64)
    template = copy.deepcopy(members[0]).to("meta")

    def run(own: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, state = torch.func.functional_call(template, own, (x,))
        return y, tuple(tensor.value for tensor in state)

    def loss(own: dict[str, Tensor]) -> Tensor:
        y, state = run(own)
        return y.sin().sum() + sum(value.cos().sum() for value in state)

    outputs, states = torch.func.vmap(run)(parameters)
    gradients = torch.func.vmap(torch.func.grad(loss))(parameters)
    for i, member in enumerate(members):
        y, state = member(x)
        torch.testing.assert_close(outputs[i], y, atol=1e-10, rtol=1e-10)
        for found, tensor in zip(states, state, strict=True):
            torch.testing.assert_close(found[i], tensor.value, atol=1e-10, rtol=1e-10)
        value = y.sin().sum() + sum(tensor.value.cos().sum() for tensor in state)
        expected = torch.autograd.grad(value, member.parameters())
        for (what, _), gradient in zip(member.named_parameters(), expected, strict=True):
            torch.testing.assert_close(
                gradients[what][i], gradient, atol=1e-9, rtol=1e-9, msg=lambda text, what=what: f"{what}: {text}"
            )


@pytest.mark.parametrize(
    "build",
    [
        lambda: Mamba2(D, 3, 4, 4, 2, backend="fast"),
        lambda: GatedLinearAttention(D, 2, 3, backend="fast"),
        lambda: DeltaNet(D, 2, 3, 4, backend="fast"),
        lambda: GatedDeltaNet(D, 2, 3, 4, backend="fast"),
    ],
    ids=["mamba2", "gla", "deltanet", "gated-deltanet"],
)
def test_an_unknown_backend_is_refused_before_training(build: Callable[[], AbstractMixer]) -> None:
    with pytest.raises(ValueError, match="backend 'fast' is not known; allowed: auto, "):
        build()
