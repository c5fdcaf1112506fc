"""Retention: which answers are still in the state, one by one or by how far back their token lies.

For independent uniform answers every one has information of its own, I(Y_i;S) >= log2 K - Phi(e_i) (S1 for one
answer; where the decoder was told earlier answers it is I(Y_i;S | Y_<i)), with e_i a Clopper-Pearson upper limit at
alpha over the number of groups: all limits hold together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.information import fano_loss_bits
from boundprobe.probes.certificates.binomial import clopper_pearson_upper
from boundprobe.tasks.base import IGNORE

IntArray = NDArray[np.int64]

#: What is certified of an answer by a decoder that sees the state alone, and by one that sees earlier answers too.
ALONE, GIVEN_EARLIER = "I(Y_i;S)", "I(Y_i;S | Y_<i)"


@dataclass(frozen=True, eq=False)
class Retention:
    """Bits of an answer that the state still holds, by group.

    Attributes
    ----------
    by : "answer" or "distance"
        What a group is: the index of the answer, or how many tokens its own lies back from the cut.
    of : str
        What is certified of each answer: "I(Y_i;S)", or "I(Y_i;S | Y_<i)" where the decoder sees earlier answers.
    group : tuple of int
    lower_bits : float array (n_groups,)
        Certified, all together with probability at least ``confidence``.
    estimate_bits, error : float array (n_groups,)
        At the observed errors, and these.
    n_sequences : int array (n_groups,)
    confidence : float
    """

    by: str
    of: str
    group: tuple[int, ...]
    lower_bits: NDArray[np.float64]
    estimate_bits: NDArray[np.float64]
    error: NDArray[np.float64]
    n_sequences: IntArray
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """By what, of what, and one entry for each group."""
        groups = [
            {"group": g, "lower": float(low), "estimate": float(estimate), "error": float(error), "n_sequences": int(n)}
            for g, low, estimate, error, n in zip(
                self.group, self.lower_bits, self.estimate_bits, self.error, self.n_sequences, strict=True
            )
        ]  # fmt: skip
        return {"by": self.by, "of": self.of, "groups": groups}


def retention(
    wrong: NDArray[np.bool_],
    groups: IntArray,
    n_values: int,
    alpha: float,
    *,
    by: str = "answer",
    of: str = ALONE,
) -> Retention:
    """Certified bits of each group of answers.

    Parameters
    ----------
    wrong : bool array (N, n)
        Which answers a frozen decoder got wrong.
    groups : int64 array (N, n)
        Group of each answer, at most one answer of a sequence in each (A5: the sequence is the unit); ``IGNORE``
        leaves an answer out.  It may depend on which answers are defined and in which order, not on their values.
    n_values : int
        K; the answers are independent and uniform given the groups.
    alpha : float
        Probability, at most, that any limit fails.
    by, of : str
        See ``Retention``.

    Raises
    ------
    ValueError
        If a sequence has two answers in one group.

    Examples
    --------
    >>> held = retention(np.array([[False, True]] * 1000), np.array([[3, 5]] * 1000), 4, 0.05)
    >>> held.group, held.lower_bits.round(2).tolist(), held.estimate_bits.tolist()
    ((3, 5), [1.96, 0.0], [2.0, 0.0])
    """
    names = np.setdiff1d(groups, [IGNORE])
    n_sequences, n_wrong = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    for i, name in enumerate(names):
        member = groups == name
        if (member.sum(1) > 1).any():
            raise ValueError(
                f"group {name} has two answers of one sequence; allowed: one, as the sequence is the unit; give them "
                "groups of their own"
            )
        n_sequences[i], n_wrong[i] = member.sum(), (member & wrong).sum()
    upper = np.array(
        [
            clopper_pearson_upper(np.array(w), int(n), alpha / len(names))
            for w, n in zip(n_wrong, n_sequences, strict=True)
        ]
    )
    error = n_wrong / n_sequences
    lower, estimate = (math.log2(n_values) - fano_loss_bits(e, n_values) for e in (upper, error))
    return Retention(by, of, tuple(int(name) for name in names), lower, estimate, error, n_sequences, 1 - alpha)


def by_answer(wrong: NDArray[np.bool_], n_values: int, alpha: float, of: str = ALONE) -> Retention:
    """Certified bits of each answer; arguments are those of ``retention``."""
    return retention(wrong, np.broadcast_to(np.arange(wrong.shape[1]), wrong.shape), n_values, alpha, of=of)
