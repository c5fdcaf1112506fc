"""Prior knowledge of the answers, before any state is seen (assumption A2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boundprobe.checks import check_integer
from boundprobe.tasks.cases import StateCase


@dataclass(frozen=True)
class Prior:
    """The distribution of the answers, as far as certificates need it.

    Attributes
    ----------
    n_answers : int
        Answers of one sequence, n.
    n_values : int
        Values that each answer can take, K: 0..K-1.
    entropy_bits : float
        Joint entropy of all answers of a sequence, given which of them are defined, H(Y | D), with
        ``undefined_bits`` more for each answer that is expected not to be.
    independent_uniform : bool
        Whether all answers are defined, independent and uniform.
    evidence : str
        Who says so.
    undefined_bits : float
        What a code pays for an undefined answer: 0 where H(Y | D) is known.  Where only the distribution of the defined
        answers is, I(Y;S | D) is at least the mean of sum_{i defined} (log2 K - l_i): then log2 K, on both sides.
    """

    n_answers: int
    n_values: int
    entropy_bits: float
    independent_uniform: bool
    evidence: str
    undefined_bits: float = 0.0

    def __post_init__(self) -> None:
        check_integer("n_answers", self.n_answers, 1, why="; give an answer for each sequence")
        check_integer("n_values", self.n_values, 2, why="; one value alone is no answer: give the number of values")
        most = self.n_answers * math.log2(self.n_values)
        if not 0 < self.entropy_bits <= most * (1 + 1e-9):
            raise ValueError(
                f"`entropy_bits` must be above 0, at most {most:.6f}, what {self.n_answers} answers of {self.n_values} "
                f"values can carry; got {self.entropy_bits}. Give the joint entropy of the answers in bits."
            )

    @classmethod
    def uniform(cls, n_answers: int, n_values: int, evidence: str = "stated by the user") -> Prior:
        """Independent uniform answers: H(Y) = n log2 K.

        >>> Prior.uniform(16, 16).entropy_bits
        64.0
        """
        check_integer("n_values", n_values, 2, why="; one value alone is no answer: give the number of values")
        return cls(n_answers, n_values, n_answers * math.log2(n_values), True, evidence)

    @classmethod
    def uniform_where_defined(cls, n_answers: int, n_values: int, evidence: str = "stated by the user") -> Prior:
        """Independent uniform answers that are not always defined; the distribution of which ones are is not needed.

        >>> Prior.uniform_where_defined(16, 16).undefined_bits
        4.0
        """
        all_defined = cls.uniform(n_answers, n_values)
        return cls(n_answers, n_values, all_defined.entropy_bits, False, evidence, math.log2(n_values))

    @classmethod
    def stated(cls, n_answers: int, n_values: int, entropy_bits: float, evidence: str = "stated by the user") -> Prior:
        """Answers of any distribution whose joint entropy is known.

        >>> Prior.stated(3, 3, math.log2(6)).independent_uniform
        False
        """
        return cls(n_answers, n_values, entropy_bits, False, evidence)

    @classmethod
    def of_case(cls, case: StateCase, n_values: int | None = None) -> Prior:
        """The prior of a task's state-hard case, for codes over ``n_values`` values (the case's own if not given)."""
        k = n_values or case.n_values
        uniform = case.independent_uniform and k == case.n_values
        return cls(case.n_answers, k, case.entropy_bits, uniform, case.theorem)
