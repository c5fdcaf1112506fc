"""Each answer from the state and the answers before it: needed to read joint functions of several answers.

    scores_i = linear scores_i + g_i * (C_i gelu(A_i z + sum_{j<i} B_ij[y_j] + b_i) + sum_{j<i} D_ij[y_j])

The chain rule, -sum_i log q_i(Y_i | S, Y_<i) >= H(Y | S) on average, makes that as good a code as any other (T1).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.probes.decoders.base import AbstractDecoder, FitSettings, Logits
from boundprobe.probes.decoders.linear import LinearDecoder, fit_linear
from boundprobe.probes.decoders.training import AbstractCorrection, Split, corrected, fit_correction

#: Of AdamW.
RATE, DECAY = 3e-3, 0.3

#: Hidden units of each answer, at least and at most.
UNITS = (16, 128)

#: Values of all answers, nK, up to which each earlier value adds to each score directly (D): that takes (nK)^2 weights.
MOST_DIRECT = 2048


class Chain(AbstractCorrection):
    """Hidden units of its own for each answer, all computed at once.

    Parameters
    ----------
    n_components, n_answers, n_values : int
        r, n, K.
    units : int
        Hidden units of each answer, h.
    rng : torch.Generator
        Of the initial weights.
    """

    def __init__(self, n_components: int, n_answers: int, n_values: int, units: int, rng: torch.Generator) -> None:
        super().__init__()
        self.n_values, self.units = n_values, units
        n_codes, width = n_answers * n_values, n_answers * units
        self.states = nn.Parameter(torch.randn(n_components, width, generator=rng) / math.sqrt(max(n_components, 1)))
        self.earlier = nn.Parameter(torch.randn(n_codes, width, generator=rng) / math.sqrt(n_answers))
        self.bias = nn.Parameter(torch.zeros(width))
        self.outward = nn.Parameter(torch.zeros(n_answers, units, n_values))
        self.direct = nn.Parameter(torch.zeros(n_codes, n_codes)) if n_codes <= MOST_DIRECT else None
        self.n_answers = n_answers

    def forward(self, z: Tensor, answers: Tensor) -> Tensor:
        """(B, r), (B, n) -> (B, n, K)."""
        n_answers = self.n_answers
        codes = F.one_hot(answers.clamp_min(0), self.n_values).to(z) * (answers >= 0)[:, :, None]  # (B, n, K)
        codes = codes.flatten(1)
        earlier = torch.addmm(self.bias, codes, self._causal(self.earlier, self.units))
        hidden = F.gelu(torch.addmm(earlier, z, self.states)).view(len(z), n_answers, self.units)
        through_units = torch.bmm(hidden.transpose(0, 1), self.outward).transpose(0, 1)
        if self.direct is None:
            return through_units
        direct = (codes @ self._causal(self.direct, self.n_values)).view(len(z), n_answers, self.n_values)
        return direct + through_units

    def _causal(self, weights: Tensor, width: int) -> Tensor:
        """(nK, n * width) without the blocks from an answer to itself and to those before it."""
        blocks = weights.view(self.n_answers, self.n_values, self.n_answers, width)
        before = torch.ones(self.n_answers, self.n_answers).to(weights).triu(1)  # (j, i): j < i
        blocks = blocks * before[:, None, :, None]
        return blocks.view(len(weights), -1)


class ChainDecoder(AbstractDecoder):
    """The linear decoder and what hidden units that see earlier answers add to it.

    Parameters
    ----------
    linear : LinearDecoder
    network : Chain
    shares : Tensor (n,)
        g_i.
    """

    name = "chain"

    def __init__(self, linear: LinearDecoder, network: Chain, shares: Tensor) -> None:
        self.linear, self.network, self.shares = linear, network, shares

    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Scores of each answer given the ones before it; an undefined one says nothing."""
        return corrected(self.linear, self.network, self.shares, states, answers)


def fit_chain(
    fit: Sample, calibration: Sample, n_values: int, settings: FitSettings, linear: LinearDecoder | None = None
) -> ChainDecoder:
    """Fit the linear decoder, unless it is given as fitted with the same arguments, and the units to what it leaves."""
    linear = linear or fit_linear(fit, calibration, n_values, settings)
    rng = torch.Generator().manual_seed(settings.seed)
    n_components, n_answers = linear.heads.weights.shape[:2]
    units = min(max(2 * settings.hidden // n_answers, UNITS[0]), UNITS[1])
    network = Chain(n_components, n_answers, n_values, units, rng).to(settings.device)
    seen, held_out = Split.of(linear, fit), Split.of(linear, calibration)
    return ChainDecoder(linear, network, fit_correction(network, seen, held_out, settings, RATE, DECAY))
