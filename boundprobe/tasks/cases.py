"""The hard cases of a task in numbers, from which bounds are computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boundprobe.checks import check_integer


@dataclass(frozen=True)
class StateCase:
    """The state-hard case in numbers: prefixes that a state at the cut must distinguish (theory, section 2).

    Attributes
    ----------
    n_answers : int
        Size of the query set; under teacher forcing, tokens asked for over all suffixes.
    n_values : int
        Number of values that each answer can take, K.
    entropy_bits : float
        Joint entropy H(Y_A) of all answers, in bits.
    independent_uniform : bool
        Whether the answers are independent and uniform, i.e. the memory part is read coordinate by
        coordinate (what ball packing, S3, needs).
    zero_error_bits : float
        log2 of the number of distinct rows of the answer table (S4).
    theorem : str
        The published theorem whose proof this case comes from.
    forces : str
        In words, what the case forces a model to do.
    """

    n_answers: int
    n_values: int
    entropy_bits: float
    independent_uniform: bool
    zero_error_bits: float
    theorem: str
    forces: str

    @classmethod
    def of_uniform_answers(cls, n_answers: int, n_values: int, *, theorem: str, forces: str) -> StateCase:
        """The case of independent uniform answers: n log2 K bits, of entropy and for zero error alike.

        >>> StateCase.of_uniform_answers(3, 4, theorem="", forces="").zero_error_bits
        6.0
        """
        bits = n_answers * math.log2(n_values)
        return cls(n_answers, n_values, bits, True, bits, theorem, forces)


@dataclass(frozen=True)
class WindowCase:
    """The window-hard case in numbers: a control part far away that picks one of several answers.

    Distances are counted back from the last position, which has distance 0.  The answer is the token at
    one of ``candidate_distances``; those tokens are independent and uniform over ``n_values`` values, and
    the control part picks one of them uniformly.

    Without control tokens far away (``control_distances`` and ``candidates_if_blind_to`` empty) there is one
    candidate: who sees it can answer, to anyone else the answer is uniform over ``n_values`` values.

    Attributes
    ----------
    seq_len : int
    n_values : int
    control_distances : tuple of int
        Distances of the control tokens, the farthest first; empty where what asks is in sight anyway.
    candidates_if_blind_to : tuple of int
        Entry j: how many candidates remain when the j+1 farthest control tokens are out of sight.
    candidate_distances : tuple of int
        Distances of the tokens that can be the answer (or, in position retrieval, that settle it).
    theorem, forces : str
    """

    seq_len: int
    n_values: int
    control_distances: tuple[int, ...]
    candidates_if_blind_to: tuple[int, ...]
    candidate_distances: tuple[int, ...]
    theorem: str
    forces: str

    @classmethod
    def of_one_token(cls, seq_len: int, n_values: int, distance: int, *, theorem: str, forces: str) -> WindowCase:
        """The case in which one token, ``distance`` positions back, is the answer, and what asks is in sight.

        >>> WindowCase.of_one_token(10, 4, 8, theorem="", forces="").sensitivity_distance
        8
        """
        return cls(seq_len, n_values, (), (), (distance,), theorem, forces)

    @property
    def sensitivity_distance(self) -> int:
        """Distance of the earliest token that matters, d in W1."""
        return max(self.control_distances + self.candidate_distances)

    def min_window(self, n_layers: int) -> int:
        """Least window for a stack of equal windowed layers to see every token that matters: 1 + ceil(d / layers).

        A smaller window is right on at most half of the worst two inputs (W1; Cooper et al. 2026, Theorem 3.7).

        >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
        >>> [case.min_window(layers) for layers in (1, 2, 3)]
        [100, 51, 34]

        Raises
        ------
        ValueError
            If there is no layer.
        """
        layers = check_integer(
            "n_layers", n_layers, 1, why="; without a layer only the last token is seen; give a depth"
        )
        return 1 + -(-self.sensitivity_distance // layers)
