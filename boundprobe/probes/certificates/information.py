"""T1, the master bound: certified bits of I(U;S) from any frozen decoder of the answers.

    I(U;S) >= I(Y;S | D) >= H(Y | D) - c        with probability at least 1 - alpha

D says which answers are defined, H(Y | D) is the prior's (A2), and c is an upper confidence bound for the mean code
length l of the defined answers.  The decoder may see D and, in the chain form, the earlier answers.  Everything but c
is fixed on the calibration split (A3).  Three forms:

    fano             c = sum_i Phi(e_i), e_i Clopper-Pearson upper bounds at alpha / n
    tangent-fano     l is the tangent of Phi at the calibration errors
    cross-entropy    l is the code length under the decoder's recalibrated probabilities
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.state.fano import fano_bits
from boundprobe.checks import check_number, check_word
from boundprobe.probes.certificates.binomial import clopper_pearson_upper
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.codes import (
    AnswerCode,
    IntArray,
    Scores,
    calibration_penalty,
    fit_cross_entropy,
    fit_tangent_fano,
    right_answers,
)
from boundprobe.probes.certificates.mean_bounds import upper_confidence_bound
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import count_units, unit_means
from boundprobe.tasks.base import IGNORE

#: Code of each form; Fano's per-answer form needs none.
FITS: dict[str, Callable[[Scores, IntArray, float], AnswerCode]] = {
    "tangent-fano": fit_tangent_fano,
    "cross-entropy": fit_cross_entropy,
}
FORMS = ("fano", *FITS)


@dataclass(frozen=True)
class Scored:
    """Scores of one decoder for the sequences of one split.

    Attributes
    ----------
    scores : float32 array (N, n, K)
        Natural-log scores of each value, up to a constant.
    answers : int64 array (N, n)
        The right values, ``IGNORE`` where undefined.
    groups : int64 array (N,), optional
        See ``Sample``.
    """

    scores: Scores
    answers: IntArray
    groups: IntArray | None = None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Mask of the answers that are defined and wrong, (N, n)."""
        wrong: NDArray[np.bool_] = (self.answers != IGNORE) & ~right_answers(self.scores, self.answers)
        return wrong

    @property
    def n_units(self) -> int:
        """Number of independent units."""
        return count_units(len(self.answers), self.groups)

    def error_upper_bounds(self, alpha: float, limit: str = "betting") -> NDArray[np.float64]:
        """Upper confidence bounds of the error of each answer, (n,), that hold together at level 1 - alpha.

        Those of Clopper and Pearson where every sequence is a unit.  The mean over a group is no 0/1 value, so groups
        take ``limit``, which needs no more than values in [0, 1].
        """
        wrong = self.wrong
        level = alpha / wrong.shape[1]
        if self.groups is None:
            return clopper_pearson_upper(wrong.sum(0), len(wrong), level)
        means = unit_means(wrong, self.groups)
        return np.array([upper_confidence_bound(column, level, 0.0, 1.0, limit) for column in means.T])


@dataclass(frozen=True)
class Plan:
    """Settings of a certificate, fixed before evaluation.

    Attributes
    ----------
    decoder, form : str
    code : AnswerCode or None
        None for the form "fano".
    seen : float array (N_calibration,)
        Code lengths on the calibration split; they start the bets.
    expected_bits : float
        The certificate that the calibration split lets one expect: to choose by, not a bound.
    """

    decoder: str
    form: str
    code: AnswerCode | None
    seen: NDArray[np.float64]
    expected_bits: float


def plan(prior: Prior, decoder: str, form: str, calibration: Scored, n_evaluation: int, alpha: float) -> Plan:
    """Fix one form for one decoder by the calibration split."""
    check_word("form", form, FORMS)
    if form not in FITS:
        if prior.undefined_bits:
            raise ValueError(
                f"`form` must be one of {', '.join(FITS)} with a prior that does not say how many answers are defined; "
                "got 'fano'. Or state the joint entropy."
            )
        wrong = calibration.wrong
        rate = wrong.mean(0)
        counts = np.round(rate * n_evaluation).astype(np.int64)
        upper = clopper_pearson_upper(counts, n_evaluation, alpha / wrong.shape[1])
        return Plan(decoder, form, None, np.empty(0), fano_bits(prior.entropy_bits, prior.n_values, upper))
    code = FITS[form](calibration.scores, calibration.answers, prior.undefined_bits)
    seen = unit_means(code.lengths_bits(calibration.scores, calibration.answers), calibration.groups)
    price = calibration_penalty(seen, code.most_bits, n_evaluation, alpha)
    return Plan(decoder, form, code, seen, prior.entropy_bits - float(seen.mean()) - price)


