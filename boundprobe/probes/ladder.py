"""The ladder of one trained model: what theory requires, what the model uses, what its state holds and could hold.

    required   S3 and S1 at the measured error             theory: log2 |S| of any machine with that error
    used       T1 with the model's own answers             certified lower limit of I(U;S)
    present    T1 with decoders trained on the state       certified lower limit of I(U;S)
    states     list decoding                               certified lower limit of log2 |S|, which is no information
    needed     least bits, by rounding, that keep the      a machine that was really run
               accuracy
    nominal    entries times their precision               exact upper limit of log2 |S|

``violations`` has what must hold between them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from boundprobe.bounds import receptive_field, window_accuracy_ceiling
from boundprobe.models.memory import MemoryBits
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.certificates.assumptions import Assumption, all_of
from boundprobe.probes.certificates.binomial import (
    AnswerErrors,
    CertifiedBits,
    answer_errors,
    clopper_pearson,
    required_by,
)
from boundprobe.probes.certificates.information import InformationBits, Scored
from boundprobe.probes.certificates.list_decoding import StatesBits, choose_threshold, states_certificate
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import Retention
from boundprobe.probes.certificates.sample import Sample, Splits
from boundprobe.probes.model_answers import Reading, read_answers, states_at_cut, swap_check
from boundprobe.probes.present import (
    PartBits,
    classes,
    entries,
    present_bits,
    present_by_part,
    retention_of,
    used_bits,
)
from boundprobe.probes.quantised.machines import (
    RoundedEntropy,
    RoundedMachine,
    coarsest,
    rounded_entropy,
    roundings,
    run_rounded,
)
from boundprobe.probes.settings import ProbeConfig
from boundprobe.probes.violations import find_violations
from boundprobe.seeds import generator
from boundprobe.tasks.base import KEYS_ONCE, AbstractTask
from boundprobe.tasks.cases import StateCase
from boundprobe.training.evaluate import count_correct

#: Parts of a report that share its failure probability equally: answers from the whole state (accuracy, required),
#: answers from all rounded states, accuracy on the window-hard half, used, present, present by part, retention,
#: states, entropy of the rounded state.
N_PARTS = 9


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
    stream : str
        The law of the prefix.
    case : StateCase
        Of that law.
    errors : AnswerErrors
        Of all queries answered from the whole state.
    required : CertifiedBits
    used, present : InformationBits
    parts : tuple of PartBits
        What each layer keeps of each kind.
    retention : Retention or None
        None where the answers are not independent and uniform.
    states : StatesBits or None
        The same.
    rounded : tuple of RoundedMachine
    needed_bits : int or None
        Bits of the coarsest rounding that kept the accuracy on calibration sequences; None if none did.
    rounded_entropy : RoundedEntropy or None
        Of that rounding.
    memory : MemoryBits
    window_hard : Proportion
        Accuracy on the window-hard half.
    window_ceiling : float
        W2 at the model's receptive field.
    swapped : str or None
        What is wrong if answers do not follow the states that are swapped (A4).
    assumptions : tuple of Assumption
        What every certificate here rests on.
    confidence : float
        Of all certified numbers of this ladder together.
    violations : tuple of str
    """

    stream: str
    case: StateCase
    errors: AnswerErrors
    required: CertifiedBits
    used: InformationBits
    present: InformationBits
    parts: tuple[PartBits, ...]
    retention: Retention | None
    states: StatesBits | None
    rounded: tuple[RoundedMachine, ...]
    needed_bits: int | None
    rounded_entropy: RoundedEntropy | None
    memory: MemoryBits
    window_hard: Proportion
    window_ceiling: float
    swapped: str | None
    assumptions: tuple[Assumption, ...]
    confidence: float
    violations: tuple[str, ...] = ()

    @property
    def state_hard(self) -> Proportion:
        """Accuracy on the state-hard half, over all queries."""
        e = self.errors
        return Proportion(1 - e.mean_estimate, 1 - e.mean_upper, 1 - e.mean_lower)

    @property
    def information_upper_bits(self) -> float | None:
        """I(U;S) is at most H(U) and at most log2 |S|; None where the answers leave parts of U open.

        For a raw state of real numbers it almost always is that much: they determine the input.
        """
        return min(self.case.entropy_bits, float(self.memory.total_bits)) if self.stream == KEYS_ONCE else None

    def to_json(self) -> dict[str, Any]:
        """The ladder as one entry of the ``probe`` document."""
        return {
            "stream": self.stream,
            "entropy_bits": self.case.entropy_bits,
            "used_bits": asdict(self.used),
            "present_bits": asdict(self.present),
            "present_by_part": [part.to_json() for part in self.parts],
            "retention": None if self.retention is None else self.retention.to_json(),
            "states_bits": None if self.states is None else asdict(self.states),
            "needed_bits": self.needed_bits,
            "nominal_bits": self.memory.total_bits,
            "information_upper_bits": self.information_upper_bits,
            "memory": vars(self.memory),
            "required_bits": self.required.estimate,
            "required_bits_lower": self.required.lower,
            "accuracy": {"state-hard": vars(self.state_hard), "window-hard": vars(self.window_hard)},
            "window_accuracy_ceiling": self.window_ceiling,
            "answer_errors": {name: getattr(self.errors, name).tolist() for name in ("estimate", "lower", "upper")},
            "rounded": [machine.to_json(self.case) for machine in self.rounded],
            "rounded_entropy_bits": None if self.rounded_entropy is None else asdict(self.rounded_entropy),
            "assumptions": [asdict(assumption) for assumption in self.assumptions],
            "confidence": self.confidence,
            "violations": list(self.violations),
        }


