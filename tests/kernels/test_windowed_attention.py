"""Every backend of windowed attention is the formula, forward, backward and in ensembles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.kernels.backends import choose, usable
from boundprobe.kernels.simd.vectors import LANES
from boundprobe.kernels.window import (
    BACKENDS,
    LARGEST_COMPILED,
    OPERATION,
    in_order,
    numba_cpu,
    windowed_attention,
)
from boundprobe.kernels.window.blocked import attend, attend_in_window
from boundprobe.kernels.window.positions import POSITIONS, AbstractPosition, NoPosition, RotaryPosition
from boundprobe.models.attention import SlidingWindowAttention

HERE = usable(BACKENDS, "cpu")
NAMES = ("q", "k", "v", "relative")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
Attention = Callable[..., Tensor]
#: B, H, T, keys before the first query, w, half of E.
Size = tuple[int, int, int, int, int, int]

each_backend = pytest.mark.parametrize("backend", HERE)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
each_position = pytest.mark.parametrize("position", POSITIONS)
sizes = st.tuples(
    *(st.integers(1, most) for most in (3, 4, 9)), st.integers(0, 6), st.integers(1, 12), st.integers(1, 3)
)
seeds = st.integers(0, 2**31)


class Holder(torch.nn.Module):
    """A position whose parameters ``functional_call`` can replace."""

    def __init__(self, position: AbstractPosition) -> None:
        super().__init__()
        self.position = position

    def forward(self, q: Tensor, k: Tensor, v: Tensor, window: int, backend: str) -> Tensor:
        return windowed_attention(q, k, v, window, self.position, backend=backend)


def attention_of(backend: str, position: str, window: int, width: int = 4) -> Attention:
    """A function of q, k, v and the learned vectors (w, E), which other positions leave alone."""
    holder = Holder(POSITIONS[position](width, window))

    def attention(q: Tensor, k: Tensor, v: Tensor, relative: Tensor) -> Tensor:
        if position != "learned":
            return holder(q, k, v, window, backend) + 0 * relative.sum()
        own = {"position.relative": relative}
        return torch.func.functional_call(holder, own, (q, k, v, window, backend))

    return attention


def make_inputs(
    size: Size, seed: int, dtype: torch.dtype = torch.float64, members: tuple[int, ...] = ()
) -> list[Tensor]:
    """q, k, v and the learned vectors, in front of them the axes of members."""
    batch, heads, n_new, n_before, window, half = size
    n_keys = n_new + min(n_before, window - 1)
    rng = torch.Generator().manual_seed(seed)
    shapes = (batch, heads, n_new, 2 * half), *[(batch, heads, n_keys, 2 * half)] * 2, (window, 2 * half)
    return [torch.randn(*members, *shape, generator=rng, dtype=torch.float64).to(dtype) for shape in shapes]


def gradients(attention: Attention, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(attention(*leaves).sin().sum(), leaves)


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    tolerance = TOLERANCE[expected.dtype]
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    torch.testing.assert_close(
        found, expected, atol=tolerance, rtol=tolerance, equal_nan=True, msg=lambda m: f"{what}: {m}"
    )


def assert_agrees(backend: str, position: str, window: int, inputs: list[Tensor]) -> None:
    """Output and gradients are those of the formula."""
    attention, formula = (attention_of(name, position, window, inputs[0].shape[-1]) for name in (backend, "reference"))
    assert_close(attention(*inputs), formula(*inputs), "output")
    for name, x, y in zip(NAMES, gradients(attention, inputs), gradients(formula, inputs), strict=True):
        assert_close(x, y, f"gradient of {name}")


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


def test_every_cpu_backend_is_tested() -> None:
    assert HERE == ("numba", "blocks", "reference") == tuple(BACKENDS)


@each_backend
def test_the_formula_by_hand(backend: str) -> None:
    q, k, v, _ = make_inputs((2, 2, 4, 2, 3, 2), seed=0)
    torch.testing.assert_close(
        windowed_attention(q, k, v, 3, NoPosition(), backend=backend), by_hand(q, k, v, 3), atol=1e-6, rtol=1e-6
    )


@each_backend
@each_dtype
@each_position
@settings(max_examples=15)
@given(size=sizes, seed=seeds)
def test_agreement_with_the_formula(backend: str, dtype: torch.dtype, position: str, size: Size, seed: int) -> None:
    inputs = make_inputs(size, seed, dtype)
    before = [x.clone() for x in inputs]
    assert_agrees(backend, position, size[4], inputs)
    assert all(torch.equal(x, y) for x, y in zip(before, inputs, strict=True)), "an input was written to"


@each_position
def test_the_check_of_agreement_can_fail(position: str) -> None:
    """The negative control: a window that is one too long."""
    inputs = make_inputs((2, 1, 6, 0, 4, 2), seed=1)
    with pytest.raises(AssertionError, match="output: "):
        assert_close(attention_of("numba", "none", 5)(*inputs), attention_of("reference", "none", 4)(*inputs), "output")
    assert_agrees("numba", position, 4, inputs)


@each_backend
@each_position
def test_gradients_are_those_of_finite_differences(backend: str, position: str) -> None:
    inputs = [x.requires_grad_() for x in make_inputs((2, 1, 4, 1, 3, 1), seed=3)]
    assert torch.autograd.gradcheck(attention_of(backend, position, 3, 2), inputs)


@each_backend
@each_position
def test_memory_order_does_not_matter(backend: str, position: str) -> None:
    inputs = make_inputs((2, 3, 5, 2, 4, 2), seed=3)
    turned = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs]
    assert not any(x.is_contiguous() for x in turned)
    assert_agrees(backend, position, 4, turned)
    assert_agrees(backend, position, 4, [x[:1].expand_as(x) for x in inputs])


@each_backend
@each_position
@torch.no_grad()
def test_scores_as_large_as_numbers_go(backend: str, position: str) -> None:
    """The largest score of a window is taken off before the exponential: one key gets all."""
    q, k, v, relative = make_inputs((1, 1, 7, 0, 4, 2), seed=5, dtype=torch.float32)
    inputs = [1e15 * q, 1e15 * k, v, 0 * relative]
    found = attention_of(backend, position, 4)(*inputs)
    assert found.isfinite().all()
    assert ((found[..., None, :] - v[:, :, None]).abs().amax(-1).amin(-1) < 1e-6).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", range(3), ids=NAMES[:3])
@torch.no_grad()
def test_what_is_not_finite_shows(which: int, value: float) -> None:
    """Where it is seen, and nowhere else: queries whose window does not hold it are as they were."""
    inputs = make_inputs((1, 1, 9, 0, 3, 2), seed=7, dtype=torch.float32)
    attention = attention_of("numba", "none", 3)
    before = attention(*inputs)
    inputs[which][0, 0, 4, 1] = value
    found, expected = attention(*inputs), attend(*inputs[:3], 3, NoPosition())
    seen = torch.tensor([t == 4 if which == 0 else 4 <= t < 7 for t in range(9)])
    assert torch.equal(found[0, 0, ~seen], before[0, 0, ~seen])
    assert_close(found[0, 0, seen], expected[0, 0, seen], NAMES[which])
    assert not found[0, 0, seen].isfinite().all() or (which == 1 and value == -float("inf"))


@each_position
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_half_precision_takes_the_blocks(position: str, dtype: torch.dtype) -> None:
    q, k, v, _ = make_inputs((2, 2, 7, 0, 3, 2), seed=8, dtype=dtype)
    score = POSITIONS[position](4, 3).to(dtype)
    assert torch.equal(windowed_attention(q, k, v, 3, score, backend="numba"), attend_in_window(q, k, v, 3, score))


@torch.no_grad()
def test_a_position_of_one_s_own_takes_the_blocks() -> None:
    class Doubled(AbstractPosition):
        def forward(self, q: Tensor, k: Tensor) -> Tensor:
            return 2 * q @ k.transpose(-1, -2)

    q, k, v, _ = make_inputs((2, 2, 7, 0, 3, 2), seed=8)
    found = windowed_attention(q, k, v, 3, Doubled(), backend="numba")
    assert torch.equal(found, attend_in_window(q, k, v, 3, Doubled()))
    torch.testing.assert_close(found, by_hand(2 * q, k, v, 3), atol=1e-6, rtol=1e-6)


@each_position
@each_backend
@torch.no_grad()
def test_pieces_are_the_whole(position: str, backend: str) -> None:
    """Keys before the queries, and one query at a time; rotary places start anew in each piece."""
    window = 5
    q, k, v, relative = make_inputs((2, 2, 40, 0, window, 2), seed=9, dtype=torch.float32)
    attention = attention_of(backend, position, window)
    whole = attention(q, k, v, relative)
    for length in (1, 3, 17):
        pieces = []
        for start in range(0, 40, length):
            stop = min(start + length, 40)
            seen = slice(max(start - window + 1, 0), stop)
            pieces.append(attention(q[:, :, start:stop], k[:, :, seen], v[:, :, seen], relative))
        assert_close(torch.cat(pieces, dim=2), whole, f"pieces of {length}")


@each_position
@each_backend
@pytest.mark.parametrize("shared", [(), (0,), (1, 2), (3,)], ids=str)
def test_ensembles_agree_one_by_one(position: str, backend: str, shared: tuple[int, ...]) -> None:
    """Under vmap over members, which may share inputs; 3 members of 4 rows, so lanes hold rows of two members."""
    size = (2, 2, 5, 1, 3, 2)
    attention = attention_of(backend, position, 3)
    stacked, one = make_inputs(size, seed=6, members=(3,)), make_inputs(size, seed=7)
    inputs = [one[i] if i in shared else stacked[i] for i in range(4)]
    in_dims = tuple(None if i in shared else 0 for i in range(4))

    def value(*own: Tensor) -> Tensor:
        return attention(*own).sin().sum()

    outputs = torch.func.vmap(attention, in_dims)(*inputs)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(4))), in_dims)(*inputs)
    formula = attention_of("reference", position, 3)
    for i in range(3):
        member = [x if axis is None else x[i] for x, axis in zip(inputs, in_dims, strict=True)]
        assert_close(outputs[i], formula(*member), f"member {i}")
        for name, x, y in zip(NAMES, found, gradients(formula, member), strict=True):
            assert_close(x[i], y, f"gradient of {name}, member {i}")


def test_ensembles_of_ensembles() -> None:
    stacked = make_inputs((2, 1, 5, 0, 3, 2), seed=9, members=(2, 3))
    attention = attention_of("numba", "learned", 3)
    found = torch.func.vmap(torch.func.vmap(attention))(*stacked)
    for i in range(2):
        for j in range(3):
            assert_close(found[i, j], attention(*(x[i, j] for x in stacked)), f"member {i}, {j}")


@each_position
@pytest.mark.parametrize("rows", [(3, 1), (2, 4)], ids=["3 rows", "8 rows"])
def test_a_member_does_not_depend_on_the_others_bit_for_bit(position: str, rows: tuple[int, int]) -> None:
    """Wherever its rows stand in the lanes."""
    size = (*rows, 40, 3, 6, 2)
    attention = attention_of("numba", position, 6)

    def outputs(n_members: int, at: int) -> list[Tensor]:
        members = [make_inputs(size, seed=11 if i == at else 100 + i) for i in range(n_members)]
        leaves = [torch.stack(values).float().requires_grad_() for values in zip(*members, strict=True)]
        y = torch.func.vmap(attention)(*leaves)
        return [value[at] for value in (y, *torch.autograd.grad(y.sin().sum(), leaves))]

    leaves = [x.float().requires_grad_() for x in make_inputs(size, seed=11)]
    y = attention(*leaves)
    alone = [y, *torch.autograd.grad(y.sin().sum(), leaves)]
    for n_members, at in ((1, 0), (2, 0), (5, 0), (5, 3)):
        for name, x, y in zip(("output", *NAMES), outputs(n_members, at), alone, strict=True):
            assert torch.equal(x, y), f"{name} of member {at} of {n_members}"
    # the negative control: the formula's sums come out another way round
    formula = attention_of("reference", position, 6)
    assert not torch.equal(gradients(formula, [x.detach() for x in leaves])[1], alone[2])


def test_nothing_but_the_inputs_is_kept_for_the_backward_pass() -> None:
    def kept(backend: str) -> set[int]:
        found: set[int] = set()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: found.add(x.data_ptr()) or x, lambda x: x):
            windowed_attention(*inputs[:3], 4, score, backend=backend)
        return found

    inputs = [x.requires_grad_() for x in make_inputs((2, 1, 9, 0, 4, 2), seed=0)]
    score = RotaryPosition(4)
    own = {x.data_ptr() for x in inputs[:3]}
    assert len(kept("numba") - own) == 1  # relative, which is empty
    assert len(kept("blocks") - own) > 3  # the negative control


def test_auto_takes_the_loops_for_small_windows_and_blocks_for_large_ones() -> None:
    for window, width, expected in ((11, 12, "numba"), (LARGEST_COMPILED, 1, "numba"), (LARGEST_COMPILED, 2, "blocks")):
        order = in_order(window, width)
        assert set(order) == set(BACKENDS)
        assert choose(OPERATION, order, "auto", "cpu") == expected
        assert choose(OPERATION, order, "numba", "cpu") == "numba"


def test_auto_is_what_it_says() -> None:
    for window, width in ((3, 4), (300, 8)):
        q, k, v, _ = make_inputs((1, 2, 9, 0, window, width // 2), seed=2, dtype=torch.float32)
        name = choose(OPERATION, in_order(window, width), "auto", "cpu")
        assert torch.equal(
            windowed_attention(q, k, v, window, NoPosition()),
            windowed_attention(q, k, v, window, NoPosition(), backend=name),
        )


@pytest.mark.parametrize(
    ("q", "k", "v", "said"),
    [
        ((2, 1, 5, 4), (2, 1, 5, 2), (2, 1, 5, 4), r"^k has shape \(2, 1, 5, 2\); allowed: \(2, 1, 5, 4\), .*;"),
        ((2, 1, 5, 4), (2, 1, 5, 4), (2, 1, 4, 4), r"^v has shape \(2, 1, 4, 4\); allowed: \(2, 1, 5, 4\), .*;"),
        ((2, 1, 5, 4), (1, 1, 5, 4), (1, 1, 5, 4), r"^k has shape \(1, 1, 5, 4\); allowed: \(2, 1, 5, 4\), .*;"),
        ((2, 1, 5, 4), (2, 1, 4, 4), (2, 1, 4, 4), r"^4 keys with 5 queries and a window of 3; allowed: 5 to 7; "),
        ((2, 1, 5, 4), (2, 1, 8, 4), (2, 1, 8, 4), r"^8 keys with 5 queries and a window of 3; allowed: 5 to 7; "),
    ],
)
def test_shapes_that_disagree_are_refused(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], said: str
) -> None:
    """Compiled loops would read beyond the end of an array."""
    with pytest.raises(ValueError, match=said) as caught:
        windowed_attention(torch.zeros(q), torch.zeros(k), torch.zeros(v), 3, NoPosition())
    assert "\n" not in str(caught.value)


def test_an_unknown_backend_is_refused() -> None:
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"^windowed attention 'fast' is not known; allowed: auto, numba, blocks, ref"):
        windowed_attention(x, x, x, 2, NoPosition(), backend="fast")
    with pytest.raises(ValueError, match=r"^windowed attention 'fast' is not known; allowed: auto, numba, blocks, ref"):
        SlidingWindowAttention(4, 1, 2, "none", "fast")


@torch.no_grad()
def test_angles_of_long_sequences_are_those_of_short_ones() -> None:
    """Rotations of a window far from the start are rounded once: scores depend on the difference alone."""
    q, k, v, _ = make_inputs((1, 1, 8, 0, 4, 4), seed=1, dtype=torch.float32)
    long = [torch.cat([torch.zeros(1, 1, 50_000, 8), x], dim=2) for x in (q, k, v)]
    score = RotaryPosition(8)
    expected = windowed_attention(q, k, v, 4, score, backend="numba")[:, :, 3:]
    assert_close(numba_cpu.windowed_attention_numba(*long, 4, score)[:, :, -5:], expected, "far")


def test_lanes_without_a_row_do_no_harm() -> None:
    """Numbers of rows around LANES."""
    for rows in (1, LANES - 1, LANES, LANES + 1):
        assert_agrees("numba", "learned", 3, make_inputs((rows, 1, 4, 0, 3, 1), seed=rows))
