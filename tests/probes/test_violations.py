"""``find_violations`` on planted numbers: each broken inequality is named, alone, and nothing else is."""

from types import SimpleNamespace

import numpy as np
import pytest

from boundprobe.models.memory import MemoryBits
from boundprobe.probes.certificates.binomial import AnswerErrors, CertifiedBits
from boundprobe.probes.ladder import Proportion, RoundedMachine
from boundprobe.probes.violations import find_violations
from boundprobe.tasks.cases import StateCase

CASE = StateCase(4, 8, 12.0, True, 12.0, "", "")


def bits(lower, estimate=None):
    return CertifiedBits(lower, lower if estimate is None else estimate, 0.95)


def machine(total_bits, error, entry_bits=1):
    p = np.full(4, error)
    return RoundedMachine(entry_bits, total_bits, AnswerErrors(p, p, p, 0.95))


def part(lower, nominal_bits):
    return SimpleNamespace(layer=1, kind="conv", nominal_bits=nominal_bits, present=bits(lower))


def entropy(upper, entry_bits=3):
    return SimpleNamespace(upper=upper, estimate=upper, entry_bits=entry_bits, total_bits=12)


WELL = {
    "memory": MemoryBits(4, 4, 4),
    "used": bits(12.0),
    "present": bits(12.0),
    "required": bits(12.0),
    "states": bits(12.0),
    "parts": (part(4.0, 4), part(0.0, 4)),
    "rounded": (machine(4, 0.6), machine(12, 0.0, entry_bits=3)),
    "rounded_entropy": entropy(12.0),
    "swapped": None,
    "window_hard": Proportion(0.3, 0.3, 0.4),
    "window_ceiling": 0.3,
}


def found(**planted):
    return find_violations(SimpleNamespace(**(WELL | planted)), CASE)


def test_all_is_well_at_the_limits_and_an_ulp_above():
    assert found() == ()
    above = {name: bits(12.0 + 1e-14) for name in ("used", "present", "required", "states")}
    assert found(**above, parts=(part(4.0 + 1e-14, 4),)) == ()


def test_what_was_not_measured_breaks_nothing():
    assert found(states=None, rounded_entropy=None, rounded=(), parts=()) == ()


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"used": bits(12.01)}, "used 12.010 bits is more than nominal 12 bits (S1)"),
        ({"present": bits(12.01)}, "present 12.010 bits is more than nominal 12 bits (T1)"),
        ({"required": bits(12.01)}, "required 12.010 bits is more than nominal 12 bits (S3)"),
        ({"states": bits(12.01)}, "states 12.010 bits is more than nominal 12 bits (list decoding)"),
        ({"parts": (part(1.0, 4), part(4.5, 4))}, "present 4.500 bits in the conv state of layer 1 is more than nom"),
        ({"rounded": (machine(7, 0.2),)}, "of a rounded state (S3)"),
        ({"rounded_entropy": entropy(11.5)}, "more than the entropy of a rounded state, at most 11.500 (S1)"),
        ({"window_hard": Proportion(0.35, 0.32, 0.4)}, "window-hard accuracy 0.3200 is above the ceiling 0.3000"),
        ({"swapped": "answers do not follow (A4)"}, "answers do not follow (A4)"),
    ],
)
def test_each_planted_violation_is_found_alone(planted, said):
    (violation,) = found(**planted)
    assert said in violation
    assert "\n" not in violation


def test_a_rounded_machine_that_uses_more_than_its_bits_breaks_both_theorems():
    first, second = found(rounded=(machine(11, 0.0),))
    assert first == "required 12.000 bits is more than the 11 of a rounded state (S3)"
    assert second == "used 12.000 bits is more than the 11 of a rounded state (S1)"


def test_the_entropy_accuses_the_machine_of_its_own_rounding_alone():
    """The coarser machine is not the one whose entropy was measured."""
    assert found(rounded_entropy=entropy(11.5, entry_bits=1), rounded=(machine(12, 0.0, entry_bits=3),)) == ()


def test_an_estimate_alone_is_no_violation():
    """Only what is certified accuses: an estimate above a bound is what sampling does."""
    p, certain = np.full(4, 0.0), np.full(4, 0.9)
    unsure = RoundedMachine(1, 4, AnswerErrors(p, p, certain, 0.95))
    high = {name: bits(11.0, 13.0) for name in ("used", "present", "required", "states")}
    assert found(**high, rounded=(unsure,), window_hard=Proportion(0.9, 0.29, 1.0)) == ()


def test_all_violations_are_named_together():
    bad = {name: bits(13.0) for name in ("used", "present", "required", "states")}
    bad |= {"rounded": (machine(1, 0.0), machine(2, 0.0)), "window_hard": Proportion(1.0, 1.0, 1.0)}
    bad |= {"parts": (part(5.0, 4),), "swapped": "answers do not follow (A4)", "rounded_entropy": None}
    assert len(found(**bad)) == 1 + 4 + 1 + 2 * 2 + 1
