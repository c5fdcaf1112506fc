"""States of the families of transformers, from their configurations: one function for each family.

Sizes and derived sizes are those of transformers 5.23: each function takes what the family's configuration class
documents where a key is missing, and a test compares every one with the tensors of a model's own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from boundprobe.checks import refuse
from boundprobe.hf.configuration import Configuration
from boundprobe.hf.mixer_state import MixerState, attention, gated_deltanet, latent_attention, mamba, mamba2

#: From a configuration to the state of each layer, from input to output.
Family = Callable[[Configuration], list[MixerState]]

NO_MIXER = {"mlp": MixerState("mlp"), "moe": MixerState("moe")}


def _mamba(c: Configuration) -> list[MixerState]:
    inner = int(c.number("expand", 2) * c.integer("hidden_size"))
    return [mamba(inner, c.integer("state_size", 16), c.integer("conv_kernel", 4))] * c.n_layers()


def _mamba2(c: Configuration) -> list[MixerState]:
    inner = int(c.number("expand", 2) * c.integer("hidden_size"))
    sizes = c.integer("state_size", 128), c.integer("n_groups", 8), c.integer("conv_kernel", 4)
    return [mamba2(inner, *sizes)] * c.n_layers()


def _jamba(c: Configuration) -> list[MixerState]:
    n_layers, period, offset = (
        c.n_layers(),
        c.integer("attn_layer_period", 8),
        c.integer("attn_layer_offset", 4, least=0),
    )
    inner = int(c.number("mamba_expand", 2) * c.integer("hidden_size"))
    recurrent = mamba(inner, c.integer("mamba_d_state", 16), c.integer("mamba_d_conv", 4))
    return [attention(c, 8) if i % period == offset else recurrent for i in range(n_layers)]


def _zamba2(c: Configuration) -> list[MixerState]:
    n_layers, hidden = c.n_layers(), c.integer("hidden_size")
    inner = int(c.number("mamba_expand", 2) * hidden)
    recurrent = mamba2(
        inner, c.integer("mamba_d_state", 64), c.integer("mamba_ngroups", 1), c.integer("mamba_d_conv", 4)
    )
    # The shared transformer block reads the embedding beside the stream: its heads are twice as wide.
    heads = c.optional("num_key_value_heads") or c.integer("num_attention_heads")
    both = replace(recurrent, kind="attn-mamba2", per_token=2 * heads * c.head_width(times=2))
    value = c.raw("layers_block_type", aliases=("layer_types",))
    types = c.layer_types("layers_block_type", ("linear_attention", "hybrid"), n_layers, value)
    return [both if each == "hybrid" else recurrent for each in types]


def _mamba2_of_bamba(c: Configuration, inner: int) -> MixerState:
    state, groups = c.integer("mamba_d_state", 256), c.integer("mamba_n_groups", 1)
    return mamba2(inner, state, groups, c.integer("mamba_d_conv", 4))


def _bamba(c: Configuration) -> list[MixerState]:
    recurrent = _mamba2_of_bamba(c, int(c.number("mamba_expand", 2) * c.integer("hidden_size")))
    attends = c.indices("attn_layer_indices", c.raw("attn_layer_indices", None) or [])
    return [attention(c, 8) if i in attends else recurrent for i in range(c.n_layers())]


def _falcon_h1(c: Configuration) -> list[MixerState]:
    inner = c.optional("mamba_d_ssm", 1024) or int(c.number("mamba_expand", 2) * c.integer("hidden_size"))
    both = replace(_mamba2_of_bamba(c, inner), kind="mamba2|attn", per_token=attention(c, 8).per_token)
    return [both] * c.n_layers()


def _granitemoehybrid(c: Configuration) -> list[MixerState]:
    n_layers = c.n_layers()
    recurrent = _mamba2_of_bamba(c, int(c.number("mamba_expand", 2) * c.integer("hidden_size")))
    value = c.raw("layer_types", None, aliases=("layers_block_type",)) or ["linear_attention"] * n_layers
    types = c.layer_types("layer_types", ("linear_attention", "full_attention"), n_layers, value)
    return [attention(c, None) if each == "full_attention" else recurrent for each in types]


#: Letters of ``hybrid_override_pattern``.
NEMOTRON_LETTERS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}


def _nemotron_h(c: Configuration) -> list[MixerState]:
    inner = c.integer("mamba_num_heads", 128) * c.integer("mamba_head_dim", 64)
    groups = c.integer("mamba_n_groups", 8, aliases=("n_groups",))
    width = c.integer("mamba_d_conv", 4, aliases=("conv_kernel",))
    of = {
        "linear_attention": mamba2(inner, c.integer("ssm_state_size", 128), groups, width),
        "full_attention": attention(c, 8, 128),
        **NO_MIXER,
    }
    value = c.values.get("layers_block_type") or c.values.get("layer_types")
    if value is None:
        pattern = c.raw("hybrid_override_pattern")
        if not isinstance(pattern, str) or not set(pattern) <= set(NEMOTRON_LETTERS):
            refuse("hybrid_override_pattern", "a text of the letters M, *, - and E", repr(pattern))
        value = [NEMOTRON_LETTERS[letter] for letter in pattern]
    return [of[each] for each in c.layer_types("layers_block_type", tuple(of), None, value)]


def _qwen(c: Configuration, kv_heads: int) -> list[MixerState]:
    attends = attention(c, kv_heads, 256)
    recurrent = gated_deltanet(
        c,
        c.integer("linear_num_key_heads", 16),
        c.integer("linear_num_value_heads", 32),
        c.integer("linear_key_head_dim", 128),
        c.integer("linear_value_head_dim", 128),
    )
    return _alternating(c, recurrent, attends)


def _alternating(c: Configuration, recurrent: MixerState, attends: MixerState) -> list[MixerState]:
    """Layers by ``layer_types``, or attention in every ``full_attention_interval``-th."""
    n_layers, value = c.n_layers(), c.values.get("layer_types")
    if value is None:
        every = c.integer("full_attention_interval", 4)
        value = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(n_layers)]
    types = c.layer_types("layer_types", ("linear_attention", "full_attention"), n_layers, value)
    return [attends if each == "full_attention" else recurrent for each in types]


def _olmo_hybrid(c: Configuration) -> list[MixerState]:
    n_layers, heads = c.n_layers(), c.integer("num_attention_heads")
    key_heads, value_heads = c.optional("linear_num_key_heads") or heads, c.optional("linear_num_value_heads") or heads
    key = c.optional("linear_key_head_dim") or int(0.75 * c.integer("hidden_size") / key_heads)
    recurrent = gated_deltanet(c, key_heads, value_heads, key, c.optional("linear_value_head_dim") or 2 * key)
    value = c.raw("layer_types", None)
    if value is None:
        value = ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(n_layers)]
        value[-1] = "full_attention" if "full_attention" not in value else value[-1]
    types = c.layer_types("layer_types", ("linear_attention", "full_attention"), n_layers, value)
    return [attention(c, None) if each == "full_attention" else recurrent for each in types]


def _lfm2(c: Configuration) -> list[MixerState]:
    n_layers, value = c.n_layers(), c.values.get("layer_types")
    if value is None:
        indices = c.raw("full_attn_idxs", None)
        attends = set(range(n_layers)) if indices is None else c.indices("full_attn_idxs", indices)
        value = ["full_attention" if i in attends else "conv" for i in range(n_layers)]
    convolution = MixerState("conv", channels=c.integer("hidden_size"), width=c.integer("conv_L_cache", 3))
    types = c.layer_types("layer_types", ("conv", "full_attention"), n_layers, value)
    return [attention(c, 8) if each == "full_attention" else convolution for each in types]


def _recurrent_gemma(c: Configuration) -> list[MixerState]:
    n_layers, width = c.n_layers(), c.integer("conv1d_width", 4)
    channels = c.optional("lru_width") or c.integer("hidden_size")
    kv_heads = c.optional("num_key_value_heads") or c.integer("num_attention_heads")
    head_dim = c.head_width()
    of = {
        "recurrent": MixerState("rg-lru", channels, channels, width, stored_columns=width - 1),
        "full_attention": MixerState(
            "attn", per_token=2 * kv_heads * head_dim, window=c.integer("attention_window_size", 2048)
        ),
    }
    value = c.raw("block_types", ["recurrent", "recurrent", "attention"])
    pattern = c.layer_types("block_types", tuple(of), None, value)
    return [of[pattern[i % len(pattern)]] for i in range(n_layers)]


def _kimi_linear(c: Configuration) -> list[MixerState]:
    n_layers, nested = c.n_layers(), c.values.get("linear_attn_config") or {}
    if not isinstance(nested, Mapping):
        refuse("linear_attn_config", "a JSON object", repr(nested))
    inner = Configuration(nested, c.family)

    def size(name: str, own: str, default: int) -> int:
        return inner.integer(name) if name in nested else c.integer(own, default)

    heads, width = size("num_heads", "linear_num_heads", 32), size("head_dim", "linear_head_dim", 128)
    columns = size("short_conv_kernel_size", "linear_conv_kernel_dim", 4)
    recurrent = MixerState("kda", heads * width * width, 3 * heads * width, columns)
    value = c.values.get("layer_types")
    if value is None and {"full_attn_layers", "kda_layers"} <= set(nested):
        attends = c.indices("full_attn_layers", nested["full_attn_layers"])  # counted from 1
        value = ["full_attention" if i + 1 in attends else "linear_attention" for i in range(n_layers)]
    elif value is None:
        c.raw("layer_types", None)
        value = ["full_attention" if i and i % 4 == 0 else "linear_attention" for i in range(n_layers)]
    types = c.layer_types("layer_types", ("linear_attention", "full_attention"), n_layers, value)
    return [latent_attention(c) if each == "full_attention" else recurrent for each in types]


def _minimax(c: Configuration) -> list[MixerState]:
    n_layers, value = c.n_layers(), c.raw("layer_types", None)
    if c.values.get("sliding_window") is not None:
        # Its cache keeps every token, whatever the window: entries as read and as stored would differ.
        refuse("sliding_window", "null in a configuration of minimax", repr(c.values["sliding_window"]))
    heads = c.integer("num_attention_heads")
    width = c.optional("head_dim") or c.head_width()
    lightning = MixerState("lightning", heads * width * width, recurrent_dtype=None)
    if value is None:
        value = ["linear_attention" if i % 2 else "full_attention" for i in range(n_layers)]
    types = c.layer_types("layer_types", ("linear_attention", "full_attention"), n_layers, value)
    return [attention(c, 8) if each == "full_attention" else lightning for each in types]


def _rwkv(c: Configuration) -> list[MixerState]:
    hidden = c.integer("hidden_size")
    if (c.optional("attention_hidden_size") or hidden) != hidden:
        refuse("attention_hidden_size", f"hidden_size, {hidden}, which transformers' state of rwkv has",
               f"{c.values['attention_hidden_size']}")  # fmt: skip
    # Numerator, denominator and maximum of the attention; the token before, for attention and for the MLP.
    return [MixerState("rwkv", 3 * hidden, 2 * hidden, 2, stored_columns=1)] * c.n_layers()


def _xlstm(c: Configuration) -> list[MixerState]:
    hidden = c.integer("hidden_size", aliases=("embedding_dim",))
    heads = c.integer("num_heads", 8)

    def width(name: str, default: float) -> int:
        """Of a head: of all heads together a multiple of 64."""
        return int(-(-hidden * c.number(name, default) // 64) * 64) // heads

    key, value = width("qk_dim_factor", 0.5), width("v_dim_factor", 1.0)
    # Matrix memory, normaliser and stabiliser.
    return [MixerState("mlstm", heads * (key * value + key + 1), recurrent_dtype=None)] * c.n_layers("num_blocks")


def _full(heads: int | None, head_dim: int | None = None) -> Family:
    """Attention without a window in every layer, with these defaults."""
    return lambda c: [attention(c, heads, head_dim)] * c.n_layers()


def _gpt_neox(c: Configuration) -> list[MixerState]:
    heads = c.integer("num_attention_heads")
    return [MixerState("attn", per_token=2 * heads * c.head_width())] * c.n_layers()


def _mistral(c: Configuration) -> list[MixerState]:
    n_layers, window = c.n_layers(), c.optional("sliding_window", 4096)
    value = c.values.get("layer_types") or ["full_attention" if window is None else "sliding_attention"] * n_layers
    return _some_windowed(c, attention(c, 8), window, value)


def _gpt_oss(c: Configuration) -> list[MixerState]:
    n_layers, value = c.n_layers(), c.raw("layer_types", None)
    if value is None:
        value = ["full_attention" if i % 2 else "sliding_attention" for i in range(n_layers)]
    return _some_windowed(c, attention(c, 8, 64), c.optional("sliding_window", 128), value)


def _some_windowed(c: Configuration, full: MixerState, window: int | None, value: object) -> list[MixerState]:
    """Attention with a window in the layers whose type says so."""
    types = c.layer_types("layer_types", ("sliding_attention", "full_attention"), c.n_layers(), value)
    if window is None and "sliding_attention" in types:
        refuse("sliding_window", "an integer where layers have the type sliding_attention", "none")
    return [full if each == "full_attention" else replace(full, window=window) for each in types]


def _deepseek(c: Configuration) -> list[MixerState]:
    return [latent_attention(c)] * c.n_layers()


#: ``model_type`` to the family's function.
FAMILIES: dict[str, Family] = {
    "bamba": _bamba,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "falcon_h1": _falcon_h1,
    "falcon_mamba": _mamba,
    "gpt_neox": _gpt_neox,
    "gpt_oss": _gpt_oss,
    "granitemoehybrid": _granitemoehybrid,
    "jamba": _jamba,
    "kimi_linear": _kimi_linear,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
    "llama": _full(None),
    "mamba": _mamba,
    "mamba2": _mamba2,
    "minimax": _minimax,
    "mistral": _mistral,
    "nemotron_h": _nemotron_h,
    "olmo_hybrid": _olmo_hybrid,
    "qwen3_5": lambda c: _qwen(c, 4),
    "qwen3_5_moe": lambda c: _qwen(c, 2),
    "qwen3_5_moe_text": lambda c: _qwen(c, 2),
    "qwen3_5_text": lambda c: _qwen(c, 4),
    "qwen3_next": lambda c: _qwen(c, 2),
    "recurrent_gemma": _recurrent_gemma,
    "rwkv": _rwkv,
    "xlstm": _xlstm,
    "zamba2": _zamba2,
}
