"""Mamba against its equations, one step after the other."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.models import AbstractMixer, Mamba
from boundprobe.models.mamba import DT_MAX, DT_MIN
from tests.helpers.models import draw, make

T = 6
SIZES = [(8, 2, 4, 2), (8, 1, 1, 1), (4, 3, 2, 3), (20, 2, 9, 1)]  # d_model, d_state, d_conv, expand

each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def layer_and_inputs(
    size: tuple[int, int, int, int], backend: str = "reference", seed: int = 0
) -> tuple[Mamba, Tensor]:
    return make(lambda: Mamba(*size, backend), seed, noise=0.1), draw(T, size[0])


def sequential(layer: Mamba, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 2 and Figure 3 of the Mamba paper: output (B, T, d_model), last inputs (B, D, c-1), h (B, D, N)."""
    weight = dict(layer.named_parameters())
    d_inner, d_state = weight["A_log"].shape
    d_conv, rank = weight["conv1d.weight"].shape[-1], weight["dt_proj.weight"].shape[1]
    u, gate = (x @ weight["in_proj.weight"].T).split(d_inner, dim=-1)
    padded = F.pad(u.transpose(1, 2), (d_conv - 1, 0))  # (B, D, c-1+T)
    convolved = F.conv1d(padded, weight["conv1d.weight"], weight["conv1d.bias"], groups=d_inner)
    u = (convolved * torch.sigmoid(convolved)).transpose(1, 2)
    a = -torch.exp(weight["A_log"])
    h, rows = torch.zeros(len(x), d_inner, d_state, dtype=x.dtype), []
    for t in range(x.shape[1]):
        projected = u[:, t] @ weight["x_proj.weight"].T
        low_rank, b, c = projected[:, :rank], projected[:, rank:-d_state], projected[:, -d_state:]
        delta = torch.log1p(torch.exp(low_rank @ weight["dt_proj.weight"].T + weight["dt_proj.bias"]))
        h = torch.exp(torch.einsum("bd,dn->bdn", delta, a)) * h
        h = h + torch.einsum("bd,bn,bd->bdn", delta, b, u[:, t])
        y = torch.einsum("bdn,bn->bd", h, c) + weight["D"] * u[:, t]
        rows.append((y * gate[:, t] * torch.sigmoid(gate[:, t])) @ weight["out_proj.weight"].T)
    return torch.stack(rows, dim=1), padded[:, :, x.shape[1] :], h


@each_size
@pytest.mark.parametrize("backend", ["reference", "auto"])
@torch.no_grad()
def test_step_by_step(size: tuple[int, int, int, int], backend: str) -> None:
    layer, x = layer_and_inputs(size, backend)
    y, (inputs, h) = layer(x)
    expected_y, expected_inputs, expected_h = sequential(layer, x)
    torch.testing.assert_close(y, expected_y, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(inputs.value, expected_inputs.transpose(1, 2), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(h.value, expected_h, atol=1e-10, rtol=1e-10)


@each_size
@torch.no_grad()
def test_the_state_is_the_last_inputs_and_h(size: tuple[int, int, int, int]) -> None:
    layer, x = layer_and_inputs(size)
    d_model, d_state, d_conv, expand = size
    _, (inputs, h) = layer(x)
    assert isinstance(layer, AbstractMixer)
    assert (inputs.name, h.name) == layer.state_names
    assert (inputs.kind, h.kind) == ("conv", "recurrent")
    assert inputs.value.shape == (2, d_conv - 1, expand * d_model)
    assert h.value.shape == (2, expand * d_model, d_state)


@torch.no_grad()
def test_a_convolution_of_width_one_sees_one_token() -> None:
    """What enters the scan at a token does not depend on the token before."""
    layer, x = layer_and_inputs((8, 2, 1, 1))
    inputs = layer(x[:, :2])[1][0]
    assert inputs.value.numel() == 0
    u, _, _ = layer.enter(x[:, 1:2], None)
    whole, _, _ = layer.enter(x[:, :2], None)
    torch.testing.assert_close(u, whole[:, 1:2])
    wider, x = layer_and_inputs((8, 2, 2, 1))  # the check can fail
    assert not torch.allclose(wider.enter(x[:, 1:2], None)[0], wider.enter(x[:, :2], None)[0][:, 1:2])


@torch.no_grad()
def test_half_precision() -> None:
    """bfloat16 in, bfloat16 out, and near to what float32 gives for the same rounded numbers."""
    half, x = layer_and_inputs((8, 3, 4, 2))
    half, x = half.bfloat16(), x.bfloat16()
    wide = Mamba(8, 3, 4, 2, "reference")
    wide.load_state_dict(half.state_dict())
    found, state = half(x)
    assert {found.dtype, *(tensor.value.dtype for tensor in state)} == {torch.bfloat16}
    expected, _ = wide(x.float())
    # some ten roundings of relative size 2^-9 of numbers up to 4
    torch.testing.assert_close(found.float(), expected, atol=10 * 4 * 2**-9, rtol=0)


def test_it_starts_as_the_paper_says() -> None:
    """A_n = -n, and step sizes between DT_MIN and DT_MAX that are spread over the decades between."""
    torch.manual_seed(0)
    layer = Mamba(64, 3, 4, 2, "reference")
    torch.testing.assert_close(layer.A_log.exp(), torch.tensor([1.0, 2.0, 3.0]).expand(128, 3))
    steps = F.softplus(layer.dt_proj.bias)
    assert steps.min() >= DT_MIN * 0.999
    assert steps.max() <= DT_MAX * 1.001
    # log-uniform: half below the geometric mean, +- 5 standard errors of a proportion of 128
    below = float((steps < math.sqrt(DT_MIN * DT_MAX)).float().mean())
    assert abs(below - 0.5) < 5 * math.sqrt(0.25 / 128)
    assert layer.dt_proj.weight.abs().max() <= layer.dt_rank**-0.5
