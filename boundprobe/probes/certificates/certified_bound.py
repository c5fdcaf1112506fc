"""A certified number: a confidence bound that a theorem proves, beside its point estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class CertifiedBound:
    """A number of bits that is bounded from one side with a stated probability.

    Attributes
    ----------
    value : float
        The bound, in bits: the truth is on its other side with probability at least ``confidence``.
    direction : "lower" or "upper"
        A lower bound is at most the truth, an upper bound at least the truth.
    estimate : float
        The same formula at what was observed, in bits; not certified.
    confidence : float
    theorem : str
        "S1", "S3", "T1", "list decoding" or "Gibbs".
    method : str
        The confidence bound behind it: "clopper-pearson", or one of ``mean_bounds.CONFIDENCE_BOUNDS``.
    decoder, form : str, optional
        Decoder and form of T1 that the calibration split chose.
    threshold : int, optional
        Errors that list decoding allows, chosen on the calibration split.

    Examples
    --------
    >>> used = CertifiedBound(1.9, "lower", 2.0, 0.95, "S1", "clopper-pearson")
    >>> used.lower, used.to_json()
    (1.9, {'lower': 1.9, 'estimate': 2.0, 'confidence': 0.95})
    """

    value: float
    direction: Literal["lower", "upper"]
    estimate: float
    confidence: float
    theorem: str
    method: str
    decoder: str | None = None
    form: str | None = None
    threshold: int | None = None

    @property
    def lower(self) -> float:
        """The value of a lower bound."""
        return self._value("lower")

    @property
    def upper(self) -> float:
        """The value of an upper bound."""
        return self._value("upper")

    def _value(self, direction: str) -> float:
        if self.direction != direction:
            raise ValueError(f"`direction` must be {direction!r} for this value; got {self.direction!r}")
        return self.value

    def exceeds(self, most_bits: float, slack: float) -> bool:
        """Return True if a lower bound contradicts a size of ``most_bits`` by more than float rounding."""
        return self.lower > most_bits + slack

    def to_json(self) -> dict[str, Any]:
        """``lower`` or ``upper``, ``estimate``, ``confidence``, and what the calibration split chose."""
        document: dict[str, Any] = {
            self.direction: self.value,
            "estimate": self.estimate,
            "confidence": self.confidence,
        }
        if self.form is not None:
            document |= {"decoder": self.decoder, "form": self.form, "limit": self.method}
        if self.threshold is not None:
            document["threshold"] = self.threshold
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any], theorem: str, method: str = "clopper-pearson") -> CertifiedBound:
        """Read a bound back; ``theorem`` and ``method`` are those of its key, where the document does not say."""
        direction: Literal["lower", "upper"] = "lower" if "lower" in document else "upper"
        return cls(
            document[direction],
            direction,
            document["estimate"],
            document["confidence"],
            theorem,
            document.get("limit", method),
            document.get("decoder"),
            document.get("form"),
            document.get("threshold"),
        )
