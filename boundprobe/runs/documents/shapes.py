"""Numbers, texts and certificates as every document has them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Bits = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(max_length=10_000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Parameters of a task or a model, and cells of a table.
Plain = dict[str, str | bool | int | float | list[Any] | None]


class Document(BaseModel):
    """An object of a document: every key is known and there, every number finite, nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class LowerBound(Document):
    """A certified lower bound; the last four are what the calibration split chose."""

    lower: Bits
    estimate: Bits
    confidence: Level
    decoder: Text | None = None
    form: Text | None = None
    limit: Text | None = None
    threshold: Count | None = None


class EntropyBound(Document):
    """An upper bound of the entropy of a rounded state."""

    upper: Bits
    estimate: Bits
    confidence: Level
    entry_bits: Positive
    total_bits: Count


class Interval(Document):
    """A share with its two-sided confidence bounds."""

    estimate: Share
    lower: Share
    upper: Share

    @model_validator(mode="after")
    def _in_order(self) -> Interval:
        if not self.lower <= self.upper:  # a bound by betting need not have the estimate in between
            raise ValueError("must have lower <= upper")
        return self


class Errors(Document):
    """Error of each answer with simultaneous confidence bounds."""

    estimate: Annotated[list[Share], Field(min_length=1)]
    lower: list[Share]
    upper: list[Share]

    @model_validator(mode="after")
    def _in_order(self) -> Errors:
        if not len(self.estimate) == len(self.lower) == len(self.upper):
            raise ValueError("must have one lower and one upper bound for each answer")
        if any(not low <= e <= high for e, low, high in zip(self.estimate, self.lower, self.upper, strict=True)):
            raise ValueError("must have lower <= estimate <= upper for each answer")
        return self


class Halves(Document):
    """Accuracy on both halves of the hard distribution."""

    state_hard: Annotated[Interval, Field(alias="state-hard")]
    window_hard: Annotated[Interval, Field(alias="window-hard")]


class Memory(Document):
    """Nominal bits by kind."""

    recurrent_bits: Count
    conv_bits: Count
    cache_bits: Count
