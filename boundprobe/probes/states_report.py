"""Certified bits in arrays of states with known answers, from any source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from boundprobe.probes.certificates.assumptions import Assumption, all_of
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import certify
from boundprobe.probes.certificates.mean_bounds import upper_confidence_bound
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import ALONE, GIVEN_EARLIER, Retention, by_answer
from boundprobe.probes.certificates.sample import Splits
from boundprobe.probes.decoder_choice import decode
from boundprobe.probes.read_back import check_entropy
from boundprobe.probes.settings import StatesConfig
from boundprobe.probes.states_input import GivenStates, read_states
from boundprobe.runs.documents import probes as documents
from boundprobe.runs.documents.read import check_document
from boundprobe.seeds import generator

#: How far is searched for a number of sequences that would be enough.
MOST_SEQUENCES = 10**6

#: Certified parts of a report, which share what may fail: the total, and the answers one by one.
N_PARTS = 2


@dataclass(frozen=True, eq=False)
class StatesReport:
    """Certified information in an array of states.

    Attributes
    ----------
    prior : Prior
    present : CertifiedBound
        Of I(U;S), by the decoder with the largest expected bound on the calibration split.
    retention : Retention or None
        Answer by answer; None where the answers are not independent and uniform.
    nominal_bits : int
        Entries of a state times the bits of their type.
    calibration_estimate_bits : dict of float
        What the calibration split promised for each decoder: estimates, to choose by.
    n_sequences : dict of int
        Of each split.
    assumptions : tuple of Assumption
    confidence : float
        Of all certified numbers together.
    violations : tuple of str
        Inequalities that must hold and do not.
    """

    prior: Prior
    present: CertifiedBound
    retention: Retention | None
    nominal_bits: int
    calibration_estimate_bits: dict[str, float]
    n_sequences: dict[str, int]
    assumptions: tuple[Assumption, ...]
    confidence: float
    violations: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "prior": asdict(self.prior),
            "present_bits": self.present.to_json(),
            "retention": None if self.retention is None else self.retention.to_json(),
            "nominal_bits": self.nominal_bits,
            "calibration_estimate_bits": self.calibration_estimate_bits,
            "n_sequences": self.n_sequences,
            "assumptions": [asdict(assumption) for assumption in self.assumptions],
            "confidence": self.confidence,
            "violations": list(self.violations),
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
        shared = 1 - (1 - document["confidence"]) / N_PARTS
        report = cls(
            Prior(**document["prior"]),
            CertifiedBound.from_json(document["present_bits"], "T1"),
            None if retention is None else Retention.from_json(retention, shared),
            document["nominal_bits"],
            document["calibration_estimate_bits"],
            document["n_sequences"],
            tuple(Assumption(**assumption) for assumption in document["assumptions"]),
            document["confidence"],
            tuple(document["violations"]),
        )
        check_entropy({"present": report.present}, report.prior.entropy_bits)
        if len(report.violations) < len(_violations(report.present, report.nominal_bits)):
            raise ValueError(f"`violations` must have what its numbers violate; got {list(report.violations)}")
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


def certify_states(
    states: ArrayLike,
    answers: ArrayLike,
    *,
    defined: ArrayLike | None = None,
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
        Which answers there are; all if not given.
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
        If the prior is not stated or not that of the answers, sequences repeat, or there are too few of them to
        certify anything.

    References
    ----------
    T1 (Fano 1961; Barber and Agakov 2003 for the cross-entropy form), with a confidence bound for a mean of bounded
    values.

    Examples
    --------
    Two of four bits are in the state, as signs:

    >>> rng = np.random.default_rng(0)
    >>> answers = rng.integers(2, size=(4000, 4))
    >>> states = 2.0 * answers[:, :2] - 1
    >>> report = certify_states(states, answers, n_values=2)
    >>> 1.9 < report.present.lower <= 2.0
    True
    """
    given = read_states(states, answers, defined=defined, n_values=n_values, entropy_bits=entropy_bits)
    return certify_read(given, config or StatesConfig(), device=device)


