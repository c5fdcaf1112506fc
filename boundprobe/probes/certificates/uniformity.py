"""Tests of a stated uniform prior by betting against it: are answers uniform over K values, and independent? (A2)

A bettor who thinks that M cells are not equally likely draws a distribution from Dirichlet(beta, .., beta) and bets
on it.  His wealth after N draws with counts c_v is the likelihood ratio

    E = M^N Gamma(M beta) / Gamma(N + M beta) prod_v Gamma(c_v + beta) / Gamma(beta)

whose mean under uniform draws is exactly 1, for every N, M and beta.  So are means of E over beta and over pairs of
answers, and products over answers that are independent, and P(E >= 1/level) <= level (Markov).  No expected count is
asked for: a few coincidences of equal answers are enough, which a chi-square test needs thousands of draws for (26
values in use of a stated 1,000 show from 200 draws on).

What is tested, given which answers are defined (D):

    values       each answer, and all together, over K cells
    pairs        both answers, over K^2 cells; their difference and their sum mod K, over K cells
    sums         of the first answers, mod K (and their exclusive or, where K is a power of 2), over K cells
    likeness     sequences that are like earlier ones: copies, or dependence spread over many answers (``likeness``)
    relations    exact linear relations among any answers (``linear_relations``)
    presence     each answer, apart for each answer j by whether j is defined, and by the whole of D
    rows         all answers together, over K^n cells, where all are defined
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from boundprobe.probes.certificates.likeness import likeness_log_e
from boundprobe.probes.certificates.linear_relations import relation_log_e
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Concentrations beta that are bet on: from a few cells in use to departures of a per cent.
CONCENTRATIONS = np.geomspace(1e-2, 1e4, 13)

#: Answers that are compared in all: more pairs than that allows are drawn at random.
MOST_COMPARED = 2 * 10**7

#: Coincidences that are expected of a uniform prior, below which a test can hardly see anything.
FEW_COINCIDENCES = 10.0


@dataclass(frozen=True)
class Evidence:
    """Evidence against the prior from one family of tests.

    Attributes
    ----------
    log_e : float
        Log of a mean of wealths, whose expected value under the prior is 1.
    says : str
        The sharpest test of the family, for a message.
    """

    log_e: float
    says: str


def log_wealth(counts: IntArray, n_cells: float, concentrations: FloatArray) -> FloatArray:
    """Log of E for each concentration.

    Parameters
    ----------
    counts : int64 array
        Of the cells that occur; the others need not be given.
    n_cells : float
        M; as large as 2^1000.
    concentrations : float array (b,)

    Examples
    --------
    Two cells, one draw: whatever is bet, E is 1 as nothing was learnt.

    >>> np.exp(log_wealth(np.array([1]), 2, np.array([0.1, 10.0]))).round(9).tolist()
    [1.0, 1.0]
    """
    size, how_many = np.unique(counts[counts > 0], return_counts=True)
    n, beta = int((size * how_many).sum()), concentrations
    rising = (how_many[:, None] * (gammaln(size[:, None] + beta) - gammaln(beta))).sum(0)
    total = n_cells * beta
    # Gamma(N + t) / Gamma(t) of a large t is lost in rounding; its logarithm is N log t + N (N - 1) / 2t and less.
    exact = gammaln(n + np.minimum(total, 1e8)) - gammaln(np.minimum(total, 1e8))
    normaliser = np.where(total < 1e8, exact, n * np.log(total) + n * (n - 1) / (2 * total))
    wealth: FloatArray = rising - normaliser + n * math.log(n_cells)
    return wealth


def check_uniform(answers: IntArray, n_values: int, level: float, premise: str = "as the prior says") -> str:
    """Hold "independent and uniform, given which are defined" against the answers; return what was tested.

    Parameters
    ----------
    answers : int64 array (N, n)
        Of independent sequences; ``IGNORE`` where undefined.
    n_values : int
        K.
    level : float
        Probability, at most, that a true prior is refused.
    premise : str
        Who says so, for the message.

    Raises
    ------
    ValueError
        If the answers are not those of the prior; names the test that shows it best.
    """
    pairs = _pairs(*answers.shape)
    families = list(_families(answers, n_values, pairs))
    whole = logsumexp([family.log_e for family in families]) - math.log(len(families))
    if whole >= -math.log(level):
        # Families are in order from the simplest: what one answer shows says more than what all together show.
        told = next((family for family in families if family.log_e >= -math.log(level)), families[0])
        raise ValueError(
            f"`answers` must be independent and uniform over 0 to {n_values - 1}, {premise}; got {told.says} "
            f"(odds of 10^{whole / math.log(10):.0f} against it); state the number of values in use (--n-values), or "
            "the answers' joint entropy (--entropy-bits); sequences that share one source need `groups` (--groups)"
        )
    return _said(answers != IGNORE, n_values, pairs, level)


def _said(defined: NDArray[np.bool_], n_values: int, pairs: list[tuple[int, int]], level: float) -> str:
    """A sentence on the tests that were made, and on those that sequences were too few for."""
    n_answers, by = defined.shape[1], f"(betting, level {level:.0e})"
    tested = int((_coincidences(defined.sum(0)) >= FEW_COINCIDENCES * n_values).sum())
    if not tested:
        return f"your word: {len(defined)} sequences are too few to test {n_values} values"
    values = "uniform values" if tested == n_answers else f"uniform values of {tested} of {n_answers} answers"
    if n_answers == 1:
        return f"{values} tested {by}"
    together = defined.astype(np.float32)
    met = _coincidences((together.T @ together)[tuple(np.array(pairs).T)])
    fully, partly = (int((met >= FEW_COINCIDENCES * n_values**power).sum()) for power in (2, 1))
    told = f"{fully} of {math.comb(n_answers, 2)} pairs"
    if fully < partly:
        told += f", and of differences of {partly - fully} more (too few sequences for all {n_values}^2 cells),"
    return f"{values} and independence of {told} tested {by}"


def _coincidences(n_rows: NDArray[Any]) -> NDArray[np.float64]:
    """Pairs among so many rows."""
    n = n_rows.astype(np.float64)
    pairs: NDArray[np.float64] = n * (n - 1) / 2
    return pairs


def _pairs(n_rows: int, n_answers: int) -> list[tuple[int, int]]:
    """All pairs of answers, or as many random ones as ``MOST_COMPARED`` allows; neighbours are always among them."""
    most = max(n_answers, MOST_COMPARED // max(1, n_rows))
    if math.comb(n_answers, 2) <= most:
        return list(itertools.combinations(range(n_answers), 2))
    neighbours = [(i, i + 1) for i in range(n_answers - 1)]
    drawn = generator(0, "split", 2).integers(n_answers, size=(most, 2))
    return sorted(set(neighbours) | {(int(min(i, j)), int(max(i, j))) for i, j in drawn if i != j})


def _families(answers: IntArray, n_values: int, pairs: list[tuple[int, int]]) -> Iterator[Evidence]:
    """Evidence of each family of tests; the mean of all is an e-value."""
    columns = [column[column != IGNORE] for column in answers.T]
    single = np.stack([log_wealth(_counts(column), n_values, CONCENTRATIONS) for column in columns])
    yield _one(single, lambda i: f"answer {i} with {_frequencies(columns[i], n_values)}")
    yield Evidence(_mean(single.sum(0)), "values of all answers that coincide too often or too seldom")
    if pairs:
        both = np.stack([_of_pair(answers[:, pair], n_values) for pair in pairs])
        yield _one(both, lambda index: f"answers {pairs[index][0]} and {pairs[index][1]} that depend on each other")
    yield from _sums(answers, n_values)
    likeness = (
        "sequences that agree with each other more than independent ones: copies (`groups`), or answers that depend"
    )
    yield Evidence(likeness_log_e(answers, n_values), f"{likeness} on each other")
    defined = answers != IGNORE
    if defined.all():
        yield _rows(answers, n_values)
    else:
        yield from _presence(answers, defined, n_values)


def _sums(answers: IntArray, n_values: int) -> Iterator[Evidence]:
    """Evidence of dependence that only three or more answers show together."""
    if answers.shape[1] < 3:
        return
    known = np.where(answers == IGNORE, 0, answers)
    some = (answers != IGNORE).cumsum(1) > 0
    lines = [np.cumsum(known, axis=1) % n_values]
    if n_values & (n_values - 1) == 0:
        lines.append(np.bitwise_xor.accumulate(known, axis=1))
    wealths = [
        log_wealth(_counts(line[some[:, i], i]), n_values, CONCENTRATIONS)
        for line in lines
        for i in range(2, answers.shape[1])
    ]
    yield _one(
        np.stack(wealths),
        lambda index: f"answers 0 to {2 + index % (answers.shape[1] - 2)} of which each depends on the others together",
    )
    log_e, prime = relation_log_e(answers, n_values)
    yield Evidence(log_e, f"answers that all satisfy one linear relation mod {prime}")


def _presence(answers: IntArray, defined: NDArray[np.bool_], n_values: int) -> Iterator[Evidence]:
    """Are the values of each answer uniform given which other answers are defined?"""
    n_rows, n_answers = answers.shape
    patterns = np.unique(defined, axis=0, return_inverse=True)[1].ravel()
    conditions = [("which answers are defined", patterns)]
    varying = np.flatnonzero(defined.any(0) & ~defined.all(0))
    most = max(1, MOST_COMPARED // max(1, n_rows * n_answers))
    conditions += [(f"whether answer {j} is defined", defined[:, j].astype(np.int64)) for j in varying[:most]]
    found, names = [], []
    for what, stratum in conditions:
        for i in range(n_answers):
            here = defined[:, i]
            cells = stratum[here] * n_values + answers[here, i]
            wealth = np.zeros(len(CONCENTRATIONS))
            values, counts = np.unique(cells, return_counts=True)
            starts = np.flatnonzero(np.diff(values // n_values, prepend=-1))
            for piece in np.split(counts, starts[1:]):
                if piece.sum() > 1:
                    wealth += log_wealth(piece, n_values, CONCENTRATIONS)
            found.append(wealth)
            names.append(f"answer {i} with values that depend on {what}")
    yield _one(np.stack(found), lambda index: names[index])


def _of_pair(two: IntArray, n_values: int) -> FloatArray:
    """Wealths against one pair (N, 2): joint cells, differences and sums mod K, a third of the stake on each."""
    first, second = two[(two != IGNORE).all(1)].T
    joint = log_wealth(_counts(first * n_values + second), float(n_values) ** 2, CONCENTRATIONS)
    others = [
        log_wealth(np.bincount(line % n_values), n_values, CONCENTRATIONS) for line in (first - second, first + second)
    ]
    mean: FloatArray = logsumexp([joint, *others], axis=0) - math.log(3)
    return mean


def _rows(answers: IntArray, n_values: int) -> Evidence:
    """Evidence of whole rows that occur more often than K^n cells allow."""
    cells = float(n_values) ** min(answers.shape[1], int(1000 / math.log2(n_values)))
    rare = np.geomspace(1 / min(cells, 1e30), 1e-2, 20)
    wealth = log_wealth(_counts_of_rows(answers), cells, np.concatenate([rare, CONCENTRATIONS]))
    return Evidence(
        _mean(wealth), "whole rows of answers that occur too often: copies, or answers that depend on others"
    )


def _one(wealths: FloatArray, says: object) -> Evidence:
    """The mean over tests (t, b) of one family, named by its sharpest."""
    each = logsumexp(wealths, axis=1) - math.log(wealths.shape[1])
    assert callable(says)
    return Evidence(_mean(each), says(int(each.argmax())))


def _mean(logs: FloatArray) -> float:
    return float(logsumexp(logs) - math.log(len(logs)))


def _counts(cells: IntArray) -> IntArray:
    counts: IntArray = np.unique(cells, return_counts=True)[1]
    return counts


def _counts_of_rows(answers: IntArray) -> IntArray:
    flat = np.ascontiguousarray(answers)
    counts: IntArray = np.unique(flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))), return_counts=True)[1]
    return counts


def _frequencies(column: IntArray, n_values: int) -> str:
    """Frequencies of the values of an answer, for a message."""
    counts = np.bincount(column, minlength=n_values)
    in_use = int((counts > 0).sum())
    if not len(column):
        return "no value"
    return (
        f"{in_use} of {n_values} values in use, the most frequent {counts.max()} and the rarest of these "
        f"{counts[counts > 0].min()} times of {len(column)}"
    )
