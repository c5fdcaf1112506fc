"""A bottleneck lets exactly m b bits through, whatever the model in front of it and behind it."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boundprobe.bottleneck import Bottleneck, BottleneckedModel
from boundprobe.bottleneck.module import MOST_ENTRY_BITS
from boundprobe.models import MIXERS, CutState, MemoryBits, ModelSpec, SequenceModel

VOCAB, PREFIX_LEN = 4, 5
SIZES = {"d_model": 4, "window": 4, "d_state": 2, "d_conv": 3, "d_head": 4, "chunk": 2, "mlp_ratio": 1}
ARCHITECTURES = (*MIXERS, "attn-attn", "mamba-attn", "mamba|attn-gru")
#: Entries and bits of each.
BUDGETS = ((1, 1), (1, 3), (3, 1), (2, 2))

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)

#: All prefixes of 5 tokens, 1024 of them.
PREFIXES = torch.tensor(list(itertools.product(range(VOCAB), repeat=PREFIX_LEN)))


@functools.cache
def base(architecture: str, dtype: torch.dtype = torch.float32) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(ModelSpec(architecture, **SIZES), VOCAB).to(dtype).eval()


@functools.cache
def states(architecture: str, dtype: torch.dtype = torch.float32) -> CutState:
    """States of the model after all prefixes."""
    with torch.no_grad():
        return base(architecture, dtype).prefill(PREFIXES)


@torch.no_grad()
def squeeze(
    architecture: str, n_entries: int, entry_bits: int, *, template: int = 0, dtype: torch.dtype = torch.float32
) -> BottleneckedModel:
    """The model behind a random bottleneck that uses many codes."""
    state = states(architecture, dtype)
    entries = state.flatten()
    torch.manual_seed(1)
    bottleneck = Bottleneck(entries.shape[1], n_entries, entry_bits, hidden=16)
    bottleneck.mean.copy_(entries.mean(0))
    bottleneck.scale.copy_(entries.std(0))
    bottleneck.codebooks.normal_()
    for layer in bottleneck.encoder:
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(std=layer.in_features**-0.5)
            layer.bias.zero_()
    model = base(architecture, dtype)
    return BottleneckedModel(model, bottleneck, state.map(lambda value: value[template:])).eval()


def codes_of(state: CutState) -> Tensor:
    ((tensor,),) = state.layers
    return tensor.value


def n_distinct(rows: Tensor) -> int:
    return len(rows.unique(dim=0))


@pytest.mark.parametrize(
    ("architecture", "n_entries", "entry_bits"),
    [(name, 2, 2) for name in ARCHITECTURES] + [("mamba-attn", *budget) for budget in BUDGETS[:3]],
)
@torch.no_grad()
def test_no_more_states_are_seen_than_the_bits_allow(architecture: str, n_entries: int, entry_bits: int) -> None:
    """Nominal memory is that of the code, and so is the number of states counted over 1024 prefixes: of codes, and of
    what the model behind the bottleneck answers from.

    The same count without the bottleneck is the negative control: more states than any of these budgets has.
    """
    machine = squeeze(architecture, n_entries, entry_bits)
    state = machine.prefill(PREFIXES)
    assert state.bits() == MemoryBits(n_entries * entry_bits, 0, 0)
    assert state.bits().total_bits == machine.bottleneck.total_bits == n_entries * entry_bits
    codes = codes_of(state)
    assert codes.shape == (len(PREFIXES), n_entries)
    assert codes.dtype == torch.int64
    most = 2 ** (n_entries * entry_bits)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < 2**entry_bits
    answered_from = machine.full_state(machine.bottleneck.decode(codes)).flatten()
    assert 1 < n_distinct(codes) <= most
    assert n_distinct(answered_from) <= most
    assert n_distinct(states(architecture).flatten()) > most


@each_architecture
@torch.no_grad()
def test_prefixes_with_one_code_are_answered_alike_bit_for_bit(architecture: str) -> None:
    """Nothing else crosses the cut.  Each prefix is read in a batch of its own, so that its numbers cannot depend on
    its place in one; with the whole state (the negative control) most of the pairs are answered differently.
    """
    model, machine = base(architecture), squeeze(architecture, 2, 1)
    codes = codes_of(machine.prefill(PREFIXES))
    suffix = torch.randint(VOCAB, (1, 3), generator=torch.Generator().manual_seed(0))
    n_pairs = n_told_apart = 0
    for code in codes.unique(dim=0):
        rows = (codes == code).all(1).nonzero()[:, 0]
        for first, second in zip(rows[:3], rows[-3:], strict=False):
            if first == second:
                continue
            one, other = (machine.prefill(PREFIXES[row : row + 1]) for row in (first, second))
            if not torch.equal(codes_of(one), codes_of(other)):  # at a tie a batch of one may decide otherwise
                continue
            n_pairs += 1
            assert torch.equal(machine.answer(one, suffix), machine.answer(other, suffix))
            full = [model.answer(model.prefill(PREFIXES[row : row + 1]), suffix) for row in (first, second)]
            n_told_apart += not torch.allclose(*full, atol=1e-4)
    assert n_pairs >= 6
    assert n_told_apart >= 3


@each_architecture
@torch.no_grad()
def test_another_code_is_answered_otherwise(architecture: str) -> None:
    """A bottleneck that passed nothing would pass the tests above."""
    machine = squeeze(architecture, 1, 2)
    state = machine.prefill(PREFIXES[:1])
    codes = torch.arange(4)[:, None]
    every = state.map(lambda value: codes)
    answers = machine.answer(every, torch.zeros(4, 2, dtype=torch.int64))
    assert n_distinct(answers.flatten(1)) == 4


@each_architecture
@torch.no_grad()
def test_nothing_of_the_template_is_left(architecture: str) -> None:
    """The template lends its shapes; a machine made with another prefix's state is the same machine."""
    suffix = torch.zeros(9, 2, dtype=torch.int64)
    first, second = (squeeze(architecture, 2, 2, template=template) for template in (0, 1000))
    state = first.prefill(PREFIXES[:9])
    assert torch.equal(first.answer(state, suffix), second.answer(state, suffix))


