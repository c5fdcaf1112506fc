"""Base of the decoders: from a state to natural-log scores of each value of each answer, frozen once fitted.

A certificate holds for any decoder that was fixed before the evaluation split was looked at (assumption A3).  So
everything here is fitted on the fit split, chosen on the calibration split, and then never changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.checks import MOST_SEED, check_integer
from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.tasks.base import IGNORE

Logits = NDArray[np.float32]

#: Rows scored at once.
ROWS = 4096


class AbstractDecoder(ABC):
    """Scores of the answers given a state.

    Attributes
    ----------
    name : str
        Key in ``DECODERS``.
    """

    name: str

    @abstractmethod
    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Natural-log scores, unnormalised: softmax over the last axis is q_i(. | s, y_<i).

        Each row is computed on its own: nothing is shared between sequences (assumption A1).

        Parameters
        ----------
        states : float array (B, d)
        answers : int64 array (B, n)
            For answer i only the columns before i may be looked at, and only chain decoders look at all; ``IGNORE``
            where undefined.

        Returns
        -------
        float32 array (B, n, K)
        """


@dataclass(frozen=True)
class FitSettings:
    """Limits of a fit.

    Attributes
    ----------
    seed : int
        Of initial weights and of the order of batches; nothing else is random.
    device : str
        Where torch computes: "cpu", "cuda".  Scores come back to the CPU.
    epochs : int
        Passes over the fit split, at most; the calibration split stops a fit earlier.
    hidden : int
        Hidden units of the mlp; the chain shares out twice as many among its answers.
    patience : int
        Passes without a better calibration cross-entropy before a fit is stopped.
    """

    seed: int = 0
    device: str = "cpu"
    epochs: int = 60
    hidden: int = 512
    patience: int = 10

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0, MOST_SEED)
        for name in ("epochs", "hidden", "patience"):
            check_integer(name, getattr(self, name), 1)


#: Fits a decoder: (fit, calibration, number of values K, settings).
Fit = Callable[[Sample, Sample, int, FitSettings], AbstractDecoder]


def check_samples(fit: Sample, calibration: Sample, n_values: int) -> None:
    """Raise ``ValueError`` unless both splits have the same columns and answers of 0..K-1 or ``IGNORE``."""
    check_integer("n_values", n_values, 2, why="; one value alone is no answer: give the number of values")
    for name in ("states", "answers"):
        widths = [getattr(sample, name).shape[1] for sample in (fit, calibration)]
        if widths[0] != widths[1]:
            raise ValueError(
                f"{name} have {widths[0]} columns in training and {widths[1]} in calibration; give as many"
            )
    for sample in (fit, calibration):
        known = sample.answers[sample.defined]
        if known.size and (known.min() < 0 or known.max() >= n_values):
            raise ValueError(
                f"`answers` must lie in [0, n_values) with n_values={n_values}, or be {IGNORE} where undefined; got "
                f"{known.min()} to {known.max()}."
            )


def cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy of each answer over the sequences that define it, (n,) nats; 0 where none does.

    Parameters
    ----------
    logits : Tensor (B, n, K)
    answers : Tensor (B, n)
    """
    losses = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=IGNORE, reduction="none")
    counts = (answers != IGNORE).sum(0).clamp_min(1)
    return losses.view(answers.shape).sum(0) / counts


def log_marginals(answers: Tensor, n_values: int) -> Tensor:
    """Logs of the marginals of each answer, each value counted half a time more (Krichevsky-Trofimov), (n, K)."""
    known = [column[column != IGNORE] for column in answers.T]
    counts = torch.stack([torch.bincount(column, minlength=n_values) for column in known]).float() + 0.5
    return (counts / counts.sum(1, keepdim=True)).log()


def in_pieces(score: Callable[[slice], Tensor], n_rows: int) -> Logits:
    """Scores of all rows, a few thousand at a time; ``score`` gives those of a slice."""
    with torch.no_grad():
        pieces = [score(slice(start, start + ROWS)).float().cpu() for start in range(0, n_rows, ROWS)]
    scores: Logits = torch.cat(pieces).numpy()
    return scores


def as_answers(answers: IntArray, device: str | torch.device) -> Tensor:
    """Answers as an int64 tensor on a device."""
    return torch.from_numpy(np.ascontiguousarray(answers, dtype=np.int64)).to(device)
