"""Sliding-window attention against softmax over a brute-force mask, in every position encoding and both forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.kernels import WINDOWED_ATTENTION
from boundprobe.kernels.window import POSITIONS, attend, attend_in_window, by_distance, rotate
from boundprobe.kernels.window import blocked as window_blocks
from boundprobe.kernels.window.blocked import FEWEST_BLOCKS, SMALLEST_BLOCK
from boundprobe.models import SlidingWindowAttention
from tests.helpers.models import draw, make

D_MODEL = 8
# New tokens, tokens read before, window: the window larger than all, one token, and enough tokens for blocks of
# SMALLEST_BLOCK with some, none and all of the first block's past there.
BLOCKS = FEWEST_BLOCKS * SMALLEST_BLOCK
SIZES = [
    (1, 0, 1),
    (7, 0, 1),
    (7, 0, 2),
    (7, 0, 7),
    (7, 0, 12),
    (1, 9, 4),
    (5, 2, 4),
    (5, 20, 4),
    (5, 3, 40),
    (BLOCKS + 8, 0, 1),
    (BLOCKS, 0, 5),
    (BLOCKS + 13, 0, 5),
    (BLOCKS, 10, 5),
    (BLOCKS + 1, 2, 5),
    (5 * 40 + 7, 0, 40),
    (4 * 40, 45, 40),
    (4 * 40 + 3, 17, 40),
    (100 + 3 * 50, 0, 100),
    (300, 0, 300),
]
each_size = pytest.mark.parametrize("size", SIZES, ids=str)
each_heads = pytest.mark.parametrize("n_heads", [1, 2, 4])
each_position = pytest.mark.parametrize("position", POSITIONS)
each_backend = pytest.mark.parametrize("backend", WINDOWED_ATTENTION.usable("cpu"))


def attention(
    n_heads: int,
    window: int,
    position: str = "rope",
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    backend: str = "auto",
) -> SlidingWindowAttention:
    return make(lambda: SlidingWindowAttention(D_MODEL, n_heads, window, position, backend), seed, dtype)


def turned(x: Tensor) -> Tensor:
    """Rotary encoding as complex numbers: pair i is x_i + j x_{i + E/2}, turned by position * 10000^(-2i/E)."""
    half = x.shape[-1] // 2
    rates = torch.tensor([10_000 ** (-2 * i / x.shape[-1]) for i in range(half)], dtype=torch.float64)
    angles = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rates
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def expected_output(layer: SlidingWindowAttention, x: Tensor, position: str) -> Tensor:
    """All of (B, L, d_model) at once with torch's own attention and a mask (L, L) made pair by pair."""
    batch, length, _ = x.shape
    heads = (batch, length, layer.n_heads, D_MODEL // layer.n_heads)
    q, k, v = (
        (x @ weight.T + bias).reshape(heads).transpose(1, 2)
        for weight, bias in zip(layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3), strict=True)
    )
    if position == "rope":
        q, k = turned(q), turned(k)
    visible = torch.tensor([[0 <= t - s < layer.window for s in range(length)] for t in range(length)])
    mask = torch.zeros(length, length, dtype=x.dtype).masked_fill(~visible, -torch.inf)
    if position == "learned":
        distances = torch.tensor([[max(t - s, 0) for s in range(length)] for t in range(length)])
        vectors = layer.position.relative[distances.clamp(max=layer.window - 1)]  # (L, L, E)
        mask = mask + torch.einsum("bhte,tse->bhts", q, vectors) / math.sqrt(heads[-1])
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).reshape(x.shape) @ layer.out.weight.T + layer.out.bias


