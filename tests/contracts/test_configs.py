"""Every public function that takes a configuration says which, in one line, when it is given another."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from boundprobe.bottleneck import BottleneckConfig, probe_bottleneck, train_bottleneck
from boundprobe.probes import (
    DecoderConfig,
    ProbeConfig,
    StatesConfig,
    certify_read,
    certify_states,
    decode,
    measure,
    probe_member,
    read_states,
)
from boundprobe.sweep import Sweep, run_sweep
from boundprobe.training import Schedule, build_model, train

ABSENT: object = None  # what is never looked at, because the configuration is refused first
STATES, ANSWERS = [[0.0]] * 8, [[0], [1]] * 4


@pytest.mark.parametrize(
    ("call", "wanted", "got"),
    [
        (lambda c: certify_states(STATES, ANSWERS, n_values=2, config=c), "a StatesConfig", DecoderConfig()),
        (lambda c: read_states(STATES, ANSWERS, n_values=2, config=c), "a StatesConfig", ProbeConfig()),
        (lambda c: certify_read(ABSENT, c), "a StatesConfig", DecoderConfig()),
        (lambda c: decode(ABSENT, ABSENT, c, 0.05), "a DecoderConfig", StatesConfig()),
        (lambda c: measure(ABSENT, ABSENT, c), "a ProbeConfig", StatesConfig()),
        (lambda c: probe_member(ABSENT, 0, c), "a ProbeConfig", DecoderConfig()),
        (lambda c: probe_bottleneck(ABSENT, 0, c), "a CurveConfig", BottleneckConfig()),
        (lambda c: train_bottleneck(ABSENT, ABSENT, c, 0), "a BottleneckConfig", ProbeConfig()),
        (lambda c: train(c, ABSENT), "a TrainConfig", Schedule()),
        (lambda c: build_model(c, ABSENT), "a TrainConfig", Schedule()),
        (lambda c: run_sweep(c, "."), "a SweepConfig", ProbeConfig()),
        (lambda c: Sweep(c, "."), "a SweepConfig", ProbeConfig()),
    ],
)
def test_another_configuration_is_refused_in_one_line(
    call: Callable[[object], object], wanted: str, got: object
) -> None:
    said = f"`config` must be {wanted}; got {type(got).__name__}."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        call(got)


def test_a_class_instead_of_an_object_is_said_to_be_one() -> None:
    with pytest.raises(ValueError, match=r"^`config` must be a StatesConfig; got the class StatesConfig itself\.$"):
        certify_states(STATES, ANSWERS, n_values=2, config=StatesConfig)
    with pytest.raises(ValueError, match=r"^`decoders` must be a DecoderConfig; got tuple\.$"):
        StatesConfig(("linear",))
