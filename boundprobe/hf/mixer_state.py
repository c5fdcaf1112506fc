"""State of one layer whatever the number of tokens: the rules by which families count theirs."""

from __future__ import annotations

from dataclasses import dataclass

from boundprobe.bounds.diagonal.stages import Stage, Window
from boundprobe.checks import MOST_TOKENS
from boundprobe.hf.configuration import Configuration
from boundprobe.hf.layer_size import DTYPE_BITS, LayerSize


@dataclass(frozen=True)
class MixerState:
    """Entries of one layer's state.

    Attributes
    ----------
    kind : str
        As ``LayerSize`` has it.
    recurrent : int
        Entries.
    channels, width, stored_columns : int
        Of the convolution: ``width - 1`` columns are read; that many are stored, ``width`` unless said otherwise.
    per_token : int
        Entries that a token adds to the cache.
    window : int or None, in tokens
    recurrent_dtype : str or None
        Of the recurrent state whatever the model's type is; None for the model's.
    """

    kind: str
    recurrent: int = 0
    channels: int = 0
    width: int = 1
    stored_columns: int | None = None
    per_token: int = 0
    window: int | None = None
    recurrent_dtype: str | None = "float32"

    @property
    def reach(self) -> int | None:
        """Window of the layer in tokens, itself included; None where it hears of everything before it."""
        unlimited = self.recurrent or (self.per_token and self.window is None)
        return None if unlimited else max(self.width, self.window or 1)

    def stages(self, dtype: str) -> tuple[Stage, ...]:
        """The layer as diagonal cuts see it, in a model of a type; none where it has no state."""
        entry = DTYPE_BITS[dtype]
        conv = (Window("conv", self.channels * entry, self.width - 1),) if self.channels else ()
        reach = MOST_TOKENS if self.window is None else self.window - 1
        cache = (Window("cache", self.per_token * entry, reach),) if self.per_token else ()
        recurrent = self.recurrent * DTYPE_BITS[self.recurrent_dtype or dtype]
        if "-" in self.kind and self.recurrent and self.per_token:  # attention that the recurrence reads: zamba2
            return (Stage(cache), Stage(conv, recurrent))
        return (Stage((*conv, *cache), recurrent),) if conv or cache or recurrent else ()

    def at(self, n_tokens: int, index: int, dtype: str) -> LayerSize:
        """The layer after so many tokens, in a model of a type."""
        held = n_tokens if self.window is None else min(n_tokens, self.window - 1)
        stored = self.width if self.stored_columns is None else self.stored_columns
        conv = self.channels * (self.width - 1)
        return LayerSize(
            index,
            self.kind,
            recurrent_entries=self.recurrent,
            conv_entries=conv,
            conv_entries_stored=self.channels * stored,
            cache_entries_per_token=self.per_token,
            cache_entries=self.per_token * held,
            window=self.window if self.per_token else None,
            recurrent_dtype=(self.recurrent_dtype or dtype) if self.recurrent else None,
            conv_dtype=dtype if conv else None,
            cache_dtype=dtype if self.per_token else None,
        )


def attention(
    c: Configuration, heads: int | None, head_dim: int | None = None, window: int | None = None
) -> MixerState:
    """Keys and values of softmax attention.

    Parameters
    ----------
    c : Configuration
    heads : int or None
        Default of ``num_key_value_heads``; None, as null, stands for one key and value for each query head.
    head_dim : int or None
        Default of ``head_dim``; None, as null, stands for ``hidden_size / num_attention_heads``.
    window : int or None, in tokens
    """
    kv_heads = c.optional("num_key_value_heads", heads) or c.integer("num_attention_heads")
    width = c.optional("head_dim", head_dim) or c.head_width()
    return MixerState("attn", per_token=2 * kv_heads * width, window=window)


def latent_attention(c: Configuration) -> MixerState:
    """Multi-head latent attention: a compressed vector and one rotary key for all heads."""
    return MixerState("mla", per_token=c.integer("kv_lora_rank", 512) + c.integer("qk_rope_head_dim", 64))


def mamba(inner: int, state: int, width: int) -> MixerState:
    """The selective SSM of Gu and Dao 2023 (arXiv 2312.00752)."""
    return MixerState("mamba", inner * state, inner, width)


def mamba2(inner: int, state: int, groups: int, width: int) -> MixerState:
    """The SSM of Dao and Gu 2024 (arXiv 2405.21060), whose convolution reads B and C of every group."""
    return MixerState("mamba2", inner * state, inner + 2 * groups * state, width)


def gated_deltanet(c: Configuration, key_heads: int, value_heads: int, key: int, value: int) -> MixerState:
    """Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464), whose convolution reads queries, keys and values."""
    width = c.integer("linear_conv_kernel_dim", 4)
    return MixerState("gated-deltanet", value_heads * key * value, 2 * key_heads * key + value_heads * value, width)
