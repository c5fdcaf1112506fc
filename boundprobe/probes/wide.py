"""States of more entries than decoders are given: which of them, or which sums, is chosen on the calibration split.

A count sketch keeps something of every entry, but where few of many entries know the answers it buries them under the
others.  So the entries that vary most with the answers are tried beside it.  They are found on the fit split, and what
is taken is chosen on the calibration split by the certificate that a linear decoder promises: a function of the state
alone, fixed before evaluation (A3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.probes.certificates.information import choose
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import IntArray, Sample, Splits
from boundprobe.probes.decoder_choice import candidate
from boundprobe.probes.decoders.base import FitSettings
from boundprobe.probes.decoders.registry import fit_all
from boundprobe.probes.precision import MOST_ENTRIES, row_blocks
from boundprobe.probes.settings import STATES_PARTS, StatesConfig, certificate_level
from boundprobe.seeds import generator

#: Numbers of entries that are tried.
WIDTHS = (64, 512, 4096)
#: Signs that stand for each value of an answer, rows that entries are ranked by, and entries ranked at a time.
N_SIGNS, MOST_RANKED_ROWS, COLUMNS = 8, 4096, 4096
#: Numbers in the matrix of signs, at most: of more answers some are drawn.
MOST_SIGNS = 2**22

Parts = tuple[IntArray, IntArray, IntArray]


@dataclass(frozen=True)
class Narrowed:
    """States with few enough entries for decoders.

    Attributes
    ----------
    splits : Splits
    says : str
        Which entries they are, for the report; empty where they are all.
    """

    splits: Splits
    says: str


def narrow(raw: NDArray[Any], sample: Sample, parts: Parts, prior: Prior, config: StatesConfig) -> Narrowed:
    """The splits of a sample, of the entries or sums of its states that a linear decoder reads best.

    Parameters
    ----------
    raw : array (N, d)
        States as they were given; may be mapped from a file.
    sample : Sample
        The same, converted and summed up.
    parts : tuple of int64 arrays
        Rows of the fit, calibration and evaluation split.
    prior : Prior
    config : StatesConfig
    """
    sums = Splits(*(sample.rows(part) for part in parts))
    n_entries = raw.shape[1]
    if n_entries <= MOST_ENTRIES:
        return Narrowed(sums, "")
    order = np.argsort(-scores_of_entries(raw, sample.answers, parts[0]), kind="stable")
    found = {f"{MOST_ENTRIES} sums of all {n_entries} entries": sums}
    for width in WIDTHS:
        views = _columns(raw, np.sort(order[:width])), sample.answers, sample.groups
        says = f"the {width} of {n_entries} entries that vary most with the answers of the fit split"
        found[says] = Splits(*(Sample(*views).rows(part) for part in parts))
    alpha = certificate_level(config.confidence, STATES_PARTS)
    promised = {says: _promised(splits, prior, config, alpha) for says, splits in found.items()}
    best = max(promised, key=lambda says: promised[says])
    return Narrowed(found[best], f"decoders see {best}, as a linear one chose on the calibration split")


def scores_of_entries(raw: NDArray[Any], answers: IntArray, fit: IntArray) -> NDArray[np.float64]:
    """Largest share, over the answers, of an entry's variance that goes along with the answer's value.

    Each value of an answer stands for ``N_SIGNS`` random signs; the score is their mean squared correlation with the
    entry, which is 1/N for an entry that knows nothing.

    Parameters
    ----------
    raw : array (N, d)
    answers : int64 array (N, n)
        ``IGNORE`` where undefined, which is a value like the others.
    fit : int64 array
        Rows that may be looked at.

    Returns
    -------
    float64 array (d,)
    """
    rng = generator(0, "split", 2)
    rows = np.sort(fit[:MOST_RANKED_ROWS])
    n_answers = max(1, min(answers.shape[1], MOST_SIGNS // (N_SIGNS * len(rows))))
    chosen = np.sort(rng.permutation(answers.shape[1])[:n_answers])
    signs = np.empty((len(rows), n_answers, N_SIGNS), np.float32)
    for column, answer in enumerate(chosen):
        _, index = np.unique(answers[rows, answer], return_inverse=True)
        signs[:, column] = rng.choice(np.array([-1.0, 1.0], np.float32), (index.max() + 1, N_SIGNS))[index]
    signs -= signs.mean(0)
    signs /= np.maximum(np.sqrt((signs**2).sum(0)), 1e-12)
    targets = signs.reshape(len(rows), -1).T
    scores = np.empty(raw.shape[1])
    for start in range(0, raw.shape[1], COLUMNS):
        block = raw[rows, start : start + COLUMNS].astype(np.float32)
        block -= block.mean(0)
        block /= np.maximum(np.sqrt((block**2).sum(0)), 1e-30)
        along = (targets @ block).reshape(n_answers, N_SIGNS, -1)
        scores[start : start + COLUMNS] = (along**2).mean(1).max(0)
    return scores


def _columns(raw: NDArray[Any], columns: IntArray) -> NDArray[np.float32]:
    """Some entries of states as float32, some rows at a time."""
    narrow = np.empty((len(raw), len(columns)), np.float32)
    for rows in row_blocks(raw):
        narrow[rows] = raw[rows][:, columns]
    return narrow


def _promised(splits: Splits, prior: Prior, config: StatesConfig, alpha: float) -> float:
    """Certificate that the calibration split promises for a linear decoder, in bits."""
    settings = FitSettings(config.decoders.seed)
    ((_, decoder),) = fit_all(("linear",), splits.fit, splits.calibration, prior.n_values, settings)
    known = {"linear": candidate(decoder, splits).calibration}
    return choose(prior, known, splits.evaluation.n_units, alpha, config.decoders.forms).expected_bits