def choose(
    prior: Prior,
    calibration: dict[str, Scored],
    n_evaluation: int,
    alpha: float,
    forms: Iterable[str] = FORMS,
) -> Plan:
    """The decoder and form that promise the highest certificate, by the calibration split alone (A3).

    Parameters
    ----------
    prior : Prior
    calibration : dict of Scored
        What each decoder says of the calibration split.
    n_evaluation : int
        Sequences that will be evaluated.
    alpha : float
        The level that the certificate will have.
    forms : iterable of str
        Those of ``FORMS`` that may be chosen.
    """
    possible = [form for form in forms if form in FITS or not prior.undefined_bits]
    plans = [
        plan(prior, name, form, scored, n_evaluation, alpha)
        for name, scored in calibration.items()
        for form in possible
    ]
    if not plans:
        raise ValueError("at least one decoder and one form must be given; got none.")
    return max(plans, key=lambda each: each.expected_bits)


def certify(
    prior: Prior, plan: Plan, evaluation: Scored, alpha: float, rng: np.random.Generator, limit: str = "betting"
) -> CertifiedBound:
    """The certified information of one split, by a plan that was fixed without it.

    Parameters
    ----------
    prior : Prior
    plan : Plan
    evaluation : Scored
        Scores of the plan's decoder on sequences that neither trained nor calibrated it.
    alpha : float
        Probability, at most, that the value is above I(U;S).
    rng : numpy Generator
        Fixes the order of the bets; the caller seeds it once.
    limit : str
        Confidence bound for the mean, one of ``mean_bounds.CONFIDENCE_BOUNDS``; without groups the form "fano" takes
        that of Clopper and Pearson.

    Raises
    ------
    ValueError
        If there is no sequence, or shapes or names are wrong.

    References
    ----------
    T1; for "fano" statement S1 (Cooper et al. 2026, arXiv 2603.08859, Theorem 3.3 in exact form).

    Examples
    --------
    A decoder that is always right, of 4 answers that are each one of 8:

    >>> rng = np.random.default_rng(0)
    >>> def perfect(n):
    ...     answers = rng.integers(8, size=(n, 4))
    ...     return Scored(10 * np.eye(8, dtype=np.float32)[answers], answers)
    >>> prior = Prior.uniform(4, 8)
    >>> chosen = choose(prior, {"perfect": perfect(500)}, 2000, alpha=0.05)
    >>> certified = certify(prior, chosen, perfect(2000), 0.05, rng)
    >>> chosen.form, 11.8 < certified.lower < certified.estimate <= 12.0
    ('tangent-fano', True)
    """
    check_number("alpha", alpha, above=0, below=1, why="; take e.g. 0.05")
    h = prior.entropy_bits
    if plan.code is None:
        upper = evaluation.error_upper_bounds(alpha, limit)
        observed = unit_means(evaluation.wrong, evaluation.groups).mean(0)
        lower, estimate = (fano_bits(h, prior.n_values, errors) for errors in (upper, observed))
        method = "clopper-pearson" if evaluation.groups is None else limit
        return CertifiedBound(lower, "lower", estimate, 1 - alpha, "T1", method, decoder=plan.decoder, form=plan.form)
    lengths = plan.code.lengths_bits(evaluation.scores, evaluation.answers)
    lengths = rng.permutation(unit_means(lengths, evaluation.groups))
    c = upper_confidence_bound(lengths, alpha, 0.0, plan.code.most_bits, limit, plan.seen)
    estimate = max(0.0, h - float(lengths.mean()))
    lower = max(0.0, h - c)
    return CertifiedBound(lower, "lower", estimate, 1 - alpha, "T1", limit, decoder=plan.decoder, form=plan.form)
