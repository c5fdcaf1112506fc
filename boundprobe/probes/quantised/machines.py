"""The state rounded to b bits an entry: encoder-decoder pairs of exactly known size, which are run.

Accuracy and information are measured on the same rounded state.  A rounded state has an entropy; that of the raw one
is almost always H(U), because real numbers determine the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from boundprobe.models.cut_model import CutModel
from boundprobe.models.memory import CutState
from boundprobe.models.rounding import ENTRY_BITS, Rounding, entry_limits
from boundprobe.probes.certificates.binomial import AnswerErrors, answer_errors, required_by, used_information
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.model_answers import wrong_answers
from boundprobe.probes.quantised.state_code import entropy_upper_bound, fit_code
from boundprobe.tasks.base import CutBatch
from boundprobe.tasks.cases import StateCase


@dataclass(frozen=True)
class RoundedMachine:
    """Answers of a model that was run with its state at the cut rounded.

    Attributes
    ----------
    entry_bits, total_bits : int
        Bits of each entry and of the whole state.
    accuracy, accuracy_lower : float
        Mean accuracy over the answers, and its lower confidence bound.
    used : CertifiedBound
        Of the information that its answers use (S1).
    required : CertifiedBound
        Of the states that any machine with its errors has (S3).
    """

    entry_bits: int
    total_bits: int
    accuracy: float
    accuracy_lower: float
    used: CertifiedBound
    required: CertifiedBound

    @classmethod
    def of_errors(cls, entry_bits: int, total_bits: int, case: StateCase, errors: AnswerErrors) -> RoundedMachine:
        """The machine that made these errors on a case."""
        accuracy = errors.accuracy
        used, required = used_information(case, errors), required_by(case, errors)
        return cls(entry_bits, total_bits, accuracy.estimate, accuracy.lower, used, required)

    def to_json(self) -> dict[str, Any]:
        """One entry of the ladder's ``rounded``."""
        return {
            "entry_bits": self.entry_bits,
            "bits": self.total_bits,
            "accuracy": self.accuracy,
            "accuracy_lower": self.accuracy_lower,
            "used_bits": self.used.to_json(),
            "required_bits": self.required.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], required_theorem: str) -> RoundedMachine:
        """Read a machine back; ``required_theorem`` is S3, or S1 where the answers are not independent and uniform."""
        return cls(
            document["entry_bits"],
            document["bits"],
            document["accuracy"],
            document["accuracy_lower"],
            CertifiedBound.from_json(document["used_bits"], "S1"),
            CertifiedBound.from_json(document["required_bits"], required_theorem),
        )


def roundings(calibration: Sequence[CutState]) -> list[Rounding]:
    """One rounding for each of ``ENTRY_BITS``, with limits from the calibration states."""
    limits = entry_limits(calibration)
    return [Rounding(*limits, entry_bits) for entry_bits in ENTRY_BITS]


def run_rounded(
    model: CutModel, states: Sequence[CutState], cut: CutBatch, case: StateCase, tried: Sequence[Rounding], alpha: float
) -> tuple[RoundedMachine, ...]:
    """Each rounding, run on the evaluation sequences; all bounds together at level 1 - alpha."""
    return tuple(
        RoundedMachine.of_errors(
            rounding.entry_bits,
            rounding.total_bits,
            case,
            answer_errors(wrong_answers(model, states, cut, rounding), alpha / len(tried)),
        )
        for rounding in tried
    )


def coarsest(
    model: CutModel, states: Sequence[CutState], cut: CutBatch, tried: Sequence[Rounding], tolerance: float
) -> Rounding | None:
    """The coarsest rounding that keeps the accuracy within the tolerance, by calibration sequences alone; or None."""
    most_errors = wrong_answers(model, states, cut).mean() + tolerance
    for rounding in tried:
        if wrong_answers(model, states, cut, rounding).mean() <= most_errors:
            return rounding
    return None


def rounded_entropy(
    rounding: Rounding,
    splits: tuple[Sequence[CutState], Sequence[CutState], Sequence[CutState]],
    alpha: float,
    rng: np.random.Generator,
) -> CertifiedBound:
    """An upper confidence bound for the entropy of a rounded state.

    Parameters
    ----------
    rounding : Rounding
    splits : tuple of lists of CutState
        States that a code is fitted on, states that start the bets, and states whose mean code length is bounded.
    alpha : float
    rng : numpy Generator
        Fixes the order of the bets.
    """
    if not rounding.total_bits:
        return CertifiedBound(0.0, "upper", 0.0, 1 - alpha, "Gibbs", "betting")
    fit, seen, evaluation = (
        np.concatenate([rounding.codes(state.flatten()).cpu().numpy() for state in states]) for states in splits
    )
    code = fit_code(fit, rounding.entry_bits)
    bound = entropy_upper_bound(code, rng.permutation(evaluation), alpha, seen=seen)
    # An entry that never changed on the calibration states costs no bits.
    upper, estimate = (min(bits, float(rounding.total_bits)) for bits in (bound.upper, bound.estimate))
    return replace(bound, value=upper, estimate=estimate)
