"""A rounded state has exactly the bits that it says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.models import (
    ENTRY_BITS,
    MIXERS,
    CutState,
    ModelSpec,
    Rounding,
    SequenceModel,
    StateTensor,
    entry_limits,
)


def state_of(*values):
    """A state of one layer with one tensor for each value (batch, ...)."""
    return CutState((tuple(StateTensor(f"t{i}", "recurrent", value) for i, value in enumerate(values)),))


def random_entries(n=4000, width=5, seed=0):
    """Entries of several scales, some far from 0."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 1e-3, 50.0, 1.0, 1e6])[:width]
    offset = torch.tensor([0.0, 0.0, -20.0, 3.0, 0.0])[:width]
    return torch.randn(n, width, generator=generator) * scale + offset


def rounding_of(entries, entry_bits):
    return Rounding(*entry_limits([state_of(entries)]), entry_bits)


@pytest.mark.parametrize("entry_bits", ENTRY_BITS)
def test_an_entry_takes_at_most_two_to_the_b_values(entry_bits):
    entries = random_entries()
    rounding = rounding_of(entries, entry_bits)
    outside = torch.cat([entries, 10 * entries, -1e30 * torch.ones_like(entries)])
    codes = rounding.codes(outside)
    assert codes.dtype == torch.int64
    assert int(codes.min()) == 0
    assert int(codes.max()) == 2**entry_bits - 1  # the limits themselves are among the entries
    read_back = rounding(state_of(outside)).flatten()
    for column in read_back.T:
        assert len(column.unique()) <= 2**entry_bits


@pytest.mark.parametrize("entry_bits", [1, 2, 3])
def test_all_codes_are_used_by_a_spread_entry(entry_bits):
    codes = rounding_of(random_entries(), entry_bits).codes(random_entries())
    assert all(len(column.unique()) == 2**entry_bits for column in codes.T)


@pytest.mark.parametrize("entry_bits", ENTRY_BITS)
def test_the_error_is_at_most_half_a_step(entry_bits):
    entries = random_entries()
    rounding = rounding_of(entries, entry_bits)
    read_back = rounding(state_of(entries)).flatten()
    span = (rounding.high - rounding.low).double()
    half_step = span / (2**entry_bits - 1) / 2
    ulps = 4 * torch.finfo(torch.float32).eps * torch.maximum(rounding.low.abs(), rounding.high.abs())
    assert ((read_back.double() - entries.double()).abs() <= half_step + ulps).all()


@pytest.mark.parametrize("entry_bits", ENTRY_BITS)
def test_rounding_twice_is_rounding_once(entry_bits):
    entries = random_entries()
    rounding = rounding_of(entries, entry_bits)
    once = rounding(state_of(entries))
    assert torch.equal(rounding(once).flatten(), once.flatten())
    assert torch.equal(rounding.codes(once.flatten()), rounding.codes(entries))


def test_the_codes_alone_give_the_state_back():
    """Nothing else of the state goes through: two states with the same codes are read back as the same."""
    entries = random_entries(width=3)
    rounding = rounding_of(entries, 2)
    codes, read_back = rounding.codes(entries), rounding(state_of(entries)).flatten()
    for row in codes.unique(dim=0):
        same = (codes == row).all(1)
        assert len(read_back[same].unique(dim=0)) == 1


def test_limits_are_frozen_and_values_outside_are_clipped():
    rounding = Rounding(torch.tensor([0.0]), torch.tensor([7.0]), 3)
    values = torch.tensor([[-100.0], [-0.2], [3.4], [7.3], [1e30], [float("inf")]])
    assert rounding.codes(values)[:, 0].tolist() == [0, 0, 3, 7, 7, 7]
    assert rounding(state_of(values)).flatten()[:, 0].tolist() == [0.0, 0.0, 3.0, 7.0, 7.0, 7.0]


