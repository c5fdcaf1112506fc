"""The state at the cut: its bits, its file, and that it is all that a suffix knows of its prefix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from boundprobe.models import MIXERS, CutState, MemoryBits, ModelSpec, SequenceModel, StateTensor, memory, nominal_bits
from boundprobe.models.memory import STATE_SCHEMA

VOCAB = 5
SIZES = {"d_model": 8, "window": 4, "n_heads": 2, "d_state": 2, "d_conv": 3, "expand": 2, "d_head": 4, "chunk": 2}
SPECS = [ModelSpec(architecture, **SIZES) for architecture in (*MIXERS, "attn-mamba-attn-mamba", "mamba|attn-gru")]
#: Nothing is cached, nothing is buffered.
EMPTY = [
    ModelSpec("attn", d_model=4, window=1),
    ModelSpec("mamba|attn", d_model=4, window=1, d_conv=1),
    ModelSpec("mamba+chunks", d_model=4, chunk=9, d_conv=1),
]

each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.architecture)


def make(spec: ModelSpec, n: int = 2, prefix_len: int = 5) -> tuple[SequenceModel, Tensor]:
    torch.manual_seed(0)
    return SequenceModel(spec, VOCAB).eval(), torch.randint(VOCAB, (n, prefix_len))


def assert_same_state(found: CutState, expected: CutState) -> None:
    """Equal in everything: structure, names, kinds, types, shapes, and every bit of every value."""
    assert len(found.layers) == len(expected.layers)
    for layer, same in zip(found.layers, expected.layers, strict=True):
        for tensor, other in zip(layer, same, strict=True):
            assert (tensor.name, tensor.kind, tensor.entry_bits) == (other.name, other.kind, other.entry_bits)
            assert (tensor.value.dtype, tensor.value.shape) == (other.value.dtype, other.value.shape)
            assert torch.equal(tensor.value, other.value)


# Bits


@each_spec
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float64, 64), (torch.bfloat16, 16), (torch.float16, 16)], ids=str
)
@torch.no_grad()
def test_bits_follow_the_precision(spec: ModelSpec, dtype: torch.dtype, precision: int) -> None:
    model, prefix = make(spec)
    state = model.to(dtype).prefill(prefix)
    assert {tensor.value.dtype for layer in state.layers for tensor in layer} == {dtype}
    bits = state.bits()
    assert (bits.recurrent_bits, bits.conv_bits, bits.cache_bits) == nominal_bits(spec, prefix.shape[1], precision)


def test_bits_count_one_sequence_of_a_batch() -> None:
    tensor = StateTensor("h", "recurrent", torch.zeros(7, 3, 2, dtype=torch.float16))
    assert tensor.bits == 3 * 2 * 16
    cut = CutState(((tensor,), (StateTensor("keys", "cache", torch.zeros(7, 1)),)))
    assert cut.bits() == MemoryBits(96, 0, 32)
    assert cut.bits().total_bits == 128
    assert cut.batch == 7


def test_an_entry_of_fewer_bits_than_its_type_counts_those() -> None:
    code = StateTensor("code", "recurrent", torch.zeros(4, 5, dtype=torch.int64), entry_bits=3)
    assert code.bits == 15
    cut = CutState(((code, StateTensor("inputs", "conv", torch.zeros(4, 2))),))
    assert cut.bits() == MemoryBits(15, 64, 0)
    assert cut.map(lambda value: value + 1).bits() == cut.bits()
    assert cut.unflatten(cut.flatten()).bits() == cut.bits()


@pytest.mark.parametrize("spec", EMPTY, ids=lambda spec: spec.architecture)
@torch.no_grad()
def test_an_empty_tensor_is_a_state_of_no_bits(spec: ModelSpec) -> None:
    """A window of 1 caches nothing, a convolution of width 1 buffers nothing; neither is an error."""
    model, prefix = make(spec)
    state = model.prefill(prefix)
    assert any(tensor.value.numel() == 0 for layer in state.layers for tensor in layer)
    bits = state.bits()
    assert (bits.recurrent_bits, bits.conv_bits, bits.cache_bits) == nominal_bits(spec, prefix.shape[1])
    suffix = torch.randint(VOCAB, (2, 3))
    again = state.unflatten(state.flatten())
    torch.testing.assert_close(model.answer(again, suffix), model(torch.cat([prefix, suffix], 1))[:, -3:])


# The state as numbers


@each_spec
@torch.no_grad()
def test_flatten_and_unflatten_are_inverse(spec: ModelSpec) -> None:
    model, prefix = make(spec)
    state = model.prefill(prefix)
    entries = state.flatten()
    assert entries.shape == (2, state.bits().total_bits // 32)
    assert_same_state(state.unflatten(entries), state)
    changed = torch.arange(3.0 * entries.shape[1]).reshape(3, -1)  # another batch size
    assert torch.equal(state.unflatten(changed).flatten(), changed)
    assert state.unflatten(changed).batch == 3


@torch.no_grad()
def test_every_tensor_keeps_its_own_type() -> None:
    """Side by side they share the widest; each goes back to its own."""
    values = [torch.randn(2, 3).bfloat16(), torch.randn(2, 2, 2), torch.randint(9, (2, 1))]
    state = CutState(tuple((StateTensor(f"t{i}", "recurrent", value),) for i, value in enumerate(values)))
    assert state.flatten().dtype == torch.float32
    assert_same_state(state.unflatten(state.flatten()), state)


@pytest.mark.parametrize("change", [-1, 1])
def test_unflatten_refuses_another_number_of_entries(change: int) -> None:
    model, prefix = make(SPECS[0])
    state = model.prefill(prefix)
    n = state.flatten().shape[1]
    with pytest.raises(ValueError, match=rf"^entries has {n + change} columns; this state has {n} entries") as caught:
        state.unflatten(torch.zeros(2, n + change))
    assert "\n" not in str(caught.value)


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
    assert_same_state(repeated.map(lambda value: value[::3]), state)


# All that crosses the cut


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


# The file


@pytest.mark.parametrize("spec", [*SPECS, *EMPTY], ids=lambda spec: spec.architecture)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.no_grad()
def test_a_state_is_saved_and_read(spec: ModelSpec, dtype: torch.dtype, tmp_path: Path) -> None:
    for prefix_len in (1, 5):
        model, prefix = make(spec, prefix_len=prefix_len)
        model.to(dtype)
        state, suffix = model.prefill(prefix), torch.randint(VOCAB, (2, 3))
        state.save(tmp_path / "state.safetensors")
        again = CutState.load(tmp_path / "state.safetensors")
        assert_same_state(again, state)
        assert again.bits() == state.bits()
        assert torch.equal(model.answer(again, suffix), model.answer(state, suffix))


@torch.no_grad()
def test_a_state_with_a_graph_and_strides_is_saved(tmp_path: Path) -> None:
    """A state of one sequence and one head, whose tensors are views into one another's storage; and codes."""
    with torch.enable_grad():
        model, prefix = make(ModelSpec("attn-lstm", d_model=4, window=2), n=1, prefix_len=1)
        state = model.prefill(prefix)
    assert state.layers[0][0].value.requires_grad
    code = StateTensor("code", "recurrent", torch.arange(6).reshape(3, 2).t(), entry_bits=3)
    shared = torch.randn(1, 2)
    more = (code, StateTensor("a", "cache", shared.expand(2, 2)), StateTensor("b", "cache", shared.expand(2, 2)))
    for given in (state, CutState((more, ()))):
        given.save(tmp_path / "state.safetensors")
        assert_same_state(CutState.load(tmp_path / "state.safetensors"), given)


