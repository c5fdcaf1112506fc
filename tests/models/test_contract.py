"""Every mixer of the package keeps the contract of mixers, in every form that it has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from boundprobe.models import (
    BUILDERS,
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
    ModelSpec,
    SlidingWindowAttention,
)
from boundprobe.testing import check_mixer
from tests.helpers.models import VARIANTS, D


@pytest.mark.parametrize("name", VARIANTS)
def test_the_contract(name: str) -> None:
    check_mixer(VARIANTS[name].build, d_model=D, n_tokens=VARIANTS[name].n_tokens)


def test_no_mixer_is_left_out() -> None:
    spec = ModelSpec("attn", d_model=D, d_head=4)
    assert {type(variant.build()) for variant in VARIANTS.values()} == {
        type(build(spec, "auto")) for build in BUILDERS.values()
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda: Mamba(D, 3, 4, 2, "fast"),
        lambda: Mamba2(D, 3, 4, 4, 2, "fast"),
        lambda: GatedLinearAttention(D, 2, 3, "fast"),
        lambda: DeltaNet(D, 2, 3, 4, "fast"),
        lambda: GatedDeltaNet(D, 2, 3, 4, "fast"),
        lambda: KimiDeltaAttention(D, 2, 3, 4, "fast"),
        lambda: RWKV7(D, 2, 3, "fast"),
        lambda: GatedAttention(D, 2, 4, "rope", "fast"),
        lambda: MambaChunks(D, 3, 2, 2, 2, 2, 2, "fast"),
        lambda: MambaAttentionStep(D, 3, 2, 2, 2, 5, "rope", "fast"),
        lambda: SlidingWindowAttention(D, 2, 4, "rope", "fast"),
    ],
    ids=[
        "mamba",
        "mamba2",
        "gla",
        "deltanet",
        "gated-deltanet",
        "kda",
        "rwkv7",
        "gated-attn",
        "chunks",
        "step",
        "attn",
    ],
)
def test_an_unknown_backend_is_refused_before_training(build: Callable[[], AbstractMixer]) -> None:
    with pytest.raises(ValueError, match=r"`backend` must be one of auto,.*; got 'fast'") as caught:
        build()
    assert "\n" not in str(caught.value)
