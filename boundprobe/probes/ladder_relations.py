"""Relations between the numbers of a ladder that is read back; ``run_relations`` needs its run as well."""

# ruff: noqa: D102 (the members of the protocol are explained where they are)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from boundprobe.bounds.diagonal.ceiling import DiagonalBound
from boundprobe.models.memory import MemoryBits
from boundprobe.probes.certificates.binomial import AnswerErrors, Proportion, required_by
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.diagonal import diagonal_violations
from boundprobe.probes.part_relations import check_fano, check_retention, check_rounded, check_rounded_entropy
from boundprobe.probes.present import PartBits
from boundprobe.probes.quantised.machines import RoundedMachine
from boundprobe.probes.read_back import (
    Numbers,
    check_assumptions,
    check_bounds,
    check_forms,
    check_level,
    check_most,
    check_named,
    check_null_control,
    check_same,
    check_violations,
)
from boundprobe.probes.settings import LADDER_PARTS, certificate_level, premise_level
from boundprobe.probes.violations import find_violations
from boundprobe.tasks.cases import StateCase


class LadderNumbers(Numbers, Protocol):
    """Numbers of a ``Ladder``."""

    @property
    def lag(self) -> int: ...
    @property
    def entropy_bits(self) -> float: ...
    @property
    def n_values(self) -> int: ...
    @property
    def errors(self) -> AnswerErrors: ...
    @property
    def required(self) -> CertifiedBound: ...
    @property
    def used(self) -> CertifiedBound: ...
    @property
    def parts(self) -> tuple[PartBits, ...]: ...
    @property
    def states(self) -> CertifiedBound | None: ...
    @property
    def rounded(self) -> tuple[RoundedMachine, ...]: ...
    @property
    def needed(self) -> RoundedMachine | None: ...
    @property
    def rounded_entropy(self) -> CertifiedBound | None: ...
    @property
    def memory(self) -> MemoryBits: ...
    @property
    def window_hard(self) -> Proportion: ...
    @property
    def window_ceiling(self) -> float: ...
    @property
    def diagonal(self) -> DiagonalBound | None: ...


def case_of(ladder: LadderNumbers) -> StateCase:
    """The case that a ladder's own numbers speak of."""
    h = ladder.entropy_bits
    return StateCase(len(ladder.errors.estimate), ladder.n_values, h, ladder.retention is not None, h, "", "")


def certificates_of(ladder: LadderNumbers) -> dict[str, CertifiedBound]:
    """Certificates of what is in the state, by the key of each."""
    parts = {f"present_by_part.{i}.present_bits": part.present for i, part in enumerate(ladder.parts)}
    return {"used_bits": ladder.used, "present_bits": ladder.present, **parts}


def _entropy(ladder: LadderNumbers) -> None:
    """Independent uniform answers have n log2 K bits, others at most."""
    case = case_of(ladder)
    most = StateCase.of_uniform_answers(case.n_answers, case.n_values, theorem="", forces="").entropy_bits
    if case.independent_uniform or ladder.entropy_bits > most:
        check_same(most, ladder.entropy_bits, "entropy_bits")
    if (ladder.states is None) != (ladder.retention is None):
        raise ValueError("`states_bits` must be there where `retention` is; got one of them")


def _certificates(ladder: LadderNumbers) -> None:
    """Bounds are at most their estimates and the entropy, the null control's excess taken off."""
    excess = ladder.null_control.excess_bits
    bounds = certificates_of(ladder)
    check_bounds(bounds | ({} if ladder.states is None else {"states": ladder.states}), ladder.entropy_bits)
    for name, bound in bounds.items():
        check_most(bound, max(0.0, bound.estimate - excess), name, "its estimate less the null control's excess")
    check_forms(bounds, "betting")


def _levels(ladder: LadderNumbers) -> None:
    """Nine parts share the probability that a ladder may err, and their own parts share each."""
    level = certificate_level(ladder.confidence, LADDER_PARTS)
    check_level("used_bits", ladder.used.confidence, level)
    check_level("present_bits", ladder.present.confidence, level)
    for i, part in enumerate(ladder.parts):
        check_level(f"present_by_part.{i}.present_bits", part.present.confidence, level / len(ladder.parts))
    if ladder.states is not None:
        check_level("states_bits", ladder.states.confidence, level)


