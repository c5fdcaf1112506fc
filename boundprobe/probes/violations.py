"""The inequalities of the ladder, and those that a measurement violates.

    used, present, states  <=  nominal          certified from below against the exact size of the state
    present of a part      <=  its nominal bits
    required               <=  nominal          the theorem at the measured error against the exact size
    required, used of a rounded machine  <=  its bits
    used of a rounded machine            <=  the upper bound of its entropy
    accuracy, window-hard  <=  the ceiling W2 of the model's receptive field
    answers                come from the state alone (A4)

A broken line is a bug, in the theory or in the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from boundprobe.probes.certificates.binomial import Proportion
from boundprobe.probes.certificates.certified_bound import CertifiedBound
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
) -> tuple[str, ...]:
    """Inequalities that must hold and do not, at the confidence of the ladder; empty when all is well.

    Parameters
    ----------
    entropy_bits : float
        Of the answers; sets the slack for the rounding of floats.
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
    """
    slack = rounding_slack(entropy_bits)
    found = above_size(bounds, nominal_bits, f"nominal {nominal_bits} bits", slack)
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
