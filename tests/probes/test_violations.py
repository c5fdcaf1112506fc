"""``find_violations`` on planted numbers: each broken inequality is named, alone, and nothing else is."""

import pytest

from boundprobe.probes import PartBits, find_violations
from boundprobe.probes.certificates import CertifiedBound, Proportion, RetainedGroup, Retention
from boundprobe.probes.quantised import RoundedMachine
from tests.helpers.ladders import bound

NAMES = ("used", "present", "required", "states")
THEOREMS = dict(zip(NAMES, ("T1", "T1", "S3", "list decoding"), strict=True))


def bounds(**lower):
    """Lower bounds of 12 bits each, or those that are given as (lower, estimate)."""
    values = dict.fromkeys(NAMES, (12.0, 12.0)) | lower
    return {name: bound(*value, theorem=THEOREMS[name]) for name, value in values.items()}


def machine(total_bits, used, entry_bits=1, required=None):
    required = bound(used if required is None else required, theorem="S3")
    return RoundedMachine(entry_bits, total_bits, 1.0, 0.0, bound(used, theorem="S1"), required)


def part(lower, nominal_bits):
    return PartBits(1, "conv", nominal_bits, bound(lower))


def entropy(upper):
    return CertifiedBound(upper, "upper", upper, 0.95, "Gibbs", "betting")


def held(*bits):
    """Retention of answers with so many bits each."""
    return Retention("answer", "I(Y_i;S)", tuple(RetainedGroup(i, bound(b), 0.0, 99) for i, b in enumerate(bits)), 0.95)


EXACT = machine(12, 12.0, entry_bits=3)
WELL = {
    "entropy_bits": 13.0,
    "nominal_bits": 12,
    "bounds": bounds(),
    "parts": (part(4.0, 4), part(0.0, 4)),
    "rounded": (machine(4, 2.0), EXACT),
    "needed": EXACT,
    "rounded_entropy": entropy(12.0),
    "window_hard": Proportion(0.3, 0.3, 0.4),
    "window_ceiling": 0.3,
    "retention": held(8.0, 4.0),
    "n_answers": 2,
    "n_values": 256,
}


def found(**planted):
    return find_violations(**(WELL | planted))


def test_all_is_well_at_the_limits_and_an_ulp_above():
    assert found() == ()
    above = (12.0 + 1e-14,) * 2
    assert found(bounds=bounds(**dict.fromkeys(NAMES, above)), parts=(part(4.0 + 1e-14, 4),)) == ()


def test_what_was_not_measured_breaks_nothing():
    assert found(bounds={}, needed=None, rounded_entropy=None, rounded=(), parts=()) == ()


HIGH = (12.01, 12.01)


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"bounds": bounds(used=HIGH)}, "used 12.010 bits is more than nominal 12 bits (T1)"),
        ({"bounds": bounds(present=HIGH)}, "present 12.010 bits is more than nominal 12 bits (T1)"),
        ({"bounds": bounds(required=HIGH)}, "required 12.010 bits is more than nominal 12 bits (S3)"),
        ({"bounds": bounds(states=HIGH)}, "states 12.010 bits is more than nominal 12 bits (list decoding)"),
        ({"parts": (part(1.0, 4), part(4.5, 4))}, "present 4.500 bits in the conv state of layer 1 is more than nom"),
        (
            {"rounded": (machine(7, 1.0, required=8.0),)},
            "required 8.000 bits is more than the 7 of a rounded state (S3)",
        ),
        ({"rounded": (machine(7, 8.0, required=1.0),)}, "used 8.000 bits is more than the 7 of a rounded state (S1)"),
        ({"rounded_entropy": entropy(11.5)}, "more than the entropy of a rounded state, at most 11.500 (S1)"),
        (
            {"entropy_bits": 11.9, "bounds": bounds(present=(11.9, 12.0)), "retention": None},
            "used 12.000 bits is more than the entropy",
        ),
        ({"retention": held(8.0, 4.5)}, "12.500 bits in all answers one by one is more than nominal, 12.000 bits (S1)"),
        ({"retention": held(8.25, 1.0)}, "8.250 bits of an answer (answer 0) is more than log2 256 (S1)"),
        ({"window_hard": Proportion(0.35, 0.32, 0.4)}, "window-hard accuracy 0.3200 is above the ceiling 0.3000"),
    ],
)
def test_each_planted_violation_is_found_alone(planted, said):
    (violation,) = found(**planted)
    assert said in violation
    assert "\n" not in violation


def test_the_entropy_accuses_the_machine_of_its_own_rounding_alone():
    """The coarser machine is the one whose entropy was measured."""
    assert found(rounded_entropy=entropy(11.5), needed=machine(12, 11.0)) == ()


def test_an_estimate_alone_is_no_violation():
    """Only what is certified accuses: an estimate above a bound is what sampling does."""
    high = bounds(**dict.fromkeys(NAMES, (11.0, 13.0)))
    assert found(bounds=high, window_hard=Proportion(0.9, 0.29, 1.0)) == ()


def test_all_violations_are_named_together():
    bad = {"bounds": bounds(**dict.fromkeys(NAMES, (12.5, 12.5))), "rounded": (machine(1, 2.0), machine(2, 3.0))}
    bad |= {"window_hard": Proportion(1.0, 1.0, 1.0), "parts": (part(5.0, 4),), "rounded_entropy": None}
    assert len(found(**bad)) == 4 + 1 + 2 * 2 + 1
