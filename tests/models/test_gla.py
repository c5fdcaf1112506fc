"""Gated linear attention against its equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boundprobe.models import GatedLinearAttention
from tests.helpers.models import draw, make

T = 6
SIZES = [(8, 2, 3), (8, 1, 5), (20, 4, 1)]  # d_model, n_heads, d_state

each_size = pytest.mark.parametrize("size", SIZES, ids=str)
each_backend = pytest.mark.parametrize("backend", ["chunked", "reference"])


def layer_and_inputs(size: tuple[int, int, int], backend: str = "auto") -> tuple[GatedLinearAttention, Tensor]:
    return make(lambda: GatedLinearAttention(*size, backend), noise=0.1), draw(T, size[0])


def projections(layer: GatedLinearAttention, x: Tensor) -> tuple[Tensor, ...]:
    """q, k (B, T, H, K), v (B, T, H, V), alpha (B, T, H, K), r (B, T, d_model)."""
    weight = dict(layer.named_parameters())
    d_model, heads = x.shape[-1], layer.n_heads
    d_keys = len(weight["decay.1.bias"])
    q, k, v, r = (x @ weight["in_proj.weight"].T).split([d_keys, d_keys, d_model, d_model], dim=-1)
    low_rank = x @ weight["decay.0.weight"].T @ weight["decay.1.weight"].T + weight["decay.1.bias"]
    alpha = torch.sigmoid(low_rank) ** (1 / 16)
    return *(u.reshape(*x.shape[:2], heads, -1) for u in (q, k, v, alpha)), r


def read_out(layer: GatedLinearAttention, o: Tensor, r: Tensor) -> Tensor:
    """Norm of each head's output o (B, T, H, V), swish gate, projection."""
    weight = dict(layer.named_parameters())
    o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight["norm.weight"]
    return (o.flatten(-2) * r * torch.sigmoid(r)) @ weight["out_proj.weight"].T


@each_size
@each_backend
@torch.no_grad()
def test_step_by_step(size: tuple[int, int, int], backend: str) -> None:
    layer, x = layer_and_inputs(size, backend)
    y, (state,) = layer(x)
    q, k, v, alpha, r = projections(layer, x)
    s, outputs = torch.zeros(2, size[1], size[2], size[0] // size[1], dtype=x.dtype), []
    for t in range(T):
        s = alpha[:, t, :, :, None] * s + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], s))
    torch.testing.assert_close(y, read_out(layer, torch.stack(outputs, dim=1), r), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(state.value, s, atol=1e-10, rtol=1e-10)


@each_size
@torch.no_grad()
def test_open_gates_make_it_linear_attention(size: tuple[int, int, int]) -> None:
    """With alpha = 1 the heads read tril(Q K^T) V."""
    layer, x = layer_and_inputs(size)
    layer.decay[1].bias.fill_(1e4)
    q, k, v, alpha, r = projections(layer, x)
    assert (alpha == 1).all()
    o = torch.einsum("bhts,bshv->bthv", torch.einsum("bthk,bshk->bhts", q, k).tril(), v)
    torch.testing.assert_close(layer(x)[0], read_out(layer, o, r), atol=1e-10, rtol=1e-10)


@each_size
@torch.no_grad()
def test_closed_gates_leave_the_last_token_alone(size: tuple[int, int, int]) -> None:
    """With alpha about 0 nothing before a token is left: the state is its own k v^T."""
    layer, x = layer_and_inputs(size)
    layer.decay[1].bias.fill_(-1e4)
    _, k, v, _, _ = projections(layer, x)
    expected = torch.einsum("bhk,bhv->bhkv", k[:, -1], v[:, -1])
    torch.testing.assert_close(layer(x)[1][0].value, expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_the_state_does_not_grow_with_heads() -> None:
    for n_heads in (1, 2, 4):
        _, (state,) = GatedLinearAttention(8, n_heads, 3)(torch.zeros(1, 2, 8))
        assert (state.name, state.kind) == ("s", "recurrent")
        assert state.value.shape == (1, n_heads, 3, 8 // n_heads)
        assert state.value.numel() == 3 * 8


@torch.no_grad()
def test_gates_are_nearly_open_at_the_start() -> None:
    """sigmoid(.)^(1/16) of numbers about 0 is about 2^(-1/16) = 0.958: half is forgotten in about 16 tokens."""
    torch.manual_seed(0)
    layer = GatedLinearAttention(16, 2, 8)
    alpha = projections(layer, torch.randn(4, 50, 16))[3]
    assert abs(float(alpha.mean()) - 2 ** (-1 / 16)) < 0.01


def test_heads_must_share_the_width() -> None:
    with pytest.raises(ValueError, match="`n_heads` must divide d_model=8; got 3"):
        GatedLinearAttention(8, 3, 2)
