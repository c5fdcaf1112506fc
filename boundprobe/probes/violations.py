"""The inequalities of the ladder, and which of them a measurement breaks.

    used, present, states  <=  nominal          certified from below against the exact size of the state
    present of a part      <=  its nominal bits
    required               <=  nominal          the theorem at the measured error against the exact size
    required, used of a rounded machine  <=  its bits
    used of a rounded machine            <=  the limit of its entropy from above
    accuracy, window-hard  <=  the ceiling W2 of the model's receptive field
    answers                come from the state alone (A4)

A broken line is a bug, in the theory or in the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boundprobe.probes.certificates.binomial import required_by, used_information
from boundprobe.tasks.cases import StateCase

if TYPE_CHECKING:
    from boundprobe.probes.ladder import Ladder


def find_violations(ladder: Ladder, case: StateCase) -> tuple[str, ...]:
    """Inequalities that must hold and do not, at the confidence of the ladder; empty when all is well."""
    # Sums of binary entropies end an ulp off: a bound is broken by more than rounding of floats.
    slack = 1e-9 * max(1.0, case.entropy_bits)
    nominal = ladder.memory.total_bits
    found = [] if ladder.swapped is None else [ladder.swapped]
    from_below = [("used", ladder.used.lower, "S1"), ("present", ladder.present.lower, "T1")]
    from_below.append(("required", ladder.required.lower, "S3"))
    if ladder.states is not None:
        from_below.append(("states", ladder.states.lower, "list decoding"))
    for name, bits, why in from_below:
        if bits > nominal + slack:
            found.append(f"{name} {bits:.3f} bits is more than nominal {nominal} bits ({why})")
    for part in ladder.parts:
        if part.present.lower > part.nominal_bits + slack:
            found.append(
                f"present {part.present.lower:.3f} bits in the {part.kind} state of layer {part.layer} is more than "
                f"nominal {part.nominal_bits} bits (T1)"
            )
    entropy = ladder.rounded_entropy
    for machine in ladder.rounded:
        needs, used = required_by(case, machine.errors).lower, used_information(case, machine.errors).lower
        if needs > machine.total_bits + slack:
            found.append(f"required {needs:.3f} bits is more than the {machine.total_bits} of a rounded state (S3)")
        if used > machine.total_bits + slack:
            found.append(f"used {used:.3f} bits is more than the {machine.total_bits} of a rounded state (S1)")
        if entropy is not None and machine.entry_bits == entropy.entry_bits and used > entropy.upper + slack:
            found.append(
                f"used {used:.3f} bits is more than the entropy of a rounded state, at most {entropy.upper:.3f} (S1)"
            )
    if ladder.window_hard.lower > ladder.window_ceiling + slack:
        found.append(
            f"window-hard accuracy {ladder.window_hard.lower:.4f} is above the ceiling {ladder.window_ceiling:.4f} (W2)"
        )
    return tuple(found)
