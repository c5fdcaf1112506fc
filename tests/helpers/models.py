"""Mixers at sizes that use all of them, for the contract that every mixer keeps and for tests of one mixer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from boundprobe.kernels import WINDOWED_ATTENTION
from boundprobe.kernels.window import POSITIONS
from boundprobe.models import (
    GRU,
    LSTM,
    RWKV7,
    AbstractMixer,
    DeltaNet,
    GatedAttention,
    GatedDeltaNet,
    GatedLinearAttention,
    KimiDeltaAttention,
    Mamba,
    Mamba2,
    MambaAttentionStep,
    MambaChunks,
    SelectiveSSM,
    SlidingWindowAttention,
)

M = TypeVar("M", bound=torch.nn.Module)

#: Width of the mixers of ``VARIANTS``.
D = 8


class Variant(NamedTuple):
    """How a mixer is built, and the length of sequences that uses all of it."""

    build: Callable[[], AbstractMixer]
    n_tokens: int


def _attention(window: int, position: str, backend: str = "auto", n_heads: int = 2) -> Callable[[], AbstractMixer]:
    return lambda: SlidingWindowAttention(D, n_heads, window, position, backend)


def _chunks(window: int, chunk: int, d_conv: int = 2, backend: str = "auto") -> Callable[[], AbstractMixer]:
    return lambda: MambaChunks(D, 3, d_conv, 2, 2, window, chunk, backend)


def _step(window: int, position: str, d_conv: int = 2) -> Callable[[], AbstractMixer]:
    return lambda: MambaAttentionStep(D, 3, d_conv, 2, 2, window, position, "auto")


#: 37 tokens are more than two chunks of the chunked recurrences, 116 more than three blocks of blocked attention.
VARIANTS: dict[str, Variant] = {
    "mamba": Variant(lambda: Mamba(D, 3, 4, 2, "auto"), 12),
    "mamba, reference": Variant(lambda: Mamba(D, 3, 4, 2, "reference"), 12),
    "mamba without convolution": Variant(lambda: Mamba(D, 3, 1, 2, "auto"), 12),
    "mamba2": Variant(lambda: Mamba2(D, d_state=3, d_head=4, d_conv=4, expand=2), 37),
    "mamba2 without convolution": Variant(lambda: Mamba2(D, d_state=3, d_head=4, d_conv=1, expand=2), 12),
    "gla": Variant(lambda: GatedLinearAttention(D, n_heads=2, d_state=3), 37),
    "deltanet": Variant(lambda: DeltaNet(D, n_heads=2, d_state=3, d_conv=4), 37),
    "deltanet without convolution": Variant(lambda: DeltaNet(D, n_heads=2, d_state=3, d_conv=1), 12),
    "gated-deltanet": Variant(lambda: GatedDeltaNet(D, n_heads=2, d_state=3, d_conv=4), 37),
    "mamba2 of two groups": Variant(lambda: Mamba2(D, d_state=3, d_head=4, d_conv=4, expand=2, n_groups=2), 37),
    "deltanet, beta up to 2": Variant(lambda: DeltaNet(D, 2, 3, 4, beta_max=2), 37),
    "deltanet, wide values": Variant(lambda: DeltaNet(D, 4, 3, 2, d_value=5, n_groups=2), 12),
    "gated-deltanet, beta up to 2": Variant(lambda: GatedDeltaNet(D, 2, 3, 4, beta_max=2), 37),
    "gated-deltanet, wide values": Variant(lambda: GatedDeltaNet(D, 4, 3, 2, d_value=5, n_groups=2), 12),
    "kda": Variant(lambda: KimiDeltaAttention(D, n_heads=2, d_state=3, d_conv=4), 37),
    "kda, reference": Variant(lambda: KimiDeltaAttention(D, 2, 3, 4, "reference"), 12),
    "kda, wide values, beta up to 2": Variant(
        lambda: KimiDeltaAttention(D, 4, 3, 2, d_value=5, n_groups=2, beta_max=2), 12
    ),
    "kda without convolution": Variant(lambda: KimiDeltaAttention(D, 2, 3, 1), 12),
    "rwkv7": Variant(lambda: RWKV7(D, n_heads=2, d_state=3), 37),
    "rwkv7, reference": Variant(lambda: RWKV7(D, 2, 3, "reference"), 12),
    "rwkv7, one row": Variant(lambda: RWKV7(D, 1, 1), 12),
    "lstm": Variant(lambda: LSTM(D, expand=2), 12),
    "gru": Variant(lambda: GRU(D, expand=2), 12),
    "ssm": Variant(lambda: SelectiveSSM(D, n_heads=2, d_state=3), 12),
    "ssm, one head, one entry": Variant(lambda: SelectiveSSM(D, n_heads=1, d_state=1), 12),
    "chunks of 2": Variant(_chunks(2, 2), 11),
    "chunks of 2, reference": Variant(_chunks(2, 2, backend="reference"), 11),
    "chunks of 1": Variant(_chunks(3, 1, d_conv=1), 11),
    "chunks of 3, many kept": Variant(_chunks(9, 3), 11),
    "chunks of 4, one kept": Variant(_chunks(1, 4, d_conv=4), 11),
    "step, rope": Variant(_step(5, "rope"), 11),
    "step, learned": Variant(_step(5, "learned"), 11),
    "step, none, window 1": Variant(_step(1, "none", d_conv=1), 11),
    **{
        f"attn, {position}, {backend}": Variant(_attention(6, position, backend), 12)
        for position in POSITIONS
        for backend in WINDOWED_ATTENTION.usable("cpu")
    },
    "attn, two heads of keys for four": Variant(lambda: SlidingWindowAttention(D, 4, 6, "rope", n_kv_heads=2), 12),
    "attn, one head of keys, learned": Variant(lambda: SlidingWindowAttention(D, 2, 6, "learned", n_kv_heads=1), 12),
    **{
        f"gated-attn, {position}": Variant(lambda position=position: GatedAttention(D, 2, 6, position), 12)
        for position in POSITIONS
    },
    "gated-attn, one head of keys": Variant(lambda: GatedAttention(D, 4, 3, "rope", n_kv_heads=1), 12),
    "attn, window 1": Variant(_attention(1, "none"), 7),
    "attn, window beyond the sequence": Variant(_attention(12, "learned"), 7),
    "attn, blocks of queries, rope": Variant(_attention(6, "rope", "blocks"), 116),
    "attn, blocks of queries, learned": Variant(_attention(6, "learned", "blocks"), 116),
}


def make(build: Callable[[], M], seed: int = 0, dtype: torch.dtype = torch.float64, noise: float = 0.0) -> M:
    """A module with the weights of a seed, and noise on them, so that no entry is at its initial value."""
    torch.manual_seed(seed)
    module = build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=noise)
    return module.to(dtype)


def draw(n_tokens: int, width: int = D, seed: int = 1, dtype: torch.dtype = torch.float64, batch: int = 2) -> Tensor:
    """Normal inputs (batch, n_tokens, width)."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, n_tokens, width, generator=rng, dtype=torch.float64).to(dtype)
