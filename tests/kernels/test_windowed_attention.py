"""What is particular to windowed attention: its formula, its window, its pieces, and what it keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boundprobe.kernels import WINDOWED_ATTENTION, attention_at, windowed_attention
from boundprobe.kernels.window import (
    POSITIONS,
    AbstractPosition,
    NoPosition,
    RotaryPosition,
    attend,
    attend_in_window,
    numba_cpu,
)
from boundprobe.kernels.window.operation import LARGEST_COMPILED
from tests.helpers.kernels import CASES, Inputs, assert_close, attention_of

each_backend = pytest.mark.parametrize("backend", WINDOWED_ATTENTION.usable("cpu"))
each_position = pytest.mark.parametrize("position", POSITIONS)


def draw(seed: int, dtype: torch.dtype = torch.float64, **sizes: int) -> Inputs:
    return CASES["windowed attention, none"].draw(seed, dtype, **sizes)


def by_hand(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Scalar loops without positions, sharing nothing with the package."""
    y = torch.zeros_like(q)
    n_before = k.shape[2] - q.shape[2]
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for t in range(q.shape[2]):
                seen = range(max(n_before + t - window + 1, 0), n_before + t + 1)
                weights = torch.tensor([float(q[b, h, t] @ k[b, h, s]) / q.shape[3] ** 0.5 for s in seen]).double()
                weights = weights.exp() / weights.exp().sum()
                y[b, h, t] = sum(weight * v[b, h, s] for weight, s in zip(weights, seen, strict=True))
    return y


@each_backend
def test_the_formula_by_hand(backend: str) -> None:
    q, k, v, _ = draw(0, B=2, H=2, T=4, P=3, W=3, F=2)
    torch.testing.assert_close(
        windowed_attention(q, k, v, 3, NoPosition(), backend=backend), by_hand(q, k, v, 3), atol=1e-6, rtol=1e-6
    )


@each_backend
@each_position
@torch.no_grad()
def test_scores_as_large_as_numbers_go(backend: str, position: str) -> None:
    """The largest score of a window is taken off before the exponential: one key gets all."""
    q, k, v, relative = draw(5, torch.float32, B=1, H=1, T=7, P=1, W=4, F=2)
    inputs = [1e15 * q, 1e15 * k, v, 0 * relative]
    found = attention_of(position)(backend)(*inputs)[0]
    assert found.isfinite().all()
    assert ((found[..., None, :] - v[:, :, None]).abs().amax(-1).amin(-1) < 1e-6).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", range(3), ids=["q", "k", "v"])
@torch.no_grad()
def test_what_is_not_finite_shows(which: int, value: float) -> None:
    """Where it is seen, and nowhere else: queries whose window does not hold it are as they were."""
    inputs = draw(7, torch.float32, B=1, H=1, T=9, P=1, W=3, F=2)
    attention = attention_of("none")("numba")
    (before,) = attention(*inputs)
    inputs[which][0, 0, 4, 1] = value
    (found,), expected = attention(*inputs), attend(*inputs[:3], 3, NoPosition())
    seen = torch.tensor([t == 4 if which == 0 else 4 <= t < 7 for t in range(9)])
    assert torch.equal(found[0, 0, ~seen], before[0, 0, ~seen])
    assert_close(found[0, 0, seen], expected[0, 0, seen], f"input {which}")
    assert not found[0, 0, seen].isfinite().all() or (which == 1 and value == -float("inf"))


@torch.no_grad()
def test_a_position_of_one_s_own_takes_the_blocks() -> None:
    class Doubled(AbstractPosition):
        def forward(self, q: Tensor, k: Tensor) -> Tensor:
            return 2 * q @ k.transpose(-1, -2)

    q, k, v, _ = draw(8, B=2, H=2, T=7, P=1, W=3, F=2)
    found = windowed_attention(q, k, v, 3, Doubled(), backend="numba")
    assert torch.equal(found, attend_in_window(q, k, v, 3, Doubled()))
    torch.testing.assert_close(found, by_hand(2 * q, k, v, 3), atol=1e-6, rtol=1e-6)


