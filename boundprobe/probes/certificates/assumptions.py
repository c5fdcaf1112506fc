"""Assumptions of a certificate (A1 to A5): checked where possible, and reported with the result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, poisson

from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import Sample
from boundprobe.tasks.base import IGNORE

#: Scores (N, n, K) of a sample.
Scorer = Callable[[Sample], NDArray[np.float32]]

#: Significance level of each check, negligible against the error probability of a certificate.
RARE = 1e-9
#: Sequences whose states are interchanged.
N_SWAPPED = 256
#: Below so many bits of answers, pairs of equal rows are not near Poisson.
FEW_BITS = 40
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


def all_of(
    independence: str,
    prior: str,
    interchanged: str,
    *,
    frozen: str = "three parts without a common sequence; decoder, form and calibration were chosen without the last",
) -> tuple[Assumption, ...]:
    """All five, with what was done about the first four."""
    return (
        Assumption("A1", "sequences are independent draws, and nothing is shared between them", independence),
        Assumption("A2", "the prior of the answers is known", prior),
        Assumption("A3", "the decoder is fixed before evaluation", frozen),
        Assumption("A4", "the decoder sees the state, the query and earlier answers alone", interchanged),
        Assumption("A5", "answers of one sequence may depend on each other", "the sequence is the unit of every limit"),
    )


def check_repeats(sample: Sample, prior: Prior) -> str:
    """A1: no sequence occurs more often than independent draws would; return what was checked.

    Equal answers are as rare as a uniform prior says.  Under any distribution, copies of whole sequences, state and
    answers, show in how many occur once, twice, and so on (``looks_copied``).

    Raises
    ------
    ValueError
        If sequences repeat.
    """
    advice = "allowed: independent sequences; remove copies, or draw new ones"
    rows = np.hstack([sample.answers, sample.states.astype(np.float64)])
    if (copies := looks_copied(_counts(rows))) is not None:
        raise ValueError(
            f"many sequences occur exactly {copies} times, as independent draws of no distribution would; {advice}"
        )
    if not prior.independent_uniform:
        return "whole sequences are not copies of each other; independence is the sampler's word"
    counts = _counts(sample.answers)
    repeats = int((counts * (counts - 1) // 2).sum())
    expected = math.comb(sample.n_sequences, 2) * 2.0**-prior.entropy_bits
    # Pairs are near Poisson where rows are many; chi-square holds where they are few: both must call it rare.
    chance = 0.0
    if prior.entropy_bits < FEW_BITS:
        n_rows = 2.0**prior.entropy_bits
        statistic = n_rows * float((counts**2).sum()) / sample.n_sequences - sample.n_sequences
        chance = float(chi2.sf(statistic, n_rows - 1))
    if repeats and max(float(poisson.sf(repeats - 1, expected)), chance) < RARE:
        raise ValueError(
            f"{repeats} pairs of sequences have equal answers, where independent draws have about {expected:.3g}; "
            f"{advice}, or state the answers' joint entropy if they are not uniform (--entropy-bits)"
        )
    return f"{repeats} pairs of equal answers, {expected:.3g} expected; independence is the sampler's word"


def looks_copied(counts: NDArray[np.int64]) -> int | None:
    """Number of times that copied rows occur, if no distribution of independent draws explains that so many do.

    Of independent draws, the expected number of values that occur r times is a mixture of Poisson weights,
    f_r = sum_v lambda_v^r exp(-lambda_v) / r!, so f_r^2 <= (r + 1) / r f_(r-1) f_(r+1) (Cauchy-Schwarz): with many
    values that occur r times some must occur r + 1 times.

    Parameters
    ----------
    counts : int64 array (n_values,)
        How often each value occurs.

    Returns
    -------
    int or None

    Examples
    --------
    >>> looks_copied(np.full(500, 2)), looks_copied(np.bincount(np.random.default_rng(0).integers(300, size=1000)))
    (2, None)
    """
    n, n_values, least = int(counts.sum()), len(counts), int(counts.min())
    # All equally often: the largest probability of any distribution, a multinomial coefficient over n_values^n.
    if least >= 2 and (counts == least).all():
        chance = math.lgamma(n + 1) - n_values * math.lgamma(least + 1) - n * math.log(n_values)
        if chance < math.log(RARE):
            return least
    occur = np.bincount(counts, minlength=int(counts.max()) + 2).astype(np.float64)
    for r in range(2, len(occur) - 1):
        # Generous by several standard errors: f_(r-1) is taken higher, and a quarter of what must follow is asked for.
        before = occur[r - 1] + 6 * math.sqrt(occur[r - 1]) + 20
        must_follow = r / (r + 1) * occur[r] ** 2 / before / 4
        if poisson.cdf(occur[r + 1], must_follow) < RARE:
            return r
    return None


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
    tested = np.flatnonzero(expected[:, 0] >= LEAST_EXPECTED)
    if not len(tested):
        return f"the user's word ({len(answers)} sequences are too few to test {n_values} values)"
    statistic = ((counts[tested] - expected[tested]) ** 2 / expected[tested]).sum(1)
    if chi2.sf(statistic.max(), n_values - 1) < RARE / n_answers:
        i = int(tested[statistic.argmax()])
        raise ValueError(
            f"answer {i} is not uniform over {n_values} values: its rarest occurs {counts[i].min()} and its most "
            f"frequent {counts[i].max()} times of {counts[i].sum()}; {said}"
        )
    uniform = "values uniform" if len(tested) == n_answers else f"values of {len(tested)} answers uniform"
    if n_answers == 1:
        return f"{uniform} (chi-square test)"
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
    return f"{uniform}, and {n_tested} of {math.comb(n_answers, 2)} pairs independent (chi-square tests)"


def check_interchange(scores: Scorer, sample: Sample) -> str:
    """A4 by an interchange intervention: the decoder's output follows a state that is swapped between sequences;
    return what was checked.

    Half of the sequences are scored again, in another order and without the other half: what a decoder says of a
    state must not depend on its place or its company.

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
    turned = np.roll(np.arange(math.ceil(few.n_sequences / 2)), 1)
    if not _same(scores(few)[turned], scores(few.rows(turned))):
        raise ValueError(
            "swapping states between sequences does not swap what the decoder says; allowed: decoders that see one "
            "state at a time; take one without statistics of the batch"
        )
    return f"states of {len(turned)} sequences swapped, without the others: what the decoder says went with them"


