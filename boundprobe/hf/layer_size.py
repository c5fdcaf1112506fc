"""Entries and bits of a layer's state by kind, and of a model's; torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from boundprobe.checks import check_word
from boundprobe.models.sizes import NominalBits

#: Bits of one entry of a torch type, for the types that states are kept in.
DTYPE_BITS = {
    "float64": 64,
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
}

SCHEMA = "boundprobe.size/1"


@dataclass(frozen=True)
class LayerSize:
    """State of one layer after a number of tokens, in entries.

    Attributes
    ----------
    index : int
        From 0, the layer nearest to the input.
    kind : str
        Its mixers, such as ``mamba2``, ``attn`` (also with grouped queries or a window), ``mla`` (a latent cache);
        ``mamba2|attn`` side by side, ``attn-mamba2`` in a row; ``mlp``, ``moe`` for a layer without a mixer.
    recurrent_entries : int
    conv_entries : int
        Columns that the recurrence reads: all but one of the convolution's width.
    conv_entries_stored : int
        Columns that transformers keeps, mostly one more; the one that is not read holds no information that counts.
    cache_entries_per_token : int or float
        Keys and values of a token, or its latent vector and rotary key; a fraction where a summary stands for several.
    cache_entries : int
        At that number of tokens.
    window : int or None, in tokens
        Of attention, the token itself included, so that ``window - 1`` are cached; None for unlimited attention, and
        for a layer without a cache.
    recurrent_dtype, conv_dtype, cache_dtype : str or None
        None where there is no such state.

    Examples
    --------
    >>> layer = LayerSize(0, "attn", cache_entries_per_token=64, cache_entries=6400, cache_dtype="bfloat16")
    >>> layer.bits()
    NominalBits(recurrent_bits=0, conv_bits=0, cache_bits=102400)
    """

    index: int
    kind: str
    recurrent_entries: int = 0
    conv_entries: int = 0
    conv_entries_stored: int = 0
    cache_entries_per_token: float = 0
    cache_entries: int = 0
    window: int | None = None
    recurrent_dtype: str | None = None
    conv_dtype: str | None = None
    cache_dtype: str | None = None

    def bits(self) -> NominalBits:
        """Entries times the bits of their types, in bits, by kind."""
        return NominalBits(
            self.recurrent_entries * _bits(self.recurrent_dtype),
            self.conv_entries * _bits(self.conv_dtype),
            self.cache_entries * _bits(self.cache_dtype),
        )

    def to_json(self) -> dict[str, Any]:
        """As ``boundprobe size --json`` has it."""
        return dict(vars(self))


def _bits(dtype: str | None) -> int:
    return 0 if dtype is None else DTYPE_BITS[check_word("dtype", dtype, DTYPE_BITS)]


@dataclass(frozen=True)
class StateSizes:
    """The state of a model after ``n_tokens`` tokens, by layer and kind.

    Attributes
    ----------
    family : str
        ``model_type`` of the configuration, or the architecture of a ``ModelSpec``.
    n_tokens : int
    layers : tuple of LayerSize
        From input to output.
    defaults : mapping of str to object
        Keys that the configuration does not have, and the values that transformers documents for them, which were
        taken.
    """

    family: str
    n_tokens: int
    layers: tuple[LayerSize, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def memory(self) -> NominalBits:
        """Bits of all layers, by kind: an upper limit on log2 of the number of states."""
        of_layers = [layer.bits() for layer in self.layers]
        return NominalBits(
            sum(bits.recurrent_bits for bits in of_layers),
            sum(bits.conv_bits for bits in of_layers),
            sum(bits.cache_bits for bits in of_layers),
        )

    @property
    def cache_bits_per_token(self) -> float:
        """Bits by which the caches grow with a token, while no window is full."""
        return sum(layer.cache_entries_per_token * _bits(layer.cache_dtype) for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The document of ``boundprobe size --json``."""
        return {
            "schema": SCHEMA,
            "family": self.family,
            "n_tokens": self.n_tokens,
            "layers": [layer.to_json() for layer in self.layers],
            "memory": self.memory._asdict(),
            "cache_bits_per_token": self.cache_bits_per_token,
            "defaults": dict(self.defaults),
        }
