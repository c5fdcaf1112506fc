"""Sizes from a configuration are those of the tensors in a real model's cache, and the published ones."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from boundprobe.bounds import model_verdicts
from boundprobe.hf import FAMILIES, layer_windows, model_sizes, state_sizes, state_stages
from boundprobe.models import BUILDERS, ModelSpec, SequenceModel, nominal_bits
from boundprobe.tasks import build_task
from tests.hf.families import TINY, VOCAB, tiny_config, tiny_model

#: Other shapes of the same families; each changes what its size depends on.
OTHER_SHAPES: dict[str, dict[str, Any]] = {
    "mamba": {"expand": 3, "conv_kernel": 4},
    "falcon_mamba": {"state_size": 2, "conv_kernel": 2},
    "mamba2": {"num_heads": 8, "head_dim": 4, "expand": 1, "n_groups": 4, "conv_kernel": 3},
    "jamba": {"mamba_expand": 1, "mamba_d_conv": 3, "attn_layer_period": 2, "num_key_value_heads": 1},
    "zamba2": {"mamba_ngroups": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "n_mamba_heads": 8},
    "bamba": {"mamba_n_groups": 1, "mamba_d_conv": 2, "num_key_value_heads": 4, "attn_layer_indices": [0, 2]},
    "falcon_h1": {"mamba_d_ssm": None, "num_key_value_heads": 1, "head_dim": 16},
    "nemotron_h": {"n_groups": 4, "mamba_head_dim": 8, "head_dim": 16, "hybrid_override_pattern": "*M-"},
    "granitemoehybrid": {"layer_types": ["attention", "mamba", "mamba"], "mamba_n_groups": 1},
    "qwen3_next": {"linear_num_key_heads": 4, "linear_value_head_dim": 4, "head_dim": 16, "num_key_value_heads": 4},
    "olmo_hybrid": {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "num_key_value_heads": 4},
    "lfm2": {"conv_L_cache": 4, "full_attn_idxs": [0, 2]},
    "lfm2_moe": {"conv_L_cache": 2},
    "recurrent_gemma": {"lru_width": None, "attention_window_size": 3, "block_types": ["attention", "recurrent"]},
    "kimi_linear": {
        "linear_num_heads": 4,
        "kv_lora_rank": 6,
        "linear_conv_kernel_dim": 3,
        "layer_types": None,
        "num_hidden_layers": 5,
    },
    "minimax": {"head_dim": 6, "layer_types": ["linear_attention"] * 2 + ["full_attention"]},
    "xlstm": {"qk_dim_factor": 1.0, "v_dim_factor": 0.5, "num_heads": 4},
    "llama": {"num_key_value_heads": 4, "head_dim": 6},
    "mistral": {"sliding_window": None},
    "gpt_oss": {"layer_types": ["full_attention"] * 2, "num_key_value_heads": 1},
    "deepseek_v3": {"kv_lora_rank": 5, "qk_rope_head_dim": 8},
}
SHAPES = [(family, {}) for family in TINY] + list(OTHER_SHAPES.items())


def kept_tensors(model: Any, n_tokens: int) -> dict[tuple[int, str], list[torch.Tensor]]:
    """Tensors of the cache after so many tokens by layer and kind, written for this test: it shares no code."""
    tokens = torch.randint(3, VOCAB, (2, n_tokens), generator=torch.Generator().manual_seed(1))
    found = defaultdict(list)
    options = {}
    if model.config.model_type == "recurrent_gemma":  # its cache is not among its outputs
        from transformers import DynamicCache

        options["past_key_values"] = DynamicCache(config=model.config)
    with torch.no_grad():
        outputs = model(tokens, use_cache=True, **options)
    if "state" in outputs:  # rwkv: the tokens before, then the attention's three sums
        for i, tensor in enumerate(outputs.state):
            for layer in range(tensor.shape[-1]):
                found[layer, "conv" if i < 2 else "recurrent"].append(tensor[..., layer])
        return found
    cache = outputs.get("past_key_values") or outputs.get("cache_params") or options["past_key_values"]
    for layer, states in getattr(cache, "rnn_state", {}).items():
        found[layer, "recurrent"] += states
    for layer, state in enumerate(getattr(cache, "linear_cache", [])):
        found[layer, "recurrent"] += [state] if isinstance(state, torch.Tensor) else []
    for i, layer in enumerate(getattr(cache, "layers", [])):
        for kind, names in (("recurrent", ("recurrent_states",)), ("conv", ("conv_states",))):
            found[i, kind] += [each for name in names for each in getattr(layer, name, {}).values() if each is not None]
        if getattr(layer, "keys", None) is not None:
            found[i, "cache"] += [layer.keys, layer.values]
    if model.config.model_type == "recurrent_gemma":
        for i, layer in enumerate(model.model.layers):
            if hasattr(layer.temporal_block, "rg_lru"):
                found[i, "recurrent"].append(layer.temporal_block.rg_lru.recurrent_states)
                found[i, "conv"].append(layer.temporal_block.conv1d_state)
    return found


def entries(tensors: list[torch.Tensor]) -> int:
    return sum(tensor[0].numel() for tensor in tensors)


def dtype_of(tensors: list[torch.Tensor]) -> str | None:
    (name,) = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.numel()} or {None}
    return name


@pytest.mark.parametrize(("family", "changes"), SHAPES, ids=lambda value: value if isinstance(value, str) else "")
def test_sizes_are_those_of_the_tensors_in_the_cache(family: str, changes: dict[str, Any]) -> None:
    for n_tokens, dtype in ((9, torch.bfloat16),) if changes else ((9, torch.bfloat16), (2, torch.float32)):
        model = tiny_model(family, **changes).to(dtype)
        sizes = state_sizes(model.config.to_dict(), n_tokens, dtype=str(dtype).removeprefix("torch."))
        found = kept_tensors(model, n_tokens)
        assert {layer for layer, _ in found} <= {layer.index for layer in sizes.layers}
        assert found or all(layer.kind == "mlp" for layer in sizes.layers)
        for layer in sizes.layers:
            recurrent, conv, cache = (found[layer.index, kind] for kind in ("recurrent", "conv", "cache"))
            assert layer.recurrent_entries == entries(recurrent)
            assert layer.conv_entries_stored == entries(conv)
            assert layer.cache_entries == entries(cache)
            assert (layer.recurrent_dtype, layer.conv_dtype) == (dtype_of(recurrent), dtype_of(conv))
            assert layer.cache_dtype == dtype_of(cache)
            if layer.window is None:
                assert layer.cache_entries_per_token * n_tokens == layer.cache_entries


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_vertical_cut_is_crossed_by_the_whole_state(family: str) -> None:
    values = tiny_config(family).to_dict()
    for dtype, n_tokens in (("float32", 9), ("bfloat16", 40)):
        of_stages = [stage.by_kind(n_tokens, n_tokens) for stage in state_stages(values, dtype=dtype)]
        assert tuple(map(sum, zip(*of_stages, strict=True))) == state_sizes(values, n_tokens, dtype=dtype).memory


def test_attention_that_a_recurrence_reads_is_a_stage_of_its_own() -> None:
    stages = state_stages(tiny_config("zamba2").to_dict())
    assert [(len(stage.windows), stage.recurrent_bits > 0) for stage in stages] == [
        (1, True),
        (1, False),
        (1, True),
    ] * 2
    (both,) = {
        (len(stage.windows), stage.recurrent_bits > 0) for stage in state_stages(tiny_config("falcon_h1").to_dict())
    }
    assert both == (2, True)


def test_a_configuration_has_verdicts() -> None:
    """A hybrid of windows alone is bound by D1 and W2; one recurrent layer takes the window bound away."""
    task = build_task("mqar", {"n_pairs": 8, "seq_len": 40})
    windows = {"model_type": "mistral", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1,
               "num_key_value_heads": 1, "sliding_window": 4}  # fmt: skip
    recurrent = {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1, "state_size": 16}
    fields = {}
    for values in (windows, recurrent):
        bits = state_sizes(values, task.prefix_len).memory.total_bits
        verdicts = model_verdicts(task, layer_windows(values), bits, stages=state_stages(values))
        fields[values["model_type"]] = {found.distribution: found.verdict for found in verdicts}
    assert fields["mistral"]["window-hard"] == "must fail"
    assert fields["mamba"]["window-hard"] != "must fail"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_checked(family: str) -> None:
    assert family in TINY


#: Shapes as published; entries of a layer: recurrent, convolution as read, cache of one token.
PUBLISHED = {
    "Qwen3-Next": ("qwen3_next", {"hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 16}, 0,
                   (524_288, 24_576, 0)),
    "Nemotron-H-8B, Mamba-2": ("nemotron_h", {"hidden_size": 4096, "hybrid_override_pattern": "M-*"}, 0,
                               (1_048_576, 30_720, 0)),
    "Nemotron-H-8B, attention": ("nemotron_h", {"hidden_size": 4096, "hybrid_override_pattern": "M-*",
                                                "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128},
                                 2, (0, 0, 2_048)),
    "Olmo Hybrid": ("olmo_hybrid", {"hidden_size": 3840, "num_hidden_layers": 32, "num_attention_heads": 30}, 0,
                    (552_960, 34_560, 0)),
    "mamba-130m": ("mamba", {"hidden_size": 768, "num_hidden_layers": 24}, 0, (24_576, 4_608, 0)),
    "mamba2-130m": ("mamba2", {"hidden_size": 768, "num_hidden_layers": 24, "num_heads": 24, "n_groups": 1}, 0,
                    (196_608, 5_376, 0)),
    "DeepSeek-V3": ("deepseek_v3", {"num_hidden_layers": 61}, 0, (0, 0, 576)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    family, values, index, expected = PUBLISHED[name]
    layer = state_sizes({"model_type": family, **values}).layers[index]
    assert (layer.recurrent_entries, layer.conv_entries, layer.cache_entries_per_token) == expected


def test_mamba_130m_has_589824_recurrent_entries() -> None:
    sizes = state_sizes({"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24})
    assert sum(layer.recurrent_entries for layer in sizes.layers) == 589_824


#: Keys that have no default here: a configuration without them is refused, by their names.
NEEDED = {
    "hidden_size", "embedding_dim", "num_hidden_layers", "num_blocks", "num_attention_heads", "model_type",
    "layers_block_type", "hybrid_override_pattern",
}  # fmt: skip


@pytest.mark.parametrize("family", sorted(family for family in FAMILIES if "text_config" not in TINY[family]))
@settings(max_examples=8)
@given(data=st.data())
def test_missing_keys_get_the_defaults_of_transformers(family: str, data: st.DataObject) -> None:
    """Sizes of a configuration with keys left out are those of the one that transformers completes."""
    from huggingface_hub.errors import StrictDataclassClassValidationError

    whole = TINY[family]
    left_out = data.draw(st.sets(st.sampled_from(sorted(set(whole) - NEEDED))))
    try:
        completed = tiny_config(family, without=left_out).to_dict()
    except StrictDataclassClassValidationError:  # heads that do not divide the default width
        hypothesis.reject()
    partial = {key: value for key, value in whole.items() if key not in left_out}
    sizes = state_sizes({"model_type": family, **partial}, 9)
    assert sizes.layers == state_sizes(completed, 9, dtype="float32").layers
    assert not set(sizes.defaults) & set(partial)


@pytest.mark.parametrize("family", sorted(family for family in FAMILIES if "text_config" not in TINY[family]))
def test_a_saved_configuration_needs_no_defaults(family: str) -> None:
    assert set(state_sizes(tiny_config(family, dtype="float16").to_dict()).defaults) <= {"full_attention_interval"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "`model_type` of the configuration must be one of bamba, deepseek_v2, "),
        ({"model_type": "mambo"}, "got 'mambo'. Did you mean 'mamba"),
        ({"model_type": "mamba"}, "`hidden_size` must be in a configuration of mamba; got none."),
        ({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}, "`num_hidden_layers` must be in a"),
        ({"model_type": "mamba", "hidden_size": -1, "num_hidden_layers": 2}, "`hidden_size` must be an integer from 1"),
        ({"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 10**9}, "`num_hidden_layers` must be an"),
        ({"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1, "dtype": "int4"}, "`dtype` must be one of "),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MX", "num_attention_heads": 2, "hidden_size": 8},
         "`hybrid_override_pattern` must be a text of the letters"),
        ({"model_type": "minimax", "num_hidden_layers": 1, "sliding_window": 4}, "`sliding_window` must be null"),
        ({"model_type": "rwkv", "hidden_size": 8, "num_hidden_layers": 1, "attention_hidden_size": 16},
         "`attention_hidden_size` must be hidden_size, 8"),
        ({"model_type": "gpt_oss", "num_hidden_layers": 2, "layer_types": ["full_attention"]}, "a list of 2 types"),
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_by_name(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        state_sizes(values)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "without", "spelling"),
    [
        ("kimi_linear", {"layer_types", "linear_num_heads", "linear_head_dim"},
         {"linear_attn_config": {"num_heads": 3, "head_dim": 4, "short_conv_kernel_size": 3, "full_attn_layers": [3],
                                 "kda_layers": [1, 2]}}),
        ("nemotron_h", {"n_groups"}, {"mamba_n_groups": 1, "mamba_d_conv": 3}),
        ("nemotron_h", {"hybrid_override_pattern"}, {"layers_block_type": ["mamba", "mlp", "attention"]}),
        ("granitemoehybrid", {"layer_types"}, {"layers_block_type": ["attention", "mamba", "mamba"]}),
        ("qwen3_next", set(), {"full_attention_interval": 2}),
        ("zamba2", {"layers_block_type"}, {"layer_types": ["hybrid", "linear_attention"] * 2}),
        ("lfm2", {"full_attn_idxs"}, {"layer_types": ["conv", "conv", "full_attention"]}),
        ("mistral", set(), {"layer_types": ["full_attention", "sliding_attention"]}),
        ("falcon_h1", {"mamba_d_ssm"}, {"mamba_d_ssm": None, "mamba_expand": 1}),
    ],
)  # fmt: skip
def test_other_spellings_of_checkpoints_are_read(family: str, without: set[str], spelling: dict[str, Any]) -> None:
    from transformers import AutoConfig

    values = {key: value for key, value in TINY[family].items() if key not in without} | spelling
    completed = AutoConfig.for_model(family, **values)
    found = state_sizes({"model_type": family, **values}, 9)
    assert found.layers == state_sizes(completed.to_dict(), 9, dtype="float32").layers
    assert found.layers != state_sizes(tiny_config(family).to_dict(), 9, dtype="float32").layers


HOSTILE = st.sampled_from(
    [None, 0, -1, 1, 3, 7, 2**50, 10**30, 1.5, math.nan, math.inf, True, "x", "auto", [], {}, [1], ["x"] * 3, [[]]]
)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@settings(max_examples=12)
@given(data=st.data())
def test_hostile_configurations_have_sizes_or_are_refused(family: str, data: st.DataObject) -> None:
    whole = TINY[family].get("text_config", TINY[family])
    changed = data.draw(st.dictionaries(st.sampled_from([*sorted(whole), "dtype", "layer_types", "head_dim"]), HOSTILE))
    try:
        sizes = state_sizes({"model_type": family, **whole, **changed}, 9)
        state_stages({"model_type": family, **whole, **changed})
    except ValueError as refusal:
        if "\n" in str(refusal) or " must be " not in str(refusal):
            raise
        return
    json.dumps(sizes.to_json(), allow_nan=False)
    for layer in sizes.layers:
        assert (layer.recurrent_entries, layer.conv_entries, layer.cache_entries) >= (0, 0, 0)
        assert layer.kind in ("mlp", "moe") or sum(layer.bits()) + layer.cache_entries_per_token > 0


def test_a_folder_a_file_and_contents_are_the_same(tmp_path: Path) -> None:
    values = {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1}
    with pytest.raises(ValueError, match="a folder without one"):
        state_sizes(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert state_sizes(tmp_path) == state_sizes(tmp_path / "config.json") == state_sizes(values)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match="which is a JSON object"):
        state_sizes(tmp_path / "list.json")


def test_a_type_is_the_parts_own_or_the_wholes() -> None:
    part = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    for values, expected in (
        ({"torch_dtype": "bfloat16", "text_config": part}, "bfloat16"),
        ({"torch_dtype": "bfloat16", "text_config": {**part, "dtype": "torch.float16"}}, "float16"),
        ({"text_config": part}, "float32"),
    ):
        assert state_sizes({"model_type": "seen", **values}).layers[0].cache_dtype == expected


@pytest.mark.parametrize("mixer", sorted(BUILDERS))
@pytest.mark.parametrize("n_tokens", [0, 3, 11])
def test_own_models_have_the_sizes_of_their_tensors(mixer: str, n_tokens: int) -> None:
    spec = ModelSpec(f"{mixer}-{mixer}|attn", d_model=8, window=5, chunk=2)
    sizes = model_sizes(spec, n_tokens)
    assert sizes.memory == nominal_bits(spec, n_tokens)
    if n_tokens:
        model = SequenceModel(spec, 5)
        _, (state,) = model.return_states(torch.zeros(1, n_tokens, dtype=torch.long), [n_tokens])
        for layer, tensors in zip(sizes.layers, state.layers, strict=True):
            counted = {kind: 0 for kind in ("recurrent", "conv", "cache")}
            for tensor in tensors:
                counted[tensor.kind] += tensor.value[0].numel()
            assert counted == {kind: getattr(layer, f"{kind}_entries") for kind in counted}


def test_summaries_count_as_a_part_of_an_entry_for_each_token() -> None:
    layer = model_sizes(ModelSpec("mamba+chunks", d_model=8, chunk=3, window=2), 9).layers[0]
    assert math.isclose(layer.cache_entries_per_token, 8 / 3)
    assert (layer.cache_entries, layer.window) == (16, 7)
