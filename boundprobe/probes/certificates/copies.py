"""Tests for sequences that share a source: copies, augmentations, two cuts of one document (A1).

A decoder that has seen one of them reads the other's answers from what it memorised, and a certificate from such a
split is false.  Three tests, each at its own level:

    exact copies     no distribution of independent draws has so many values that occur just r times (``looks_copied``)
    near answers     sequences that agree in more answers than independent uniform ones do (``check_near_answers``)
    near states      the same as exact copies, with states that lie near each other in one cell (``check_near_states``)

Users who know which sequences belong together name groups, and each group is one observation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.stats import binom, poisson

from boundprobe.probes.certificates.likeness import agreement
from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.seeds import generator

#: Significance level of each test of ``looks_copied``.
RARE = 1e-9
#: Sequences that are compared with each other; more are thinned at random.
MOST_SEQUENCES = 4000
#: Entries of states that distances are measured in; more are summed up with random signs.
MOST_ENTRIES = 256
#: Entries of states that are standardised at a time.
BLOCK = 4096
#: Shares of the sequences that are taken as centres: half for pairs, less for larger clusters.
SHARES = (0.5, 0.2)
#: Fewer centres than that tell nothing.
LEAST_CENTRES = 50
#: Quantiles of the distances to the nearest neighbour that are tried as "near".
QUANTILES = (0.05, 0.1, 0.2, 0.35, 0.5)

ADVICE = (
    "sequences that share a source, such as two cuts or copies of one document, must be one group (`groups`, "
    "--groups); remove copies, or draw new sequences"
)


def check_copies(sample: Sample) -> str:
    """A1: sequences and states do not come in clusters of a fixed size; return what was tested.

    Parameters
    ----------
    sample : Sample
        All sequences: copies of one in different groups are no draws of independent groups either.

    Raises
    ------
    ValueError
        If they do.
    """
    if (copies := looks_copied(_groups_of_each(sample))) is not None:
        raise ValueError(
            f"sequences must be independent; got many that occur exactly {copies} times, as independent draws of no "
            f"distribution would: {ADVICE}"
        )
    check_near_states(sample.rows(_few(sample.n_sequences)))
    return "neither sequences nor states come in copies or near copies"


def _few(n_sequences: int) -> NDArray[np.int64] | slice:
    """All sequences, or as many at random as are compared with each other."""
    if n_sequences <= MOST_SEQUENCES:
        return slice(None)
    return np.sort(generator(0, "split", 3).permutation(n_sequences)[:MOST_SEQUENCES])


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
    counts = counts[counts > 0]
    n, n_values, least = int(counts.sum()), len(counts), int(counts.min())
    # All equally often: the largest probability of any distribution, a multinomial coefficient over n_values^n.
    if least >= 2 and (counts == least).all():
        chance = math.lgamma(n + 1) - n_values * math.lgamma(least + 1) - n * math.log(n_values)
        if chance < math.log(RARE):
            return least
    occur = np.bincount(counts, minlength=int(counts.max()) + 2).astype(np.float64)
    for r in range(2, len(occur) - 1):
        if _too_few_follow(occur[r - 1], occur[r], occur[r + 1], r):
            return r
    return None


def _too_few_follow(before: float, here: float, after: float, r: int) -> bool:
    """Fewer values occur r + 1 times than the inequality of ``looks_copied`` asks for."""
    # Generous by six standard errors, or by half of f_r where that is less: what is seen is not what is expected.
    least = max(here / 2, here - 6 * math.sqrt(here))
    must_follow = r / (r + 1) * least**2 / (before + 6 * math.sqrt(before) + 20)
    return bool(poisson.cdf(after, must_follow) < RARE)


def check_near_answers(answers: IntArray, n_values: int, level: float) -> str:
    """Refuse sequences whose answers agree in more places than independent uniform ones do; return what was tested.

    For each m the sequences are counted that agree in m places or more with an earlier one.  Sequence t does so with
    probability at most b_t = (t - 1) P(binomial(n, 1/K) >= m), whatever came before, so the count exceeds s with
    probability at most (e mu / s)^s exp(-mu), mu = sum_t min(1, b_t) (Chernoff).

    Parameters
    ----------
    answers : int64 array (N, n)
        Independent and uniform over 0..K-1 where they are defined; ``IGNORE`` elsewhere.
    n_values : int
        K.
    level : float

    Raises
    ------
    ValueError
        If they do.
    """
    answers = answers[_few(len(answers))]
    n_rows, n_answers = answers.shape
    nearest = np.concatenate([agreement.max(1) for agreement in _agreements(answers)])
    places = np.arange(1, n_answers + 1)
    tails = binom.sf(places - 1, n_answers, 1 / n_values)
    expected = np.minimum(1.0, np.arange(n_rows) * tails[:, None]).sum(1)
    found = (nearest >= places[:, None]).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_chance = np.where(found > expected, found - expected - found * np.log(found / expected), 0.0)
    sharpest = int(log_chance.argmin())
    if log_chance[sharpest] < math.log(level / n_answers):
        raise ValueError(
            f"sequences must be independent; got {found[sharpest]} of {n_rows} that agree with an earlier one in "
            f"{places[sharpest]} or more of {n_answers} answers, where at most {expected[sharpest]:.3g} are expected: "
            f"{ADVICE}"
        )
    return "their answers agree no more often than independent ones"


def _agreements(answers: IntArray) -> Iterator[NDArray[np.float32]]:
    """Agreeing places of blocks of sequences with all earlier ones, (rows, N)."""
    for start in range(0, len(answers), 256):
        stop = min(start + 256, len(answers))
        agreeing, _ = agreement(answers, start, stop)
        agreeing[np.arange(stop - start)[:, None] + start <= np.arange(stop)] = 0
        yield agreeing


def check_near_states(sample: Sample) -> None:
    """Refuse states that come in clusters of a fixed size: noisy copies.

    Some of the groups, A, cut the space into cells: that of a sequence of A has what lies nearest to it, within a
    radius.  How many of the other groups, B, fall into each cell is then a mixture of Poisson weights if groups are
    independent, so that f_r^2 <= (r + 1) / r f_(r-1) f_(r+1).  Of two copies of each sequence one cell holds one at
    most.  Without groups each sequence is one.

    Raises
    ------
    ValueError
        If the inequality does not hold.
    """
    points, groups = points_of(sample.states), sample.groups
    groups = np.arange(len(points)) if groups is None else np.unique(groups, return_inverse=True)[1]
    place = generator(0, "split", 4).permutation(int(groups.max()) + 1)[groups]
    for share in SHARES:
        central = place < int(share * (place.max() + 1))
        if central.sum() >= LEAST_CENTRES:
            _check_clusters(points[central], points[~central], groups[~central])


def _check_clusters(centres: FloatArray, others: FloatArray, groups: IntArray) -> None:
    """The inequality of ``check_near_states`` for one choice of the centres, and the groups of the others."""
    reach, _ = _nearest(centres, centres, itself=True)
    distance, cell = _nearest(others, centres)
    for radius in np.unique(np.quantile(reach, QUANTILES)) * 1.5:
        near = distance <= radius
        cells = np.unique(np.stack([cell[near], groups[near]]), axis=1)[0]  # a group counts once
        counts = np.bincount(cells, minlength=len(centres))
        occur = np.bincount(counts, minlength=int(counts.max(initial=0)) + 2).astype(np.float64)
        for r in range(1, len(occur) - 1):
            if _too_few_follow(occur[r - 1], occur[r], occur[r + 1], r):
                raise ValueError(
                    f"sequences must be independent; got states in clusters of {r + 1} or so, as independent draws of "
                    f"no distribution are: {ADVICE}"
                )


def points_of(states: FloatArray) -> FloatArray:
    """Standardised entries, or as many sums of them with random signs as distances need, (N, d)."""
    rng, d = generator(0, "split", 5), states.shape[1]
    wide = d > MOST_ENTRIES
    bucket = rng.integers(MOST_ENTRIES, size=d) if wide else np.arange(d)
    sign = rng.choice(np.array([-1.0, 1.0]), d) if wide else np.ones(d)
    sums = coo_array((sign, (np.arange(d), bucket)), shape=(d, min(d, MOST_ENTRIES))).tocsr()
    points = np.zeros((len(states), sums.shape[1]))
    for start in range(0, d, BLOCK):  # block by block: no second copy of the states
        block = states[:, start : start + BLOCK].astype(np.float64)
        spread = block.std(0)
        points += (block - block.mean(0)) / np.where(spread > 0, spread, 1.0) @ sums[start : start + BLOCK]
    return points


def _nearest(points: FloatArray, centres: FloatArray, *, itself: bool = False) -> tuple[FloatArray, IntArray]:
    """Distance to the nearest centre and its index; ``itself`` leaves out the centre with a point's own index."""
    norms = (centres**2).sum(1)
    found, index = np.empty(len(points)), np.empty(len(points), np.int64)
    for start in range(0, len(points), 512):
        rows = points[start : start + 512]
        squares = (rows**2).sum(1)[:, None] + norms - 2 * rows @ centres.T
        if itself:
            squares[np.arange(len(rows)), np.arange(start, start + len(rows))] = np.inf
        index[start : start + 512] = squares.argmin(1)
        found[start : start + 512] = np.sqrt(np.maximum(squares.min(1), 0.0))
    return found, index


def _digests(sample: Sample) -> NDArray[np.uint64]:
    """A hash of each sequence, state and answers: 8 bytes, so that copies are found without a copy of the states."""
    digests = np.empty(sample.n_sequences, np.uint64)
    for i, (state, answers) in enumerate(zip(sample.states, sample.answers, strict=True)):
        whole = hashlib.blake2b(np.ascontiguousarray(state).tobytes(), digest_size=8)
        whole.update(answers.tobytes())
        digests[i] = np.frombuffer(whole.digest(), np.uint64)[0]
    return digests


def _groups_of_each(sample: Sample) -> NDArray[np.int64]:
    """Number of groups that each sequence occurs in, by its hash."""
    digests = _digests(sample)
    groups = np.arange(sample.n_sequences) if sample.groups is None else sample.groups
    order = np.lexsort((groups, digests))
    digests, groups = digests[order], groups[order]
    new = np.append(True, (np.diff(digests) != 0) | (np.diff(groups) != 0))
    counts: NDArray[np.int64] = np.unique(digests[new], return_counts=True)[1]
    return counts