def certify_read(given: GivenStates, config: StatesConfig, *, device: str = "cpu") -> StatesReport:
    """Certify states that were read and checked; see ``certify_states``."""
    prior, splits = given.prior, split(given, config)
    alpha = (1 - config.confidence) / N_PARTS
    decoded = decode(prior, splits, config.decoders, alpha, device=device)
    rng = generator(config.seed, "order")
    present = certify(prior, decoded.plan, decoded.evaluation, alpha, rng, config.decoders.limit)
    held = None
    if prior.independent_uniform:
        of = GIVEN_EARLIER if decoded.plan.decoder == "chain" else ALONE
        held = by_answer(decoded.evaluation.wrong, prior.n_values, alpha, of)
    return StatesReport(
        prior,
        present,
        held,
        given.nominal_bits,
        decoded.calibration_estimate_bits,
        {
            "train": splits.fit.n_sequences,
            "calibration": splits.calibration.n_sequences,
            "evaluation": splits.evaluation.n_sequences,
        },
        all_of(given.repeats, given.distribution, decoded.interchanged),
        config.confidence,
        _violations(present, given.nominal_bits),
    )


def split(given: GivenStates, config: StatesConfig) -> Splits:
    """The fit, calibration and evaluation splits, by a seeded shuffle.

    Raises
    ------
    ValueError
        If there are too few sequences to certify anything.
    """
    sample = given.sample
    order = generator(config.seed, "split").permutation(sample.n_sequences)
    n_fit = int(sample.n_sequences * config.train_share)
    n_known = n_fit + int(sample.n_sequences * config.calibration_share)
    parts = order[:n_fit], order[n_fit:n_known], order[n_known:]
    if not all(len(part) for part in parts):
        raise ValueError(
            f"there are {sample.n_sequences} sequences; allowed: enough for three parts; give a few hundred at least"
        )
    splits = Splits(*(sample.rows(part) for part in parts))
    _check_enough(given.prior, splits, (1 - config.confidence) / N_PARTS)
    return splits


def _check_enough(prior: Prior, splits: Splits, alpha: float) -> None:
    """Refuse fewer sequences than a decoder without any error would need to certify something."""

    def best(n_evaluation: int, n_calibration: int) -> float:
        # A decoder that was never wrong on the calibration split, and never is, with the code that it then gets.
        error = 0.5 / (n_calibration + 1)
        shortest = -prior.n_answers * math.log2(1 - error)
        longest = -prior.n_answers * math.log2(error / (prior.n_values - 1))
        values, seen = np.full(n_evaluation, shortest), np.full(n_calibration, shortest)
        return prior.entropy_bits - upper_confidence_bound(values, alpha, 0.0, longest, seen=seen)

    n_evaluation, n_calibration = splits.evaluation.n_sequences, splits.calibration.n_sequences
    if best(n_evaluation, n_calibration) > 0:
        return
    n_all = n_evaluation + n_calibration + splits.fit.n_sequences
    factor = 2
    while factor * n_all <= MOST_SEQUENCES and best(factor * n_evaluation, factor * n_calibration) <= 0:
        factor *= 2
    enough = f"about {factor * n_all}" if factor * n_all <= MOST_SEQUENCES else f"more than {MOST_SEQUENCES}"
    raise ValueError(
        f"there are {n_all} sequences, too few to certify anything of {prior.n_answers} answers even for a decoder "
        f"without error; allowed: {enough} at least; draw more"
    )


def _violations(present: CertifiedBound, nominal_bits: int) -> tuple[str, ...]:
    if present.exceeds(nominal_bits, 1e-9 * nominal_bits):
        return (
            f"present {present.lower:.3f} bits is more than nominal {nominal_bits} bits: the stated prior "
            "is wrong, or the program is",
        )
    return ()
