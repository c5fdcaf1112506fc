"""DeltaNet and Gated DeltaNet against their equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.models import DeltaNet, GatedDeltaNet, StateTensor
from boundprobe.models.deltanet import split_heads
from boundprobe.models.heads import KeyValueHeads
from tests.helpers.models import draw, make

T = 6
SIZES = [(8, 2, 3, 4), (8, 1, 5, 1), (20, 4, 2, 9)]  # d_model, n_heads, d_state, d_conv

each_class = pytest.mark.parametrize("layer_class", [DeltaNet, GatedDeltaNet])
each_size = pytest.mark.parametrize("size", SIZES, ids=str)
each_backend = pytest.mark.parametrize("backend", ["chunked", "reference"])

Layer = DeltaNet | GatedDeltaNet


def layer_and_inputs(
    layer_class: type[Layer], size: tuple[int, int, int, int], backend: str = "auto"
) -> tuple[Layer, Tensor]:
    return make(lambda: layer_class(*size, backend), noise=0.1), draw(T, size[0])


def sequential(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output (B, T, d_model), last inputs (B, c-1, 2HK + d_model), S transposed (B, H, K, V)."""
    weight = dict(layer.named_parameters())
    batch, n_tokens, d_model = x.shape
    heads, d_state, d_conv = len(weight["beta_proj.weight"]), layer.heads.d_key, weight["conv1d.weight"].shape[-1]
    u = x @ weight["in_proj.weight"].T
    padded = F.pad(u.transpose(1, 2), (d_conv - 1, 0))
    convolved = F.conv1d(padded, weight["conv1d.weight"], groups=u.shape[-1]).transpose(1, 2)
    u = convolved * torch.sigmoid(convolved)
    q, k, v = u.split([heads * d_state, heads * d_state, d_model], dim=-1)
    q, k, v = (part.reshape(batch, n_tokens, heads, -1) for part in (q, k, v))
    q, k = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
    beta = torch.sigmoid(x @ weight["beta_proj.weight"].T)
    alpha = torch.ones_like(beta)
    if isinstance(layer, GatedDeltaNet):
        dt = torch.log1p(torch.exp(x @ weight["dt_proj.weight"].T + weight["dt_bias"]))
        alpha = torch.exp(-torch.exp(weight["A_log"]) * dt)
    s, rows = torch.zeros(batch, heads, d_state, d_model // heads, dtype=x.dtype), []
    for t in range(n_tokens):
        outer = torch.einsum("bhi,bhj->bhij", k[:, t], k[:, t])
        keep = torch.eye(d_state, dtype=x.dtype) - beta[:, t, :, None, None] * outer
        s = alpha[:, t, :, None, None] * keep @ s
        s = s + beta[:, t, :, None, None] * torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        o = torch.einsum("bhk,bhkv->bhv", q[:, t], s)
        o = (o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight["norm.weight"]).flatten(-2)
        if isinstance(layer, GatedDeltaNet):
            gate = x[:, t] @ weight["gate_proj.weight"].T
            o = o * gate * torch.sigmoid(gate)
        rows.append(o @ weight["out_proj.weight"].T)
    return torch.stack(rows, dim=1), padded[:, :, n_tokens:].transpose(1, 2), s


@each_class
@each_size
@each_backend
@torch.no_grad()
def test_step_by_step(layer_class: type[Layer], size: tuple[int, int, int, int], backend: str) -> None:
    layer, x = layer_and_inputs(layer_class, size, backend)
    y, (inputs, s) = layer(x)
    for found, expected in zip((y, inputs.value, s.value), sequential(layer, x), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@each_class
@each_size
@torch.no_grad()
def test_the_state_is_the_last_inputs_and_s(layer_class: type[Layer], size: tuple[int, int, int, int]) -> None:
    layer, x = layer_and_inputs(layer_class, size)
    d_model, n_heads, d_state, d_conv = size
    _, (inputs, s) = layer(x)
    assert (inputs.name, inputs.kind, s.name, s.kind) == ("inputs", "conv", "s", "recurrent")
    assert inputs.value.shape == (2, d_conv - 1, 2 * n_heads * d_state + d_model)
    assert s.value.shape == (2, n_heads, d_state, d_model // n_heads)


def test_queries_and_keys_have_length_one_and_values_are_left_alone() -> None:
    u = torch.randn(2, T, 2 * 2 * 3 + 8, generator=torch.Generator().manual_seed(0)).double()
    u[..., 6:9] = torch.tensor([1.0, 2.0, 2.0])  # the first head's keys
    q, k, v = split_heads(u, KeyValueHeads.of(d_model=8, n_heads=2, d_key=3))
    torch.testing.assert_close(k[0, 0, 0], torch.tensor([1.0, 2.0, 2.0]).double() / 3, atol=1e-6, rtol=0)
    # sqrt(1 / (1 + 1e-6 / |k|^2)), and the shortest of these 48 vectors has a length of about 0.2
    torch.testing.assert_close(torch.cat([q, k]).norm(dim=-1), torch.ones(4, T, 2).double(), atol=1e-4, rtol=0)
    assert torch.equal(v.flatten(-2), u[..., 12:])


@each_class
def test_a_zero_key_writes_nothing(layer_class: type[Layer]) -> None:
    """Nothing is divided by zero: the state stays zero, and gradients are finite."""
    layer, x = layer_and_inputs(layer_class, (8, 2, 3, 1))
    with torch.no_grad():
        layer.in_proj.weight[6:12] = 0
    y, (_, s) = layer(x)
    assert (s.value == 0).all()
    gradients = torch.autograd.grad(y.sin().sum() + s.value.sum(), layer.parameters())
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@torch.no_grad()
def test_without_decay_the_gated_net_is_the_plain_one_with_a_gate() -> None:
    """A of about 0: alpha is 1, and the states agree."""
    plain, x = layer_and_inputs(DeltaNet, (8, 2, 3, 4))
    gated = GatedDeltaNet(8, 2, 3, 4).double()
    gated.load_state_dict(gated.state_dict() | plain.state_dict())
    gated.A_log.fill_(-100.0)
    for found, expected in zip(gated(x)[1], plain(x)[1], strict=True):
        torch.testing.assert_close(found.value, expected.value, atol=1e-10, rtol=1e-10)
    gated.A_log.fill_(1.0)
    assert not torch.allclose(gated(x)[1][1].value, plain(x)[1][1].value)  # the control: decay shows


@each_class
@torch.no_grad()
def test_beta_up_to_two_keeps_a_parity(layer_class: type[Layer]) -> None:
    """A token whose beta is 2 turns the sign of what its key finds; one whose beta is 0 leaves it, and 1 erases it."""
    layer = make(lambda: layer_class(4, 1, 3, 1, beta_max=2))
    layer.conv1d.weight.fill_(1.0)
    layer.in_proj.weight.zero_()
    layer.in_proj.weight[3:6, 0] = 5.0  # every key is the same, and values are 0
    layer.beta_proj.weight[0] = torch.tensor([0.0, 100.0, 0.0, 0.0]).double()  # + 2, - 0, and 0 is in between
    if isinstance(layer, GatedDeltaNet):
        layer.A_log.fill_(-100.0)
    signs = torch.tensor([1, -1, 1, 1, -1, 1, 1]).double()
    x = torch.stack([torch.ones(7).double(), signs, *torch.zeros(2, 7).double()], dim=-1)[None]
    key = torch.full((3,), 1 / 3**0.5).double()
    start = torch.outer(key, torch.arange(1.0, 5.0).double())[None, None]
    state = (StateTensor("inputs", "conv", x[:, :0].new_zeros(1, 0, 10)), StateTensor("s", "recurrent", start))
    for t in range(1, 8):
        _, (_, s) = layer(x[:, :t], state)
        parity = (-1) ** int((signs[:t] > 0).sum())
        torch.testing.assert_close(s.value, parity * start, atol=1e-5, rtol=0)
    plain = make(lambda: layer_class(4, 1, 3, 1))
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(plain(x, state)[1][1].value, 0 * start, atol=1e-5, rtol=0)  # the control


@each_class
def test_heads_must_share_the_width(layer_class: type[Layer]) -> None:
    with pytest.raises(ValueError, match="`n_heads` must divide d_model=8; got 3"):
        layer_class(8, 3, 2, 4)
