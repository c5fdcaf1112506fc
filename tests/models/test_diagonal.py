"""A model's state along a diagonal cut: it answers as the whole model does, with the bits that D1 counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import DiagonalCuts
from boundprobe.models import MIXERS, CutState, DiagonalCut, ModelSpec, SequenceModel, model_stages

VOCAB = 5
ARCHITECTURES = [
    *MIXERS,
    "attn-attn",
    "mamba-attn",
    "attn-mamba-attn",
    "mamba|attn-gru",
    "mamba+chunks|lstm",
    "gated-deltanet|attn|gla",
    "rwkv7|kda-gated-attn",
    "mamba+chunks-attn",
]


def model_of(architecture: str, **sizes: Any) -> SequenceModel:
    torch.manual_seed(3)
    spec = ModelSpec(
        architecture, **{"d_model": 4, "d_state": 2, "d_head": 2, "window": 4, "d_conv": 3, "chunk": 2, **sizes}
    )
    model = SequenceModel(spec, VOCAB, backend="reference").double()
    with torch.no_grad():
        for parameter in model.parameters():  # some start at zero, and would hide what they read
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@st.composite
def cuts(draw: st.DrawFn) -> tuple[SequenceModel, tuple[int, ...], int]:
    model = model_of(
        draw(st.sampled_from(ARCHITECTURES)),
        window=draw(st.integers(1, 5)),
        d_conv=draw(st.integers(1, 4)),
        chunk=draw(st.integers(1, 3)),
    )
    lags = tuple(draw(st.integers(0, stage.reach + 2)) for stage in model_stages(model.spec))
    return model, lags, sum(lags) + draw(st.integers(1, 9))


@settings(max_examples=120)
@given(cut=cuts(), seed=st.integers(0, 1000))
def test_what_crosses_carries_the_answers_of_another_sequence(cut, seed):
    """Two prefixes that agree after the start of the cut: the state of one gives its answers, whatever the other."""
    model, lags, prefix_len = cut
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (3, prefix_len + 2), generator=generator)
    diagonal = DiagonalCut(model, lags, prefix_len)
    with torch.no_grad():
        whole = model(tokens)[:, prefix_len:]
        state = diagonal.prefill(tokens[:, :prefix_len])
        assert torch.allclose(diagonal.answer(state, tokens[:, diagonal.start :]), whole, atol=1e-10)
        others = tokens.clone()
        others[:, : diagonal.start] = torch.randint(VOCAB, (3, diagonal.start), generator=generator)
        swapped = diagonal.prefill(others[:, :prefix_len])
        assert torch.allclose(diagonal.answer(state, others[:, diagonal.start :]), whole, atol=1e-10)
        expected = model(others)[:, prefix_len:]
        assert torch.allclose(diagonal.answer(swapped, tokens[:, diagonal.start :]), expected, atol=1e-10)


@settings(max_examples=60)
@given(cut=cuts())
def test_bits_are_those_of_the_theorem(cut):
    model, lags, prefix_len = cut
    diagonal = DiagonalCut(model, lags, prefix_len)
    with torch.no_grad():
        bits = diagonal.prefill(torch.zeros(1, prefix_len, dtype=torch.int64)).bits()
    time, counted = diagonal.start, [0, 0, 0]
    for stage, lag in zip(model_stages(model.spec, 64), lags, strict=True):
        counted = [a + b for a, b in zip(counted, stage.by_kind(time, time + lag), strict=True)]
        time += lag
    # A convolution's buffer is as long at the start as later.
    assert (bits.recurrent_bits, bits.cache_bits) == (counted[0], counted[2])
    if diagonal.start >= model.spec.d_conv:
        assert bits.conv_bits == counted[1]
    elif "|" not in model.spec.architecture:  # where windows within a branch are counted whole
        assert bits.conv_bits >= counted[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_entry_left_out_is_missed(architecture):
    """Negative control: with any crossing tensor set to zero the answers change."""
    model = model_of(architecture)
    prefix_len, most = 16, DiagonalCuts(model_stages(model.spec), 16)
    lags = most.crossing(min(2, most.most_lag)).lags
    diagonal = DiagonalCut(model, lags, prefix_len)
    tokens = torch.randint(VOCAB, (2, prefix_len + 1), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        state = diagonal.prefill(tokens[:, :prefix_len])
        right = diagonal.answer(state, tokens[:, diagonal.start :])
        for i, layer in enumerate(state.layers):
            for j, tensor in enumerate(layer):
                if not tensor.value.numel():
                    continue
                damaged = tuple(
                    type(t)(t.name, t.kind, torch.zeros_like(t.value)) if j == k else t for k, t in enumerate(layer)
                )
                layers = (*state.layers[:i], damaged, *state.layers[i + 1 :])
                wrong = diagonal.answer(CutState(layers), tokens[:, diagonal.start :])
                assert not torch.allclose(wrong, right, atol=1e-10), (i, tensor.name)


def test_lags_that_do_not_fit_are_refused():
    model = model_of("mamba-attn")
    with pytest.raises(ValueError, match="`lags` must be 2, one for each stage of mamba-attn; got 1"):
        DiagonalCut(model, (1,), 10)
    with pytest.raises(ValueError, match="below the 4 tokens before the query together; got 4"):
        DiagonalCut(model, (2, 2), 4)
