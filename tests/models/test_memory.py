"""The state at the cut: its bits, and that it is all that a suffix knows of its prefix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boundprobe.models.memory import CutState, MemoryBits, StateTensor
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel

VOCAB = 5
SPECS = (
    ModelSpec("mamba", d_model=8, d_state=3, d_conv=4, expand=2),
    ModelSpec("attn", d_model=8, window=4, n_heads=2),
    ModelSpec("mamba-attn", d_model=8, window=6, d_state=2, d_conv=2, expand=3),
    ModelSpec("attn-mamba-attn-mamba", d_model=4, window=3, d_state=1, d_conv=3, expand=1),
)

each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.architecture)


def make(spec: ModelSpec, n: int = 2, prefix_len: int = 5) -> tuple[SequenceModel, Tensor]:
    torch.manual_seed(0)
    return SequenceModel(spec, VOCAB).eval(), torch.randint(VOCAB, (n, prefix_len))


def bits_by_hand(spec: ModelSpec, prefix_len: int, precision: int) -> MemoryBits:
    n_mamba, n_attn = spec.layers.count("mamba"), spec.layers.count("attn")
    d_inner = spec.expand * spec.d_model
    return MemoryBits(
        recurrent_bits=n_mamba * d_inner * spec.d_state * precision,
        conv_bits=n_mamba * d_inner * (spec.d_conv - 1) * precision,
        cache_bits=n_attn * 2 * min(spec.window - 1, prefix_len) * spec.d_model * precision,
    )


@each_spec
@pytest.mark.parametrize("prefix_len", [1, 2, 5, 9])
@torch.no_grad()
def test_bits_are_those_of_the_tensors_and_of_the_formula(spec: ModelSpec, prefix_len: int) -> None:
    model, prefix = make(spec, n=3, prefix_len=prefix_len)
    state = model.prefill(prefix)
    counted = dict.fromkeys(("recurrent", "conv", "cache"), 0)
    for layer in state.layers:
        for tensor in layer:
            assert tensor.value.dtype == torch.float32
            counted[tensor.kind] += sum(32 for _ in tensor.value[0].flatten())
    bits = state.bits()
    assert (bits.recurrent_bits, bits.conv_bits, bits.cache_bits) == tuple(counted.values())
    assert bits == bits_by_hand(spec, prefix_len, 32)
    assert bits.total_bits == sum(counted.values())


@each_spec
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float64, 64), (torch.bfloat16, 16), (torch.float16, 16)], ids=str
)
@torch.no_grad()
def test_bits_follow_the_precision(spec: ModelSpec, dtype: torch.dtype, precision: int) -> None:
    model, prefix = make(spec)
    state = model.to(dtype).prefill(prefix)
    assert {tensor.value.dtype for layer in state.layers for tensor in layer} == {dtype}
    assert state.bits() == bits_by_hand(spec, prefix.shape[1], precision)


def test_bits_count_one_sequence_of_a_batch() -> None:
    tensor = StateTensor("h", "recurrent", torch.zeros(7, 3, 2, dtype=torch.float16))
    assert tensor.bits == 3 * 2 * 16
    cut = CutState(((tensor,), (StateTensor("keys", "cache", torch.zeros(7, 1)),)))
    assert cut.bits() == MemoryBits(96, 0, 32)
    assert cut.bits().total_bits == 128
    assert cut.batch == 7


@each_spec
@torch.no_grad()
def test_flatten_and_unflatten_are_inverse(spec: ModelSpec) -> None:
    model, prefix = make(spec)
    state = model.prefill(prefix)
    entries = state.flatten()
    assert entries.shape == (2, state.bits().total_bits // 32)
    again = state.unflatten(entries)
    for layer, same in zip(state.layers, again.layers, strict=True):
        for tensor, copy in zip(layer, same, strict=True):
            assert (tensor.name, tensor.kind) == (copy.name, copy.kind)
            assert torch.equal(tensor.value, copy.value)
    changed = torch.arange(3.0 * entries.shape[1]).reshape(3, -1)  # another batch size
    assert torch.equal(state.unflatten(changed).flatten(), changed)
    assert state.unflatten(changed).batch == 3


def test_unflatten_refuses_another_number_of_entries() -> None:
    model, prefix = make(SPECS[0])
    state = model.prefill(prefix)
    n = state.flatten().shape[1]
    with pytest.raises(ValueError, match=rf"^entries has {n + 1} columns; this state has {n} entries") as caught:
        state.unflatten(torch.zeros(2, n + 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", [ModelSpec("attn", d_model=4, window=1), ModelSpec("mamba", d_model=4, d_conv=1)])
@torch.no_grad()
def test_an_empty_tensor_is_a_state_of_no_bits(spec: ModelSpec) -> None:
    """A window of 1 caches nothing, a convolution of width 1 buffers nothing; neither is an error."""
    model, prefix = make(spec)
    state = model.prefill(prefix)
    assert state.bits() == bits_by_hand(spec, prefix.shape[1], 32)
    suffix = torch.randint(VOCAB, (2, 3))
    again = state.unflatten(state.flatten())
    torch.testing.assert_close(model.answer(again, suffix), model(torch.cat([prefix, suffix], 1))[:, -3:])


@each_spec
@torch.no_grad()
def test_map_reaches_every_tensor_and_leaves_the_state_alone(spec: ModelSpec) -> None:
    model, prefix = make(spec)
    state = model.prefill(prefix)
    before = state.flatten().clone()
    assert torch.equal(state.map(lambda value: 2 * value + 1).flatten(), 2 * before + 1)
    assert torch.equal(state.flatten(), before)
    repeated = state.map(lambda value: value.repeat_interleave(3, dim=0))
    assert repeated.batch == 6
    assert repeated.bits() == state.bits()


@each_spec
@torch.no_grad()
def test_swapping_states_swaps_answers(spec: ModelSpec) -> None:
    """Assumption A4: the answer knows the prefix through the state alone."""
    model, prefix = make(spec)
    prefix[1] = (prefix[0] + 1) % VOCAB
    suffix = torch.randint(VOCAB, (1, 4)).expand(2, -1)
    state = model.prefill(prefix)
    answers = model.answer(state, suffix)
    assert (answers[0] != answers[1]).any(), "the two prefixes are answered alike: nothing is tested"
    swapped = state.map(lambda value: value.flip(0))
    torch.testing.assert_close(model.answer(swapped, suffix), answers.flip(0))
    through_entries = state.unflatten(state.flatten().flip(0))
    torch.testing.assert_close(model.answer(through_entries, suffix), answers.flip(0))


@each_spec
@torch.no_grad()
def test_answering_leaves_the_state_alone(spec: ModelSpec) -> None:
    """One state answers every query of the task: the second answer must not see the first query."""
    model, prefix = make(spec)
    state = model.prefill(prefix)
    before, suffix = state.flatten().clone(), torch.randint(VOCAB, (2, 4))
    first = model.answer(state, suffix)
    model.answer(state, (suffix + 1) % VOCAB)
    assert torch.equal(state.flatten(), before)
    assert torch.equal(model.answer(state, suffix), first)
