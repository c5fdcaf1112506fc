"""The inequalities of the ladder, and those that a measurement violates.

    used, present, states  <=  nominal          certified from below against the exact size of the state
    used, present          <=  H(Y)             and all answers one by one together, as they are independent
    present of a part      <=  its nominal bits
    required               <=  nominal          the theorem at the measured error against the exact size
    required, used of a rounded machine  <=  its bits
    used of a rounded machine            <=  the upper bound of its entropy
    accuracy, window-hard  <=  the ceiling W2 of the model's receptive field
    answers                come from the state alone (A4)

A broken line is a bug, in the theory or in the code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from boundprobe.probes.certificates.binomial import Proportion
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import Retention
from boundprobe.probes.present import PartBits
from boundprobe.probes.quantised.machines import RoundedMachine


def rounding_slack(entropy_bits: float) -> float:
    """Bits by which floats may break a bound: sums of binary entropies end an ulp off."""
    return 1e-9 * max(1.0, entropy_bits)


def above_size(bounds: Mapping[str, CertifiedBound], total_bits: int, size: str, slack: float) -> list[str]:
    """Lower bounds that are above the bits of a state; ``size`` names these in the message."""
    return [
        f"{name} {bound.lower:.3f} bits is more than {size} ({bound.theorem})"
        for name, bound in bounds.items()
        if bound.exceeds(total_bits, slack)
    ]


def retention_violations(
    retention: Retention, n_answers: int, n_values: int, entropy_bits: float, nominal_bits: int
) -> list[str]:
    """Violations of the bits of single answers: at most log2 K each, and together at most H(Y) and the nominal bits.

    Sum over i of I(Y_i;S) is at most I(Y;S) where the answers are independent, and so is that of
    I(Y_i;S | Y_<i), its chain rule.  By distance a sequence has an answer in some groups only; then the sum is that of
    an average sequence, and allowance is made for how far so many sequences can be from it.
    """
    slack = rounding_slack(entropy_bits)
    each = math.log2(n_values)
    found = [
        f"{group.bits.lower:.3f} bits of an answer ({retention.by} {group.group}) is more than log2 {n_values} (S1)"
        for group in retention.groups
        if group.bits.lower > each + slack
    ]
    # Every answer of every sequence is in a group.
    n_sequences = max(1.0, sum(group.n_sequences for group in retention.groups) / n_answers)
    total = sum(group.bits.lower * group.n_sequences / n_sequences for group in retention.groups)
    if retention.by != "answer":  # Hoeffding at 1e-9, of the sum over the answers of a sequence
        slack += entropy_bits * math.sqrt(math.log(1e9) / (2 * n_sequences))
    for most, what in ((entropy_bits, "the entropy of the answers"), (nominal_bits, "nominal")):
        if total > most + slack:
            found.append(f"{total:.3f} bits in all answers one by one is more than {what}, {most:.3f} bits (S1)")
    return found


def states_violations(
    prior: Prior, present: CertifiedBound, retention: Retention | None, nominal_bits: int
) -> tuple[str, ...]:
    """Inequalities that must hold for an array of states and do not."""
    slack = rounding_slack(prior.entropy_bits)
    found = above_size({"present": present}, nominal_bits, f"nominal {nominal_bits} bits", slack)
    if present.exceeds(prior.entropy_bits, slack):
        found.append(f"present {present.lower:.3f} bits is more than the entropy of the answers (T1)")
    if retention is not None:
        found += retention_violations(retention, prior.n_answers, prior.n_values, prior.entropy_bits, nominal_bits)
    return tuple(found)


def find_violations(
    *,
    entropy_bits: float,
    nominal_bits: int,
    bounds: Mapping[str, CertifiedBound],
    parts: Sequence[PartBits],
    rounded: Sequence[RoundedMachine],
    needed: RoundedMachine | None,
    rounded_entropy: CertifiedBound | None,
    window_hard: Proportion,
    window_ceiling: float,
    retention: Retention | None = None,
    n_answers: int = 1,
    n_values: int = 2,
) -> tuple[str, ...]:
    """Inequalities that must hold and do not, at the confidence of the ladder; empty when all is well.

    Parameters
    ----------
    entropy_bits : float
        Of the answers.
    nominal_bits : int
        Exact size of the state.
    bounds : mapping of CertifiedBound
        Lower bounds of what is in the whole state, by name.
    parts : sequence of PartBits
    rounded : sequence of RoundedMachine
    needed : RoundedMachine or None
        The one whose entropy was measured.
    rounded_entropy : CertifiedBound or None
        The upper bound of its entropy.
    window_hard : Proportion
        Accuracy on the window-hard half.
    window_ceiling : float
        W2 at the model's receptive field.
    retention : Retention, optional
    n_answers, n_values : int
        Of the retained answers: how many there are, n, and how many values each can take, K.
    """
    slack = rounding_slack(entropy_bits)
    found = above_size(bounds, nominal_bits, f"nominal {nominal_bits} bits", slack)
    for name in ("used", "present"):
        if name in bounds and bounds[name].exceeds(entropy_bits, slack):
            found.append(f"{name} {bounds[name].lower:.3f} bits is more than the entropy of the answers (T1)")
    if retention is not None:
        found += retention_violations(retention, n_answers, n_values, entropy_bits, nominal_bits)
    for part in parts:
        if part.present.exceeds(part.nominal_bits, slack):
            found.append(
                f"present {part.present.lower:.3f} bits in the {part.kind} state of layer {part.layer} is more than "
                f"nominal {part.nominal_bits} bits (T1)"
            )
    for machine in rounded:
        of_machine = {"required": machine.required, "used": machine.used}
        found += above_size(of_machine, machine.total_bits, f"the {machine.total_bits} of a rounded state", slack)
    if needed is not None and rounded_entropy is not None and needed.used.exceeds(rounded_entropy.upper, slack):
        found.append(
            f"used {needed.used.lower:.3f} bits is more than the entropy of a rounded state, at most "
            f"{rounded_entropy.upper:.3f} (S1)"
        )
    if window_hard.lower > window_ceiling + slack:
        found.append(f"window-hard accuracy {window_hard.lower:.4f} is above the ceiling {window_ceiling:.4f} (W2)")
    return tuple(found)
