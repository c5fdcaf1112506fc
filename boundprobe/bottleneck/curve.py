"""Results of bottlenecks: accuracy and used information at each size, and a model's ladder beside its curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boundprobe.probes.certificates.binomial import Proportion
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.run import ModelLadder
from boundprobe.runs.documents.probes import Bottleneck, Point, Probe
from boundprobe.runs.documents.read import check_document


@dataclass(frozen=True)
class BottleneckPoint:
    """One encoder-decoder pair with exactly ``total_bits`` bits between its halves.

    Attributes
    ----------
    n_entries, entry_bits, total_bits : int
    accuracy : Proportion
        Mean accuracy over the answers; along a diagonal cut over those beyond its lag.
    all_accuracy : Proportion
        Along a diagonal cut over all answers of the task, each from what crosses and the tokens since; the same as
        ``accuracy`` elsewhere.
    accuracy_ceiling : float
        S3 (or S1) at its bits.
    accuracy_floor_strategy : float or None
        Accuracy of partial storage, which anyone can build; None where it is not defined.
    used : CertifiedBound
        Of the information that its answers use (S1).
    n_states_seen : int
        Different codes that occurred.
    violations : tuple of str
    """

    n_entries: int
    entry_bits: int
    total_bits: int
    accuracy: Proportion
    all_accuracy: Proportion
    accuracy_ceiling: float
    accuracy_floor_strategy: float | None
    used: CertifiedBound
    n_states_seen: int
    violations: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One entry of the curve's ``points``."""
        return {
            "entries": self.n_entries,
            "entry_bits": self.entry_bits,
            "bits": self.total_bits,
            "accuracy": asdict(self.accuracy),
            "all_accuracy": asdict(self.all_accuracy),
            "accuracy_ceiling": self.accuracy_ceiling,
            "accuracy_floor_strategy": self.accuracy_floor_strategy,
            "used_bits": self.used.to_json(),
            "n_states_seen": self.n_states_seen,
            "violations": list(self.violations),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BottleneckPoint:
        """Read a point back.

        Raises
        ------
        ValueError
            If it is none, or its numbers cannot be of one measurement.
        """
        check_document(document, Point)
        point = cls(
            document["entries"],
            document["entry_bits"],
            document["bits"],
            Proportion(**document["accuracy"]),
            Proportion(**document["all_accuracy"]),
            document["accuracy_ceiling"],
            document["accuracy_floor_strategy"],
            CertifiedBound.from_json(document["used_bits"], "S1"),
            document["n_states_seen"],
            tuple(document["violations"]),
        )
        point._check()
        return point

    def _check(self) -> None:
        """Raise ``ValueError`` unless the point's numbers agree with each other."""
        if self.total_bits != self.n_entries * self.entry_bits:
            raise ValueError(f"`bits` must be entries times entry_bits; got {self.total_bits}")
        seen, used = self.n_states_seen > 2**self.total_bits, self.used.exceeds(self.total_bits, 1e-9 * self.total_bits)
        if (seen or used or self.accuracy.lower > self.accuracy_ceiling + 1e-9) and not self.violations:
            raise ValueError(f"a point of {self.total_bits} bits must have what its numbers violate; got no violations")


@dataclass(frozen=True)
class BottleneckCurve:
    """Points of one trained model at several sizes: the document ``boundprobe.bottleneck/1``.

    Attributes
    ----------
    run_id : str
    run_dir : Path
    trained : str
        Run of the model's training.
    task, model : dict
        As the configuration of that run has them.
    member : int
    confidence : float
        Of all bounds of the curve together.
    points : tuple of BottleneckPoint
        Of all answers, or of those beyond the lag.
    lag : int, in tokens
        0: at the vertical cut.
    n_answers : int
        Answers that the points are of.
    """

    run_id: str
    run_dir: Path
    trained: str
    task: dict[str, Any]
    model: dict[str, Any]
    member: int
    confidence: float
    points: tuple[BottleneckPoint, ...]
    lag: int
    n_answers: int

    @property
    def violations(self) -> tuple[str, ...]:
        """Those of all points."""
        return tuple(violation for point in self.points for violation in point.violations)

    @property
    def by_bits(self) -> list[BottleneckPoint]:
        """Points from the fewest bits to the most."""
        return sorted(self.points, key=lambda point: point.total_bits)

    def to_json(self) -> dict[str, Any]:
        """The document ``boundprobe.bottleneck/1``."""
        return {
            "schema": "boundprobe.bottleneck/1",
            "run_id": self.run_id,
            "run_dir": str(self.run_dir),
            "trained": self.trained,
            "task": self.task,
            "model": self.model,
            "member": self.member,
            "confidence": self.confidence,
            "lag": self.lag,
            "n_answers": self.n_answers,
            "points": [point.to_json() for point in self.points],
            "violations": list(self.violations),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BottleneckCurve:
        """Read a document back.

        Raises
        ------
        ValueError
            If it is none, or its numbers cannot be of one measurement.
        """
        check_document(document, Bottleneck)
        curve = cls(
            document["run_id"],
            Path(document["run_dir"]),
            document["trained"],
            document["task"],
            document["model"],
            document["member"],
            document["confidence"],
            tuple(BottleneckPoint.from_json(point) for point in document["points"]),
            document["lag"],
            document["n_answers"],
        )
        for point in curve.points:
            if not curve.lag and point.all_accuracy != point.accuracy:
                raise ValueError(
                    f"`all_accuracy` must be `accuracy` at a vertical cut; got {point.all_accuracy.estimate!r}"
                )
        if list(curve.violations) != document["violations"]:
            raise ValueError(f"`violations` must be those of the points; got {len(document['violations'])}")
        return curve

    def __hash__(self) -> int:
        return hash((self.run_id, self.trained, self.member))


@dataclass(frozen=True)
class MeasuredModel:
    """A model's ladder, beside its curve of bottlenecks where it has one.

    Attributes
    ----------
    of_model : ModelLadder
    curve : BottleneckCurve or None
    """

    of_model: ModelLadder
    curve: BottleneckCurve | None = None

    @property
    def violations(self) -> tuple[str, ...]:
        """Those of the ladder and of the curve."""
        return self.of_model.violations + (() if self.curve is None else self.curve.violations)

    def to_json(self) -> dict[str, Any]:
        """The document ``boundprobe.probe/1``, with ``bottleneck`` where there is a curve."""
        return self.of_model.to_json() | ({} if self.curve is None else {"bottleneck": self.curve.to_json()})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MeasuredModel:
        """Read a document back; errors are those of its two parts."""
        curve = document.get("bottleneck")
        check_document(document, Probe)
        return cls(ModelLadder.from_json(document), None if curve is None else BottleneckCurve.from_json(curve))
