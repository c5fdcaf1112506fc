"""Nominal bits from sizes alone are the bits of the tensors that a model carries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.models import MIXERS, ModelSpec, SequenceModel, n_params, nominal_bits

VOCAB = 3
DTYPES = {16: torch.bfloat16, 32: torch.float32, 64: torch.float64}


def bits_of_the_state(spec: ModelSpec, prefix_len: int, entry_bits: int) -> tuple[int, int, int]:
    """Bits of one sequence, entry by entry, from the state of a model."""
    model = SequenceModel(spec, VOCAB).to(DTYPES[entry_bits])
    with torch.no_grad():
        state = model.prefill(torch.zeros(2, prefix_len, dtype=torch.int64))
    counted = dict.fromkeys(("recurrent", "conv", "cache"), 0)
    for layer in state.layers:
        for tensor in layer:
            counted[tensor.kind] += sum(torch.finfo(tensor.value.dtype).bits for _ in tensor.value[1].flatten())
    bits = state.bits()
    assert (bits.recurrent_bits, bits.conv_bits, bits.cache_bits) == tuple(counted.values())
    assert bits.total_bits == sum(counted.values())
    return bits.recurrent_bits, bits.conv_bits, bits.cache_bits


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, Any]:
    """Sizes that every mixer can have."""
    n_heads, d_head = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    return {
        # of one of even heads, and of Mamba-2's
        "d_model": 2 * n_heads * d_head * draw(st.integers(1, 2)),
        "n_heads": n_heads,
        "d_head": d_head,
        "window": draw(st.integers(1, 9)),
        "d_state": draw(st.integers(1, 5)),
        "d_conv": draw(st.integers(1, 5)),
        "expand": draw(st.integers(1, 3)),
        "chunk": draw(st.integers(1, 5)),
        "mlp_ratio": 0,
        "position": draw(st.sampled_from(("rope", "learned", "none"))),
        "n_kv_heads": draw(st.sampled_from([0, *_divisors(n_heads)])),
        "d_value": draw(st.integers(0, 5)),
        "n_groups": draw(st.sampled_from([0, *_divisors(n_heads)])),
        "beta_max": draw(st.integers(1, 2)),
    }


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


@pytest.mark.parametrize("architecture", [*MIXERS, "2xmamba-attn", "gated-deltanet|attn-mamba2", "mamba+chunks|lstm"])
@settings(max_examples=12)
@given(sizes=sizes(), prefix_len=st.integers(1, 14), entry_bits=st.sampled_from(list(DTYPES)))
def test_nominal_bits_are_those_of_the_state(
    architecture: str, sizes: dict[str, Any], prefix_len: int, entry_bits: int
) -> None:
    spec = ModelSpec(architecture, **sizes)
    assert tuple(nominal_bits(spec, prefix_len, entry_bits)) == bits_of_the_state(spec, prefix_len, entry_bits)


#: No two sizes are the same number.
SIZES = {
    "d_model": 12, "window": 5, "n_heads": 2, "d_state": 7, "d_conv": 4, "expand": 3, "d_head": 6, "chunk": 8,
}  # fmt: skip

#: Entries after 20 tokens, written out: recurrent, convolution, cache.
BY_HAND = {
    "attn": (0, 0, 2 * 12 * 4),
    "mamba": (36 * 7, 36 * 3, 0),
    "mamba2": (36 * 7, (36 + 2 * 7) * 3, 0),
    "gla": (7 * 12, 0, 0),
    "deltanet": (7 * 12, (2 * 2 * 7 + 12) * 3, 0),
    "gated-deltanet": (7 * 12, (2 * 2 * 7 + 12) * 3, 0),
    "gated-attn": (0, 0, 2 * 12 * 4),
    "kda": (7 * 12, (2 * 2 * 7 + 12) * 3, 0),
    "rwkv7": (7 * 12, 12, 0),
    "lstm": (2 * 36, 0, 0),
    "gru": (36, 0, 0),
    "ssm": (2 * 7, 0, 0),
    "mamba+chunks": (36 * 7, 36 * 3, 12 * 2),
    "mamba+attnstep": (36 * 7, 36 * 3, 2 * 12 * 4),
}


@pytest.mark.parametrize("mixer", MIXERS)
def test_nominal_bits_by_hand(mixer: str) -> None:
    """Formulas and tensors could be wrong alike; these numbers are neither."""
    spec = ModelSpec(mixer, **SIZES)
    assert tuple(nominal_bits(spec, 20, 1)) == BY_HAND[mixer]
    assert nominal_bits(spec, 20).total_bits == 32 * sum(BY_HAND[mixer])


#: Entries of layers as their configurations have them, after 10 tokens.
PUBLISHED = {
    "Qwen3-Next, gated DeltaNet": (
        ModelSpec("gated-deltanet", d_model=2048, n_heads=32, n_groups=16, d_state=128, d_value=128),
        (524_288, 24_576, 0),
    ),
    "Nemotron-H-8B, Mamba-2": (
        ModelSpec("mamba2", d_model=4096, d_state=128, d_head=64, n_groups=8),
        (1_048_576, 30_720, 0),
    ),
    "32 heads, 8 of keys and values of 128": (
        ModelSpec("attn", d_model=4096, n_heads=32, n_kv_heads=8, window=10**6),
        (0, 0, 10 * 2_048),
    ),
    "Olmo Hybrid, gated DeltaNet": (
        ModelSpec("gated-deltanet", d_model=3840, n_heads=30, d_state=96, d_value=192, beta_max=2),
        (552_960, 34_560, 0),
    ),
    "mamba-130m": (ModelSpec("mamba", d_model=768), (24_576, 4_608, 0)),
    "mamba2-130m": (ModelSpec("mamba2", d_model=768, d_state=128, d_head=64), (196_608, 5_376, 0)),
    "Kimi Linear, KDA": (
        ModelSpec("kda", d_model=2304, n_heads=32, d_state=128, d_value=128),
        (524_288, 36_864, 0),
    ),
    "RWKV-7 0.1B": (ModelSpec("rwkv7", d_model=768, n_heads=12, d_state=64), (49_152, 768, 0)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_states_of_published_layers(name: str) -> None:
    spec, entries = PUBLISHED[name]
    assert tuple(nominal_bits(spec, 10, 1)) == entries


@given(st.lists(st.sampled_from(MIXERS), min_size=1, max_size=4), st.integers(0, 30))
def test_bits_add_up_over_layers_and_branches(mixers: list[str], prefix_len: int) -> None:
    """Lemma 3.5 (Cooper et al. 2026): a stack is one machine whose state is the tuple of its layers' states."""
    alone = [nominal_bits(ModelSpec(mixer), prefix_len).total_bits for mixer in mixers]
    for sign in "-|":
        assert nominal_bits(ModelSpec(sign.join(mixers)), prefix_len).total_bits == sum(alone)


