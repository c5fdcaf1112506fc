"""Answers from earlier answers alone, by counts of pairs: the decoder of the null control.

    scores_i(v) = log P(v) + sum_{j<i} log (N_ij(y_j, v) + beta) / (E_ij(y_j, v) + beta)

N_ij counts pairs of values in the fit split and E_ij is what independent answers would have.  Each pair of answers
may say little: the sum shows what many of them say together, such as "no two of 24 pointers form a cycle", which no
test of a single pair sees.  The state is not looked at.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.probes.decoders.base import (
    AbstractDecoder,
    FitSettings,
    Logits,
    as_answers,
    check_samples,
    cross_entropy,
    in_pieces,
    log_marginals,
)

#: Values of all answers, nK, up to which pairs are counted: (nK)^2 counts.
MOST_CODES = 2048

#: Beta in mean counts of a pair of values that are tried, beside the marginals alone.
DOUBTS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)


class PairsDecoder(AbstractDecoder):
    """Marginals and log ratios of pairs.

    Parameters
    ----------
    marginals : Tensor (n, K)
        Logs.
    ratios : Tensor (nK, nK)
        Log ratios of an earlier value (row) and a later one (column), 0 elsewhere.
    """

    name = "pairs"

    def __init__(self, marginals: Tensor, ratios: Tensor) -> None:
        self.marginals, self.ratios = marginals, ratios

    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Scores of each answer given the ones before it; ``states`` are not looked at."""
        return in_pieces(lambda rows: self.scores(torch.from_numpy(np.asarray(answers[rows]))), len(answers))

    def scores(self, answers: Tensor) -> Tensor:
        """Answers (B, n) -> scores (B, n, K)."""
        codes = _codes(answers.to(self.marginals.device), self.marginals.shape[1])
        return self.marginals + (codes @ self.ratios).view(len(answers), *self.marginals.shape)


def fit_pairs(fit: Sample, calibration: Sample, n_values: int, settings: FitSettings) -> PairsDecoder:
    """Count pairs of the fit split; the calibration split chooses beta."""
    check_samples(fit, calibration, n_values)
    answers = as_answers(fit.answers, settings.device)
    marginals = log_marginals(answers, n_values)
    n_answers = answers.shape[1]
    held_out = as_answers(calibration.answers, settings.device)
    best = PairsDecoder(marginals, marginals.new_zeros(n_answers * n_values, n_answers * n_values))
    if n_answers * n_values > MOST_CODES:
        return best  # the marginals alone
    codes = _codes(answers, n_values)
    counts = codes.T @ codes
    defined = (answers >= 0).float()
    shares = marginals.exp().flatten()
    both = (defined.T @ defined).repeat_interleave(n_values, 0).repeat_interleave(n_values, 1)
    expected = both * shares[:, None] * shares
    order = torch.arange(n_answers, device=counts.device).repeat_interleave(n_values)
    earlier = order[:, None] < order
    least = cross_entropy(best.scores(held_out), held_out).sum()
    for doubt in DOUBTS:
        beta = doubt * float(expected[earlier].mean())
        tried = PairsDecoder(marginals, ((counts + beta) / (expected + beta)).log().nan_to_num(0.0, 0.0, 0.0) * earlier)
        loss = cross_entropy(tried.scores(held_out), held_out).sum()
        if loss < least:
            least, best = loss, tried
    return best


def _codes(answers: Tensor, n_values: int) -> Tensor:
    """Answers (B, n) one-hot, (B, nK); 0 where undefined."""
    hot = F.one_hot(answers.clamp_min(0), n_values).float() * (answers >= 0)[:, :, None]
    return hot.flatten(1)
