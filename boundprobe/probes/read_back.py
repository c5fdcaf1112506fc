"""Documents that are read back: what must hold between their numbers holds, or they are refused.

A document in a run directory may have been edited.  Its numbers are computed again as far as others determine them:
those of the document itself (``ladder_relations.NUMBERS``, ``states_relations.NUMBERS``), and the run's configuration,
its task and what it measures (``run_relations.IN_RUN``, ``states_relations.IN_RUN``).  Each relation is one
function, which raises ``ValueError``; here is what they share.
"""

# ruff: noqa: D102 (the members of the protocol are explained where they are)

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from boundprobe.probes.certificates.assumptions import Assumption
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import FORMS
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import Retention
from boundprobe.probes.null import NullControl
from boundprobe.probes.violations import rounding_slack

#: Names of the assumptions, in the order of every report.
NAMES = ("A1", "A2", "A3", "A4", "A5")


class Numbers(Protocol):
    """Numbers that every report of certificates has; relations take protocols, as the reports' modules import them."""

    @property
    def present(self) -> CertifiedBound: ...
    @property
    def null_control(self) -> NullControl: ...
    @property
    def retention(self) -> Retention | None: ...
    @property
    def assumptions(self) -> tuple[Assumption, ...]: ...
    @property
    def confidence(self) -> float: ...
    @property
    def violations(self) -> tuple[str, ...]: ...
    @property
    def nominal_bits(self) -> int: ...


def check_bounds(bounds: Mapping[str, CertifiedBound], most_bits: float) -> None:
    """Lower bounds of information are at most their estimates, and these at most the entropy of the answers."""
    slack = rounding_slack(most_bits)
    for name, bound in bounds.items():
        for which, bits in (("bound", bound.lower), ("estimate", bound.estimate)):
            if bits > most_bits + slack:
                raise ValueError(f"{which} of {name} must be at most the entropy {most_bits:.6g} bits; got {bits:.6g}")
        if bound.lower > bound.estimate + slack:
            raise ValueError(
                f"bound of {name} must be at most its estimate {bound.estimate:.6g} bits; got {bound.lower:.6g}"
            )


def check_defined_entropy(bits: float | None, prior: Prior) -> None:
    """Raise ``ValueError`` unless the entropy of the defined answers is at most that of all, and there where it is due.

    Reports of an earlier version have none.
    """
    if bits is not None and not (prior.undefined_bits and bits <= prior.entropy_bits + 1e-9):
        most = f"at most {prior.entropy_bits:.6g}" if prior.undefined_bits else "null, as no answer is absent"
        raise ValueError(f"`defined_entropy_bits` must be {most}; got {bits:.6g}")


def check_most(bound: CertifiedBound, most_bits: float, name: str, why: str) -> None:
    """A lower bound is at most what its premises allow."""
    if bound.lower > most_bits + rounding_slack(most_bits):
        raise ValueError(f"`{name}.lower` must be at most {most_bits:.6g} bits, {why}; got {bound.lower:.6g}")


def check_level(name: str, confidence: float, level: float) -> None:
    """A certificate has its share of the probability that a report may err."""
    # A confidence is rounded to 1e-16.
    if not math.isclose(1 - confidence, level, rel_tol=1e-6, abs_tol=1e-15):
        raise ValueError(f"`{name}.confidence` must be {1 - level!r}, its share of the report's; got {confidence!r}")


def check_named(name: str, word: object, allowed: Sequence[object]) -> None:
    """A word is one that the procedure gives."""
    if word not in allowed:
        raise ValueError(f"`{name}` must be {' or '.join(map(str, allowed))}; got {word!r}")


def check_forms(
    bounds: Mapping[str, CertifiedBound], limit: str, forms: Sequence[str] = FORMS, *, grouped: bool = False
) -> None:
    """Forms are allowed ones, and the confidence bound is the one of its form; groups have no counts."""
    for name, bound in bounds.items():
        check_named(f"{name}.form", bound.form, forms)
        exact = bound.form == "fano" and not grouped
        check_named(f"{name}.limit", bound.method, ("clopper-pearson",) if exact else (limit,))


def check_null_control(
    control: NullControl, present: CertifiedBound, level: float, n_answers: int, entropy_bits: float
) -> None:
    """States that know nothing are certified nothing, by decoders that are there, each at half the level."""
    if control.lower > rounding_slack(entropy_bits):
        raise ValueError(f"`null_control` must certify 0 bits; got {control.lower:.6g}")
    each = {"null_control.constant": control.constant, "null_control.others": control.others}
    check_bounds(each, entropy_bits)
    for name, bound in each.items():
        check_level(name, bound.confidence, level / 2)
    blind = ("pairs", "contexts") if n_answers > 1 else ()
    check_named("null_control.constant.decoder", control.constant.decoder, ("linear", "chain", *blind))
    check_named("null_control.others.decoder", control.others.decoder, (present.decoder,))
    check_named("null_control.others.form", control.others.form, (present.form,))
    if control.counts_bits > entropy_bits + rounding_slack(entropy_bits):
        raise ValueError(f"`null_control.counts_bits` must be at most the entropy {entropy_bits:.6g} bits; "
                         f"got {control.counts_bits:.6g}")  # fmt: skip


def check_counts_bits(
    control: NullControl, entropy_bits: float, n_answers: int, n_values: int, n_sequences: int
) -> None:
    """A code by counts costs at most log2(2N + K) bits an answer: what it has never seen has probability 1/(2N + K)."""
    least = entropy_bits - n_answers * math.log2(2 * n_sequences + n_values)
    if control.counts_bits < least:
        raise ValueError(
            f"`null_control.counts_bits` must be at least {least:.6g} bits with {n_sequences} sequences; got "
            f"{control.counts_bits:.6g}"
        )


def check_assumptions(assumptions: Sequence[Assumption]) -> None:
    """All five assumptions are named, in order, each with what was done about it."""
    if tuple(each.name for each in assumptions) != NAMES or not all(each.checked for each in assumptions):
        found = ", ".join(each.name for each in assumptions) or "none"
        raise ValueError(f"`assumptions` must be {', '.join(NAMES)}, each with how it was checked; got {found}")


def check_violations(read: Sequence[str], found: Sequence[str], outside: Sequence[str] = ()) -> None:
    """The violations are those that the numbers have.

    Compared by number, because wordings change between versions; ``outside`` are those that no number shows.
    """
    if len(read) != len(found) + len(outside) or list(read[: len(outside)]) != list(outside):
        said = next((each for each in (*outside, *found, *read) if each not in read or each not in found), "")
        raise ValueError(
            f"`violations` must be the {len(found) + len(outside)} that its numbers have; got {len(read)} ({said})"
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
