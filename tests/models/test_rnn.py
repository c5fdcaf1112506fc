"""LSTM and GRU against those of torch with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from boundprobe.models import GRU, LSTM, StateTensor

T = 6
SIZES = [(8, 2), (3, 1), (4, 3)]  # d_model, expand

each_size = pytest.mark.parametrize("size", SIZES, ids=str)
each_class = pytest.mark.parametrize("ours", [LSTM, GRU])
ORACLES = {LSTM: nn.LSTM, GRU: nn.GRU}


def make_oracle(layer: LSTM | GRU, d_model: int) -> nn.LSTM | nn.GRU:
    """The module of torch, with this layer's weights."""
    oracle = ORACLES[type(layer)](d_model, layer.out_proj.in_features, batch_first=True).double()
    own = layer.state_dict()
    oracle.load_state_dict({f"{name}_l0": own[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
    return oracle


@each_class
@each_size
def test_outputs_states_and_gradients_are_those_of_torch(ours: type[LSTM | GRU], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = ours(*size).double()
    oracle = make_oracle(layer, size[0])
    x = torch.randn(2, T, size[0]).double()
    y, state = layer(x)
    hidden, final = oracle(x)
    found = (y, *(tensor.value for tensor in state))
    expected = (layer.out_proj(hidden), *(tensor[0] for tensor in (final if isinstance(final, tuple) else (final,))))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(layer, name) for name in names], [getattr(oracle, f"{name}_l0") for name in names]
    gradients = [
        torch.autograd.grad(sum(tensor.sin().sum() for tensor in tensors), own)
        for tensors, own in zip((found, expected), weights, strict=True)
    ]
    for name, a, b in zip(names, *gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@each_class
@each_size
@torch.no_grad()
def test_it_continues_from_a_state_as_torch_does(ours: type[LSTM | GRU], size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    layer = ours(*size).double()
    oracle = make_oracle(layer, size[0])
    x = torch.randn(2, T, size[0]).double()
    _, state = layer(x[:, :2])
    values = [tensor.value[None] for tensor in state]
    y, _ = oracle(x[:, 2:], tuple(values) if len(values) > 1 else values[0])
    torch.testing.assert_close(layer(x[:, 2:], state)[0], layer.out_proj(y), atol=1e-12, rtol=1e-12)


@each_size
@torch.no_grad()
def test_the_state_is_h_and_for_lstm_c(size: tuple[int, int]) -> None:
    d_model, expand = size
    for ours, names in ((LSTM, ("h", "c")), (GRU, ("h",))):
        _, state = ours(*size)(torch.zeros(2, T, d_model))
        assert tuple(tensor.name for tensor in state) == names
        assert all(tensor.kind == "recurrent" for tensor in state)
        assert all(tensor.value.shape == (2, expand * d_model) for tensor in state)
        assert sum(tensor.bits for tensor in state) == 32 * len(names) * expand * d_model


@torch.no_grad()
def test_gates_that_keep_everything() -> None:
    """Closed form: an LSTM with f = 1, i = 0 keeps c; a GRU with z = 1 keeps h; for all time."""
    start = torch.randn(2, 4, generator=torch.Generator().manual_seed(3))
    lstm, gru = LSTM(4, 1), GRU(4, 1)
    for parameter in (*lstm.parameters(), *gru.parameters()):
        parameter.zero_()
    lstm.bias_ih.copy_(torch.tensor([-100.0, 100.0, 0.0, 0.0]).repeat_interleave(4))  # i, f, g, o
    gru.bias_ih.copy_(torch.tensor([0.0, 100.0, 0.0]).repeat_interleave(4))  # r, z, n
    x = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(2))
    h, c = lstm(x, tuple(StateTensor(name, "recurrent", start) for name in ("h", "c")))[1]
    torch.testing.assert_close(c.value, start)
    torch.testing.assert_close(h.value, start.tanh() / 2)  # o = sigmoid(0)
    (h,) = gru(x, (StateTensor("h", "recurrent", start),))[1]
    torch.testing.assert_close(h.value, start)


@each_class
def test_it_starts_within_the_bound_of_torch(ours: type[LSTM | GRU]) -> None:
    """Uniform within 1 / sqrt(units); the mean of n such numbers is within 5 standard errors of 0."""
    torch.manual_seed(0)
    layer = ours(16, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        weight = getattr(layer, name)
        assert weight.abs().max() <= 1 / 8
        assert weight.abs().max() > 0.9 / 8
        assert weight.mean().abs() < 5 * (1 / 8) / (3 * weight.numel()) ** 0.5
