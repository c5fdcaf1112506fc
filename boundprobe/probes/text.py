"""Tokens of a natural text read back from a model's state, by distance: a held-out estimate, never a certificate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from boundprobe.checks import check_integer, check_kind, refuse
from boundprobe.models.cut_model import CutModel, check_members
from boundprobe.probes.certificates.sample import Sample
from boundprobe.probes.decoders.base import AbstractDecoder, FitSettings, log_marginals
from boundprobe.probes.decoders.linear import fit_linear
from boundprobe.probes.model_answers import states_at_cut
from boundprobe.probes.present import entries
from boundprobe.probes.settings import ProbeConfig

#: Why no number here is a certificate.
WHY = (
    "an estimate, not a certificate: nobody knows the distribution of a natural text, and entropies are estimated "
    "too; passages of one text depend on each other; and a token is partly told by those after it, so that a state "
    "that has forgotten it can still have a positive estimate"
)
#: Classes that a token is read back as: the most common tokens, and one for all others.
N_CLASSES = 64
#: Passages, at least, of each split.
LEAST_PASSAGES = 20
DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class ReadBack:
    """One distance.

    Attributes
    ----------
    distance : int, in tokens
        1: the last token that was read.
    entropy_bits : float
        Cross-entropy of the token's class under its marginal in the fit passages: what a reader pays without the state.
    estimate_bits : float
        By how much the state shortens that, held out; below 0 where it misleads.
    standard_error : float, in bits
        Of the estimate, as if passages were independent.
    control_bits : float
        The same with the state of another passage: above 0 only by chance.
    right, most_common : float, shares
        Classes that are read back right, and those that a guess of the most common one gets right.
    """

    distance: int
    entropy_bits: float
    estimate_bits: float
    standard_error: float
    control_bits: float
    right: float
    most_common: float


@dataclass(frozen=True)
class TextReport:
    """Estimates of reading back the past tokens of a text.

    Attributes
    ----------
    passage_len : int, in tokens
    n_classes : int
    n_sequences : mapping of str to int
        Passages of the fit, calibration and evaluation split.
    nominal_bits : int
        Of the state after a passage.
    by_distance : tuple of ReadBack
    """

    passage_len: int
    n_classes: int
    n_sequences: dict[str, int]
    nominal_bits: int
    by_distance: tuple[ReadBack, ...]

    def to_json(self) -> dict[str, Any]:
        """The part of ``boundprobe.probe-text/1`` that was measured."""
        document = asdict(self)
        document["by_distance"] = list(document["by_distance"])
        return document | {"certified": None, "why": WHY}


def read_back_text(
    model: CutModel,
    tokens: NDArray[np.int64],
    passage_len: int = 64,
    config: ProbeConfig | None = None,
    *,
    before: tuple[int, ...] = (),
    device: str = "cpu",
) -> TextReport:
    """Estimate how well a linear decoder reads past tokens of a text from the state of a model, by distance.

    Parameters
    ----------
    model : CutModel
    tokens : int64 array (T,)
        The text, in token ids of the model.  It is cut into passages; the first are fitted on, the last evaluated.
    passage_len : int, in tokens
        Tokens that are read before the state is taken.
    config : ProbeConfig, optional
        Whose numbers of sequences are shares of the passages, and the most that are taken of each split.
    before : tuple of int
        Ids in front of every passage, such as that of ``<s>``.
    device : str
        Where the decoder is fitted.

    Returns
    -------
    TextReport
        Held-out estimates in bits, with their standard errors; no certified number.

    Raises
    ------
    ValueError
        If the text has too few passages.

    Examples
    --------
    >>> from boundprobe.models import ModelSpec, SequenceModel
    >>> model = SequenceModel(ModelSpec("lstm", d_model=8), vocab_size=5).eval()
    >>> report = read_back_text(model, np.random.default_rng(0).integers(5, size=4000), passage_len=8)
    >>> [found.distance for found in report.by_distance], report.by_distance[0].estimate_bits > 1
    ([1, 2, 3, 4, 6, 8], True)
    """
    check_members(model)
    settings = check_kind("config", config or ProbeConfig(), ProbeConfig)
    check_integer("passage_len", passage_len, 1)
    passages = tokens[: len(tokens) // passage_len * passage_len].reshape(-1, passage_len)
    bounds = _split(len(passages), passage_len, settings)
    passages = passages[: bounds[-1]]
    fixed = np.broadcast_to(np.array(before, np.int64), (len(passages), len(before)))
    states = states_at_cut(model, np.concatenate([fixed, passages], axis=1))
    distances = [distance for distance in DISTANCES if distance <= passage_len]
    asked = passages[:, [passage_len - distance for distance in distances]]
    names = _common(passages[: bounds[0]])
    answers = np.where(np.isin(asked, names), np.searchsorted(names, asked), len(names)).astype(np.int64)
    rows, n_classes = entries(states), len(names) + 1
    fit, calibration, evaluation = (
        Sample(rows[start:end], answers[start:end]) for start, end in zip((0, *bounds), bounds, strict=False)
    )
    decoder = fit_linear(fit, calibration, n_classes, FitSettings(seed=settings.seed, device=device))
    counts = dict(zip(("fit", "calibration", "evaluation"), np.diff([0, *bounds]).tolist(), strict=True))
    found = _read(decoder, fit, evaluation, n_classes, distances)
    return TextReport(passage_len, n_classes, counts, states[0].bits().total_bits, found)


def _split(n_passages: int, passage_len: int, config: ProbeConfig) -> tuple[int, int, int]:
    """Ends of the three splits, in passages: those of the configuration, or its shares of those that are there."""
    wanted = np.array([config.n_train, config.n_calibration, config.n_sequences])
    taken = (wanted * min(1.0, n_passages / int(wanted.sum()))).astype(int)
    if taken.min() < min(LEAST_PASSAGES, int(wanted.min())):
        needed = -(-LEAST_PASSAGES * int(wanted.sum()) // int(wanted.min()))
        why = "; give a longer text, or shorter passages"
        refuse("--text", f"of at least {needed} passages of {passage_len} tokens", f"{n_passages}", why)
    first, second, third = np.cumsum(taken).tolist()
    return first, second, third


def _common(passages: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most common tokens of the fit passages, ascending: those that have a class of their own."""
    names, counts = np.unique(passages, return_counts=True)
    return np.sort(names[np.argsort(-counts, kind="stable")[: N_CLASSES - 1]])


