"""What a certificate takes for granted, checked where it can be (A1 to A5), and said with the result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, poisson

from boundprobe.probes.prior import Prior
from boundprobe.probes.sample import Sample
from boundprobe.tasks.base import IGNORE

#: A check refuses what would happen this rarely if the assumption held: it costs the confidence nothing to speak of.
RARE = 1e-9
#: Sequences whose states are swapped.
N_SWAPPED = 256
#: Fewest expected counts in a cell of a chi-square test.
LEAST_EXPECTED = 5


@dataclass(frozen=True)
class Assumption:
    """One assumption of T1, and what was done about it.

    Attributes
    ----------
    name : str
        A1 to A5.
    says : str
    checked : str
        How it was checked here, or whose word it rests on.
    """

    name: str
    says: str
    checked: str


def check_repeats(sample: Sample, prior: Prior) -> str:
    """A1: no sequence occurs more often than independent draws would; return what was checked.

    Raises
    ------
    ValueError
        If sequences repeat.
    """
    # Equal answers are as rare as the prior says; where it is not uniform, only whole equal sequences are told apart.
    rows = (
        sample.answers if prior.independent_uniform else np.hstack([sample.answers, sample.states.astype(np.float64)])
    )
    repeats = _equal_pairs(rows)
    expected = math.comb(sample.n_sequences, 2) * 2.0**-prior.entropy_bits
    if repeats and poisson.sf(repeats - 1, expected) < RARE:
        raise ValueError(
            f"{repeats} pairs of sequences are equal, where independent draws have about {expected:.3g}; allowed: "
            "independent sequences; remove copies, or draw new ones"
        )
    return f"{repeats} pairs of equal sequences, {expected:.3g} expected; independence itself is the sampler's word"


def check_uniform(answers: NDArray[np.int64], n_values: int) -> str:
    """A2: answers look uniform, and pairwise independent; return what was checked.

    Raises
    ------
    ValueError
        If they do not.
    """
    n_answers = answers.shape[1]
    said = (
        f"allowed: independent uniform values 0 to {n_values - 1}; state their joint entropy instead (--entropy-bits)"
    )
    counts = np.stack([np.bincount(column[column != IGNORE], minlength=n_values) for column in answers.T])
    expected = counts.sum(1, keepdims=True) / n_values
    if expected.min() < LEAST_EXPECTED:
        return f"the user's word ({len(answers)} sequences are too few to test {n_values} values)"
    statistic = ((counts - expected) ** 2 / expected).sum(1)
    if chi2.sf(statistic.max(), n_values - 1) < RARE / n_answers:
        i = int(statistic.argmax())
        raise ValueError(
            f"answer {i} is not uniform over {n_values} values: its rarest occurs {counts[i].min()} and its most "
            f"frequent {counts[i].max()} times of {counts[i].sum()}; {said}"
        )
    if n_answers == 1:
        return "values uniform (chi-square test)"
    n_tested = 0
    for i, j in itertools.combinations(range(n_answers), 2):
        both = answers[:, [i, j]][(answers[:, [i, j]] != IGNORE).all(1)]
        if len(both) < LEAST_EXPECTED * n_values**2:
            continue
        n_tested += 1
        joint = np.bincount(both[:, 0] * n_values + both[:, 1], minlength=n_values**2).reshape(n_values, n_values)
        # Uniform margins are the null hypothesis too, so they are not estimated.
        chi_square = float(((joint - len(both) / n_values**2) ** 2).sum() * n_values**2 / len(both))
        if chi2.sf(chi_square, n_values**2 - 1) < RARE / math.comb(n_answers, 2):
            raise ValueError(
                f"answers {i} and {j} are not independent and uniform (chi-square {chi_square:.0f}); {said}"
            )
    return f"values uniform, and {n_tested} of {math.comb(n_answers, 2)} pairs independent (chi-square tests)"


def check_swap(scores: Callable[[Sample], NDArray[np.float32]], sample: Sample) -> str:
    """A4: swapping states between sequences swaps what the decoder says; return what was checked.

    Parameters
    ----------
    scores : callable
        Scores (N, n, K) of a sample.  Earlier answers, which chain decoders see, move with the state here.
    sample : Sample

    Raises
    ------
    ValueError
        If a sequence's scores depend on the others'.
    """
    few = sample.rows(slice(0, min(N_SWAPPED, sample.n_sequences)))
    turned = np.roll(np.arange(few.n_sequences), 1)
    here, there = scores(few)[turned], scores(few.rows(turned))
    # Products of other shapes may round differently: a leak is larger than that.
    if not np.allclose(here, there, rtol=1e-3, atol=1e-3 * max(1.0, _largest(here))):
        raise ValueError(
            "swapping states between sequences does not swap what the decoder says; allowed: decoders that see one "
            "state at a time; take one without statistics of the batch"
        )
    return f"states of {few.n_sequences} sequences swapped: the answers went with them"


def check_causal(scores: Callable[[Sample], NDArray[np.float32]], sample: Sample) -> None:
    """T1's chain form: what a decoder says of an answer never depends on that answer or a later one.

    Raises
    ------
    ValueError
        If it does.
    """
    few = sample.rows(slice(0, min(N_SWAPPED, sample.n_sequences)))
    n_answers, here = few.answers.shape[1], scores(few)
    for i in sorted({0, n_answers // 2, n_answers - 1}):
        answers = few.answers.copy()
        answers[:, i:] = np.roll(answers[:, i:], 1, axis=0)
        there = scores(Sample(few.states, answers))
        if not np.allclose(here[:, : i + 1], there[:, : i + 1], rtol=1e-3, atol=1e-3 * max(1.0, _largest(here))):
            raise ValueError(
                f"what the decoder says of answer {i} depends on the right answer itself or on a later one; allowed: "
                "the state and earlier answers; mend the decoder"
            )


def _largest(scores: NDArray[np.float32]) -> float:
    return float(np.abs(scores).max())


def _equal_pairs(rows: NDArray[np.float64] | NDArray[np.int64]) -> int:
    """Number of pairs of equal rows."""
    flat = np.ascontiguousarray(rows)
    counts = np.unique(flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel(), return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())