def test_constant_entries_cost_nothing_and_stay():
    calibration = torch.tensor([[5.0, 1.0, 0.0], [5.0, 2.0, 0.0], [5.0, 3.0, 0.0]])
    rounding = rounding_of(calibration, 4)
    assert rounding.total_bits == 4
    fresh = state_of(torch.tensor([[8.0, 2.0, -1.0], [-8.0, 3.0, 1.0]]))
    assert rounding.codes(fresh.flatten())[:, [0, 2]].unique().tolist() == [0]
    assert rounding(fresh).flatten()[:, [0, 2]].tolist() == [[5.0, 0.0], [5.0, 0.0]]


@given(n_constant=st.integers(0, 4), n_varying=st.integers(0, 4), entry_bits=st.sampled_from(ENTRY_BITS))
def test_total_bits_count_varying_entries(n_constant, n_varying, entry_bits):
    entries = torch.cat([torch.zeros(2, n_constant), torch.arange(2.0)[:, None].expand(2, n_varying)], dim=1)
    if entries.shape[1]:
        assert rounding_of(entries, entry_bits).total_bits == entry_bits * n_varying


def test_the_number_of_distinct_states_is_at_most_two_to_the_total_bits():
    entries = random_entries(n=3000, width=3)
    for entry_bits in (1, 2, 3):
        rounding = rounding_of(entries, entry_bits)
        assert len(rounding.codes(entries).unique(dim=0)) <= 2**rounding.total_bits


def test_shapes_names_and_kinds_survive():
    state = CutState(
        (
            (StateTensor("h", "recurrent", torch.randn(4, 2, 3)), StateTensor("conv", "conv", torch.randn(4, 5))),
            (StateTensor("keys", "cache", torch.randn(4, 1, 2, 2)),),
        )
    )
    rounded = Rounding(*entry_limits([state]), 16)(state)
    for before, after in zip(sum(state.layers, ()), sum(rounded.layers, ()), strict=True):
        assert (after.name, after.kind, after.value.shape) == (before.name, before.kind, before.value.shape)
        assert torch.allclose(after.value, before.value, atol=1e-3)
    assert rounded.bits() == state.bits()


def test_limits_are_those_of_all_states():
    first, second = state_of(torch.tensor([[1.0, 5.0]])), state_of(torch.tensor([[-1.0, 5.0], [2.0, 9.0]]))
    low, high = entry_limits(iter([first, second]))
    assert low.tolist() == [-1.0, 5.0]
    assert high.tolist() == [2.0, 9.0]


@pytest.mark.parametrize("entry_bits", [1, 2, 5])
def test_a_rounded_entry_has_no_value_of_its_own_for_nan_and_infinity(entry_bits):
    """2^b values and no more; limits are those of the finite entries."""
    entries = torch.tensor([[0.0], [1.0], [float("nan")], [float("inf")], [-float("inf")], [0.4]])
    rounding = Rounding(*entry_limits([state_of(entries)]), entry_bits)
    assert (rounding.low.tolist(), rounding.high.tolist()) == ([0.0], [1.0])
    codes = rounding.codes(entries)
    assert 0 <= int(codes.min()) <= int(codes.max()) <= 2**entry_bits - 1
    assert codes[2] == codes[4] == 0
    assert len(rounding(state_of(entries)).flatten().unique()) <= 2**entry_bits
    never = Rounding(*entry_limits([state_of(torch.full((3, 1), float("nan")))]), entry_bits)
    assert never.total_bits == 0
    assert never(state_of(entries)).flatten().tolist() == [[0.0]] * 6


def test_limits_of_no_states_are_refused():
    with pytest.raises(ValueError, match="`states` must hold at least one state; got none"):
        entry_limits([])


