"""Relations between the numbers of a report of states that is read back, and between it and its run."""

# ruff: noqa: D102 (the members of the protocol are explained where they are)

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.counts import most_certified_bits
from boundprobe.probes.decoder_choice import simplest_of_best
from boundprobe.probes.part_relations import check_fano, check_retention, check_retention_counts
from boundprobe.probes.read_back import (
    Numbers,
    check_assumptions,
    check_bounds,
    check_counts_bits,
    check_forms,
    check_level,
    check_most,
    check_named,
    check_null_control,
    check_same,
    check_violations,
)
from boundprobe.probes.settings import STATES_PARTS, DecoderConfig, StatesConfig, certificate_level, premise_level
from boundprobe.probes.states_input import GivenStates
from boundprobe.probes.violations import rounding_slack, states_violations


class StatesNumbers(Numbers, Protocol):
    """Numbers of a ``StatesReport``."""

    @property
    def prior(self) -> Prior: ...
    @property
    def calibration_estimate_bits(self) -> dict[str, float]: ...
    @property
    def n_sequences(self) -> dict[str, int]: ...
    @property
    def n_groups(self) -> dict[str, int] | None: ...
    @property
    def n_units(self) -> dict[str, int]: ...


# Of the document alone


def _prior(report: StatesNumbers) -> None:
    """Answers that are uniform where they are defined have n log2 K bits; an entropy that was stated is below that."""
    prior, each = report.prior, math.log2(report.prior.n_values)
    most, uniform = prior.n_answers * each, prior.independent_uniform or prior.undefined_bits > 0
    if uniform:
        check_same(0.0 if prior.independent_uniform else each, prior.undefined_bits, "prior.undefined_bits")
        check_same(most, prior.entropy_bits, "prior.entropy_bits")
    elif prior.entropy_bits >= most * (1 - 1e-6):
        raise ValueError(f"`prior.entropy_bits` must be below {most:.6g} bits, which uniform answers have; got "
                         f"{prior.entropy_bits!r}")  # fmt: skip
    check_same(prior.independent_uniform, report.retention is not None, "retention, that it is there,")


def _certificates(report: StatesNumbers) -> None:
    """The bound is at most its estimate less the null control's excess, and what so many units can certify."""
    present, prior, excess = report.present, report.prior, report.null_control.excess_bits
    check_bounds({"present": present}, prior.entropy_bits)
    check_most(present, max(0.0, present.estimate - excess), "present_bits", "its estimate less the control's excess")
    level, n_units = certificate_level(report.confidence, STATES_PARTS), report.n_units["evaluation"]
    check_level("present_bits", present.confidence, level)
    size = prior.n_answers, prior.n_values, n_units, level
    most = most_certified_bits(prior.entropy_bits, *size, fano=present.form == "fano")
    check_most(present, max(0.0, most - excess), "present_bits", f"what {n_units} sequences or groups can certify")


def _calibration(report: StatesNumbers) -> None:
    """The decoder is the simplest of those that promised most, and none promised more than the entropy."""
    promised, most = report.calibration_estimate_bits, report.prior.entropy_bits
    check_named("present_bits.decoder", report.present.decoder, tuple(promised))
    check_same(simplest_of_best(promised), report.present.decoder, "present_bits.decoder")
    for name, bits in promised.items():
        if not 0 <= bits <= most + rounding_slack(most):
            raise ValueError(f"`calibration_estimate_bits.{name}` must be from 0 to {most:.6g} bits; got {bits:.6g}")


def _retention(report: StatesNumbers) -> None:
    """Answers one by one are those of the evaluated sequences."""
    held, prior = report.retention, report.prior
    if held is None:
        return
    check_retention(held, prior.n_answers, prior.n_values)
    check_same("answer", held.by, "retention.by")
    check_same("I(Y_i;S | Y_<i)" if report.present.decoder == "chain" else "I(Y_i;S)", held.of, "retention.of")
    size = prior.n_answers, prior.n_values, report.n_sequences["evaluation"]
    grouped, level = report.n_groups is not None, certificate_level(report.confidence, STATES_PARTS)
    check_retention_counts(held, *size, level, grouped=grouped)
    check_fano(report.present, held, report.null_control, grouped=grouped)


def _units(report: StatesNumbers) -> None:
    """A group has at least one sequence."""
    for name, n_units in report.n_units.items():
        if n_units > report.n_sequences[name]:
            raise ValueError(
                f"`n_groups.{name}` must be at most the {report.n_sequences[name]} sequences; got {n_units}"
            )


def _null_control(report: StatesNumbers) -> None:
    """See ``read_back``."""
    prior, control = report.prior, report.null_control
    level = premise_level(report.confidence)
    check_null_control(control, report.present, level, prior.n_answers, prior.entropy_bits)
    check_counts_bits(control, prior.entropy_bits, prior.n_answers, prior.n_values, sum(report.n_sequences.values()))


