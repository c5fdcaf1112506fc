"""Gated attention, and shared keys, against softmax over all tokens in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.kernels.window import rotate
from boundprobe.models import GatedAttention, SlidingWindowAttention
from tests.helpers.models import draw, make

D, T = 8, 9


def dense(q: Tensor, k: Tensor, v: Tensor, window: int, n_sharing: int) -> Tensor:
    """Each head of queries by itself: softmax of the scores within the window, in the group's keys and values."""
    places = torch.arange(T)
    hidden = (places[:, None] < places) | (places[:, None] - places >= window)
    heads = []
    for h in range(q.shape[1]):
        scores = rotate(q[:, h], places) @ rotate(k[:, h // n_sharing], places).mT / q.shape[-1] ** 0.5
        heads.append(scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v[:, h // n_sharing])
    return torch.cat(heads, dim=-1)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


@pytest.mark.parametrize("gated", [True, False])
@settings(max_examples=15)
@given(n_kv_heads=st.sampled_from([1, 2, 4]), window=st.integers(1, 10), seed=st.integers(0, 99))
@torch.no_grad()
def test_it_is_softmax_over_the_window(gated: bool, n_kv_heads: int, window: int, seed: int) -> None:
    layer_class = GatedAttention if gated else SlidingWindowAttention
    layer = make(lambda: layer_class(D, 4, window, "rope", n_kv_heads=n_kv_heads), seed, noise=0.3)
    x = draw(T, D, seed)
    projected = layer.qkv(x).unflatten(-1, (-1, 2)).transpose(1, 2)
    q, k, v = projected[:, :4], projected[:, 4 : 4 + n_kv_heads], projected[:, 4 + n_kv_heads :]
    if isinstance(layer, GatedAttention):
        q, k = rms(q, layer.q_norm.weight), rms(k, layer.k_norm.weight)
    y = dense(q, k, v, window, 4 // n_kv_heads)
    if isinstance(layer, GatedAttention):
        y = y * torch.sigmoid(x @ layer.gate.weight.T)
    found, (keys, values) = layer(x)
    torch.testing.assert_close(found, layer.out(y), atol=1e-10, rtol=1e-10)
    assert keys.value.shape == values.value.shape == (2, n_kv_heads, min(window - 1, T), 2)
    torch.testing.assert_close(keys.value, k[:, :, T - keys.value.shape[2] :])


@torch.no_grad()
def test_a_closed_gate_lets_nothing_through() -> None:
    layer, x = GatedAttention(D, 2, 4, "none").double(), draw(T, D)
    x[..., 0] = 1.0
    layer.gate.weight.zero_()
    layer.gate.weight[:, 0] = -1e3
    assert (layer(x)[0] == 0).all()


@pytest.mark.parametrize("layer_class", [GatedAttention, SlidingWindowAttention])
def test_heads_are_shared_equally(layer_class: type[GatedAttention | SlidingWindowAttention]) -> None:
    with pytest.raises(ValueError, match=r"^`n_kv_heads` must be 0, or a number that divides the 4 heads; got 3\.$"):
        layer_class(D, 4, 3, "rope", n_kv_heads=3)