def measure(model: SequenceModel, task: AbstractTask, config: ProbeConfig, device: str = "cpu") -> Ladder:
    """Measure the memory of one frozen model at the cut, and hold it against the bounds.

    Parameters
    ----------
    model : SequenceModel
        Trained on other streams than the probe's (``boundprobe.seeds`` keeps the roles apart).
    task : AbstractTask
    config : ProbeConfig
    device : str
        Where decoders are trained.
    """
    alpha = (1 - config.confidence) / N_PARTS
    case, values = task.stream_case(config.stream), task.stream_values(config.stream)
    train, calibration, evaluation = (
        task.sample_cut_stream(n, generator(config.seed, role, index), config.stream)
        for n, role, index in (
            (config.n_train, "probe-training", 0),
            (config.n_calibration, "calibration", 2),
            (config.n_sequences, "evaluation", 2),
        )
    )
    states = tuple(states_at_cut(model, cut.prefix) for cut in (train, calibration, evaluation))
    fitting, known, measured = states
    read = [read_answers(model, of_cut, cut, values) for of_cut, cut in ((known, calibration), (measured, evaluation))]
    own = tuple(
        Scored(reading.scores, classes(cut, values))
        for reading, cut in zip(read, (calibration, evaluation), strict=True)
    )
    splits = Splits(
        *(
            Sample(entries(of_cut), classes(cut, values))
            for of_cut, cut in zip(states, (train, calibration, evaluation), strict=True)
        )
    )
    prior = Prior.of_case(case, len(values))
    errors = answer_errors(read[1].wrong, alpha)
    used = used_bits(prior, own[0], own[1], alpha, config.seed)
    decoded, present = present_bits(prior, splits, (own[0], own[1]), config, alpha, device)
    held = retention_of(decoded, evaluation, len(values), alpha) if case.independent_uniform else None
    tried = roundings(known)
    kept = coarsest(model, known, calibration, tried, config.tolerance)
    ladder = Ladder(
        stream=config.stream,
        case=case,
        errors=errors,
        required=required_by(case, errors),
        used=used,
        present=present,
        parts=present_by_part(prior, (fitting, known, measured), splits, config, alpha, device),
        retention=held,
        states=_states_bits(case, read[0], read[1], alpha),
        rounded=run_rounded(model, measured, evaluation, tried, alpha),
        needed_bits=None if kept is None else kept.total_bits,
        rounded_entropy=None
        if kept is None
        else rounded_entropy(kept, (fitting, known, measured), alpha, generator(config.seed, "order", 3)),
        memory=measured[0].bits(),
        window_hard=_window_hard(model, task, config, alpha),
        window_ceiling=window_accuracy_ceiling(task.window_case(), receptive_field(model.spec.windows)),
        swapped=(swapped := swap_check(model, measured[0], evaluation)),
        assumptions=_assumptions(case, swapped, decoded.swapped),
        confidence=config.confidence,
    )
    return replace(ladder, violations=find_violations(ladder, case))


def _assumptions(case: StateCase, swapped: str | None, decoder: str) -> tuple[Assumption, ...]:
    """What a ladder rests on: its generator, whose law is the task's, and checks of the model and of the decoder."""
    model = swapped or "states of the model were swapped between sequences: the answers went with them"
    return all_of(
        "drawn by the task's sampler; limits of the rounding, whitening and decoders come from other draws",
        f"the sampler's own law, seeded with 128 bits ({case.theorem})",
        f"{model}; {decoder}",
        frozen="training, calibration and evaluation are streams of their own; the second chooses decoder and form",
    )


def _states_bits(case: StateCase, calibration: Reading, evaluation: Reading, alpha: float) -> StatesBits | None:
    """The list-decoding certificate of the model's own answers."""
    if not case.independent_uniform:
        return None
    threshold = choose_threshold(calibration.wrong, case.n_values, len(evaluation.wrong), alpha)
    return states_certificate(evaluation.wrong, case.n_values, threshold, alpha)


@torch.no_grad()
def _window_hard(model: SequenceModel, task: AbstractTask, config: ProbeConfig, alpha: float) -> Proportion:
    """Accuracy on the window-hard half with exact limits."""
    batch = task.sample(config.n_sequences, generator(config.seed, "evaluation", 3), "window-hard")
    correct, asked = count_correct(model, batch)
    lower, upper = clopper_pearson(np.array(correct), asked, alpha)
    return Proportion(correct / asked, float(lower), float(upper))
