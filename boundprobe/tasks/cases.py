"""The hard cases of a task in numbers, from which bounds are computed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from boundprobe.checks import check_integer


@dataclass(frozen=True)
class Places:
    """Where the tokens stand that settle the answers of a state-hard case: their distances back from the cut.

    The last token before the cut has distance 0.  Which of the tokens settles which answer may differ from prefix to
    prefix; where they stand does not.  They come in blocks of equal length.

    Attributes
    ----------
    nearest : int, in tokens
        Distance of the youngest of them, at least 0; a gap of g filler tokens makes it g.
    n_blocks : int
        At least 1.
    block_len : int, in tokens
        From one block to the next, at least ``width``.
    width : int
        Tokens of a block that settle an answer, at least 1: its youngest ones, side by side.

    Raises
    ------
    ValueError
        For a value outside its limits.

    Examples
    --------
    Three pairs of key and value, then five tokens of filler; the values are what settles the answers:

    >>> places = Places(nearest=5, n_blocks=3, block_len=2)
    >>> places.distances().tolist(), [places.n_beyond(lag) for lag in (0, 5, 6, 7, 8, 9, 10)]
    ([5, 7, 9], [3, 3, 2, 2, 1, 1, 0])
    """

    nearest: int
    n_blocks: int
    block_len: int
    width: int = 1

    def __post_init__(self) -> None:
        check_integer("nearest", self.nearest, 0)
        check_integer("n_blocks", self.n_blocks, 1)
        check_integer("width", self.width, 1)
        why = f" (width is {self.width} and blocks do not overlap)"
        check_integer("block_len", self.block_len, self.width, why=why)

    def n_beyond(self, lag: int) -> int:
        """Number of answers whose token lies ``lag`` or more before the cut: those of ``distances`` at least ``lag``.

        >>> Places(nearest=0, n_blocks=2, block_len=5, width=3).n_beyond(6)
        2

        Raises
        ------
        ValueError
            If ``lag`` is no integer of at least 0.
        """
        passed, into = divmod(max(0, check_integer("lag", lag, 0) - self.nearest), self.block_len)
        if passed >= self.n_blocks:
            return 0
        return (self.n_blocks - passed - 1) * self.width + max(0, self.width - into)

    def distances(self) -> np.ndarray:
        """All distances, ascending: int64 (n_blocks * width,)."""
        blocks = self.nearest + self.block_len * np.arange(self.n_blocks, dtype=np.int64)
        return (blocks[:, None] + np.arange(self.width)).reshape(-1)


@dataclass(frozen=True)
class StateCase:
    """The state-hard case in numbers: prefixes that a state at the cut must distinguish (docs/theory/bounds.md).

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
    places : Places or None
        Where the tokens stand that settle the answers; None where that differs from prefix to prefix.
    permutation : bool
        Whether the answers are the places of a uniform permutation of the tokens at ``places``, each answer one
        token's: as in the suffix form of position retrieval.
    """

    n_answers: int
    n_values: int
    entropy_bits: float
    independent_uniform: bool
    zero_error_bits: float
    theorem: str
    forces: str
    places: Places | None = None
    permutation: bool = False

    @classmethod
    def of_uniform_answers(
        cls, n_answers: int, n_values: int, *, theorem: str, forces: str, places: Places | None = None
    ) -> StateCase:
        """The case of independent uniform answers: n log2 K bits, of entropy and for zero error alike.

        >>> StateCase.of_uniform_answers(3, 4, theorem="", forces="").zero_error_bits
        6.0
        """
        bits = n_answers * math.log2(n_values)
        return cls(n_answers, n_values, bits, True, bits, theorem, forces, places)

    def beyond(self, lag: int) -> StateCase | None:
        """The case of the answers whose tokens lie ``lag`` or more before the cut, given all that lies after.

        What D1 speaks of (docs/theory/bounds.md).  Which answers these are is given as well: in recall a cut may fall
        between a key and its value.  Independent uniform answers remain that, whatever is known of the others; of a
        uniform permutation, the m tokens whose places are not known yet are a uniform permutation of m.

        Parameters
        ----------
        lag : int, in tokens
            At least 0; the ``lag`` tokens before the cut are known.

        Returns
        -------
        StateCase or None
            The case itself where no answer's token is that near; else without ``places``.  None where nothing is left
            to know, and where nothing is known: places are None, or answers neither independent and uniform nor a
            permutation.

        Raises
        ------
        ValueError
            If ``lag`` is no integer of at least 0.

        Examples
        --------
        >>> case = StateCase.of_uniform_answers(3, 4, theorem="", forces="", places=Places(5, 3, 2))
        >>> case.beyond(5) == case, case.beyond(6).entropy_bits, case.beyond(10)
        (True, 4.0, None)
        """
        check_integer("lag", lag, 0)
        if self.places is None or not (self.independent_uniform or self.permutation):
            return None
        if lag <= self.places.nearest:
            return self
        n_far = self.places.n_beyond(lag)
        if n_far == 0 or (self.permutation and n_far == 1):
            return None
        bits = log2_factorial(n_far) if self.permutation else n_far * math.log2(self.n_values)
        return dataclasses.replace(
            self,
            n_answers=n_far,
            n_values=n_far if self.permutation else self.n_values,
            entropy_bits=bits,
            zero_error_bits=bits,
            forces=f"{self.forces}; {n_far} of {self.n_answers} lie {lag} or more tokens before the cut",
            places=None,
        )


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


def log2_factorial(n: int) -> float:
    """log2 n!, the bits of a uniform permutation of n things.

    >>> round(log2_factorial(4), 6)
    4.584963
    """
    return math.fsum(math.log2(i) for i in range(2, n + 1))