def check_causal(scores: Scorer, sample: Sample) -> None:
    """T1's chain form: a decoder's scores of an answer do not depend on that answer or a later one.

    Row r gets other answers from place r mod n on; what is said of that place and of those before it must stay.

    Raises
    ------
    ValueError
        If it does.
    """
    n_answers = sample.answers.shape[1]
    few = sample.rows(np.arange(max(N_SWAPPED, n_answers)) % sample.n_sequences)
    here = scores(few)
    place = np.arange(n_answers)
    first = (np.arange(few.n_sequences) % n_answers)[:, None]
    changed = np.where((place >= first) & few.defined, (few.answers + 1) % here.shape[2], few.answers)
    there = scores(Sample(few.states, changed))
    kept = (place <= first)[..., None]
    if not _same(np.where(kept, here, 0), np.where(kept, there, 0)):
        raise ValueError(
            "what the decoder says of an answer depends on the right answer itself or on a later one; allowed: the "
            "state and earlier answers; mend the decoder"
        )


def _same(here: NDArray[np.float32], there: NDArray[np.float32]) -> bool:
    """Compare scores up to the rounding of products of other shapes."""
    return np.allclose(here, there, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(here).max())))


def _counts(rows: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Count each distinct row."""
    flat = np.ascontiguousarray(rows)
    return np.unique(flat.view(np.dtype((np.void, flat.itemsize * flat.shape[1]))).ravel(), return_counts=True)[1]
