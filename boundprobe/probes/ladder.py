"""The ladder of one trained model: required, used, present and nominal bits.

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

from boundprobe.bounds.diagonal.ceiling import DiagonalBound
from boundprobe.models.memory import MemoryBits
from boundprobe.probes.certificates.assumptions import Assumption
from boundprobe.probes.certificates.binomial import (
    AnswerErrors,
    Proportion,
)
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.retention import Retention
from boundprobe.probes.ladder_relations import NUMBERS
from boundprobe.probes.null import NullControl
from boundprobe.probes.present import (
    PartBits,
)
from boundprobe.probes.quantised.machines import (
    RoundedMachine,
)
from boundprobe.probes.read_back import check_same
from boundprobe.probes.settings import LADDER_PARTS, certificate_level
from boundprobe.runs.documents import probes as documents
from boundprobe.runs.documents.read import check_document
from boundprobe.tasks.base import KEYS_ONCE


@dataclass(frozen=True)
class Ladder:
    """Everything that was measured on one model.

    Attributes
    ----------
    stream : str
        The distribution of the prefix.
    lag : int, in tokens
        Of the diagonal cut along which the state was read, for the answers beyond it (D1); 0: the cut is vertical.
    entropy_bits : float
        Of the answers, under that distribution.
    n_values : int
        Values that each answer can take, K.
    errors : AnswerErrors
        Of all queries answered from the whole state.
    required : CertifiedBound
    used, present : CertifiedBound
    parts : tuple of PartBits
        Information in the state of each kind that each layer keeps.
    null_control : NullControl
        The same certificate of states that know nothing.
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
    diagonal : DiagonalBound or None
        The diagonal cut that binds (D1); None for prefix distributions of which it says nothing.
    assumptions : tuple of Assumption
        What every certificate here rests on.
    confidence : float
        Of all certified numbers of this ladder together.
    violations : tuple of str
    """

    stream: str
    lag: int
    entropy_bits: float
    n_values: int
    errors: AnswerErrors
    required: CertifiedBound
    used: CertifiedBound
    present: CertifiedBound
    parts: tuple[PartBits, ...]
    null_control: NullControl
    retention: Retention | None
    states: CertifiedBound | None
    rounded: tuple[RoundedMachine, ...]
    needed: RoundedMachine | None
    rounded_entropy: CertifiedBound | None
    memory: MemoryBits
    window_hard: Proportion
    window_ceiling: float
    diagonal: DiagonalBound | None
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
        return min(self.entropy_bits, float(self.nominal_bits)) if self.stream == KEYS_ONCE and not self.lag else None

    def to_json(self) -> dict[str, Any]:
        """The ladder as one entry of the ``probe`` document."""
        entropy = None
        if self.rounded_entropy is not None and self.needed is not None:
            rounding = {"entry_bits": self.needed.entry_bits, "total_bits": self.needed.total_bits}
            entropy = self.rounded_entropy.to_json() | rounding
        return {
            "stream": self.stream,
            "lag": self.lag,
            "entropy_bits": self.entropy_bits,
            "n_values": self.n_values,
            "used_bits": self.used.to_json(),
            "present_bits": self.present.to_json(),
            "present_by_part": [part.to_json() for part in self.parts],
            "null_control": self.null_control.to_json(),
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
            "diagonal": None if self.diagonal is None else self.diagonal.to_json(),
            "answer_errors": self.errors.to_json(),
            "rounded": [machine.to_json() for machine in self.rounded],
            "rounded_entropy_bits": entropy,
            "assumptions": [asdict(assumption) for assumption in self.assumptions],
            "confidence": self.confidence,
            "violations": list(self.violations),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Ladder:
        """Read a ladder back; ``to_json`` of the result is the document, as far as that is about the ladder.

        Raises
        ------
        ValueError
            If it is none, or its numbers cannot be of one measurement.
        """
        check_document(document, documents.Ladder, only=False)
        shared = 1 - certificate_level(document["confidence"], LADDER_PARTS)
        entropy, states, retention = (document[name] for name in ("rounded_entropy_bits", "states_bits", "retention"))
        theorem = "S1" if retention is None else "S3"
        rounded = tuple(RoundedMachine.from_json(machine, theorem) for machine in document["rounded"])
        needed = [machine for machine in rounded if machine.total_bits == document["needed_bits"]]
        if entropy is not None:  # a state without entries has as many bits in every rounding
            needed = [machine for machine in rounded if machine.entry_bits == entropy["entry_bits"]]
        required = {"lower": document["required_bits_lower"], "estimate": document["required_bits"]}
        ladder = cls(
            stream=document["stream"],
            lag=document["lag"],
            entropy_bits=document["entropy_bits"],
            n_values=document["n_values"],
            errors=AnswerErrors.from_json(document["answer_errors"], shared),
            required=CertifiedBound.from_json(required | {"confidence": shared}, theorem),
            used=CertifiedBound.from_json(document["used_bits"], "T1"),
            present=CertifiedBound.from_json(document["present_bits"], "T1"),
            parts=tuple(PartBits.from_json(part) for part in document["present_by_part"]),
            null_control=NullControl.from_json(document["null_control"]),
            retention=None if retention is None else Retention.from_json(retention, shared),
            states=None if states is None else CertifiedBound.from_json(states, "list decoding"),
            rounded=rounded,
            needed=needed[0] if needed else None,
            rounded_entropy=None if entropy is None else CertifiedBound.from_json(entropy, "Gibbs", "betting"),
            memory=MemoryBits(**document["memory"]),
            window_hard=Proportion(**document["accuracy"]["window-hard"]),
            window_ceiling=document["window_accuracy_ceiling"],
            diagonal=None if document["diagonal"] is None else DiagonalBound.from_json(document["diagonal"]),
            assumptions=tuple(Assumption(**assumption) for assumption in document["assumptions"]),
            confidence=document["confidence"],
            violations=tuple(document["violations"]),
        )
        for relation in NUMBERS:
            relation(ladder)
        check_same(ladder.to_json(), document)
        return ladder
