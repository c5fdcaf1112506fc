"""Documents that are read back: what must hold between their numbers holds, or they are refused.

A document in a run directory may have been edited.  Its numbers are computed again as far as others determine them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.null import NullControl
from boundprobe.probes.violations import rounding_slack


def check_entropy(bounds: Mapping[str, CertifiedBound], entropy_bits: float) -> None:
    """Raise ``ValueError`` if a bound of information is above the entropy of the answers, which no formula gives."""
    most = entropy_bits + rounding_slack(entropy_bits)
    for name, bound in bounds.items():
        for which, bits in (("bound", bound.value), ("estimate", bound.estimate)):
            if bits > most:
                raise ValueError(
                    f"{which} of {name} must be at most the entropy {entropy_bits:.6g} bits; got {bits:.6g}"
                )


def check_defined_entropy(bits: float | None, prior: Prior) -> None:
    """Raise ``ValueError`` unless the entropy of the defined answers is at most that of all, and there where it is due.

    Reports of an earlier version have none.
    """
    if bits is not None and not (prior.undefined_bits and bits <= prior.entropy_bits + 1e-9):
        most = f"at most {prior.entropy_bits:.6g}" if prior.undefined_bits else "null, as no answer is absent"
        raise ValueError(f"`defined_entropy_bits` must be {most}; got {bits:.6g}")


def check_null_control(control: NullControl) -> None:
    """Raise ``ValueError`` if a state that knows nothing is certified to hold something: no report is made then."""
    if control.lower > 0:
        raise ValueError(f"`null_control` must certify 0 bits; got {control.lower:.6g}")


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
