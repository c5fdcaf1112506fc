"""Sliding-window attention against softmax written out position by position."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.models.attention import SlidingWindowAttention, rotate

T, D_MODEL = 7, 8
WINDOWS = (1, 2, 3, T, T + 5)

each_window = pytest.mark.parametrize("window", WINDOWS)
each_heads = pytest.mark.parametrize("n_heads", [1, 2])


def make(n_heads: int, window: int, seed: int = 0) -> tuple[SlidingWindowAttention, Tensor]:
    torch.manual_seed(seed)
    layer = SlidingWindowAttention(D_MODEL, n_heads, window).double()
    return layer, torch.randn(2, T, D_MODEL, dtype=torch.float64)


def turned(x: list[float], position: int) -> list[complex]:
    """Rotary encoding as complex numbers: pair i is x_i + j x_{i + E/2}, turned by position * 10000^(-2i/E)."""
    half = len(x) // 2
    return [complex(x[i], x[i + half]) * cmath.exp(1j * position * 10_000 ** (-2 * i / len(x))) for i in range(half)]


def brute_force(layer: SlidingWindowAttention, x: Tensor, n_heads: int, window: int) -> Tensor:
    """One sequence (T, d_model), one position and one head at a time, in Python numbers."""
    width = D_MODEL // n_heads
    qkv = (x @ layer.qkv.weight.T + layer.qkv.bias).tolist()
    rows = []
    for t in range(len(qkv)):
        mixed: list[float] = []
        for head in range(n_heads):
            place = slice(head * width, (head + 1) * width)
            seen = range(max(0, t - window + 1), t + 1)
            query = turned(qkv[t][:D_MODEL][place], t)
            keys = [turned(qkv[s][D_MODEL:-D_MODEL][place], s) for s in seen]
            products = [sum((q * k.conjugate()).real for q, k in zip(query, key, strict=True)) for key in keys]
            scores = [product / math.sqrt(width) for product in products]
            weights = [math.exp(score - max(scores)) for score in scores]
            values = [qkv[s][-D_MODEL:][place] for s in seen]
            mixed += [sum(w * v[j] for w, v in zip(weights, values, strict=True)) / sum(weights) for j in range(width)]
        rows.append(mixed)
    return torch.tensor(rows, dtype=torch.float64) @ layer.out.weight.T + layer.out.bias


@each_window
@each_heads
@torch.no_grad()
def test_softmax_position_by_position(n_heads: int, window: int) -> None:
    layer, x = make(n_heads, window)
    y, _ = layer(x)
    for row in range(len(x)):
        # angles are computed in float32, hence not 1e-12
        torch.testing.assert_close(y[row], brute_force(layer, x[row], n_heads, window), atol=1e-6, rtol=1e-6)


@settings(max_examples=30)
@given(
    half=st.integers(1, 4),
    places=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    shift=st.integers(0, 200),
    seed=st.integers(0, 2**31),
)
def test_rotary_scores_depend_on_differences_of_positions(
    half: int, places: tuple[int, int], shift: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, 2 * half, generator=rng, dtype=torch.float64)

    def score(at: int) -> Tensor:
        turned_q = rotate(q, torch.tensor([places[0] + at]))
        turned_k = rotate(k, torch.tensor([places[1] + at]))
        return (turned_q * turned_k).sum()

    # angles below 400 in float32 are off by 400 * 2^-24
    torch.testing.assert_close(score(shift), score(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(rotate(q, torch.tensor([places[0]])).norm(), q.norm())


def test_rotary_scores_do_depend_on_the_difference() -> None:
    q = torch.ones(1, 2)
    scores = [float((rotate(q, torch.tensor([p])) * q).sum()) for p in range(4)]
    assert scores == pytest.approx([2 * math.cos(p) for p in range(4)], abs=1e-6)


@each_window
@torch.no_grad()
def test_the_cache_is_as_long_as_what_the_next_token_sees(window: int) -> None:
    layer, x = make(2, window)
    state = ()
    for n_seen in range(1, T + 1):
        _, state = layer(x[:, n_seen - 1 : n_seen], state)
        _, at_once = layer(x[:, :n_seen])
        for tensor, same in zip(state, at_once, strict=True):
            assert tensor.kind == "cache"
            assert tensor.value.shape == same.value.shape == (2, 2, min(window - 1, n_seen), D_MODEL // 2)
            torch.testing.assert_close(tensor.value, same.value)
    assert [tensor.name for tensor in state] == ["keys", "values"]


@each_window
@each_heads
@torch.no_grad()
def test_a_position_sees_itself_and_the_window_before_it(n_heads: int, window: int) -> None:
    layer, x = make(n_heads, window)
    y, _ = layer(x)
    for changed in range(T):
        other = x.clone()
        other[:, changed] += 1.0
        differs = (layer(other)[0] != y).any(-1).all(0)
        expected = [0 <= t - changed < window for t in range(T)]
        assert differs.tolist() == expected, f"token {changed}"


@each_window
@pytest.mark.parametrize("cut", [1, 3, T - 1])
@torch.no_grad()
def test_the_cache_is_all_that_later_tokens_need(window: int, cut: int) -> None:
    layer, x = make(2, window)
    whole, _ = layer(x)
    _, state = layer(x[:, :cut])
    torch.testing.assert_close(layer(x[:, cut:], state)[0], whole[:, cut:], atol=1e-6, rtol=1e-6)
