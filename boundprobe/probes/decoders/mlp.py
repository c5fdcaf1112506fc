"""A shared trunk and a head for all answers: reads products of the state's entries.

scores = linear scores + g_i * W_2 gelu(W_1 z + b_1)_(i, k),        z the whitened state
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
RATE, DECAY = 3e-3, 1.0


class SharedTrunk(AbstractCorrection):
    """One hidden layer for all answers."""

    def __init__(self, n_components: int, n_answers: int, n_values: int, hidden: int, rng: torch.Generator) -> None:
        super().__init__()
        self.n_values = n_values
        self.inward = nn.Parameter(torch.randn(n_components, hidden, generator=rng) / math.sqrt(max(n_components, 1)))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.outward = nn.Parameter(torch.zeros(hidden, n_answers * n_values))

    def forward(self, z: Tensor, answers: Tensor) -> Tensor:
        """(B, r) -> (B, n, K); ``answers`` are not looked at."""
        hidden = F.gelu(torch.addmm(self.bias, z, self.inward))  # (B, hidden)
        return (hidden @ self.outward).view(len(z), -1, self.n_values)


class MlpDecoder(AbstractDecoder):
    """The linear decoder and what a shared trunk adds to it.

    Parameters
    ----------
    linear : LinearDecoder
    network : SharedTrunk
    shares : Tensor (n,)
        g_i.
    """

    name = "mlp"

    def __init__(self, linear: LinearDecoder, network: SharedTrunk, shares: Tensor) -> None:
        self.linear, self.network, self.shares = linear, network, shares

    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Scores; ``answers`` are not looked at."""
        return corrected(self.linear, self.network, self.shares, states, answers)


def fit_mlp(
    fit: Sample, calibration: Sample, n_values: int, settings: FitSettings, linear: LinearDecoder | None = None
) -> MlpDecoder:
    """Fit the linear decoder, unless it is given as fitted with the same arguments, and the trunk to what it leaves."""
    linear = linear or fit_linear(fit, calibration, n_values, settings)
    rng = torch.Generator().manual_seed(settings.seed)
    n_components, n_answers = linear.heads.weights.shape[:2]
    network = SharedTrunk(n_components, n_answers, n_values, settings.hidden, rng).to(settings.device)
    seen, held_out = Split.of(linear, fit), Split.of(linear, calibration)
    return MlpDecoder(linear, network, fit_correction(network, seen, held_out, settings, RATE, DECAY))
