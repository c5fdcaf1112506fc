"""A network's correction of the linear decoder's scores: AdamW, stopped by the calibration split.

    scores = linear scores + g_i * network,        g_i in 0, 1/4, .., 1

The network starts at 0, so the linear decoder is where every fit begins, and g_i, chosen for each answer by
calibration cross-entropy, is 0 where the network only learnt the fit split.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.adamw import adamw

from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.probes.decoders.base import ROWS, FitSettings, Logits, as_answers, cross_entropy, in_pieces
from boundprobe.probes.decoders.linear import LinearDecoder
from boundprobe.tasks.base import IGNORE

#: Shares of the correction that are tried for each answer.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

#: Cross-entropy of an answer, nats, below which there is nothing left to learn.
NOTHING_LEFT = 3e-4

BATCH = 256


class AbstractCorrection(nn.Module, ABC):
    """A network from whitened states (B, r) and answers (B, n) to corrections of the scores (B, n, K)."""

    @abstractmethod
    def forward(self, z: Tensor, answers: Tensor) -> Tensor:
        """For answer i, only the columns of ``answers`` before i may be looked at."""


@dataclass(frozen=True)
class Split:
    """A sample as the network sees it: z (N, r), base (N, n, K), answers (N, n)."""

    z: Tensor
    base: Tensor
    answers: Tensor

    @classmethod
    def of(cls, linear: LinearDecoder, sample: Sample) -> Split:
        """Whitened states and the linear decoder's scores."""
        z = linear.whitening(sample.states)
        base = torch.from_numpy(linear.logits(sample.states, sample.answers)).to(z)
        return cls(z, base, as_answers(sample.answers, z.device))

    def correction(self, network: AbstractCorrection) -> Tensor:
        """Of all rows, (N, n, K)."""
        with torch.no_grad():
            pieces = zip(self.z.split(ROWS), self.answers.split(ROWS), strict=True)
            correction: Tensor = torch.cat([network(z, answers) for z, answers in pieces])
        return correction


class Optimizer:
    """AdamW with torch's own update; ``torch.optim.AdamW`` itself imports a compiler, which takes seconds.

    Parameters
    ----------
    network : Module
    decay : float
        Weight decay.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.values: list[Tensor] = list(network.parameters())
        self.decay = decay
        self.moments, self.squares = ([torch.zeros_like(value) for value in self.values] for _ in range(2))
        self.steps = [torch.zeros(()) for _ in self.values]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights by their gradients, and clear the gradients."""
        gradients = [torch.zeros_like(v) if v.grad is None else v.grad for v in self.values]
        adamw(
            self.values, gradients, self.moments, self.squares, [], self.steps, foreach=True, amsgrad=False, beta1=0.9,
            beta2=0.99, lr=rate, weight_decay=self.decay, eps=1e-8, maximize=False,
        )  # fmt: skip
        for value in self.values:
            value.grad = None


def fit_correction(
    network: AbstractCorrection, fit: Split, calibration: Split, settings: FitSettings, rate: float, decay: float
) -> Tensor:
    """Train ``network`` in place; returns the share of it that each answer takes, (n,).

    Parameters
    ----------
    network : AbstractCorrection
        Left at the weights of the pass with the least calibration cross-entropy.
    fit, calibration : Split
    settings : FitSettings
    rate, decay : float
        Of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101); the rate falls to 0 along half a cosine.
    """
    rng = torch.Generator().manual_seed(settings.seed)
    optimizer = Optimizer(network, decay)
    n_steps, step = settings.epochs * math.ceil(len(fit.z) / BATCH), 0
    least, kept, waited = float(cross_entropy(calibration.base, calibration.answers).sum()), _weights(network), 0
    for _ in range(settings.epochs):
        for rows in _batches(len(fit.z), rng):
            index = rows.to(fit.z.device)
            scores = fit.base[index] + network(fit.z[index], fit.answers[index])
            # Mean over sequences of the sum over answers: each answer's gradient is what it would be alone.
            loss = F.cross_entropy(
                scores.flatten(0, 1), fit.answers[index].flatten(), ignore_index=IGNORE, reduction="sum"
            )
            (loss / len(rows)).backward()  # a mean over sequences of the sum over answers
            optimizer.step(rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / n_steps)))
            step += 1
        now = float(cross_entropy(calibration.base + calibration.correction(network), calibration.answers).sum())
        waited += 1
        if now < least - 1e-4 * abs(least):
            least, kept, waited = now, _weights(network), 0
        if waited >= settings.patience or now < NOTHING_LEFT * len(calibration.answers[0]):
            break
    network.load_state_dict(kept)
    return choose_shares(calibration, calibration.correction(network))


def corrected(
    linear: LinearDecoder, network: AbstractCorrection, shares: Tensor, states: FloatArray, answers: IntArray
) -> Logits:
    """Linear scores and each answer's share of the network's, (B, n, K)."""

    def score(rows: slice) -> Tensor:
        z = linear.whitening(states[rows])
        correction: Tensor = network(z, as_answers(answers[rows], z.device))
        return linear.heads.scores(z) + shares[:, None] * correction

    return in_pieces(score, len(states))


def choose_shares(calibration: Split, correction: Tensor) -> Tensor:
    """The share of the correction with the least calibration cross-entropy for each answer, (n,)."""
    losses = [cross_entropy(calibration.base + share * correction, calibration.answers) for share in SHARES]
    shares: Tensor = torch.tensor(SHARES).to(correction)[torch.stack(losses).argmin(0)]
    return shares


def _batches(n_rows: int, rng: torch.Generator) -> Iterator[Tensor]:
    yield from torch.randperm(n_rows, generator=rng).split(BATCH)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