@each_position
@each_backend
@torch.no_grad()
def test_pieces_are_the_whole(position: str, backend: str) -> None:
    """Keys before the queries, and one query at a time; rotary places start anew in each piece."""
    window = 5
    q, k, v, relative = draw(9, torch.float32, B=2, H=2, T=40, P=1, W=window, F=2)
    attention = attention_of(position)(backend)
    (whole,) = attention(q, k, v, relative)
    for length in (1, 3, 17):
        pieces = []
        for start in range(0, 40, length):
            stop = min(start + length, 40)
            seen = slice(max(start - window + 1, 0), stop)
            pieces += attention(q[:, :, start:stop], k[:, :, seen], v[:, :, seen], relative)
        assert_close(torch.cat(pieces, dim=2), whole, f"pieces of {length}")


def test_nothing_but_the_inputs_is_kept_for_the_backward_pass() -> None:
    def kept(backend: str) -> set[int]:
        found: set[int] = set()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: found.add(x.data_ptr()) or x, lambda x: x):
            windowed_attention(*inputs[:3], 4, score, backend=backend)
        return found

    inputs = [x.requires_grad_() for x in draw(0, B=2, H=1, T=9, P=1, W=4, F=2)]
    score = RotaryPosition(4)
    own = {x.data_ptr() for x in inputs[:3]}
    assert len(kept("numba") - own) == 1  # relative, which is empty
    assert len(kept("blocks") - own) > 3  # the negative control


def test_auto_takes_the_loops_for_small_windows_and_blocks_for_large_ones() -> None:
    for window, width, expected in ((11, 12, "numba"), (LARGEST_COMPILED, 1, "numba"), (LARGEST_COMPILED, 2, "blocks")):
        operation = attention_at(window, width)
        assert set(operation.backends) == set(WINDOWED_ATTENTION.backends)
        assert operation.choose("auto", "cpu") == expected
        assert operation.choose("numba", "cpu") == "numba"


@pytest.mark.parametrize(
    ("q", "k", "v", "said"),
    [
        (
            (2, 1, 5, 4),
            (2, 1, 5, 2),
            (2, 1, 5, 4),
            r"^`k` must have shape \(2, 1, 5, 4\), .*; got shape \(2, 1, 5, 2\)",
        ),
        (
            (2, 1, 5, 4),
            (2, 1, 5, 4),
            (2, 1, 4, 4),
            r"^`v` must have shape \(2, 1, 5, 4\), .*; got shape \(2, 1, 4, 4\)",
        ),
        (
            (2, 1, 5, 4),
            (1, 1, 5, 4),
            (1, 1, 5, 4),
            r"^`k` must have shape \(2, 1, 5, 4\), .*; got shape \(1, 1, 5, 4\)",
        ),
        ((2, 1, 5, 4), (2, 1, 4, 4), (2, 1, 4, 4), r"^5 queries with a window of 3 must be given 5 to 7 keys; got 4\."),
        ((2, 1, 5, 4), (2, 1, 8, 4), (2, 1, 8, 4), r"^5 queries with a window of 3 must be given 5 to 7 keys; got 8\."),
    ],
)
def test_shapes_that_disagree_are_refused(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], said: str
) -> None:
    """Compiled loops would read beyond the end of an array."""
    with pytest.raises(ValueError, match=said) as caught:
        windowed_attention(torch.zeros(q), torch.zeros(k), torch.zeros(v), 3, NoPosition())
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_angles_of_long_sequences_are_those_of_short_ones() -> None:
    """Rotations of a window far from the start are rounded once: scores depend on the difference alone."""
    q, k, v, _ = draw(1, torch.float32, B=1, H=1, T=8, P=1, W=4, F=4)
    long = [torch.cat([torch.zeros(1, 1, 50_000, 8), x], dim=2) for x in (q, k, v)]
    score = RotaryPosition(8)
    expected = windowed_attention(q, k, v, 4, score, backend="numba")[:, :, 3:]
    assert_close(numba_cpu.windowed_attention_numba(*long, 4, score)[:, :, -5:], expected, "far")
