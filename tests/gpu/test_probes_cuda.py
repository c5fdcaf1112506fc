"""Decoders that are fitted on a CUDA device say what those fitted on the CPU say, and certify the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from boundprobe.channels import SymmetricStorage, XorPairs
from boundprobe.probes import DecoderConfig, StatesConfig, certify_states

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    ("decoder", "channel"),
    [
        ("linear", SymmetricStorage(8, 4, 0.9, 32, 0.1)),
        ("mlp", SymmetricStorage(8, 4, 0.9, 32, 0.1)),
        ("chain", XorPairs(4, 2)),
    ],
)
def test_the_same_bits_are_certified_as_on_the_cpu(decoder, channel):
    states, answers = channel.draw(6000, np.random.default_rng(0))
    config = StatesConfig(DecoderConfig((decoder,)))
    here, there = (
        certify_states(states, answers, n_values=channel.n_values, config=config, device=device).present
        for device in ("cpu", "cuda")
    )
    # Same data, splits and bets: what differs is the rounding of two fits of one model.
    assert there.lower == pytest.approx(here.lower, abs=0.02 * channel.entropy_bits)
    assert there.lower <= channel.true_bits
    assert there.lower > 0.8 * channel.true_bits