@torch.no_grad()
def test_one_tensor_in_two_places_is_saved_twice(tmp_path: Path) -> None:
    value = torch.randn(2, 3)
    state = CutState(((StateTensor("h", "recurrent", value), StateTensor("c", "recurrent", value)),))
    state.save(tmp_path / "state.safetensors")
    assert_same_state(CutState.load(tmp_path / "state.safetensors"), state)


def note(**changes: Any) -> dict[str, Any]:
    return {"layer": 0, "key": "0.h", "kind": "recurrent", "entry_bits": None} | changes


def metadata(notes: Any = None, **changes: str) -> dict[str, str]:
    return {
        "schema": STATE_SCHEMA,
        "n_layers": "1",
        "tensors": json.dumps([note()] if notes is None else notes),
    } | changes


@pytest.mark.parametrize(
    "known",
    [
        None,
        {"schema": "boundprobe.state/2"},
        {"schema": STATE_SCHEMA},
        metadata(n_layers="two"),
        metadata(n_layers="-1"),
        metadata(tensors="{"),
        metadata(tensors="3"),
        metadata(tensors="[3]"),
        metadata([note(key="0.c")]),
        metadata([note(key="h")]),
        metadata([note(layer=1)]),
        metadata([note(layer=-2)]),
        metadata([note(layer="0")]),
        metadata([note(kind="hidden")]),
        metadata([note(entry_bits=0)]),
        metadata([note(entry_bits="3")]),
        metadata([{"layer": 0}]),
    ],
    ids=str,
)
def test_a_file_of_something_else_is_refused(known: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"0.h": torch.zeros(2, 3), "h": torch.zeros(2, 3)}, path, known)
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        CutState.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert "must be a file that CutState.save wrote" in message


@pytest.mark.parametrize("keep", [0, 5, 20, -1])
def test_a_damaged_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    make(SPECS[0])[0].prefill(torch.zeros(1, 3, dtype=torch.int64)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ValueError,
        match=(
            r"must be a file that CutState\.save wrote; got .*state\.safetensors, which "
            r"is no saved state, or a damaged one \("
        ),
    ) as caught:
        CutState.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CutState.load(tmp_path / "state.safetensors")


def test_a_state_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    state = CutState(((StateTensor("h", "recurrent", torch.ones(2, 3)),),))
    state.save(path)

    def run_out_of_space(tensors: object, temporary: Path, metadata: object) -> None:
        temporary.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(memory, "save_file", run_out_of_space)
    with pytest.raises(OSError, match="no space left"):
        state.map(torch.zeros_like).save(path)
    assert_same_state(CutState.load(path), state)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
