"""Mamba-2 against its equations, and against the layer of transformers with the same weights."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mamba2Config, Mamba2Model

from boundprobe.models import Mamba2
from boundprobe.models.mamba2 import A_MAX, A_MIN, DT_MAX, DT_MIN
from tests.helpers.models import draw, make

T = 6
SIZES = [
    (8, 2, 4, 4, 2),
    (8, 1, 8, 1, 1),
    (4, 3, 1, 2, 3),
    (12, 5, 6, 9, 1),
]  # d_model, d_state, d_head, d_conv, expand

each_size = pytest.mark.parametrize("size", SIZES, ids=str)
each_backend = pytest.mark.parametrize("backend", ["chunked", "reference"])


def layer_and_inputs(size: tuple[int, int, int, int, int], backend: str = "auto") -> tuple[Mamba2, Tensor]:
    return make(lambda: Mamba2(*size, backend), noise=0.1), draw(T, size[0])


def sequential(layer: Mamba2, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The recurrent form of the paper's section 7: output, last inputs (B, c-1, D+2N), h (B, H, N, P)."""
    weight = dict(layer.named_parameters())
    n_heads = len(weight["A_log"])
    d_inner = len(weight["norm.weight"])
    d_convolved, _, d_conv = weight["conv1d.weight"].shape
    d_state = (d_convolved - d_inner) // 2
    projected = x @ weight["in_proj.weight"].T
    gate, u, dt = projected.split([d_inner, d_convolved, n_heads], dim=-1)
    padded = F.pad(u.transpose(1, 2), (d_conv - 1, 0))  # (B, D+2N, c-1+T)
    convolved = F.conv1d(padded, weight["conv1d.weight"], weight["conv1d.bias"], groups=d_convolved)
    u = (convolved * torch.sigmoid(convolved)).transpose(1, 2)
    channels, b, c = u.split([d_inner, d_state, d_state], dim=-1)
    channels = channels.reshape(*x.shape[:2], n_heads, -1)
    dt = torch.log1p(torch.exp(dt + weight["dt_bias"]))
    a = -torch.exp(weight["A_log"])
    h, rows = torch.zeros(len(x), n_heads, d_state, d_inner // n_heads, dtype=x.dtype), []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t] * a)[:, :, None, None] * h
        h = h + torch.einsum("bh,bn,bhp->bhnp", dt[:, t], b[:, t], channels[:, t])
        y = torch.einsum("bhnp,bn->bhp", h, c[:, t]) + weight["D"][:, None] * channels[:, t]
        gated = y.reshape(len(x), -1) * gate[:, t] * torch.sigmoid(gate[:, t])
        gated = gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight["norm.weight"]
        rows.append(gated @ weight["out_proj.weight"].T)
    return torch.stack(rows, dim=1), padded[:, :, x.shape[1] :].transpose(1, 2), h


@each_size
@each_backend
@torch.no_grad()
def test_step_by_step(size: tuple[int, int, int, int, int], backend: str) -> None:
    layer, x = layer_and_inputs(size, backend)
    y, (inputs, h) = layer(x)
    for found, expected in zip((y, inputs.value, h.value), sequential(layer, x), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@each_size
@torch.no_grad()
def test_the_state_is_the_last_inputs_and_h(size: tuple[int, int, int, int, int]) -> None:
    layer, x = layer_and_inputs(size)
    d_model, d_state, d_head, d_conv, expand = size
    _, (inputs, h) = layer(x)
    assert (inputs.name, inputs.kind, h.name, h.kind) == ("inputs", "conv", "h", "recurrent")
    assert inputs.value.shape == (2, d_conv - 1, expand * d_model + 2 * d_state)
    assert h.value.shape == (2, expand * d_model // d_head, d_state, d_head)


def test_it_has_the_weights_and_the_gradients_of_transformers() -> None:
    """Same weights, same outputs, same gradients of every weight and of the input, to 1e-4 in float32."""
    torch.manual_seed(0)
    config = Mamba2Config(
        hidden_size=16, state_size=8, num_heads=4, head_dim=8, expand=2, n_groups=1, conv_kernel=4, chunk_size=8,
        num_hidden_layers=1, vocab_size=5,
    )  # fmt: skip
    theirs = Mamba2Model(config).layers[0].mixer
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ours = Mamba2(d_model=16, d_state=8, d_head=8, d_conv=4, expand=2)
    assert ours.norm.eps == theirs.norm.variance_epsilon
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 21, 16)
    outputs, gradients = [], []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y = y[0] if isinstance(y, tuple) else y
        parameters = dict(layer.named_parameters())
        outputs.append(y)
        found = torch.autograd.grad(y.sin().sum(), (leaf, *parameters.values()))
        gradients.append(dict(zip(("x", *parameters), found, strict=True)))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[1].items():
        assert expected.abs().max() > 1e-3, f"{name}: a gradient of about 0 would compare nothing"
        torch.testing.assert_close(
            gradients[0][name], expected, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_it_starts_as_in_mamba_ssm() -> None:
    """-A uniform in [1, 16], step sizes log-uniform between DT_MIN and DT_MAX, the skip connection 1."""
    torch.manual_seed(0)
    layer = Mamba2(d_model=128, d_state=1, d_head=1, d_conv=4, expand=2)
    a, dt = layer.A_log.exp(), F.softplus(layer.dt_bias)
    assert a.min() >= A_MIN * 0.999
    assert a.max() <= A_MAX * 1.001
    assert dt.min() >= DT_MIN * 0.999
    assert dt.max() <= DT_MAX * 1.001
    # half below the middle of their laws, +- 5 standard errors of a proportion of 256
    for values, middle in ((a, (A_MIN + A_MAX) / 2), (dt, math.sqrt(DT_MIN * DT_MAX))):
        assert abs(float((values < middle).float().mean()) - 0.5) < 5 * math.sqrt(0.25 / 256)
    assert (layer.D == 1).all()


def test_heads_must_share_the_channels() -> None:
    with pytest.raises(ValueError, match=r"`d_head` must divide expand \* d_model = 16; got 5") as caught:
        Mamba2(d_model=8, d_state=2, d_head=5, d_conv=4, expand=2)
    assert "\n" not in str(caught.value)
