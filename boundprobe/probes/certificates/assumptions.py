"""Assumptions of a certificate (A1 to A5) as they are reported, and the checks of decoders (A4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.probes.certificates.sample import Sample

#: Scores (N, n, K) of a sample.
Scorer = Callable[[Sample], NDArray[np.float32]]

#: Sequences whose states are interchanged.
N_SWAPPED = 256


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
            "a decoder must see one state at a time; got one whose scores do not follow states that are swapped "
            "between sequences. Take one without statistics of the batch."
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
            "a decoder must see the state and earlier answers alone; got one whose scores depend on the right answer "
            "itself or on a later one."
        )


def _same(here: NDArray[np.float32], there: NDArray[np.float32]) -> bool:
    """Compare scores up to the rounding of products of other shapes."""
    return np.allclose(here, there, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(here).max())))
