"""Certified bits in arrays of states with known answers, from any source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from boundprobe.checks import check_kind
from boundprobe.probes.certificates.assumptions import Assumption, all_of
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import certify
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import ALONE, GIVEN_EARLIER, Retention, by_answer
from boundprobe.probes.certificates.sample import Sample, unit_means
from boundprobe.probes.decoder_choice import decode
from boundprobe.probes.null import NullControl, null_control
from boundprobe.probes.read_back import check_defined_entropy, check_same
from boundprobe.probes.settings import STATES_PARTS, StatesConfig, certificate_level, premise_level
from boundprobe.probes.states_input import GivenStates, read_states
from boundprobe.probes.states_relations import NUMBERS, check_in_run
from boundprobe.probes.violations import states_violations
from boundprobe.runs.documents import probes as documents
from boundprobe.runs.documents.read import check_document
from boundprobe.runs.store import Run
from boundprobe.seeds import generator


@dataclass(frozen=True, eq=False)
class StatesReport:
    """Certified information in an array of states.

    Attributes
    ----------
    prior : Prior
    present : CertifiedBound
        Of I(U;S), by the decoder with the largest expected bound on the calibration split.
    null_control : NullControl
        The same certificate of states that know nothing.
    retention : Retention or None
        Answer by answer; None where the answers are not independent and uniform.
    nominal_bits : int
        Entries of a state times the bits of their type.
    calibration_estimate_bits : dict of float
        What the calibration split promised for each decoder: estimates, to choose by.
    n_sequences : dict of int
        Of each split.
    n_groups : dict of int or None
        Of each split; None where every sequence is independent of all others.
    assumptions : tuple of Assumption
    confidence : float
        Of all certified numbers together.
    violations : tuple of str
        Inequalities that must hold and do not.
    defined_entropy_bits : float or None
        Where absent answers are part of a uniform prior, the entropy of those that are defined in the evaluation
        sample: their mean number times log2 K.  ``present`` is to be compared with it, because the entropy of the prior
        counts log2 K for absent answers as well.  None otherwise.
    """

    prior: Prior
    present: CertifiedBound
    null_control: NullControl
    retention: Retention | None
    nominal_bits: int
    calibration_estimate_bits: dict[str, float]
    n_sequences: dict[str, int]
    n_groups: dict[str, int] | None
    assumptions: tuple[Assumption, ...]
    confidence: float
    violations: tuple[str, ...]
    defined_entropy_bits: float | None = None

    @property
    def n_units(self) -> dict[str, int]:
        """Independent units of each split: groups, or sequences where there are none."""
        return self.n_sequences if self.n_groups is None else self.n_groups

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "prior": asdict(self.prior),
            "present_bits": self.present.to_json(),
            "null_control": self.null_control.to_json(),
            "retention": None if self.retention is None else self.retention.to_json(),
            "nominal_bits": self.nominal_bits,
            "calibration_estimate_bits": self.calibration_estimate_bits,
            "n_sequences": self.n_sequences,
            "n_groups": self.n_groups,
            "assumptions": [asdict(assumption) for assumption in self.assumptions],
            "confidence": self.confidence,
            "violations": list(self.violations),
            "defined_entropy_bits": self.defined_entropy_bits,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> StatesReport:
        """Read a report back.

        Raises
        ------
        ValueError
            If it is none, or its numbers cannot be of one measurement.
        """
        check_document(document, documents.Report, only=False)
        retention = document["retention"]
        shared = 1 - certificate_level(document["confidence"], STATES_PARTS)
        report = cls(
            Prior(**document["prior"]),
            CertifiedBound.from_json(document["present_bits"], "T1"),
            NullControl.from_json(document["null_control"]),
            None if retention is None else Retention.from_json(retention, shared),
            document["nominal_bits"],
            document["calibration_estimate_bits"],
            document["n_sequences"],
            document["n_groups"],
            tuple(Assumption(**assumption) for assumption in document["assumptions"]),
            document["confidence"],
            tuple(document["violations"]),
            document.get("defined_entropy_bits"),
        )
        check_defined_entropy(report.defined_entropy_bits, report.prior)
        for relation in NUMBERS:
            relation(report)
        check_same(report.to_json(), document)
        return report


@dataclass(frozen=True)
class MeasuredStates:
    """The report of a file of states: the document ``boundprobe.probe-states/1``.

    Attributes
    ----------
    run_id : str
    run_dir : Path
        Of the measurement.
    file, sha256 : str
        Name of the file and digest of its bytes.
    report : StatesReport
    """

    run_id: str
    run_dir: Path
    file: str
    sha256: str
    report: StatesReport

    def to_json(self) -> dict[str, Any]:
        """The document ``boundprobe.probe-states/1``."""
        return {
            "schema": "boundprobe.probe-states/1",
            "run_id": self.run_id,
            "run_dir": str(self.run_dir),
            "states": {"file": self.file, "sha256": self.sha256},
            **self.report.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MeasuredStates:
        """Read a document back; errors are those of ``StatesReport.from_json``."""
        check_document(document, documents.ProbeStates)
        states = document["states"]
        report = StatesReport.from_json(document)
        return cls(document["run_id"], Path(document["run_dir"]), states["file"], states["sha256"], report)


def read_measured(run: Run, given: GivenStates | None = None) -> MeasuredStates | None:
    """The report that a run has, held against its configuration and against the states, where they were read.

    None while the run is unfinished; errors are those of ``Run.read_result``.
    """

    def read(document: dict[str, Any]) -> MeasuredStates:
        measured = MeasuredStates.from_json(document)
        check_in_run(measured.report, measured.sha256, run.config, given)
        return measured

    return run.read_result(read)


def certify_states(
    states: ArrayLike,
    answers: ArrayLike,
    *,
    defined: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_values: int | None = None,
    entropy_bits: float | None = None,
    config: StatesConfig | None = None,
    device: str = "cpu",
) -> StatesReport:
    """Certify how many bits of the answers an array of states holds (T1).

    The sequences are split at random: decoders are fitted on the fit split, calibrated and chosen among on the
    calibration split, and the certificate is computed, once, on the evaluation split.

    Parameters
    ----------
    states : array or tensor (N, ...)
        One state per sequence; axes after the first are flattened.
    answers : integer array or tensor (N, n)
        What is asked of each state: 0..K-1.
    defined : bool array (N, n), optional
        Which answers there are; all if not given.  The mask of a masked array of answers says the same.
    groups : array (N,), optional
        Number or name of the source of each sequence.  Sequences that share one, such as two cuts of a document, are
        split together and count as one observation, their mean; the distribution that is certified draws a group
        first, and then one of its sequences.
    n_values : int, optional
        K.  Without ``entropy_bits`` the prior is that the answers are independent and uniform over 0..K-1 (given which
        are defined).
    entropy_bits : float, optional
        Joint entropy of all answers of a sequence, H(Y | which are defined), known from how they were drawn.
    config : StatesConfig, optional
    device : str
        Where decoders are trained.

    Returns
    -------
    StatesReport

    Raises
    ------
    ValueError
        If the prior is not stated or not that of the answers, sequences repeat, there are too few of them to certify
        anything, or the null control fails.

    References
    ----------
    T1 (Fano 1961; Barber and Agakov 2003 for the cross-entropy form), with a confidence bound for a mean of bounded
    values.

    Examples
    --------
    Two of four bits are in the state, as signs:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> answers = rng.integers(2, size=(4000, 4))
    >>> states = 2.0 * answers[:, :2] - 1
    >>> report = certify_states(states, answers, n_values=2)
    >>> 1.9 < report.present.lower <= 2.0
    True
    """
    config = StatesConfig() if config is None else check_kind("config", config, StatesConfig)
    given = read_states(
        states, answers, defined=defined, groups=groups, n_values=n_values, entropy_bits=entropy_bits, config=config
    )
    return certify_read(given, config, device=device)


def certify_read(given: GivenStates, config: StatesConfig, *, device: str = "cpu") -> StatesReport:
    """Certify states that were read, checked and split; see ``certify_states``."""
    check_kind("config", config, StatesConfig)
    prior, splits = given.prior, given.splits
    alpha = certificate_level(config.confidence, STATES_PARTS)
    decoded = decode(prior, splits, config.decoders, alpha, device=device)
    control = null_control(prior, splits, decoded, config.decoders, premise_level(config.confidence), device)
    rng = generator(config.seed, "order")
    present = control.guard(certify(prior, decoded.plan, decoded.evaluation, alpha, rng, config.decoders.limit))
    parts = {"train": splits.fit, "calibration": splits.calibration, "evaluation": splits.evaluation}
    held = None
    if prior.independent_uniform:
        of = GIVEN_EARLIER if decoded.plan.decoder == "chain" else ALONE
        held = by_answer(decoded.evaluation.wrong, prior.n_values, alpha, of, decoded.evaluation.groups)
    return StatesReport(
        prior,
        present,
        control,
        held,
        given.nominal_bits,
        decoded.calibration_estimate_bits,
        {name: sample.n_sequences for name, sample in parts.items()},
        None if splits.fit.groups is None else {name: sample.n_units for name, sample in parts.items()},
        _assumptions(given, decoded.interchanged),
        config.confidence,
        states_violations(prior, present, held, given.nominal_bits),
        _defined_entropy(prior, splits.evaluation),
    )


def _assumptions(given: GivenStates, interchanged: str) -> tuple[Assumption, ...]:
    """A1 to A5; where groups are named, it is these that must be independent."""
    first, *others = all_of(given.independence, given.distribution, interchanged)
    if given.splits.fit.groups is not None:
        first = replace(first, says="groups are independent draws, and nothing is shared between them")
    return first, *others


def _defined_entropy(prior: Prior, sample: Sample) -> float | None:
    """Mean number of defined answers times log2 K, where the prior is that of uniform answers which may be absent."""
    if not prior.undefined_bits:
        return None
    return float(unit_means(sample.defined.sum(1), sample.groups).mean() * math.log2(prior.n_values))