@torch.no_grad()
def test_a_code_is_saved_and_read(tmp_path: Path) -> None:
    machine = squeeze("mamba-attn", 3, 2)
    state, suffix = machine.prefill(PREFIXES[:9]), torch.zeros(9, 2, dtype=torch.int64)
    state.save(tmp_path / "code.safetensors")
    again = CutState.load(tmp_path / "code.safetensors")
    assert again.bits() == state.bits()
    assert torch.equal(codes_of(again), codes_of(state))
    assert torch.equal(machine.answer(again, suffix), machine.answer(state, suffix))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("architecture", ["attn-attn", "mamba|attn-gru"])
@torch.no_grad()
def test_models_of_any_precision(architecture: str, dtype: torch.dtype) -> None:
    machine = squeeze(architecture, 2, 2, dtype=dtype)
    state = machine.prefill(PREFIXES)
    assert state.bits().total_bits == 4
    assert 1 < n_distinct(codes_of(state)) <= 16
    logits = machine.answer(state, PREFIXES[:, :2])
    assert logits.dtype == dtype
    assert logits.isfinite().all()


# The formulas


@settings(max_examples=25)
@given(
    n_state_entries=st.integers(1, 6),
    n_entries=st.integers(1, 4),
    entry_bits=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_states_and_codes_by_hand(n_state_entries: int, n_entries: int, entry_bits: int, seed: int) -> None:
    """S' = mean + scale * sum_j codebook[j, c_j], and c_j the greatest of entry j's scores, one by one."""
    torch.manual_seed(seed)
    bottleneck = Bottleneck(n_state_entries, n_entries, entry_bits, hidden=4)
    with torch.no_grad():
        for values in (bottleneck.mean, bottleneck.scale, bottleneck.codebooks):
            values.normal_()
        bottleneck.scale.abs_()
        entries = torch.randn(5, n_state_entries)
        scores, codes = bottleneck.logits(entries), bottleneck.codes(entries)
        decoded = bottleneck.decode(codes)
    assert scores.shape == (5, n_entries, 2**entry_bits)
    assert bottleneck.total_bits == n_entries * entry_bits
    codebooks = bottleneck.codebooks.detach()
    for row, entry in itertools.product(range(5), range(n_entries)):
        assert codes[row, entry] == max(range(2**entry_bits), key=lambda k, s=scores[row, entry]: float(s[k]))
    for row, place in itertools.product(range(5), range(n_state_entries)):
        words = [float(codebooks[j, int(codes[row, j]), place]) for j in range(n_entries)]
        expected = float(bottleneck.mean[place]) + float(bottleneck.scale[place]) * sum(words)
        assert float(decoded[row, place]) == pytest.approx(expected, abs=1e-5)


def test_entries_that_never_vary_say_nothing_and_stay() -> None:
    bottleneck = Bottleneck(3, 1, 2, hidden=4)
    with torch.no_grad():
        bottleneck.mean.copy_(torch.tensor([5.0, -1.0, 2.0]))
        bottleneck.scale.copy_(torch.tensor([0.0, 2.0, 0.0]))
        bottleneck.codebooks.normal_()
        standardised = bottleneck.standardised(torch.tensor([[5.0, 3.0, 2.0], [9.0, -1.0, 2.0]]))
        decoded = bottleneck.decode(torch.tensor([[0], [3]]))
    assert standardised.tolist() == [[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    assert decoded[:, [0, 2]].tolist() == [[5.0, 2.0]] * 2
    assert decoded[0, 1] != decoded[1, 1]


def test_what_is_frozen_is_no_parameter() -> None:
    """Mean and scale come from states that are never evaluated, and no gradient may move them."""
    bottleneck = Bottleneck(3, 2, 2, hidden=4)
    parameters = {name.split(".")[0] for name, _ in bottleneck.named_parameters()}
    assert parameters == {"codebooks", "encoder"}
    assert set(bottleneck.state_dict()) >= {"mean", "scale"}


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((0, 1, 1), "`n_state_entries` must be an integer of at least 1; got 0"),
        ((5, 0, 1), "`n_entries` must be an integer of at least 1; got 0"),
        ((5, 1.5, 1), "`n_entries` must be an integer of at least 1; got 1.5 (float)"),
        ((5, 1, 0), f"`entry_bits` must be an integer from 1 to {MOST_ENTRY_BITS}; got 0"),
        ((5, 1, 13), f"`entry_bits` must be an integer from 1 to {MOST_ENTRY_BITS}; got 13"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused(sizes: tuple[int, int, int], said: str) -> None:
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        Bottleneck(*sizes, hidden=4)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
