"""How often an honest bottleneck is accused, and how often a cheat is not.

The honest machine stands exactly on the ceiling, where an accusation is nearest: two answers of four values each,
two bits, one of the answers kept and said to both questions.  It is right with (1 + 1/4) / 2, what S3 allows at
most, and uses all of its two bits.  At alpha = 0.05 a valid method accuses it in at most binomial(1000, 0.05) of 1000
measurements; the limit below is the 99.9 per cent quantile of that.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binom
from torch import Tensor

from boundprobe.bottleneck import BottleneckPoint, measure_bottleneck
from boundprobe.bounds import packing_accuracy_ceiling
from boundprobe.models import CutState, StateTensor
from boundprobe.tasks import SelectiveCopying

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=5)
ALPHA, REPETITIONS, N = 0.05, 1000, 300
MOST_ACCUSED = int(binom.ppf(0.999, REPETITIONS, ALPHA))


class OnTheCeiling:
    """Two bits, the token before the query; said whatever is asked."""

    bottleneck = SimpleNamespace(n_entries=1, entry_bits=2)

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def state(self, codes: Tensor) -> CutState:
        return CutState(((StateTensor("code", "recurrent", codes[:, None], 2),),))

    def prefill(self, prefix: Tensor) -> CutState:
        return self.state(prefix[:, -1])

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        code = state.layers[0][0].value[:, 0]
        return self.told(code % 4, suffix)

    def told(self, said: Tensor, suffix: Tensor) -> Tensor:
        return F.one_hot(said, 4).float()[:, None].expand(-1, suffix.shape[1], -1)


class Above(OnTheCeiling):
    """A cheat: where the filler in front is token 0, a quarter of the prefixes, it carries the other token as well."""

    def prefill(self, prefix: Tensor) -> CutState:
        other = torch.where(prefix[:, 0] == 0, prefix[:, -2], prefix[:, -1])
        return self.state(prefix[:, -1] + 4 * other)

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        code = state.layers[0][0].value[:, 0]
        return self.told(torch.where(suffix[:, 0] == 0, code % 4, code // 4), suffix)


def measurements(machine: Any, n_sequences: int, repetitions: int) -> list[BottleneckPoint]:
    return [measure_bottleneck(machine, TASK, n_sequences, ALPHA, seed) for seed in range(repetitions)]


@pytest.fixture(scope="module")
def honest() -> list[BottleneckPoint]:
    return measurements(OnTheCeiling(), N, REPETITIONS)


def test_the_machine_stands_on_the_ceiling() -> None:
    assert float(packing_accuracy_ceiling(2.0, 2, 4)) == pytest.approx((1 + 1 / 4) / 2)


def test_an_honest_machine_is_rarely_accused(honest: list[BottleneckPoint]) -> None:
    assert sum(bool(point.violations) for point in honest) <= MOST_ACCUSED


def test_limits_of_the_accuracy_hold_as_often_as_they_say(honest: list[BottleneckPoint]) -> None:
    missed = sum(not point.accuracy.lower <= 0.625 <= point.accuracy.upper for point in honest)
    assert missed <= MOST_ACCUSED


def test_used_bits_are_rarely_above_those_that_there_are(honest: list[BottleneckPoint]) -> None:
    assert sum(point.used.lower > 2 for point in honest) <= MOST_ACCUSED


def test_accusing_by_estimates_would_be_wrong_half_of_the_time(honest: list[BottleneckPoint]) -> None:
    """The negative control: the same limit refuses the method that forgets about chance."""
    above = sum(point.accuracy.estimate > point.accuracy_ceiling for point in honest)
    assert REPETITIONS / 3 < above < 2 * REPETITIONS / 3


def test_a_machine_that_is_a_little_above_the_ceiling_is_found() -> None:
    """It is right with 0.625 + (1/4) (3/4) / 2 = 0.719; 3000 sequences see 0.01 in each answer."""
    points = measurements(Above(), 3000, 20)
    assert all(any("(S3)" in violation for violation in point.violations) for point in points)
    assert all(any("(S1)" in violation for violation in point.violations) for point in points)
