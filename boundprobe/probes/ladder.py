"""The ladder of one trained model: what theory requires, what the model uses, what its state could hold.

    used      <= nominal          certified information (T1) against the exact size of the state
    required  <= nominal          the theorem at the measured error against the exact size of the state
    required(error of the rounded machine) <= its bits, for every rounding that was run
    accuracy on the window-hard half <= the ceiling W2 of the model's receptive field

A broken line is a bug, in the theory or in the code; ``violations`` names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from boundprobe.bounds import receptive_field, window_accuracy_ceiling
from boundprobe.models.memory import CutState, MemoryBits
from boundprobe.models.rounding import ENTRY_BITS, Rounding, entry_limits
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.certify import (
    AnswerErrors,
    CertifiedBits,
    answer_errors,
    clopper_pearson,
    required_by,
    used_information,
)
from boundprobe.probes.settings import ProbeConfig
from boundprobe.probes.states import states_at_cut, wrong_answers
from boundprobe.seeds import generator
from boundprobe.tasks.base import AbstractTask, CutBatch
from boundprobe.tasks.cases import StateCase
from boundprobe.training.evaluate import count_correct

#: Parts of a report that share its failure probability equally: the answers from the whole state, the answers
#: from all rounded states, the accuracy on the window-hard half.
N_PARTS = 3


@dataclass(frozen=True)
class RoundedMachine:
    """One rounding that was run: exact bits, and the errors of its answers."""

    total_bits: int
    errors: AnswerErrors


@dataclass(frozen=True)
class Proportion:
    """An accuracy with its exact two-sided limits."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Ladder:
    """Everything that was measured on one model.

    Attributes
    ----------
    errors : AnswerErrors
        Of all queries answered from the whole state.
    used, required : CertifiedBits
    rounded : tuple of RoundedMachine
    needed_bits : int or None
        Bits of the coarsest rounding that kept the accuracy on calibration sequences; None if none did.
    memory : MemoryBits
    window_hard : Proportion
        Accuracy on the window-hard half.
    window_ceiling : float
        W2 at the model's receptive field.
    confidence : float
        Of all certified numbers of this ladder together.
    violations : tuple of str
    """

    errors: AnswerErrors
    used: CertifiedBits
    required: CertifiedBits
    rounded: tuple[RoundedMachine, ...]
    needed_bits: int | None
    memory: MemoryBits
    window_hard: Proportion
    window_ceiling: float
    confidence: float
    violations: tuple[str, ...]

    @property
    def state_hard(self) -> Proportion:
        """Accuracy on the state-hard half, over all queries."""
        e = self.errors
        return Proportion(1 - e.mean_estimate, 1 - e.mean_upper, 1 - e.mean_lower)

    def to_json(self) -> dict[str, Any]:
        """The ladder as one entry of the ``probe`` document."""
        return {
            "used_bits": vars(self.used),
            # Probes trained on the state are not part of this version: nothing is claimed.
            "present_bits": None,
            "needed_bits": self.needed_bits,
            "nominal_bits": self.memory.total_bits,
            "memory": vars(self.memory),
            "required_bits": self.required.estimate,
            "required_bits_lower": self.required.lower,
            "accuracy": {"state-hard": vars(self.state_hard), "window-hard": vars(self.window_hard)},
            "window_accuracy_ceiling": self.window_ceiling,
            "answer_errors": {name: getattr(self.errors, name).tolist() for name in ("estimate", "lower", "upper")},
            "rounded": [
                {
                    "bits": machine.total_bits,
                    "accuracy": 1 - machine.errors.mean_estimate,
                    "accuracy_lower": 1 - machine.errors.mean_upper,
                }
                for machine in self.rounded
            ],
            "confidence": self.confidence,
            "violations": list(self.violations),
        }


