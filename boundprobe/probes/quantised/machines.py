"""The state rounded to b bits an entry: machines that are really run, of exactly so many bits.

Accuracy and information are measured on the same rounded state.  A rounded state has an entropy; that of the raw one
is almost always H(U), because real numbers determine the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boundprobe.models.memory import CutState
from boundprobe.models.rounding import ENTRY_BITS, Rounding, entry_limits
from boundprobe.probes.certificates.binomial import AnswerErrors, answer_errors, required_by, used_information
from boundprobe.probes.model_answers import CutModel, wrong_answers
from boundprobe.probes.quantised.state_code import entropy_limit, fit_code
from boundprobe.tasks.base import CutBatch
from boundprobe.tasks.cases import StateCase


@dataclass(frozen=True)
class RoundedMachine:
    """One rounding that was run: exact bits, and the errors of its answers."""

    entry_bits: int
    total_bits: int
    errors: AnswerErrors

    def to_json(self, case: StateCase) -> dict[str, Any]:
        """One entry of the ladder's ``rounded``."""
        return {
            "entry_bits": self.entry_bits,
            "bits": self.total_bits,
            "accuracy": 1 - self.errors.mean_estimate,
            "accuracy_lower": 1 - self.errors.mean_upper,
            "used_bits": vars(used_information(case, self.errors)),
            "required_bits": vars(required_by(case, self.errors)),
        }


@dataclass(frozen=True)
class RoundedEntropy:
    """H(Q(S)) of the rounded state that keeps the accuracy, from above.

    Attributes
    ----------
    upper : float
        Certified, in bits: mean length of a code for Q(S) that was fitted on other sequences.
    estimate : float
        Its observed mean.
    confidence : float
    entry_bits, total_bits : int
        Of the rounding.
    """

    upper: float
    estimate: float
    confidence: float
    entry_bits: int
    total_bits: int


def roundings(calibration: Sequence[CutState]) -> list[Rounding]:
    """One rounding for each of ``ENTRY_BITS``, with limits from the calibration states."""
    limits = entry_limits(calibration)
    return [Rounding(*limits, entry_bits) for entry_bits in ENTRY_BITS]


def run_rounded(
    model: CutModel, states: Sequence[CutState], cut: CutBatch, tried: Sequence[Rounding], alpha: float
) -> tuple[RoundedMachine, ...]:
    """Each rounding, run on the evaluation sequences; all limits together at level 1 - alpha."""
    return tuple(
        RoundedMachine(
            rounding.entry_bits,
            rounding.total_bits,
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
) -> RoundedEntropy:
    """An upper limit for the entropy of a rounded state.

    Parameters
    ----------
    rounding : Rounding
    splits : tuple of lists of CutState
        States that a code is fitted on, states that start the bets, and states whose mean code length is limited.
    alpha : float
    rng : numpy Generator
        Fixes the order of the bets.
    """
    if not rounding.total_bits:
        return RoundedEntropy(0.0, 0.0, 1 - alpha, rounding.entry_bits, 0)
    fitting, seen, measured = (
        np.concatenate([rounding.codes(state.flatten()).cpu().numpy() for state in states]) for states in splits
    )
    code = fit_code(fitting, rounding.entry_bits)
    limit = entropy_limit(code, rng.permutation(measured), alpha, seen=seen)
    # An entry that never changed on the calibration states costs no bits.
    upper, estimate = (min(bits, float(rounding.total_bits)) for bits in (limit.upper, limit.estimate))
    return RoundedEntropy(upper, estimate, 1 - alpha, rounding.entry_bits, rounding.total_bits)
