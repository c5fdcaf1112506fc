"""Ladders that are read back: what must hold between their numbers holds, or they are refused.

A document in a run directory may have been edited.  Its numbers are computed again as far as others determine them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.violations import find_violations, rounding_slack

if TYPE_CHECKING:
    from boundprobe.probes.ladder import Ladder


def check_ladder(ladder: Ladder, document: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless a ladder can be what a measurement has given.

    Parameters
    ----------
    ladder : Ladder
        As it was read.
    document : mapping
        What it was read from.
    """
    bounds = {"used": ladder.used, "present": ladder.present}
    parts = {f"present in {part.kind} of layer {part.layer}": part.present for part in ladder.parts}
    machines = {f"used at {machine.entry_bits} bits": machine.used for machine in ladder.rounded}
    groups = () if ladder.retention is None else ladder.retention.groups
    held = {f"retention of {each.group}": each.bits for each in groups}
    check_entropy(bounds | parts | machines | held, ladder.entropy_bits)
    counted = bounds | {"required": ladder.required} | ({} if ladder.states is None else {"states": ladder.states})
    found = find_violations(
        entropy_bits=ladder.entropy_bits,
        nominal_bits=ladder.nominal_bits,
        bounds=counted,
        parts=ladder.parts,
        rounded=ladder.rounded,
        needed=ladder.needed,
        rounded_entropy=ladder.rounded_entropy,
        window_hard=ladder.window_hard,
        window_ceiling=ladder.window_ceiling,
    )
    # Compared by number, because wordings change between versions; one more is that of A4, which a model is run for.
    if len(ladder.violations) - len(found) not in (0, 1):
        said = found[0] if len(found) > len(ladder.violations) else ladder.violations[0]
        raise ValueError(
            f"`violations` must be the {len(found)} that its numbers have; got {len(ladder.violations)} ({said})"
        )
    check_same(ladder.to_json(), document)


def check_entropy(bounds: Mapping[str, CertifiedBound], entropy_bits: float) -> None:
    """Raise ``ValueError`` if a bound of information is above the entropy of the answers, which no formula gives."""
    most = entropy_bits + rounding_slack(entropy_bits)
    for name, bound in bounds.items():
        for which, bits in (("bound", bound.value), ("estimate", bound.estimate)):
            if bits > most:
                raise ValueError(
                    f"{which} of {name} must be at most the entropy {entropy_bits:.6g} bits; got {bits:.6g}"
                )


def check_same(made: Any, read: Any, at: str = "") -> None:
    """Raise ``ValueError`` if a document does not say what its own numbers give, to the rounding of floats."""
    if isinstance(made, Mapping) and isinstance(read, Mapping):
        for key in made:
            if key in read:
                check_same(made[key], read[key], f"{at}.{key}" if at else key)
    elif isinstance(made, list) and isinstance(read, list) and len(made) == len(read):
        for i, (own, other) in enumerate(zip(made, read, strict=True)):
            check_same(own, other, f"{at}.{i}")
    elif isinstance(made, int | float) and isinstance(read, int | float):
        if not math.isclose(made, read, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(f"`{at}` must be {made!r}, which follows from other numbers; got {read!r}")
    elif made != read:
        raise ValueError(f"`{at}` must be {str(made)[:80]}, which follows from other values; got {str(read)[:80]}")
