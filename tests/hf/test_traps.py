"""What a reader of transformers falls into: each is shown with the plain call, and not to happen through ``wrap``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boundprobe.errors import MissingDependencyError
from boundprobe.hf import ContinuationError, continuation_error, load, shifted_labels, wrap
from tests.hf.families import VOCAB, tiny_model
from tests.hf.test_wrapped import FAMILIES, HEARD, model_of, tokens, tolerance_of


def far(found: Tensor, expected: Tensor) -> bool:
    """True where logits differ by more than any rounding."""
    return float((found - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("family", ["mamba", "falcon_mamba", "mamba2", "xlstm"])
@torch.no_grad()
def test_past_key_values_are_not_read(family: str) -> None:
    model, sequences = model_of(family), tokens()
    whole, cached = model(sequences), model.model(sequences[:, :13], use_cache=True).cache_params
    silent = model.model(sequences[:, 13:], past_key_values=cached, use_cache=True).logits
    empty = model.model(sequences[:, 13:], use_cache=True).logits
    assert torch.equal(silent, empty)
    assert far(silent, whole[:, 13:])
    assert not far(model.answer(model.prefill(sequences[:, :13]), sequences[:, 13:]), whole[:, 13:])


@pytest.mark.parametrize("family", ["mamba", "falcon_mamba", "jamba", "recurrent_gemma"])
@torch.no_grad()
def test_several_tokens_after_a_cache_forget_the_state(family: str) -> None:
    model, sequences = model_of(family), tokens()
    whole, adapter = model(sequences), model._adapter
    at_once, _ = adapter.run(sequences[:, 5:], adapter.restore(model.prefill(sequences[:, :5])), 5)
    adapter.forget()
    assert far(at_once, whole[:, 5:])
    assert not far(model.answer(model.prefill(sequences[:, :5]), sequences[:, 5:]), whole[:, 5:])


@pytest.mark.parametrize("family", ["zamba2", "nemotron_h"])
@torch.no_grad()
def test_single_tokens_have_step_sizes_without_a_limit(family: str) -> None:
    """A limit of the step size that binds: sequences keep to it, and a token that follows a cache alone does not."""
    model, sequences = wrap(tiny_model(family, time_step_min=0.5, **HEARD)), tokens()
    whole, adapter = model(sequences), model._adapter
    state = model.prefill(sequences[:, :13])
    alone, _ = adapter.run(sequences[:, 13:], adapter.restore(state), 13)
    assert far(alone, whole[:, 13:])
    assert not far(model.answer(state, sequences[:, 13:]), whole[:, 13:])


@pytest.mark.parametrize("family", ["mamba2", "bamba", "falcon_h1", "granitemoehybrid"])
def test_limits_of_the_step_size_in_other_families_are_seen(family: str) -> None:
    wrap(tiny_model(family, time_step_limit=(0.5, 1.0), **HEARD))  # which checks the continuation


@torch.no_grad()
def test_a_first_layer_without_a_state_is_no_obstacle() -> None:
    model, sequences = wrap(tiny_model("nemotron_h", hybrid_override_pattern="-*M", **HEARD)), tokens()
    state = model.prefill(sequences[:, :9])
    assert (state.batch, state.layers[0]) == (3, ())
    assert not far(model.answer(state, sequences[:, 9:]), model(sequences)[:, 9:])


@torch.no_grad()
def test_bamba_counts_positions_from_zero_after_a_cache() -> None:
    model, sequences = model_of("bamba"), tokens()
    whole, state = model(sequences), model.prefill(sequences[:, :13])
    adapter = model._adapter
    assert far(adapter.run(sequences[:, 13:], adapter.restore(state), None)[0], whole[:, 13:])
    assert not far(model.answer(state, sequences[:, 13:]), whole[:, 13:])


@torch.no_grad()
def test_rwkv_takes_the_batch_for_positions_where_it_reads_one_token() -> None:
    model, sequences = model_of("rwkv"), tokens()
    naive = model.model(sequences[:, :1], use_cache=True).logits
    assert naive.shape == (3, 3, VOCAB)
    answers = model.answer(model.prefill(sequences[:, :1]), sequences[:, 1:2])
    assert not far(answers, model(sequences[:, :2])[:, 1:])


@torch.no_grad()
def test_recurrent_gemma_keeps_nothing_of_another_batch() -> None:
    model, sequences = model_of("recurrent_gemma"), tokens()
    first = model.prefill(sequences[:, :9])
    model.prefill(sequences.flip(0)[:, :9])
    model.prefill(sequences[:2, :4])
    assert torch.equal(model.prefill(sequences[:, :9]).flatten(), first.flatten())
    assert all(block.conv1d_state is None for block in model._adapter._blocks().values())


@pytest.mark.parametrize("family", ["mamba", "lfm2", "llama"])
@torch.no_grad()
def test_padding_on_the_left_changes_states(family: str) -> None:
    """The reason why all sequences of a batch have one length: a padded one has another state, and other answers."""
    model, sequences = model_of(family), tokens()
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.long), sequences], dim=1)
    plain = model.answer(model.prefill(sequences[:, :9]), sequences[:, 9:])
    assert far(model.answer(model.prefill(padded[:, :13]), sequences[:, 9:]), plain)


#: Heads of their own kind: the others call the same loss function.
HEADS = {"llama", "mamba", "mamba2", "rwkv", "xlstm"}


@pytest.mark.parametrize(
    "family", [pytest.param(each, marks=[] if each in HEADS else pytest.mark.slow) for each in FAMILIES]
)
@torch.no_grad()
def test_labels_stand_one_position_on(family: str) -> None:
    model, sequences = model_of(family), tokens()
    targets = torch.full_like(sequences, -100)
    targets[:, 4::3] = sequences[:, :-4:3][:, : targets[:, 4::3].shape[1]]
    targets[:, -1] = 7
    input_ids, labels = shifted_labels(sequences, targets)
    expected = torch.nn.functional.cross_entropy(model(sequences).flatten(0, 1), targets.flatten())
    loss = model.model(input_ids=input_ids, labels=labels, use_cache=False).loss
    torch.testing.assert_close(loss, expected, atol=tolerance_of(family), rtol=1e-5)
    wrong = model.model(input_ids=sequences, labels=targets, use_cache=False).loss
    assert abs(float(wrong - expected)) > 1e-3


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`targets` must be of the shape of tokens, \(3, 14\), \(B, L\); got \(3, 2\)"
    ):
        shifted_labels(tokens(), tokens()[:, :2])


def forgetful(family: str, how: str) -> Any:
    """A model whose cache is not its memory."""
    model = tiny_model(family, **HEARD)
    forward = model.forward

    def without_cache(input_ids: Tensor, use_cache: bool = True, past_key_values: Any = None, **options: Any) -> Any:
        outputs = forward(input_ids=input_ids, use_cache=use_cache, past_key_values=past_key_values, **options)
        if how == "it is not read" and past_key_values is not None and past_key_values.get_seq_length() > 1:
            outputs.logits = forward(input_ids=input_ids, use_cache=False).logits
        if how == "it raises" and use_cache and input_ids.shape[1] == 1:
            raise IndexError("no such layer")
        return outputs

    model.forward = without_cache
    return model


@pytest.mark.parametrize("how", ["it is not read", "it raises"])
def test_a_model_that_does_not_continue_from_its_cache_is_refused(how: str) -> None:
    model = forgetful("llama", how)
    with pytest.raises(ContinuationError, match=r"llama of transformers .* Its state cannot be measured\.") as refusal:
        wrap(model)
    assert ("IndexError: no such layer" in str(refusal.value)) == (how == "it raises")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("granitemoehybrid", {"layer_types": None}),
        ("kimi_linear", {"layer_types": ["linear_attention"] * 3}),
        ("lfm2", {"full_attn_idxs": []}),
        ("zamba2", {"layers_block_type": ["mamba"] * 4}),
    ],
)
def test_hybrids_without_attention_cannot_be_continued(family: str, changes: dict[str, Any]) -> None:
    """The installed transformers asks such a cache for its length, which only attention has, and says so."""
    with pytest.raises(ContinuationError, match=f"{family} of transformers .* it raises ValueError: `get_seq_length`"):
        wrap(tiny_model(family, **changes))


@pytest.mark.parametrize("family", ["mamba", "llama", "rwkv"])
def test_the_error_of_continuing_is_that_of_rounding(family: str) -> None:
    assert continuation_error(model_of(family), tokens()) < 1e-4


def test_code_of_a_model_is_not_executed(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    with pytest.raises(ValueError, match="`source` must be a causal language model that transformers loads"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": own}))
    assert load(tmp_path).family == "llama"  # of transformers itself, whatever code lies beside it
    assert not (tmp_path / "executed").exists()


def test_pickles_are_not_read(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"`source` must be a folder with weights as safetensors; got .* has none"):
        load(tmp_path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nowhere", "no-such-owner/no-such-model"):
        with pytest.raises(ValueError, match=r"^`source` must be [^\n]*$"):
            load(source)


def test_a_gguf_file_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boundprobe.hf.loading.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install gguf accelerate"):
        load(tmp_path / "model.gguf")


def test_a_type_is_taken(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    assert next(load(tmp_path, dtype="bfloat16").parameters()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        load(tmp_path, dtype="int3")
