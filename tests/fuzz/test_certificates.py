"""Random states that know nothing: with a true prior the certificate is 0, with a wrong one it is that or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from boundprobe.probes import DecoderConfig, StatesConfig, StatesReport, certify_states

#: Probability, at most, that one report certifies what is not there.
LEVEL = 1e-3
CONFIG = StatesConfig(DecoderConfig(("linear",)), confidence=1 - LEVEL)
N_QUICK, N_SLOW = 12, 300


def states_of_nothing(rng: np.random.Generator, n: int) -> np.ndarray:
    """States (n, d) that were drawn without the answers, of many kinds, sizes and types."""
    d = int(rng.integers(1, 9))
    kinds = [
        lambda: rng.normal(size=(n, d)),
        lambda: rng.standard_cauchy(size=(n, d)),
        lambda: rng.integers(2, size=(n, 16 * d)),
        lambda: rng.permutation(n)[:, None] / n,
        lambda: np.eye(n)[:, : 4 * d] + rng.normal(size=(n, 4 * d)) * 1e-3,
        lambda: rng.normal(size=(n, 1)) * np.arange(1, d + 1),
        lambda: np.exp(20 * rng.normal(size=(n, d))),
    ]
    states = np.asarray(kinds[rng.integers(len(kinds))](), dtype=np.float64)
    return states.astype(("float32", "float64")[rng.integers(2)])


def a_case(seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """States, answers (n, k) with a true prior, and keywords; often with groups, or with absent answers."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(400, 1000)), int(rng.integers(2, 5))
    values = int(rng.integers(2, 6))
    keywords: dict[str, Any] = {"n_values": values}
    if seed % 3 == 1:  # sequences of one source have its code, and its answers
        sources = rng.integers(n // 2, size=n)
        states = states_of_nothing(rng, n // 2)[sources]
        return states, rng.integers(values, size=(n // 2, k))[sources], keywords | {"groups": sources}
    if seed % 3 == 2:
        keywords["defined"] = rng.random((n, k)) < 0.9
    return states_of_nothing(rng, n), rng.integers(values, size=(n, k)), keywords


def measured(states: np.ndarray, answers: np.ndarray, keywords: dict[str, Any]) -> StatesReport | None:
    """The report, or None where it is refused."""
    try:
        return certify_states(states, answers, config=CONFIG, **keywords)
    except ValueError:
        return None


def most(n: int) -> int:
    """Certificates of ``n`` that may err: more have a probability below 1e-6."""
    return int(binom.isf(1e-6, n, LEVEL))


def check_nothing(first: int, n: int) -> None:
    """Of ``n`` cases few are refused, and none is certified but those that the level allows."""
    reports = [measured(*a_case(seed)) for seed in range(first, first + n)]
    found = [report.present.lower for report in reports if report is not None]
    assert len(found) > 0.8 * n
    assert sum(lower > 0 for lower in found) <= most(n)


def wrong_prior(seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """States that know nothing of answers whose prior is not the one that is stated."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(400, 1000)), int(rng.integers(2, 5))
    values = int(rng.integers(2, 6))
    states, kind = states_of_nothing(rng, n), seed % 6
    answers, keywords = rng.integers(values, size=(n, k)), {"n_values": values}
    if kind == 0:  # some values come more often
        answers = np.minimum(answers, rng.integers(values, size=(n, k)))
    elif kind == 1:  # fewer values than stated
        keywords = {"n_values": 2 * values}
    elif kind == 2:  # the first answer again
        answers[:, 1:] = answers[:, :1]
    elif kind == 3:  # a little more often
        answers = np.where(rng.random((n, k)) < 0.1, 0, answers)
    elif kind == 4:  # an entropy that they do not have
        answers = np.minimum(answers, rng.integers(values, size=(n, k)))
        keywords |= {"entropy_bits": 0.999 * k * np.log2(values)}
    else:  # answers that repeat from sequence to sequence
        answers = answers[rng.integers(20, size=n)]
    return states, answers, keywords


def check_wrong_priors(first: int, n: int) -> None:
    """Refused, or 0: what is wrong by little gives nothing that the level does not allow."""
    reports = [measured(*wrong_prior(seed)) for seed in range(first, first + n)]
    assert sum(report is None for report in reports) > n / 3
    false = [
        (first + i, report.present.lower) for i, report in enumerate(reports) if report and report.present.lower > 0
    ]
    assert len(false) <= most(n), false


def test_states_that_know_nothing_certify_nothing() -> None:
    check_nothing(0, N_QUICK)


def test_a_prior_that_is_wrong_certifies_nothing() -> None:
    check_wrong_priors(0, N_QUICK)


@pytest.mark.slow
def test_states_that_know_nothing_certify_nothing_many_times() -> None:
    check_nothing(1000, N_SLOW)


@pytest.mark.slow
def test_a_prior_that_is_wrong_certifies_nothing_many_times() -> None:
    check_wrong_priors(1000, N_SLOW)


def test_states_that_know_the_answers_are_certified_in_the_same_cases() -> None:
    """The negative control."""
    n_certified = 0
    for seed in range(N_QUICK):
        _, answers, keywords = a_case(seed)
        known = np.eye(keywords["n_values"], dtype=np.float32)[answers].reshape(len(answers), -1)
        report = measured(known, answers, keywords)
        n_certified += report is not None and report.present.lower > 0
    assert n_certified > 0.8 * N_QUICK
