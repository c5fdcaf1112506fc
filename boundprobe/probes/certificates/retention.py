"""Retention: the answers still in the state, one by one or by distance of their token.

For independent uniform answers every one has information of its own, I(Y_i;S) >= log2 K - Phi(e_i) (S1 for one
answer; where the decoder was told earlier answers it is I(Y_i;S | Y_<i)), with e_i a Clopper-Pearson upper bound at
alpha over the number of groups: all bounds hold together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.information import fano_loss_bits
from boundprobe.probes.certificates.binomial import clopper_pearson_upper
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.mean_bounds import upper_confidence_bound
from boundprobe.probes.certificates.sample import unit_means
from boundprobe.tasks.base import IGNORE

IntArray = NDArray[np.int64]

#: What is certified of an answer by a decoder that sees the state alone, and by one that sees earlier answers too.
ALONE, GIVEN_EARLIER = "I(Y_i;S)", "I(Y_i;S | Y_<i)"


@dataclass(frozen=True)
class RetainedGroup:
    """Bits that the state still holds of the answers of one group.

    Attributes
    ----------
    group : int
        Index of the answer, or how many tokens its own lies back from the cut.
    bits : CertifiedBound
        Of each answer of the group.
    error : float
        Observed share of wrong answers.
    n_sequences : int
    """

    group: int
    bits: CertifiedBound
    error: float
    n_sequences: int


@dataclass(frozen=True)
class Retention:
    """Bits of an answer that the state still holds, by group.

    Attributes
    ----------
    by : "answer" or "distance"
        What a group is: the index of the answer, or how many tokens its own lies back from the cut.
    of : str
        What is certified of each answer: "I(Y_i;S)", or "I(Y_i;S | Y_<i)" where the decoder sees earlier answers.
    groups : tuple of RetainedGroup
        Their bounds hold together with probability at least ``confidence``.
    confidence : float
    """

    by: str
    of: str
    groups: tuple[RetainedGroup, ...]
    confidence: float

    @property
    def lower_bits(self) -> NDArray[np.float64]:
        """Certified bits of each group, (n_groups,)."""
        return np.array([each.bits.lower for each in self.groups])

    def to_json(self) -> dict[str, Any]:
        """By what, of what, and one entry for each group."""
        groups = [
            {
                "group": each.group,
                "lower": each.bits.lower,
                "estimate": each.bits.estimate,
                "error": each.error,
                "n_sequences": each.n_sequences,
            }
            for each in self.groups
        ]
        return {"by": self.by, "of": self.of, "groups": groups}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], confidence: float) -> Retention:
        """Read retention back that holds with a probability that the document does not have."""
        groups = tuple(
            RetainedGroup(
                each["group"],
                _bits(each["lower"], each["estimate"], confidence),
                each["error"],
                each["n_sequences"],
            )
            for each in document["groups"]
        )
        return cls(document["by"], document["of"], groups, confidence)


def _bits(lower: float, estimate: float, confidence: float) -> CertifiedBound:
    return CertifiedBound(lower, "lower", estimate, confidence, "S1", "clopper-pearson")


def retention(
    wrong: NDArray[np.bool_],
    groups: IntArray,
    n_values: int,
    alpha: float,
    *,
    by: str = "answer",
    of: str = ALONE,
    units: IntArray | None = None,
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
        K, the number of values that each answer can take; the answers are independent and uniform given the groups.
    alpha : float
        Probability, at most, that any bound fails.
    by, of : str
        See ``Retention``.
    units : int64 array (N,), optional
        Sequences with the same number share a source and are one observation; the bounds of the error are then those
        of a mean (betting).

    Raises
    ------
    ValueError
        If a sequence has two answers in one group.

    Examples
    --------
    >>> held = retention(np.array([[False, True]] * 1000), np.array([[3, 5]] * 1000), 4, 0.05)
    >>> [(each.group, round(each.bits.lower, 2), each.bits.estimate) for each in held.groups]
    [(3, 1.96, 2.0), (5, 0.0, 0.0)]
    """
    names = np.setdiff1d(groups, [IGNORE])
    n_sequences, n_wrong = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    for i, name in enumerate(names):
        member = groups == name
        if (member.sum(1) > 1).any():
            raise ValueError(
                f"a group must have one answer of a sequence, as the sequence is the unit; got two in group {name}. "
                "Give them groups of their own."
            )
        n_sequences[i], n_wrong[i] = member.sum(), (member & wrong).sum()
    level = alpha / max(1, len(names))
    if units is None:
        error = n_wrong / n_sequences
        upper = np.array(
            [clopper_pearson_upper(np.array(w), int(n), level) for w, n in zip(n_wrong, n_sequences, strict=True)]
        )
    else:
        shares = [_wrong_shares(wrong, groups == name, units) for name in names]
        error = np.array([float(each.mean()) for each in shares])
        upper = np.array([upper_confidence_bound(each, level, 0.0, 1.0) for each in shares])
    lower, estimate = (math.log2(n_values) - fano_loss_bits(e, n_values) for e in (upper, error))
    columns = (names, lower, estimate, error, n_sequences)
    retained = tuple(
        RetainedGroup(name, _bits(low, expected, 1 - alpha), wrong_share, count)
        for name, low, expected, wrong_share, count in zip(*(each.tolist() for each in columns), strict=True)
    )
    return Retention(by, of, retained, 1 - alpha)


def _wrong_shares(wrong: NDArray[np.bool_], member: NDArray[np.bool_], units: IntArray) -> NDArray[np.float64]:
    """Share of wrong answers among those of ``member``, for each unit that has one."""
    has = member.any(1)
    share: NDArray[np.float64] = (member & wrong)[has].sum(1, dtype=np.float64)
    return unit_means(share, units[has])


def by_answer(
    wrong: NDArray[np.bool_], n_values: int, alpha: float, of: str = ALONE, units: IntArray | None = None
) -> Retention:
    """Certified bits of each answer; arguments are those of ``retention``."""
    answer = np.broadcast_to(np.arange(wrong.shape[1]), wrong.shape)
    return retention(wrong, answer, n_values, alpha, of=of, units=units)