def _errors(ladder: LadderNumbers) -> None:
    """Required bits are the theorem's at the errors; a threshold allows one of their numbers."""
    required = required_by(case_of(ladder), ladder.errors)
    check_same(required.estimate, ladder.required.estimate, "required_bits")
    check_same(required.lower, ladder.required.lower, "required_bits_lower")
    n_answers = len(ladder.errors.estimate)
    if ladder.states is not None and not 0 <= (ladder.states.threshold or 0) <= n_answers:
        raise ValueError(f"`states_bits.threshold` must be from 0 to {n_answers}; got {ladder.states.threshold}")


def _window_hard(ladder: LadderNumbers) -> None:
    """An accuracy is between its bounds."""
    found = ladder.window_hard
    if not found.lower - 1e-12 <= found.estimate <= found.upper + 1e-12:
        raise ValueError(f"`accuracy.window-hard` must have lower <= estimate <= upper; got {found.estimate!r}")


def _model(ladder: LadderNumbers) -> None:
    """Used bits are read by the model itself; where it is the best decoder, they are present."""
    check_named("used_bits.decoder", ladder.used.decoder, ("model",))
    if ladder.present.decoder == "model":
        check_same(ladder.used.estimate, ladder.present.estimate, "present_bits.estimate")
        check_same(ladder.used.form, ladder.present.form, "present_bits.form")
        if ladder.used.form == "fano":
            check_same(ladder.used.lower, ladder.present.lower, "present_bits.lower")


def _parts(ladder: LadderNumbers) -> None:
    """Parts are there once, in order of the layers; their sizes add up to those of the kinds."""
    names = [(part.layer, part.kind) for part in ladder.parts]
    if len(set(names)) < len(names) or [layer for layer, _ in names] != sorted(layer for layer, _ in names):
        raise ValueError(f"`present_by_part` must be each layer's kinds, each once, in order; got {names}")
    for name, bits in asdict(ladder.memory).items():
        of_kind = sum(part.nominal_bits for part in ladder.parts if f"{part.kind}_bits" == name)
        check_same(bits, of_kind, f"present_by_part.nominal_bits of {name}")


def _retention(ladder: LadderNumbers) -> None:
    """See ``part_relations``."""
    if ladder.retention is not None:
        check_retention(ladder.retention, len(ladder.errors.estimate), ladder.n_values)
        check_fano(ladder.present, ladder.retention, ladder.null_control, grouped=False)


def _rounded(ladder: LadderNumbers) -> None:
    """See ``part_relations``."""
    level = certificate_level(ladder.confidence, LADDER_PARTS)
    # A violation is said as one, not as damage: a state may claim to be smaller than it is.
    most = ladder.rounded[0].total_bits if ladder.violations and ladder.rounded else ladder.nominal_bits
    check_rounded(ladder.rounded, case_of(ladder), most, level)
    check_rounded_entropy(ladder.rounded_entropy, ladder.needed, level)


def _null_control(ladder: LadderNumbers) -> None:
    """See ``read_back``."""
    level, n_answers = premise_level(ladder.confidence), len(ladder.errors.estimate)
    check_null_control(ladder.null_control, ladder.present, level, n_answers, ladder.entropy_bits)
    check_forms({"null_control.constant": ladder.null_control.constant}, "betting")
    check_forms({"null_control.others": ladder.null_control.others}, "betting", grouped=True)


def _violations(ladder: LadderNumbers) -> None:
    """Assumptions are all there; violations are those of the numbers, and that of A4, which was seen by a check."""
    check_assumptions(ladder.assumptions)
    bounds = {"used": ladder.used, "present": ladder.present, "required": ladder.required}
    found = find_violations(
        entropy_bits=ladder.entropy_bits,
        nominal_bits=ladder.nominal_bits,
        bounds=bounds | ({} if ladder.states is None else {"states": ladder.states}),
        parts=ladder.parts,
        rounded=ladder.rounded,
        needed=ladder.needed,
        rounded_entropy=ladder.rounded_entropy,
        window_hard=ladder.window_hard,
        window_ceiling=ladder.window_ceiling,
        retention=ladder.retention,
        n_answers=len(ladder.errors.estimate),
        n_values=ladder.n_values,
    )
    of_model = ladder.assumptions[3].checked.partition("; ")[0]
    found += diagonal_violations(ladder.diagonal, ladder.errors.accuracy)
    check_violations(ladder.violations, found, (of_model,) if of_model.endswith("(A4)") else ())


#: Relations between the numbers of a ladder.
NUMBERS: tuple[Callable[[LadderNumbers], None], ...] = (
    _entropy,
    _certificates,
    _violations,
    _errors,
    _levels,
    _window_hard,
    _model,
    _parts,
    _retention,
    _rounded,
    _null_control,
)