@each_size
@each_heads
@each_position
@each_backend
def test_outputs_and_gradients_are_those_of_masked_softmax(
    size: tuple[int, int, int], n_heads: int, position: str, backend: str
) -> None:
    n_new, n_before, window = size
    layer, x = attention(n_heads, window, position, backend=backend), draw(n_before + n_new).requires_grad_()
    loss_weights = torch.randn(2, n_new, D_MODEL, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    state = layer(x[:, :n_before])[1] if n_before else ()
    found, _ = layer(x[:, n_before:], state)
    expected = expected_output(layer, x, position)[:, n_before:]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)

    leaves = [x, *layer.parameters()]
    gradients = [
        torch.autograd.grad((y * loss_weights).sum(), leaves, materialize_grads=True) for y in (found, expected)
    ]
    for name, first, second in zip(["x", *dict(layer.named_parameters())], *gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-9, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@settings(max_examples=60)
@given(
    n_new=st.integers(1, 40),
    n_before=st.integers(0, 12),
    window=st.integers(1, 13),
    block=st.integers(1, 6),
    position=st.sampled_from(list(POSITIONS)),
    seed=st.integers(0, 2**31),
)
def test_blocks_of_any_size_are_the_dense_form(
    n_new: int, n_before: int, window: int, block: int, position: str, seed: int
) -> None:
    n_keys = n_new + min(n_before, window - 1)
    torch.manual_seed(seed)
    q = torch.randn(2, 3, n_new, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, 3, n_keys, 4, dtype=torch.float64)
    score = POSITIONS[position](4, window).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_blocks, "SMALLEST_BLOCK", block)
        patch.setattr(window_blocks, "LARGEST_BLOCK", block)
        patch.setattr(window_blocks, "FEWEST_BLOCKS", 1)
        found = attend_in_window(q, k, v, window, score)
    torch.testing.assert_close(found, attend(q, k, v, window, score), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("window", [1, 8, 32, 100])
def test_the_number_of_scores_grows_with_the_window_and_not_with_the_square_of_the_length(window: int) -> None:
    def n_scores(read: Callable[..., Tensor], length: int) -> int:
        made = []

        def score(q: Tensor, k: Tensor) -> Tensor:
            made.append(q @ k.transpose(-1, -2))
            return made[-1]

        read(*torch.zeros(3, 1, 1, length, 2), window, score)
        return sum(scores.numel() for scores in made)

    for length in (1024, 2048, 4096):
        # Blocks of c queries and c + w - 1 keys; before them fewer than w + c queries.
        block = max(window // 2, SMALLEST_BLOCK)
        assert n_scores(attend_in_window, length) <= length * (block + window) + (block + window) ** 2
    assert n_scores(attend, 1024) == 1024**2  # the counter sees what the dense form costs


@settings(max_examples=30)
@given(
    half=st.integers(1, 4),
    places=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    shift=st.integers(0, 10_000),
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

    # angles of some 10^4 in float64 are off by some 10^4 * 2^-53
    torch.testing.assert_close(score(shift), score(0), atol=1e-9, rtol=0)
    torch.testing.assert_close(rotate(q, torch.tensor([places[0]])).norm(), q.norm())


def test_rotary_scores_do_depend_on_the_difference() -> None:
    q = torch.ones(1, 2)
    scores = [float((rotate(q, torch.tensor([p])) * q).sum()) for p in range(4)]
    assert scores == pytest.approx([2 * math.cos(p) for p in range(4)], abs=1e-6)


def test_half_precision_angles_are_computed_in_single_precision() -> None:
    """At position 1000 a bfloat16 angle would be off by up to 2^-9 * 1000, about two radians."""
    x = torch.ones(1, 8)
    found = rotate(x.bfloat16(), torch.tensor([999])).double()
    # one rounding of the cosine or sine, one of each product, one of the sum, of numbers up to 2
    torch.testing.assert_close(found, turned(x.double().expand(1000, 8))[-1:], atol=2 * 4 * 2**-9, rtol=0)


def test_scores_by_distance_land_on_their_keys() -> None:
    q, relative = torch.ones(5, 1), torch.arange(1.0, 4.0)[:, None]  # r_d = d + 1, window 3
    for n_keys in (5, 6, 7):
        found = by_distance(q, relative, n_keys)
        for i in range(5):
            for j in range(n_keys):
                distance = n_keys - 5 + i - j
                if 0 <= distance < 3:
                    assert found[i, j] == distance + 1


@each_position
@torch.no_grad()
def test_what_is_seen_does_not_depend_on_where(position: str) -> None:
    """The same window of tokens gives the same output after any number of other tokens."""
    window = 6
    layer, tokens = attention(2, window, position), draw(window)
    expected = layer(tokens)[0][:, -1]
    for n_before in (1, 5, 31, 32, 33, BLOCKS, 1000):
        found = layer(torch.cat([draw(n_before, seed=n_before), tokens], dim=1))[0][:, -1]
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@each_position
@torch.no_grad()
def test_order_is_seen_with_positions_and_not_without(position: str) -> None:
    layer, tokens = attention(2, 6, position), draw(6)
    swapped = tokens[:, [3, 1, 2, 0, 4, 5]]
    same = torch.allclose(layer(tokens)[0][:, -1], layer(swapped)[0][:, -1], atol=1e-6)
    assert same == (position == "none")


@pytest.mark.parametrize("window", [1, 2, 3, 7, 12])
@torch.no_grad()
def test_the_cache_is_as_long_as_what_the_next_token_sees(window: int) -> None:
    layer, x = attention(2, window), draw(7)
    state = ()
    for n_seen in range(1, 8):
        _, state = layer(x[:, n_seen - 1 : n_seen], state)
        _, at_once = layer(x[:, :n_seen])
        for tensor, same in zip(state, at_once, strict=True):
            assert tensor.kind == "cache"
            assert tensor.value.shape == same.value.shape == (2, 2, min(window - 1, n_seen), D_MODEL // 2)
            torch.testing.assert_close(tensor.value, same.value)
    assert tuple(tensor.name for tensor in state) == layer.state_names


@pytest.mark.parametrize(("window", "length"), [(1, 7), (2, 7), (3, 7), (12, 7), (1, 150), (6, 150), (40, 170)])
@each_position
@each_backend
@torch.no_grad()
def test_a_position_sees_itself_and_the_window_before_it(window: int, length: int, position: str, backend: str) -> None:
    layer, x = attention(2, window, position, backend=backend), draw(length)
    y, _ = layer(x)
    # every token of a short sequence; of a long one those around the ends of blocks, which lie 32 or 40 apart
    for changed in range(0, length, 1 if length < 10 else 13):
        other = x.clone()
        other[:, changed] += 1.0
        differs = (layer(other)[0] != y).any(-1).all(0)
        expected = [0 <= t - changed < window for t in range(length)]
        assert differs.tolist() == expected, f"token {changed}"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (6, 2, 4, "rope"),
            "`d_model / n_heads` must be even for position 'rope', because rotations turn pairs; got 3",
        ),
        ((8, 3, 4, "none"), "`d_model` must be a multiple of n_heads=3, because heads share the width equally; got 8"),
        ((8, 2, 0, "none"), "`window` must be an integer of at least 1; got 0"),
        ((8, 0, 2, "none"), "`n_heads` must be an integer of at least 1; got 0"),
        ((8, 2, 2, "rpe"), "`position` must be one of rope, learned, none.*; got 'rpe'"),
    ],
)
def test_sizes_that_are_not_allowed_are_refused_in_one_line(sizes: tuple[int, int, int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SlidingWindowAttention(*sizes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("position", ["learned", "none"])
def test_odd_heads_are_for_the_others(position: str) -> None:
    assert SlidingWindowAttention(6, 2, 4, position)(torch.zeros(1, 5, 6))[0].shape == (1, 5, 6)
