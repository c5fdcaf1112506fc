"""One bound as an object: its number, what it bounds, which theorem says so and how that is known."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from boundprobe.checks import check_word

#: How a bound is known: by a proof that tests enumerate, by enumerating this very case, by its author's word, not.
EVIDENCE = ("proved", "enumerated", "author", "unavailable")

#: Whether no machine has less (lower) or none has more (upper).
DIRECTIONS = ("lower", "upper")

#: What a value is measured in.
UNITS = ("bits", "tokens", "probability")


@dataclass(frozen=True)
class Bound:
    """A number that no machine can pass, and why.

    Attributes
    ----------
    name : str
        Such as ``"fano"``.
    of : str
        In words, the quantity that is bounded.
    value : float or None
        In ``unit``; None where the bound's conditions do not hold (``evidence`` is then ``unavailable``).
    unit : "bits" | "tokens" | "probability"
    direction : "lower" | "upper"
        ``lower``: the quantity is at least ``value``; ``upper``: at most.
    theorem : str
        The statement, and the published theorem.
    assumptions : tuple of str
        What must hold for the value to be a bound.
    evidence : "proved" | "enumerated" | "author" | "unavailable"

    Examples
    --------
    >>> Bound("fano", "log2 of the number of states", 0.0, "bits", "lower", "S1 Fano", (), "proved").vacuous
    True
    """

    name: str
    of: str
    value: float | None
    unit: str
    direction: str
    theorem: str
    assumptions: tuple[str, ...]
    evidence: str

    def __post_init__(self) -> None:
        check_word("unit", self.unit, UNITS)
        check_word("direction", self.direction, DIRECTIONS)
        check_word("evidence", self.evidence, EVIDENCE)
        if (self.value is None) != (self.evidence == "unavailable"):
            raise ValueError(
                f"bound {self.name!r} has value {self.value!r} and evidence {self.evidence!r}; allowed: "
                "no value exactly where the evidence is 'unavailable'; change one of them"
            )
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"bound {self.name!r} has value {self.value!r}; allowed: finite numbers; compute it anew")

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing: a lower bound of 0, or an upper bound of 1 on a probability."""
        if self.value is None:
            return False
        return self.value <= 0.0 if self.direction == "lower" else self.unit == "probability" and self.value >= 1.0

    def to_json(self) -> dict[str, object]:
        """The bound as a plain dict, ``vacuous`` included."""
        return dataclasses.asdict(self) | {"assumptions": list(self.assumptions), "vacuous": self.vacuous}
