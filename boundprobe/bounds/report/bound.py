"""One bound as an object: its value, the bounded quantity, the theorem and the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from boundprobe.checks import check_word

#: How a bound is known: by a proof that tests enumerate, by enumerating this very case, by its author's word, not.
EVIDENCE = ("proved", "enumerated", "author", "unavailable")

#: Words of the theorems, said once.
FANO = "S1 Fano (Theorem 3.3, exact form)"
PACKING = "S3 ball packing (Theorem 3.3, one-shot form)"
ZERO_ERROR = "S4 zero error (Assumption 3.2, distinct rows of the answer table)"
TWO_POINTS = "W1 two points (Theorem 3.7)"
EXACT_CEILING = "W2 exact ceiling (Theorem 3.7)"
DIAGONAL = "D1 diagonal cut (ours; its ends are Theorems 3.3 and 3.7)"
SHATTERED = "S1 and S3 on a shattered set (Kremer, Nisan, Ron 1999, with constants)"

_STATES = "log2 of the number of states at the cut"
_INFORMATION = "bits that the state at the cut holds of the memory part, I(U;S)"


@dataclass(frozen=True)
class Statement:
    """The task-independent meaning of a bound.

    Attributes
    ----------
    of : str
        In words, the quantity that is bounded.
    unit : str
        Such as ``bits``, ``tokens`` or ``probability``; empty for yes or no.
    direction : "lower" | "upper" | "exact"
        ``lower``: the quantity is at least the value; ``upper``: at most; ``exact``: it is the value.
    theorem : str
        The statement of the theory, and the published theorem.
    """

    of: str
    unit: str
    direction: str
    theorem: str


#: Every statement that a report makes, by its key.
STATEMENTS: dict[str, Statement] = {
    "entropy": Statement("joint entropy of all answers", "bits", "exact", "joint entropy of all answers, H(Y_A)"),
    "fano": Statement(_INFORMATION, "bits", "lower", FANO),
    "rate_distortion": Statement(_INFORMATION, "bits", "lower", "S2 rate-distortion (closed form, uniform answers)"),
    "packing": Statement(_STATES, "bits", "lower", PACKING),
    "zero_error": Statement(_STATES, "bits", "lower", ZERO_ERROR),
    "whole_string": Statement(_STATES, "bits", "lower", "S5 one wrong is all wrong"),
    "receptive_field": Statement("last tokens that the model sees", "tokens", "lower", TWO_POINTS),
    "sum_window_minus_one": Statement("sum over layers of (window - 1)", "tokens", "lower", TWO_POINTS),
    "blind_accuracy": Statement("accuracy on the window-hard distribution", "probability", "upper", EXACT_CEILING),
    "fano_ceiling": Statement("accuracy on the state-hard distribution", "probability", "upper", FANO),
    "packing_ceiling": Statement("accuracy on the state-hard distribution", "probability", "upper", PACKING),
    "diagonal_ceiling": Statement("accuracy on the state-hard distribution", "probability", "upper", DIAGONAL),
    "window_ceiling": Statement("accuracy on the window-hard distribution", "probability", "upper", EXACT_CEILING),
    "distinct_rows": Statement("distinct rows of the answer table", "states", "exact", ZERO_ERROR),
    "injective": Statement("whether the queries tell all prefixes apart", "", "exact", "Assumption 3.2"),
    "separating_set": Statement("a smallest set of queries that does so", "queries", "exact", "minimum test cover"),
    "vc_dimension": Statement("VC dimension of the answer table", "queries", "exact", SHATTERED),
    "vc": Statement(_STATES, "bits", "lower", SHATTERED),
    "sensitivity_distance": Statement("sum over layers of (window - 1)", "tokens", "lower", TWO_POINTS),
    "independent": Statement("whether all answers are independent", "", "exact", "condition of S2"),
    "uniform_product": Statement("whether they are independent and uniform", "", "exact", "condition of S3"),
}


@dataclass(frozen=True)
class Bound:
    """A value that no machine can pass (or, for an exact statement, that is so), and why.

    Attributes
    ----------
    key : str
        Of ``STATEMENTS``: what is bounded, in which unit and direction, by which theorem.
    value : float, int, bool, list of int, or None
        In the statement's unit; None exactly where the conditions do not hold (``evidence`` is ``unavailable``).
    evidence : "proved" | "enumerated" | "author" | "unavailable"
    assumptions : tuple of str
        What must hold for the value to be a bound.
    note : str
        What was checked, what was not, and what the value says.

    Raises
    ------
    ValueError
        For an unknown key or evidence, a value that is not finite, or a value where none is available.

    Examples
    --------
    >>> Bound("fano", 0.0, "proved").vacuous
    True
    """

    key: str
    value: float | int | bool | list[int] | None
    evidence: str
    assumptions: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        check_word("key", self.key, STATEMENTS)
        check_word("evidence", self.evidence, EVIDENCE)
        if (self.value is None) != (self.evidence == "unavailable"):
            raise ValueError(
                f"bound {self.key!r} must have no value exactly where its evidence is 'unavailable'; got value "
                f"{self.value!r} with evidence {self.evidence!r}."
            )
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError(f"bound {self.key!r} must have a finite value; got {self.value!r}.")

    @property
    def statement(self) -> Statement:
        """The catalogue entry of the bound's key."""
        return STATEMENTS[self.key]

    @property
    def theorem(self) -> str:
        """The statement of the theory, and the published theorem."""
        return self.statement.theorem

    @property
    def number(self) -> float:
        """The value as a number.

        Raises
        ------
        ValueError
            If there is none.
        """
        if not isinstance(self.value, int | float):
            raise ValueError(f"bound {self.key!r} must be available to be used as a number; got {self.value!r}.")
        return float(self.value)

    @property
    def vacuous(self) -> bool:
        """True for a lower bound of 0 and for an upper bound of 1 on a probability."""
        if not isinstance(self.value, int | float):
            return False
        if self.statement.direction == "lower":
            return self.value <= 0.0
        return self.statement.unit == "probability" and self.value >= 1.0

    def to_json(self) -> dict[str, object]:
        """The bound as ``boundprobe bounds --statements`` has it."""
        return {
            "name": self.key,
            "of": self.statement.of,
            "value": self.value,
            "unit": self.statement.unit,
            "direction": self.statement.direction,
            "theorem": self.theorem,
            "assumptions": list(self.assumptions),
            "evidence": self.evidence,
            "vacuous": self.vacuous,
        }


def find_bound(bounds: Iterable[Bound], key: str) -> Bound:
    """The bound of that key.

    Raises
    ------
    ValueError
        If there is none; it lists those that there are.
    """
    by_key = {bound.key: bound for bound in bounds}
    return by_key[check_word("key", key, by_key)]
