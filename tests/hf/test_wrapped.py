"""Every family: the state of its own cache is the whole memory, and what is put back is what was read."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boundprobe import ProbeConfig, build_task, measure
from boundprobe.errors import MissingDependencyError
from boundprobe.hf import HuggingFaceModel, load, state_sizes, wrap
from boundprobe.models import CutModel, CutState
from boundprobe.testing import check_cut_model
from tests.hf.families import TINY, VOCAB, tiny_model

#: Weights large enough that every part of the state is heard; with the default ones recurrent states drown in rounding.
HEARD = {"initializer_range": 0.2}
FAMILIES = sorted(family for family in TINY if "text_config" not in TINY[family])
#: Times the rounding error of a float32 pass: both passes that are compared have one of that size.
ROUNDINGS = 8


def tokens(n_tokens: int = 14, n_sequences: int = 3) -> Tensor:
    return torch.randint(3, VOCAB, (n_sequences, n_tokens), generator=torch.Generator().manual_seed(5))


def heard_model(family: str) -> Any:
    model = tiny_model(family, **HEARD)
    if family == "xlstm":  # at first its gates are the same for all tokens, and the input gates nearly shut
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                if name.endswith("igate_preact.bias"):
                    parameter.fill_(2.0)
    return model


@cache
def model_of(family: str) -> HuggingFaceModel:
    return wrap(heard_model(family))


@cache
def tolerance_of(family: str) -> float:
    """The error of a float32 pass, which the same pass in float64 shows, times what is allowed of it."""
    exact = heard_model(family).double()
    exact.set_experts_implementation("eager")  # grouped products are not there in float64
    with torch.no_grad():
        error = (model_of(family)(tokens()) - exact(tokens(), use_cache=False).logits).abs().max()
    return ROUNDINGS * float(error)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_answers_across_a_cut_are_those_of_a_whole_pass_after_saving_and_loading(family: str, tmp_path: Path) -> None:
    heard_model(family).save_pretrained(tmp_path)
    model, sequences = load(tmp_path), tokens()
    whole = model(sequences)
    torch.testing.assert_close(whole, model_of(family)(sequences), atol=tolerance_of(family), rtol=0)
    for cut in (1, 5, 13):
        answers = model.answer(model.prefill(sequences[:, :cut]), sequences[:, cut:])
        torch.testing.assert_close(answers, whole[:, cut:], atol=tolerance_of(family), rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_carry_the_answers_and_every_tensor_is_heard(family: str) -> None:
    model, sequences = model_of(family), tokens()
    state, suffix = model.prefill(sequences[:, :9]), sequences[:1, 9:11].expand(3, -1)
    answers = model.answer(state, suffix)
    swapped = model.answer(state.map(lambda value: value.roll(1, 0)), suffix)
    torch.testing.assert_close(swapped, answers.roll(1, 0), atol=tolerance_of(family), rtol=0)
    for i, layer in enumerate(state.layers):
        for j, tensor in enumerate(layer):
            if not tensor.value.numel() or tensor.name == "normaliser":
                continue  # a position; a scale of each head, which xlstm's norm of the heads divides out again
            layers = [list(each) for each in state.layers]
            layers[i][j] = replace(tensor, value=tensor.value.roll(1, 0))
            other = model.answer(CutState(tuple(map(tuple, layers))), suffix)
            assert (other - answers).abs().max() > 10 * tolerance_of(family), f"{i}.{tensor.name}"


#: One family of each kind of cache; the others take longer, and their laws are those of the tests above.
CONTRACT = {"lfm2", "mamba", "minimax", "mistral", "recurrent_gemma", "rwkv", "xlstm", "zamba2"}


@pytest.mark.parametrize(
    "family", [pytest.param(each, marks=[] if each in CONTRACT else pytest.mark.slow) for each in FAMILIES]
)
def test_the_contract_holds(family: str) -> None:
    model = model_of(family)
    assert isinstance(model, CutModel)
    check_cut_model(model, tokens(), tolerance=max(tolerance_of(family), 1e-5))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_bits_are_those_of_the_configuration(family: str) -> None:
    for model, dtype in (model_of(family), "float32"), (wrap(tiny_model(family).bfloat16(), check=False), "bfloat16"):
        for n_tokens in (2, 9):
            sizes = state_sizes(model.model.config.to_dict(), n_tokens, dtype=dtype)
            bits = model.prefill(tokens()[:, :n_tokens]).bits()
            assert sizes.memory == (bits.recurrent_bits, bits.conv_bits, bits.cache_bits)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_oldest_stored_column_of_a_convolution_has_no_influence(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The column that ``restore`` fills with zeros may be anything; the column beside it may not."""
    model, sequences = model_of(family), tokens()
    state = model.prefill(sequences[:, :9])
    answers = model.answer(state, sequences[:, 9:])
    filled: list[float] = []

    def filled_otherwise(conv: Tensor, column: int = 0) -> Tensor:
        stored = torch.nn.functional.pad(conv, (1, 0))
        stored[..., column] = 7.0
        filled.append(7.0)
        return stored

    monkeypatch.setattr("boundprobe.hf.caches._as_stored", filled_otherwise)
    assert torch.equal(model.answer(state, sequences[:, 9:]), answers)
    layers = state_sizes(model.model.config.to_dict()).layers
    assert bool(filled) == any(layer.conv_entries_stored > layer.conv_entries for layer in layers)
    if filled:  # the negative control: the next column is heard
        monkeypatch.setattr("boundprobe.hf.caches._as_stored", partial(filled_otherwise, column=1))
        assert not torch.allclose(model.answer(state, sequences[:, 9:]), answers, atol=tolerance_of(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_have_gradients_by_the_state(family: str) -> None:
    """Along one direction, against the difference of two answers: caches are overwritten while they are read."""
    model, sequences = model_of(family), tokens()
    with torch.no_grad():
        state = model.prefill(sequences[:, :9])
    generator = torch.Generator().manual_seed(1)
    direction = state.map(lambda value: torch.randn(value.shape, generator=generator))
    weights = torch.randn(3, 2, VOCAB, generator=generator)

    def moved(by: float) -> CutState:
        return state.unflatten(state.flatten() + by * direction.flatten())

    def score(of: CutState) -> Tensor:
        return (model.answer(of, sequences[:, 9:11]) * weights).sum()

    leaves = moved(0.0).map(lambda value: value.detach().requires_grad_())
    score(leaves).backward()
    slope = sum(
        float((tensor.value.grad * along.value).sum())
        for layer, directions in zip(leaves.layers, direction.layers, strict=True)
        for tensor, along in zip(layer, directions, strict=True)
        if tensor.value.numel()
    )
    with torch.no_grad():  # the long step where logits are nearly linear, the short one where they bend
        differences = [float(score(moved(step)) - score(moved(-step))) / (2 * step) for step in (1e-3, 1e-4)]
    assert min(abs(slope - difference) for difference in differences) < 0.01 + 0.02 * abs(slope)
    assert abs(slope) > 0.03


@torch.no_grad()
def test_a_state_that_is_saved_and_read_answers_alike(tmp_path: Path) -> None:
    for family in ("mistral", "jamba", "rwkv"):
        model, sequences = model_of(family), tokens()
        state = model.prefill(sequences[:, :9])
        state.save(tmp_path / "state.safetensors")
        again = CutState.load(tmp_path / "state.safetensors")
        assert torch.equal(model.answer(again, sequences[:, 9:]), model.answer(state, sequences[:, 9:]))


def test_windows_limit_what_is_heard_and_recurrences_do_not() -> None:
    fields = {family: model_of(family).receptive_field for family in FAMILIES}
    assert {family for family, field in fields.items() if field is not None} == {"mistral"}
    assert fields["mistral"] == 1 + 2 * (6 - 1)
    assert wrap(tiny_model("mistral", sliding_window=None)).receptive_field is None
    assert wrap(tiny_model("lfm2", full_attn_idxs=[0])).receptive_field is None


@torch.no_grad()
def test_a_family_that_has_no_sizes_is_measured_as_unbounded() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    model = wrap(Qwen2ForCausalLM(config))
    assert (model.receptive_field, model.stages) == (None, None)
    check_cut_model(model, tokens())


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 2)])
def test_what_is_no_batch_of_tokens_is_refused(wrong: Tensor) -> None:
    model = model_of("llama")
    for call in (model, model.prefill, lambda given: model.answer(model.prefill(tokens()), given)):
        with pytest.raises(ValueError, match=r"`tokens` must be integers \(B, T\), both at least 1; got shape"):
            call(wrong)


