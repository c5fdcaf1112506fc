"""Fit and calibrate decoders, and choose one of them, before evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boundprobe.checks import check_kind
from boundprobe.probes.certificates.assumptions import check_causal, check_interchange
from boundprobe.probes.certificates.information import Plan, Scored, choose
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import Sample, Splits
from boundprobe.probes.decoders.base import AbstractDecoder, FitSettings
from boundprobe.probes.decoders.registry import fit_all
from boundprobe.probes.settings import DECODER_NAMES, DecoderConfig

Scores = NDArray[np.float32]

#: Expected certificates that differ by less are equal: the simpler decoder is taken.
TIE_BITS = 0.005

#: Products of one pass over the fit split from which more than one thread pays.
MANY_PRODUCTS = 10**9


@dataclass(frozen=True)
class Decoded:
    """The chosen decoder and its scores on the evaluation split.

    Attributes
    ----------
    plan : Plan
        Fixed by the calibration split.
    evaluation : Scored
    calibration_estimate_bits : dict of float
        Certificate that the calibration split promised for each decoder: estimates, to choose by.
    interchanged : str
        How assumption A4 was checked for the chosen decoder.
    """

    plan: Plan
    evaluation: Scored
    calibration_estimate_bits: dict[str, float]
    interchanged: str


@dataclass(frozen=True)
class Candidate:
    """A decoder that is already frozen.

    Attributes
    ----------
    calibration : Scored
    evaluation : callable
        What it says of the evaluation split; only the chosen candidate is asked.
    """

    calibration: Scored
    evaluation: Callable[[], tuple[Scored, str]]


def decode(
    prior: Prior,
    splits: Splits,
    config: DecoderConfig,
    alpha: float,
    *,
    device: str = "cpu",
    others: Mapping[str, Candidate] | None = None,
) -> Decoded:
    """Fit each decoder, choose one and its form on the calibration split, and read the evaluation split with it.

    Parameters
    ----------
    prior : Prior
    splits : Splits
    config : DecoderConfig
    alpha : float
        The level that the certificate will have.
    device : str
    others : dict of Candidate, optional
        Decoders that need no training, such as the model itself.

    Raises
    ------
    ValueError
        If the chosen decoder sees more than the state and earlier answers (A4).
    """
    check_kind("config", config, DecoderConfig)
    candidates = dict(others or {})
    n_products = splits.fit.states.size * prior.n_answers * prior.n_values
    with _threads(torch.get_num_threads() if n_products >= MANY_PRODUCTS else 1):
        settings = FitSettings(config.seed, device)
        for name, decoder in fit_all(config.names, splits.fit, splits.calibration, prior.n_values, settings):
            candidates[name] = candidate(decoder, splits)
    n_evaluation = splits.evaluation.n_units
    plans = {
        name: choose(prior, {name: each.calibration}, n_evaluation, alpha, config.forms)
        for name, each in candidates.items()
    }
    plan = plans[simplest_of_best({name: each.expected_bits for name, each in plans.items()})]
    evaluation, interchanged = candidates[plan.decoder].evaluation()
    return Decoded(plan, evaluation, {name: max(0.0, each.expected_bits) for name, each in plans.items()}, interchanged)


def simplest_of_best(expected_bits: Mapping[str, float]) -> str:
    """The candidate with the largest expected certificate; the simplest of those that are within ``TIE_BITS`` of it.

    Candidates that need no training are simplest, then ``DECODER_NAMES`` in their order: a difference this small is
    noise of the calibration split, and what a linear decoder reads is said more plainly.

    >>> simplest_of_best({"chain": 7.004, "mlp": 7.002, "linear": 6.99})
    'mlp'
    """
    best = max(expected_bits.values())
    near = [name for name, bits in expected_bits.items() if bits >= best - TIE_BITS]
    return min(near, key=lambda name: DECODER_NAMES.index(name) if name in DECODER_NAMES else -1)


def candidate(decoder: AbstractDecoder, splits: Splits) -> Candidate:
    """A fitted decoder; it is checked (A4) when the evaluation split is read with it."""

    def scores(sample: Sample) -> Scores:
        said: Scores = decoder.logits(sample.states, sample.answers)
        return said

    def evaluate() -> tuple[Scored, str]:
        sample = splits.evaluation
        check_causal(scores, sample)
        return Scored(scores(sample), sample.answers, sample.groups), check_interchange(scores, sample)

    known = splits.calibration
    return Candidate(Scored(scores(known), known.answers, known.groups), evaluate)


@contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    """Torch with so many threads: tiny operations collapse when threads outnumber free cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