def measure(model: SequenceModel, task: AbstractTask, config: ProbeConfig) -> Ladder:
    """Measure the memory of one frozen model at the cut, and hold it against the bounds.

    Parameters
    ----------
    model : SequenceModel
        Trained on other streams than the probe's (``boundprobe.seeds`` keeps the roles apart).
    task : AbstractTask
    config : ProbeConfig
    """
    alpha = (1 - config.confidence) / N_PARTS
    case = task.state_case()
    calibration = task.sample_cut(config.n_calibration, generator(config.seed, "calibration", 2))
    evaluation = task.sample_cut(config.n_sequences, generator(config.seed, "evaluation", 2))
    states = states_at_cut(model, evaluation.prefix)
    memory = states[0].bits()
    errors = answer_errors(wrong_answers(model, states, evaluation), alpha)
    used, required = used_information(case, errors), required_by(case, errors)
    calibration_states = states_at_cut(model, calibration.prefix)
    limits = entry_limits(calibration_states)
    roundings = [Rounding(*limits, entry_bits) for entry_bits in ENTRY_BITS]
    rounded = tuple(
        RoundedMachine(
            rounding.total_bits,
            answer_errors(wrong_answers(model, states, evaluation, rounding), alpha / len(ENTRY_BITS)),
        )
        for rounding in roundings
    )
    needed_bits = _needed_bits(model, calibration_states, calibration, roundings, config.tolerance)
    window_hard = _window_hard(model, task, config, alpha)
    ceiling = window_accuracy_ceiling(task.window_case(), receptive_field(model.spec.windows))
    violations = find_violations(case, memory.total_bits, used, required, rounded, window_hard, ceiling)
    return Ladder(
        errors, used, required, rounded, needed_bits, memory, window_hard, ceiling, config.confidence, violations
    )  # fmt: skip


def find_violations(
    case: StateCase,
    nominal_bits: int,
    used: CertifiedBits,
    required: CertifiedBits,
    rounded: tuple[RoundedMachine, ...],
    window_hard: Proportion,
    window_ceiling: float,
) -> tuple[str, ...]:
    """Inequalities that must hold and do not, at the confidence of the numbers given; empty when all is well."""
    # Sums of binary entropies end an ulp off: a bound is broken by more than rounding of floats.
    slack = 1e-9 * max(1.0, case.entropy_bits)
    found = []
    if used.lower > nominal_bits + slack:
        found.append(f"used {used.lower:.3f} bits is more than nominal {nominal_bits} bits (S1)")
    if required.lower > nominal_bits + slack:
        found.append(f"required {required.lower:.3f} bits is more than nominal {nominal_bits} bits (S3)")
    for machine in rounded:
        needs = required_by(case, machine.errors).lower
        if needs > machine.total_bits + slack:
            found.append(f"required {needs:.3f} bits is more than the {machine.total_bits} of a rounded state (S3)")
    if window_hard.lower > window_ceiling + slack:
        found.append(f"window-hard accuracy {window_hard.lower:.4f} is above the ceiling {window_ceiling:.4f} (W2)")
    return tuple(found)


def _needed_bits(
    model: SequenceModel,
    states: list[CutState],
    calibration: CutBatch,
    roundings: list[Rounding],
    tolerance: float,
) -> int | None:
    """Bits of the coarsest rounding that keeps the accuracy, chosen on the calibration sequences alone."""
    most_errors = wrong_answers(model, states, calibration).mean() + tolerance
    for rounding in roundings:
        if wrong_answers(model, states, calibration, rounding).mean() <= most_errors:
            return rounding.total_bits
    return None


@torch.no_grad()
def _window_hard(model: SequenceModel, task: AbstractTask, config: ProbeConfig, alpha: float) -> Proportion:
    """Accuracy on the window-hard half with exact limits."""
    batch = task.sample(config.n_sequences, generator(config.seed, "evaluation", 3), "window-hard")
    correct, asked = count_correct(model, batch)
    lower, upper = clopper_pearson(np.array(correct), asked, alpha)
    return Proportion(correct / asked, float(lower), float(upper))