def test_a_state_of_another_model_is_refused() -> None:
    deeper = wrap(tiny_model("llama", num_hidden_layers=3))
    with pytest.raises(ValueError, match="`state` must be of 2 layers, as the model; got 3"):
        model_of("llama").answer(deeper.prefill(tokens()), tokens())


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="`model` must be a causal language model of transformers; got Linear"):
        wrap(torch.nn.Linear(2, 2))


def test_a_release_with_other_caches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.delattr(transformers.cache_utils, "LinearAttentionAndSlidingWindowAttentionLayer")
    with pytest.raises(MissingDependencyError, match=r"such as 5\.23; got .* Run: pip install --upgrade transformers"):
        wrap(tiny_model("llama"))


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_a_wrapped_model_is_measured(family: str) -> None:
    """The ladder's nominal bits are those of the configuration, and a linear decoder finds what was read."""
    task = build_task("mqar", {"n_pairs": 2, "n_keys": 4, "n_values": 4, "seq_len": 8})
    config = ProbeConfig(n_sequences=400, n_calibration=200, n_train=400, decoders=("linear",))
    ladder = measure(model_of(family), task, config)
    sizes = state_sizes(model_of(family).model.config.to_dict(), task.prefix_len, dtype="float32")
    assert ladder.nominal_bits == sizes.memory.total_bits
    assert ladder.violations == ()
    assert 3 < ladder.present.lower <= ladder.entropy_bits == 4