def _read(
    decoder: AbstractDecoder, fit: Sample, evaluation: Sample, n_classes: int, distances: list[int]
) -> tuple[ReadBack, ...]:
    """Estimates on held-out passages, and the same with another passage's state."""
    marginal = log_marginals(torch.from_numpy(fit.answers), n_classes).numpy() / np.log(2)
    answers, columns = evaluation.answers, np.arange(len(distances))
    paid = -marginal[columns, answers]
    gains, right = [], np.zeros(0)
    for states in (evaluation.states, np.roll(evaluation.states, len(answers) // 2, axis=0)):
        scores = torch.from_numpy(decoder.logits(states, answers)).log_softmax(-1).numpy() / np.log(2)
        said = np.take_along_axis(scores, answers[:, :, None], axis=2)[:, :, 0]
        gains.append(said + paid)
        right = (scores.argmax(-1) == answers).mean(0) if len(gains) == 1 else right
    errors = gains[0].std(axis=0, ddof=1) / np.sqrt(len(answers))
    common = (marginal.argmax(-1) == answers).mean(0)
    found = (paid.mean(0), gains[0].mean(0), errors, gains[1].mean(0), right, common)
    return tuple(
        ReadBack(distance, *(float(each[i]) for each in found))  # in the order of its fields
        for i, distance in enumerate(distances)
    )
