"""The ladder of one trained model: what theory requires, what the model uses, what its state holds and could hold.

    required   S3 and S1 at the measured error             theory: log2 |S| of any machine with that error
    used       T1 with the model's own answers             certified lower bound of I(U;S)
    present    T1 with decoders trained on the state       certified lower bound of I(U;S)
    states     list decoding                               certified lower bound of log2 |S|, which is no information
    needed     least bits, by rounding, that keep the      a finite-state machine that was really run
               accuracy
    nominal    entries times their precision               exact upper bound of log2 |S|

``violations`` has what must hold between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from boundprobe.bounds import receptive_field, window_accuracy_ceiling
from boundprobe.models.memory import MemoryBits
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.certificates.assumptions import Assumption, all_of
from boundprobe.probes.certificates.binomial import (
    AnswerErrors,
    Proportion,
    answer_errors,
    clopper_pearson,
    required_by,
)
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import Scored
from boundprobe.probes.certificates.list_decoding import choose_threshold, states_certificate
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import Retention
from boundprobe.probes.certificates.sample import Sample, Splits
from boundprobe.probes.model_answers import Reading, interchange_check, read_answers, states_at_cut
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
class Ladder:
    """Everything that was measured on one model.

    Attributes
    ----------
    stream : str
        The distribution of the prefix.
    entropy_bits : float
        Of the answers, under that distribution.
    errors : AnswerErrors
        Of all queries answered from the whole state.
    required : CertifiedBound
    used, present : CertifiedBound
    parts : tuple of PartBits
        Information in the state of each kind that each layer keeps.
    retention : Retention or None
        None where the answers are not independent and uniform.
    states : CertifiedBound or None
        Of log2 of the number of states; None where the answers are not independent and uniform.
    rounded : tuple of RoundedMachine
    needed : RoundedMachine or None
        The coarsest rounding that kept the accuracy on calibration sequences; None if none did.
    rounded_entropy : CertifiedBound or None
        An upper bound, of that rounding.
    memory : MemoryBits
    window_hard : Proportion
        Accuracy on the window-hard half.
    window_ceiling : float
        W2 at the model's receptive field.
    assumptions : tuple of Assumption
        What every certificate here rests on.
    confidence : float
        Of all certified numbers of this ladder together.
    violations : tuple of str
    """

    stream: str
    entropy_bits: float
    errors: AnswerErrors
    required: CertifiedBound
    used: CertifiedBound
    present: CertifiedBound
    parts: tuple[PartBits, ...]
    retention: Retention | None
    states: CertifiedBound | None
    rounded: tuple[RoundedMachine, ...]
    needed: RoundedMachine | None
    rounded_entropy: CertifiedBound | None
    memory: MemoryBits
    window_hard: Proportion
    window_ceiling: float
    assumptions: tuple[Assumption, ...]
    confidence: float
    violations: tuple[str, ...]

    @property
    def needed_bits(self) -> int | None:
        """Bits of the coarsest rounding that kept the accuracy."""
        return None if self.needed is None else self.needed.total_bits

    @property
    def nominal_bits(self) -> int:
        """Exact size of the state, an upper bound of log2 |S|."""
        return self.memory.total_bits

    @property
    def state_hard(self) -> Proportion:
        """Accuracy on the state-hard half, over all queries."""
        return self.errors.accuracy

    @property
    def information_upper_bits(self) -> float | None:
        """I(U;S) is at most H(U) and at most log2 |S|; None where the answers leave parts of U open.

        For a raw state of real numbers it almost always is that much: they determine the input.
        """
        return min(self.entropy_bits, float(self.nominal_bits)) if self.stream == KEYS_ONCE else None

    def to_json(self) -> dict[str, Any]:
        """The ladder as one entry of the ``probe`` document."""
        entropy = None
        if self.rounded_entropy is not None and self.needed is not None:
            rounding = {"entry_bits": self.needed.entry_bits, "total_bits": self.needed.total_bits}
            entropy = self.rounded_entropy.to_json() | rounding
        return {
            "stream": self.stream,
            "entropy_bits": self.entropy_bits,
            "used_bits": self.used.to_json(),
            "present_bits": self.present.to_json(),
            "present_by_part": [part.to_json() for part in self.parts],
            "retention": None if self.retention is None else self.retention.to_json(),
            "states_bits": None if self.states is None else self.states.to_json(),
            "needed_bits": self.needed_bits,
            "nominal_bits": self.nominal_bits,
            "information_upper_bits": self.information_upper_bits,
            "memory": asdict(self.memory),
            "required_bits": self.required.estimate,
            "required_bits_lower": self.required.lower,
            "accuracy": {"state-hard": asdict(self.state_hard), "window-hard": asdict(self.window_hard)},
            "window_accuracy_ceiling": self.window_ceiling,
            "answer_errors": self.errors.to_json(),
            "rounded": [machine.to_json() for machine in self.rounded],
            "rounded_entropy_bits": entropy,
            "assumptions": [asdict(assumption) for assumption in self.assumptions],
            "confidence": self.confidence,
            "violations": list(self.violations),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Ladder:
        """Read a ladder back; ``to_json`` of the result is the document, as far as that is about the ladder."""
        shared = 1 - (1 - document["confidence"]) / N_PARTS
        entropy, states, retention = (document[name] for name in ("rounded_entropy_bits", "states_bits", "retention"))
        theorem = "S1" if retention is None else "S3"
        rounded = tuple(RoundedMachine.from_json(machine, theorem) for machine in document["rounded"])
        needed = [machine for machine in rounded if machine.total_bits == document["needed_bits"]]
        if entropy is not None:  # a state without entries has as many bits in every rounding
            needed = [machine for machine in rounded if machine.entry_bits == entropy["entry_bits"]]
        required = {"lower": document["required_bits_lower"], "estimate": document["required_bits"]}
        return cls(
            stream=document["stream"],
            entropy_bits=document["entropy_bits"],
            errors=AnswerErrors.from_json(document["answer_errors"], shared),
            required=CertifiedBound.from_json(required | {"confidence": shared}, theorem),
            used=CertifiedBound.from_json(document["used_bits"], "T1"),
            present=CertifiedBound.from_json(document["present_bits"], "T1"),
            parts=tuple(PartBits.from_json(part) for part in document["present_by_part"]),
            retention=None if retention is None else Retention.from_json(retention, shared),
            states=None if states is None else CertifiedBound.from_json(states, "list decoding"),
            rounded=rounded,
            needed=needed[0] if needed else None,
            rounded_entropy=None if entropy is None else CertifiedBound.from_json(entropy, "Gibbs", "betting"),
            memory=MemoryBits(**document["memory"]),
            window_hard=Proportion(**document["accuracy"]["window-hard"]),
            window_ceiling=document["window_accuracy_ceiling"],
            assumptions=tuple(Assumption(**assumption) for assumption in document["assumptions"]),
            confidence=document["confidence"],
            violations=tuple(document["violations"]),
        )


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
    cuts = tuple(
        task.sample_cut_stream(n, generator(config.seed, role, index), config.stream)
        for n, role, index in (
            (config.n_train, "probe-training", 0),
            (config.n_calibration, "calibration", 2),
            (config.n_sequences, "evaluation", 2),
        )
    )
    states = tuple(states_at_cut(model, cut.prefix) for cut in cuts)
    samples = [Sample(entries(of_cut), classes(cut, values)) for of_cut, cut in zip(states, cuts, strict=True)]
    splits = Splits(*samples)
    (_, known, measured), (_, calibration, evaluation) = states, cuts
    read = [read_answers(model, of_cut, cut, values) for of_cut, cut in ((known, calibration), (measured, evaluation))]
    own = (Scored(read[0].scores, splits.calibration.answers), Scored(read[1].scores, splits.evaluation.answers))
    prior = Prior.of_case(case, len(values))
    errors = answer_errors(read[1].wrong, alpha)
    required = required_by(case, errors)
    used = used_bits(prior, *own, alpha, config.seed)
    decoded, present = present_bits(prior, splits, own, config, alpha, device)
    parts = present_by_part(prior, (states[0], known, measured), splits, config, alpha, device)
    log_states = _states_bits(case, read[0], read[1], alpha)
    tried = roundings(known)
    rounded = run_rounded(model, measured, evaluation, case, tried, alpha)
    kept = coarsest(model, known, calibration, tried, config.tolerance)
    needed = entropy = None
    if kept is not None:
        needed = next(machine for machine in rounded if machine.entry_bits == kept.entry_bits)
        entropy = rounded_entropy(kept, (states[0], known, measured), alpha, generator(config.seed, "order", 3))
    memory, window_hard = measured[0].bits(), _window_hard(model, task, config, alpha)
    ceiling = window_accuracy_ceiling(task.window_case(), receptive_field(model.spec.windows))
    outside = interchange_check(model, measured[0], evaluation)
    broken = find_violations(
        entropy_bits=case.entropy_bits,
        nominal_bits=memory.total_bits,
        bounds={"used": used, "present": present, "required": required}
        | ({} if log_states is None else {"states": log_states}),
        parts=parts,
        rounded=rounded,
        needed=needed,
        rounded_entropy=entropy,
        window_hard=window_hard,
        window_ceiling=ceiling,
    )
    return Ladder(
        stream=config.stream,
        entropy_bits=case.entropy_bits,
        errors=errors,
        required=required,
        used=used,
        present=present,
        parts=parts,
        retention=retention_of(decoded, evaluation, len(values), alpha) if case.independent_uniform else None,
        states=log_states,
        rounded=rounded,
        needed=needed,
        rounded_entropy=entropy,
        memory=memory,
        window_hard=window_hard,
        window_ceiling=ceiling,
        assumptions=_assumptions(case, outside, decoded.interchanged),
        confidence=config.confidence,
        violations=broken if outside is None else (outside, *broken),
    )


def _assumptions(case: StateCase, outside: str | None, decoder: str) -> tuple[Assumption, ...]:
    """Assumptions of a ladder: its generator has the task's distribution; the model and the decoder were checked."""
    model = outside or "states of the model were swapped between sequences: the answers went with them"
    return all_of(
        "drawn by the task's sampler; limits of the rounding, whitening and decoders come from other draws",
        f"the sampler's own law, seeded with 128 bits ({case.theorem})",
        f"{model}; {decoder}",
        frozen="training, calibration and evaluation are streams of their own; the second chooses decoder and form",
    )


def _states_bits(case: StateCase, calibration: Reading, evaluation: Reading, alpha: float) -> CertifiedBound | None:
    """The list-decoding certificate of the model's own answers."""
    if not case.independent_uniform:
        return None
    threshold = choose_threshold(calibration.wrong, case.n_values, len(evaluation.wrong), alpha)
    return states_certificate(evaluation.wrong, case.n_values, threshold, alpha)


@torch.no_grad()
def _window_hard(model: SequenceModel, task: AbstractTask, config: ProbeConfig, alpha: float) -> Proportion:
    """Accuracy on the window-hard half with exact confidence bounds."""
    batch = task.sample(config.n_sequences, generator(config.seed, "evaluation", 3), "window-hard")
    correct, asked = count_correct(model, batch)
    lower, upper = clopper_pearson(np.array(correct), asked, alpha)
    return Proportion(correct / asked, float(lower), float(upper))
