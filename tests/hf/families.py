"""Tiny random models of the families that boundprobe reads: configurations of at most a few thousand parameters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

VOCAB = 40
_ATTENTION = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
_COMMON = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_state": 6, "mamba_n_groups": 2, "mamba_chunk_size": 8}
_DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 12,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_QWEN = {**_COMMON, **_ATTENTION, **_DELTA, "num_hidden_layers": 4, "head_dim": 8}
_QWEN_NEXT = {**_QWEN, **_EXPERTS, "shared_expert_intermediate_size": 16}
_LATENT = {"kv_lora_rank": 12, "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 10}

TINY: dict[str, dict[str, Any]] = {
    "mamba": {**_COMMON, "hidden_size": 24, "state_size": 5, "num_hidden_layers": 2, "conv_kernel": 3},
    "falcon_mamba": {**_COMMON, "hidden_size": 24, "state_size": 5, "num_hidden_layers": 2},
    "mamba2": {
        **_COMMON, "hidden_size": 32, "state_size": 6, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 16,
        "n_groups": 2, "chunk_size": 8,
    },
    "jamba": {
        **_COMMON, **_ATTENTION, "num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 1,
        "mamba_d_state": 5, "mamba_expand": 2, "num_experts": 2, "num_experts_per_tok": 1, "use_mamba_kernels": False,
    },
    "zamba2": {
        **_COMMON, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 4,
        "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "mamba_d_state": 6,
        "n_mamba_heads": 4, "mamba_ngroups": 2, "chunk_size": 8, "adapter_rank": 4, "use_mamba_kernels": False,
    },
    "bamba": {**_COMMON, **_ATTENTION, **_MAMBA2, "num_hidden_layers": 3, "attn_layer_indices": [1]},
    "falcon_h1": {**_COMMON, **_ATTENTION, **_MAMBA2, "num_hidden_layers": 2, "mamba_d_ssm": 48},
    "nemotron_h": {
        **_COMMON, **_ATTENTION, "head_dim": 8, "hybrid_override_pattern": "M-M*", "ssm_state_size": 6,
        "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "chunk_size": 8, "use_mamba_kernels": False,
    },
    "granitemoehybrid": {
        **_COMMON, **_ATTENTION, **_MAMBA2, "num_hidden_layers": 3, "layer_types": ["mamba", "attention", "mamba"],
        "shared_intermediate_size": 16, "num_local_experts": 4,
    },
    "qwen3_next": _QWEN_NEXT,
    "qwen3_5": {"text_config": {**_QWEN, "model_type": "qwen3_5_text"}},
    "qwen3_5_text": _QWEN,
    "qwen3_5_moe": {"text_config": {**_QWEN_NEXT, "model_type": "qwen3_5_moe_text"}},
    "qwen3_5_moe_text": _QWEN_NEXT,
    "olmo_hybrid": {
        **_COMMON, **_ATTENTION, "num_hidden_layers": 4, "linear_num_key_heads": 4, "linear_num_value_heads": 4,
        "linear_key_head_dim": 6, "linear_value_head_dim": 12,
    },
    "lfm2": {
        **_COMMON, **_ATTENTION, "num_hidden_layers": 3, "full_attn_idxs": [1], "block_multiple_of": 8,
    },
    "lfm2_moe": {
        **_COMMON, **_ATTENTION, **_EXPERTS, "num_hidden_layers": 3, "num_dense_layers": 1,
        "layer_types": ["conv", "full_attention", "conv"],
    },
    "recurrent_gemma": {
        **_COMMON, **_ATTENTION, "num_hidden_layers": 3, "num_key_value_heads": 1, "attention_window_size": 6,
        "lru_width": 40,
    },
    "kimi_linear": {
        **_COMMON, **_ATTENTION, **_LATENT, "num_key_value_heads": 4, "num_hidden_layers": 3, "linear_num_heads": 2,
        "linear_head_dim": 8, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    },
    "minimax": {**_COMMON, **_ATTENTION, "num_hidden_layers": 3, "num_local_experts": 2, "block_size": 4},
    "rwkv": {**_COMMON, "hidden_size": 24, "num_hidden_layers": 2},
    "xlstm": {**_COMMON, "hidden_size": 128, "num_hidden_layers": 2, "num_heads": 2, "chunk_size": 8},
    "llama": {**_COMMON, **_ATTENTION, "num_hidden_layers": 2},
    "gpt_neox": {
        **_COMMON, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2,
    },
    "mistral": {**_COMMON, **_ATTENTION, "num_hidden_layers": 2, "sliding_window": 6},
    "gpt_oss": {
        **_COMMON, **_ATTENTION, "num_hidden_layers": 2, "head_dim": 8, "sliding_window": 6, "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "deepseek_v2": {
        **_COMMON, **_ATTENTION, **_LATENT, "num_key_value_heads": 4, "num_hidden_layers": 2, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
    },
    "deepseek_v3": {
        **_COMMON, **_ATTENTION, **_LATENT, "num_key_value_heads": 4, "num_hidden_layers": 2, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
    },
}  # fmt: skip


def tiny_config(family: str, without: Collection[str] = (), **changes: Any) -> Any:
    """A tiny configuration of a family, with some values changed and some left to transformers."""
    from transformers import AutoConfig

    values = {key: value for key, value in {**TINY[family], **changes}.items() if key not in without}
    return AutoConfig.for_model(family, **values)


def tiny_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A tiny random causal language model of a family, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny_config(family, **changes)).eval()
