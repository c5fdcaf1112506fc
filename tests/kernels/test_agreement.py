"""Every backend of every operation is its reference: outputs, gradients, members of ensembles, bit patterns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boundprobe.kernels import OPERATIONS
from tests.helpers.kernels import (
    CASES,
    READ,
    TOLERANCE,
    Case,
    Function,
    Inputs,
    assert_agrees,
    assert_close,
    gradients,
    loss_of,
)

#: Every backend beside the oracle, for every case; the oracle itself is held against loops by hand, per operation.
FAST = [
    pytest.param(case, name, id=f"{key}-{name}")
    for key, case in CASES.items()
    for name in case.operation.usable("cpu")
    if name != "reference"
]
ALL = [
    pytest.param(case, name, id=f"{key}-{name}") for key, case in CASES.items() for name in case.operation.usable("cpu")
]
each_fast = pytest.mark.parametrize(("case", "backend"), FAST)
each_backend = pytest.mark.parametrize(("case", "backend"), ALL)
each_compiled = pytest.mark.parametrize(("case", "backend"), [fast for fast in FAST if fast.values[1] == "numba"])
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
seeds = st.integers(0, 2**31)


def agrees(case: Case, backend: str, inputs: Inputs, read: str = "all") -> None:
    assert_agrees(case.of_backend(backend), case.reference, inputs, case.names, read)


def test_every_operation_and_every_backend_of_a_cpu_is_in_the_table() -> None:
    assert {case.operation.name for case in CASES.values()} == set(OPERATIONS)
    for case in CASES.values():
        on_cpu = [name for name, backend in case.operation.backends.items() if "cpu" in backend.devices]
        assert sorted(case.operation.usable("cpu")) == sorted(on_cpu)
        assert "reference" in on_cpu
    assert len(FAST) >= len(CASES)


@each_fast
@each_dtype
@settings(max_examples=20)
@given(data=st.data(), seed=seeds, read=st.sampled_from(list(READ)))
def test_agreement_with_the_reference(
    case: Case, backend: str, dtype: torch.dtype, data: st.DataObject, seed: int, read: str
) -> None:
    sizes = data.draw(st.fixed_dictionaries({axis: st.integers(1, most) for axis, most in case.largest.items()}))
    inputs = case.draw(seed, dtype, **sizes)
    before = [x.clone() for x in inputs]
    agrees(case, backend, inputs, read)
    assert all(torch.equal(x, y) for x, y in zip(before, inputs, strict=True)), "an input was written to"


@pytest.mark.parametrize(
    ("case", "backend", "sizes"),
    [pytest.param(*fast.values, sizes, id=f"{fast.id}-{sizes}") for fast in FAST for sizes in fast.values[0].borders],
)
def test_agreement_at_the_borders_of_what_is_computed_at_once(case: Case, backend: str, sizes: dict[str, int]) -> None:
    agrees(case, backend, case.draw(1, **sizes))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_check_of_agreement_can_fail(case: Case) -> None:
    """The negative controls: an output that is off by a millionth, and a gradient that is."""
    inputs = case.draw(0)

    def off(*given: Tensor) -> Inputs:
        first, *others = case.reference(*given)
        return first * (1 + 1e-6), *others

    def flat(*given: Tensor) -> Inputs:
        return case.reference(given[0].detach(), *given[1:])

    with pytest.raises(AssertionError, match="output 0: "):
        assert_agrees(off, case.reference, inputs, case.names)
    with pytest.raises(AssertionError, match=f"gradient of {case.names[0]}: "):
        assert_agrees(flat, case.reference, inputs, case.names)


@each_backend
def test_gradients_are_those_of_finite_differences(case: Case, backend: str) -> None:
    inputs = [x.requires_grad_() for x in case.draw(3, B=1, T=3)]
    assert torch.autograd.gradcheck(case.of_backend(backend), inputs)


@each_fast
def test_second_derivatives_are_right_or_refused(case: Case, backend: str) -> None:
    """A backward pass written by hand may not be differentiable, but then it must say so."""
    inputs = [x.requires_grad_() for x in case.draw(5, B=1, T=2)]
    try:
        right = torch.autograd.gradgradcheck(case.of_backend(backend), inputs, raise_exception=False)
    except RuntimeError:
        return
    assert right


@each_fast
def test_the_gradient_of_one_input_alone(case: Case, backend: str) -> None:
    for i, name in enumerate(case.names):

        def gradient(function: Function, which: int = i) -> Tensor:
            inputs = list(case.draw(4))
            inputs[which].requires_grad_()
            return torch.autograd.grad(loss_of(function(*inputs)), inputs[which])[0]

        assert_close(gradient(case.of_backend(backend)), gradient(case.reference), name)


@each_fast
def test_memory_order_does_not_matter(case: Case, backend: str) -> None:
    inputs = case.draw(3)
    turned = tuple(x.transpose(0, -1).contiguous().transpose(0, -1) for x in inputs)
    part_of_a_projection = tuple(torch.cat([x, x], dim=-1)[..., : x.shape[-1]] for x in inputs)
    every_other = tuple(torch.stack([x, x], dim=-1)[..., 0] for x in inputs)
    expanded = tuple(x[:1].expand_as(x) for x in inputs)
    for others in (turned, part_of_a_projection, every_other, expanded):
        assert not all(x.is_contiguous() for x in others)
        agrees(case, backend, others)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("key", ["selective scan", "short convolution"])
def test_what_is_not_finite_shows(key: str, value: float) -> None:
    """A model that diverges shows it where the reference does."""
    case = CASES[key]
    for i, name in enumerate(case.names):
        inputs = case.draw(7, torch.float32, B=1)
        inputs[i].view(-1)[inputs[i].numel() // 2] = value
        found, expected = case.of_backend("numba")(*inputs), case.reference(*inputs)
        for x, y in zip(found, expected, strict=True):
            assert_close(x, y, f"{name} {value}")
        if key == "selective scan" and abs(value) > 1e30 and name != "a":  # a = -inf forgets the state at once
            assert not all(x.isfinite().all() for x in found), name


@each_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_half_precision(case: Case, backend: str, dtype: torch.dtype) -> None:
    """Recurrences are computed in float32 and rounded once; the others leave half precision to plain torch."""
    inputs = case.draw(4, dtype)
    function = case.of_backend(backend)
    if case.half_oracle == "float32":
        expected = tuple(x.to(dtype) for x in function(*(x.float() for x in inputs)))
    elif backend == "numba":
        expected = case.of_backend(case.half_oracle)(*inputs)
    else:
        return
    assert all(torch.equal(x, y) for x, y in zip(function(*inputs), expected, strict=True))


@each_compiled
def test_the_same_twice(case: Case, backend: str) -> None:
    inputs = case.draw(10, torch.float32, T=70)
    runs = [gradients(case.of_backend(backend), inputs) for _ in range(2)]
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))


def assert_members_agree(case: Case, backend: str, inputs: Inputs, in_dims: tuple[int | None, ...]) -> None:
    """Outputs and gradients under vmap are those of each member by itself."""
    function = case.of_backend(backend)

    def value(*own: Tensor) -> Tensor:
        return loss_of(function(*own))

    outputs = torch.func.vmap(function, in_dims)(*inputs)
    found = torch.func.vmap(torch.func.grad(value, argnums=tuple(range(len(inputs)))), in_dims)(*inputs)
    for i in range(3):
        member = tuple(x if at is None else x.select(at, i) for x, at in zip(inputs, in_dims, strict=True))
        for x, y in zip(outputs, case.reference(*member), strict=True):
            assert_close(x[i], y, f"member {i}")
        for name, x, y in zip(case.names, found, gradients(case.reference, member), strict=True):
            assert_close(x[i], y, f"gradient of {name}, member {i}")


#: Some operations of plain torch have no batching rule in functorch: slow under vmap, and right.
slow_vmap = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


@slow_vmap
@each_fast
def test_members_agree_one_by_one(case: Case, backend: str) -> None:
    stacked = case.draw(6, members=(3,))
    assert_members_agree(case, backend, stacked, (0,) * len(stacked))


@slow_vmap
@each_fast
@pytest.mark.parametrize("at", [0, -1])
def test_members_may_share_inputs(case: Case, backend: str, at: int) -> None:
    """All but one input, as in a sweep over one parameter, and one input, as the sequences of an evaluation."""
    stacked, one = case.draw(8, members=(3,)), case.draw(7)
    moved = [x.movedim(0, at) for x in stacked]
    for i in range(len(one)):
        own_alone = tuple(at if j == i else None for j in range(len(one)))
        shared_alone = tuple(None if j == i else at for j in range(len(one)))
        for in_dims in (own_alone, shared_alone):
            inputs = tuple(one[j] if in_dims[j] is None else moved[j] for j in range(len(one)))
            assert_members_agree(case, backend, inputs, in_dims)


@slow_vmap
@each_fast
def test_members_of_members(case: Case, backend: str) -> None:
    stacked = case.draw(9, members=(2, 3))
    found = torch.func.vmap(torch.func.vmap(case.of_backend(backend)))(*stacked)
    for i in range(2):
        for j in range(3):
            for x, y in zip(found, case.reference(*(x[i, j] for x in stacked)), strict=True):
                assert_close(x[i, j], y, f"member {i}, {j}")


@each_compiled
def test_a_member_does_not_depend_on_the_others_bit_for_bit(case: Case, backend: str) -> None:
    """Wherever its rows stand in the lanes, and however many members there are."""
    function, sizes = case.of_backend(backend), {"B": 3, "T": 70} | ({"D": 11} if "D" in case.sizes else {})

    def outputs(n_members: int, at: int) -> Inputs:
        drawn = [case.draw(11 if i == at else 100 + i, torch.float32, **sizes) for i in range(n_members)]
        leaves = [torch.stack(values).requires_grad_() for values in zip(*drawn, strict=True)]
        found = torch.func.vmap(function)(*leaves)
        return tuple(x[at] for x in (*found, *torch.autograd.grad(loss_of(found), leaves)))

    inputs = case.draw(11, torch.float32, **sizes)
    alone = *function(*inputs), *gradients(function, inputs)
    for n_members, at in ((1, 0), (2, 0), (5, 0), (5, 3)):
        for x, y in zip(outputs(n_members, at), alone, strict=True):
            assert torch.equal(x, y), f"member {at} of {n_members}"
    # the negative control: torch's own sums come out another way round
    plain = *case.reference(*inputs), *gradients(case.reference, inputs)
    assert not all(torch.equal(x, y) for x, y in zip(plain, alone, strict=True))


@pytest.mark.parametrize("key", [key for key in CASES if key != "short convolution"])
def test_an_unknown_backend_is_refused_in_one_line(key: str) -> None:
    case = CASES[key]
    with pytest.raises(ValueError, match=f"^{case.operation.name} must be one of auto,.*; got 'fast'") as caught:
        case.of_backend("fast")(*case.draw(0))
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in case.operation.backends)


@pytest.mark.parametrize("key", CASES)
def test_auto_takes_the_first_that_is_usable(key: str) -> None:
    case = CASES[key]
    first = case.operation.usable("cpu")[0]
    assert first in ("numba", "chunked")
    inputs = case.draw(0, torch.float32)
    for x, y in zip(case.of_backend("auto")(*inputs), case.of_backend(first)(*inputs), strict=True):
        assert torch.equal(x, y)