@pytest.mark.parametrize("mixer", MIXERS)
def test_before_the_first_token_nothing_is_cached(mixer: str) -> None:
    bits = nominal_bits(ModelSpec(mixer), 0)
    assert bits.cache_bits == 0
    assert bits.total_bits <= nominal_bits(ModelSpec(mixer), 100).total_bits


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((-1, 32), "`prefix_len` must be an integer of at least 0; got -1"),
        ((3, 0), "`entry_bits` must be an integer of at least 1; got 0"),
    ],
)
def test_numbers_that_are_too_small_are_refused(given: tuple[int, int], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}") as caught:
        nominal_bits(ModelSpec(), *given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", [*MIXERS, "2xmamba-attn", "gated-deltanet|attn-mamba2", "mamba+chunks|lstm"])
@settings(max_examples=12)
@given(
    sizes=sizes(),
    norm=st.sampled_from(("pre", "none")),
    mlp_ratio=st.integers(0, 3),
    mlp_after=st.sampled_from(("attn", "every")),
)
def test_parameters_are_those_of_the_modules(
    architecture: str, sizes: dict[str, Any], norm: str, mlp_ratio: int, mlp_after: str
) -> None:
    spec = ModelSpec(architecture, **{**sizes, "norm": norm, "mlp_ratio": mlp_ratio, "mlp_after": mlp_after})
    assert n_params(spec, VOCAB) == SequenceModel(spec, VOCAB).n_params