def _violations(report: StatesNumbers) -> None:
    """Assumptions are all there, and violations are those of the numbers."""
    check_assumptions(report.assumptions)
    found = states_violations(report.prior, report.present, report.retention, report.nominal_bits)
    check_violations(report.violations, found)


#: Relations between the numbers of a report.
NUMBERS: tuple[Callable[[StatesNumbers], None], ...] = (
    _units,
    _prior,
    _certificates,
    _calibration,
    _retention,
    _null_control,
    _violations,
)


# Of the run


@dataclass(frozen=True)
class ReportInRun:
    """A report with what its run's configuration says.

    Attributes
    ----------
    report : StatesNumbers
    sha256 : str
        Of the file, as the result has it.
    config : StatesConfig
    states : mapping
        ``sha256`` of the file, and the prior as it was stated.
    given : GivenStates or None
        The states themselves, where they were read.
    """

    report: StatesNumbers
    sha256: str
    config: StatesConfig
    states: Mapping[str, Any]
    given: GivenStates | None


def _settings(run: ReportInRun) -> None:
    """The report has the settings of its run, and is of its file."""
    report, decoders = run.report, run.config.decoders
    check_same(run.states["sha256"], run.sha256, "states.sha256")
    check_same(run.config.confidence, report.confidence, "confidence")
    check_same(sorted(decoders.names), sorted(report.calibration_estimate_bits), "calibration_estimate_bits")
    grouped = report.n_groups is not None
    forms = tuple(form for form in decoders.forms if form != "fano" or not report.prior.undefined_bits)
    for name, bound in (("present_bits", report.present), ("null_control.constant", report.null_control.constant),
                        ("null_control.others", report.null_control.others)):  # fmt: skip
        check_forms({name: bound}, decoders.limit, forms, grouped=grouped or name == "null_control.others")


def _stated(run: ReportInRun) -> None:
    """The prior is the one that was stated."""
    prior = run.report.prior
    check_same(run.states.get("n_values", prior.n_values), prior.n_values, "prior.n_values")
    if (stated := run.states.get("entropy_bits")) is not None:
        uniform = prior.independent_uniform or prior.undefined_bits > 0  # to six digits: then its entropy is exact
        check_same(stated, stated if uniform else prior.entropy_bits, "prior.entropy_bits")
        most = prior.n_answers * math.log2(prior.n_values)
        check_same(stated >= most * (1 - 1e-6), uniform, "prior, that it is uniform,")
    elif not (prior.independent_uniform or prior.undefined_bits > 0):
        raise ValueError("`prior` must be uniform where no entropy was stated; got another")


def _split(run: ReportInRun) -> None:
    """The parts have their shares of the sequences, or of the groups."""
    found = run.report.n_units
    n_units = sum(found.values())
    n_fit, n_known = (int(n_units * share) for share in (run.config.train_share, run.config.calibration_share))
    made = {"train": n_fit, "calibration": n_known, "evaluation": n_units - n_fit - n_known}
    check_same(made, found, "n_sequences" if run.report.n_groups is None else "n_groups")


def _states(run: ReportInRun) -> None:
    """The report is of the states that were given."""
    if run.given is None:
        return
    report, given = run.report, run.given
    check_same(replace(given.prior, evidence="").__dict__, replace(report.prior, evidence="").__dict__, "prior")
    check_same(given.nominal_bits, report.nominal_bits, "nominal_bits")
    parts = {"train": given.splits.fit, "calibration": given.splits.calibration, "evaluation": given.splits.evaluation}
    check_same({name: part.n_sequences for name, part in parts.items()}, report.n_sequences, "n_sequences")
    check_same(given.splits.fit.groups is None, report.n_groups is None, "n_groups, that there are none,")
    check_same({name: part.n_units for name, part in parts.items()}, report.n_units, "n_groups")


#: Relations between a report and the configuration of its run.
IN_RUN: tuple[Callable[[ReportInRun], None], ...] = (_settings, _stated, _split, _states)


def check_in_run(
    report: StatesNumbers, sha256: str, config: Mapping[str, Any], given: GivenStates | None = None
) -> None:
    """Raise ``ValueError`` unless a report is what its run may have measured.

    Parameters
    ----------
    report : StatesReport
    sha256 : str
        Of the file, as the result has it.
    config : mapping
        ``config.toml`` of the run.
    given : GivenStates, optional
        The states themselves, where they were read.
    """
    probe = dict(config["probe"])
    settings = StatesConfig(**probe | {"decoders": DecoderConfig(**probe["decoders"])})
    run = ReportInRun(report, sha256, settings, config["states"], given)
    for relation in IN_RUN:
        relation(run)