@pytest.mark.parametrize(
    ("dtype", "entry_bits"),
    [(torch.float16, 12), (torch.float16, 16), *((torch.bfloat16, bits) for bits in (10, 12, 16))],
)
def test_states_of_half_precision_keep_their_codes_in_range(dtype, entry_bits):
    """2^16 - 1 is more than float16 holds, and bfloat16 rounds it up."""
    entries = torch.linspace(-1, 1, 1001)[:, None].to(dtype)
    codes = rounding_of(entries, entry_bits).codes(entries)
    assert int(codes.min()) == 0
    assert int(codes.max()) == 2**entry_bits - 1
    assert (codes.diff(dim=0) >= 0).all()


# On the state of every mixer.

SIZES = {"d_model": 8, "window": 4, "n_heads": 2, "d_state": 2, "d_conv": 3, "d_head": 4, "chunk": 2, "mlp_ratio": 0}


def model_and_states(architecture, dtype=torch.float32):
    """A model, and its states after 40 prefixes of 6 tokens."""
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec(architecture, **SIZES), 5).to(dtype)
    with torch.no_grad():
        return model, model.prefill(torch.randint(5, (40, 6)))


@pytest.mark.parametrize("architecture", [*MIXERS, "mamba|attn-gru"])
@pytest.mark.parametrize("entry_bits", [1, 3])
@torch.no_grad()
def test_a_rounded_model_answers_from_its_codes_alone(architecture, entry_bits):
    model, state = model_and_states(architecture)
    rounding = Rounding(*entry_limits([state]), entry_bits)
    entries = state.flatten()
    codes, rounded = rounding.codes(entries), rounding(state)
    varying = (entries != entries[0]).any(0)
    assert rounding.total_bits == entry_bits * int(varying.sum()) > 0
    assert rounding.total_bits < state.bits().total_bits
    assert not codes[:, ~varying].any()
    for column in codes.T:
        assert len(column.unique()) <= 2**entry_bits
    # Another state with the same codes is answered the same: what was rounded away does not come back.
    step = (rounding.high - rounding.low) / (2**entry_bits - 1)
    nudged = (entries + 0.01 * step).clamp(rounding.low, rounding.high)
    same = (rounding.codes(nudged) == codes).all(1)
    assert same.any()
    assert (nudged[same] != entries[same]).any()
    suffix = torch.randint(5, (len(entries), 3))
    answers, others = (model.answer(s, suffix) for s in (rounded, rounding(state.unflatten(nudged))))
    assert torch.equal(answers[same], others[same])


@pytest.mark.parametrize("architecture", MIXERS)
@torch.no_grad()
def test_a_fine_rounding_changes_almost_nothing(architecture):
    """The negative control is one bit, which changes the answers."""
    model, state = model_and_states(architecture, torch.float64)
    suffix = torch.randint(5, (40, 3))
    exact = model.answer(state, suffix)
    fine, coarse = (model.answer(Rounding(*entry_limits([state]), bits)(state), suffix) for bits in (16, 1))
    assert {t.value.dtype for layer in Rounding(*entry_limits([state]), 8)(state).layers for t in layer} == {
        torch.float64
    }
    # An entry moves by at most 2^-17 of its range; through a few layers of gain of order 1 that stays below 1e-3.
    torch.testing.assert_close(fine, exact, atol=1e-3, rtol=0)
    assert (coarse - exact).abs().max() > 0.01


@torch.no_grad()
def test_limits_are_those_of_all_states_of_a_model_and_keep_empty_tensors():
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("mamba|attn", **SIZES | {"window": 1, "d_conv": 1}), 5)
    states = [model.prefill(torch.randint(5, (4, 3))) for _ in range(2)]
    low, high = entry_limits(states)
    entries = torch.cat([state.flatten() for state in states])
    assert torch.equal(low, entries.amin(0))
    assert torch.equal(high, entries.amax(0))
    rounded = Rounding(low, high, 4)(states[0])
    assert [tensor.value.shape for tensor in rounded.layers[0]] == [
        tensor.value.shape for tensor in states[0].layers[0]
    ]
