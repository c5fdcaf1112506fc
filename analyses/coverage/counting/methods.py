"""Every form with every confidence bound that it may have: violations, beside those of the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds import fano_loss_bits
from boundprobe.probes.certificates import CONFIDENCE_BOUNDS, Plan, clopper_pearson_upper, upper_confidence_bound
from counting.cases import (
    ALPHA,
    REPETITIONS,
    SLACK,
    TIGHTNESS,
    BoolArray,
    Case,
    FloatArray,
    case_named,
)
from counting.fast_betting import QuickBetting, quick_betting
from counting.populations import Population, choices, make_population
from counting.reference import N_SIMULATED, any_rate, code_rates, fano_rates, wrong_counts
from counting.rows import NOT_COUNTED, Rate, Row, with_limits

ALL = tuple(CONFIDENCE_BOUNDS)


def code_limit(chosen: Plan, lengths: FloatArray, limit: str, alpha: float = ALPHA) -> float:
    """c, as ``certify`` takes it from independent draws, whose order says nothing."""
    if chosen.code is None:
        raise ValueError(f"form is {chosen.form!r}; allowed: those with a code; give its plan")
    return upper_confidence_bound(lengths, alpha, 0.0, chosen.code.most_bits, limit, chosen.seen)


def fano_limit(wrong: BoolArray, n_values: int, alpha: float = ALPHA) -> float:
    """c = sum_i Phi(e_i), not cut at the entropy."""
    upper = clopper_pearson_upper(wrong.sum(0), len(wrong), alpha / wrong.shape[1])
    return float(fano_loss_bits(upper, n_values).sum())


@dataclass(frozen=True)
class OfShares:
    """The form "fano" where units are groups: bounds for mean shares of wrong answers."""

    limit: str
    n_values: int
    n_units: int

    def bits(self, shares: FloatArray, repetition: int, alpha: float = ALPHA) -> float:
        """c of shares (N, n)."""
        level = alpha / shares.shape[1]
        if self.limit == "betting":
            quick = QuickBetting(np.empty(0), 0.0, 1.0, self.n_units, n_compared=2)
            upper = np.array([quick.limit(column, level, repetition) for column in shares.T])
        else:
            upper = np.array([upper_confidence_bound(column, level, 0.0, 1.0, self.limit) for column in shares.T])
        return float(fano_loss_bits(upper, self.n_values).sum())


def methods(population: Population, limits: tuple[str, ...] = ALL) -> list[tuple[str, str]]:
    """Every form with every bound it may have."""
    coded = [(form, limit) for form in population.plans if form != "fano" for limit in limits]
    if "fano" not in population.plans:
        return coded
    of_answers = limits if population.case.grouped else ("clopper-pearson",)
    return [("fano", limit) for limit in of_answers] + coded


Rates = dict[tuple[str, str], tuple[Rate, Rate]]


def expected(
    population: Population, n_units: int, wanted: list[tuple[str, str]], fresh: bool, n_simulated: int = N_SIMULATED
) -> Rates:
    """How often the reference errs: of the truth, and of the decoder's own value, for each method."""
    case, prior = population.case, population.case.prior
    lengths, wrong = population.drawn
    rng = case.rng(f"reference {n_units} {fresh}")
    by_truth = prior.entropy_bits - case.channel.true_bits - SLACK
    found: Rates = {}
    for form, values in lengths.items():
        chosen = population.plans[form]
        assert chosen.code is not None
        # Fresh draws are not of the population but of what it was drawn from: generous by three standard errors.
        shift = 3 * float(values.std()) / len(values) ** 0.5 if fresh else 0.0
        targets = [by_truth + shift, float(values.mean()) - SLACK]
        limits = [limit for of, limit in wanted if of == form]
        rates = code_rates(
            values, chosen.code.most_bits, chosen.seen, targets, limits, n_units, rng, n_simulated=n_simulated
        )
        found |= {(form, limit): (truth, own) for limit, (truth, own) in rates.items()}
    if case.grouped:
        for limit in [limit for form, limit in wanted if form == "fano"]:
            rate = any_rate(wrong.astype(np.float64), limit, n_units, rng, n_simulated=n_simulated)
            found["fano", limit] = rate, rate
    elif ("fano", "clopper-pearson") in wanted:
        own = float(fano_loss_bits(wrong.mean(0), prior.n_values).sum()) - SLACK
        counts = wrong_counts(wrong.astype(np.bool_), n_units, rng, n_simulated)
        shift = 3 * own_error(wrong, prior.n_values) if fresh else 0.0
        truth, of_own = fano_rates(counts, n_units, prior.n_values, [by_truth + shift, own])
        found["fano", "clopper-pearson"] = truth, of_own
    return found


def own_error(wrong: NDArray[np.generic], n_values: int) -> float:
    """Standard error of sum_i Phi(e_i) in a population: the delta method, with answers taken to err together."""
    e = np.clip(wrong.mean(0), 1e-6, 1 - 1 / n_values)
    slope = np.abs(np.log2((1 - e) * (n_values - 1) / e))
    return float((slope * np.sqrt(e * (1 - e) / len(wrong))).sum())


def cover(
    population: Population,
    n_units: int,
    limits: tuple[str, ...] = ALL,
    repetitions: int = REPETITIONS,
    fresh: bool = False,
    n_simulated: int = N_SIMULATED,
) -> list[Row]:
    """Count violations of each method on the same resamples."""
    case, prior = population.case, population.case.prior
    lengths, wrong = population.drawn
    wanted = methods(population, limits)
    quick = {form: quick_betting(population.plans[form], n_units) for form in lengths}
    cs = np.empty((repetitions, len(wanted)))
    for r, rows in enumerate(choices(case, n_units, repetitions, fresh)):
        for j, (form, limit) in enumerate(wanted):
            if form == "fano" and case.grouped:
                cs[r, j] = OfShares(limit, prior.n_values, n_units).bits(wrong[rows].astype(np.float64), r)
            elif form == "fano":
                cs[r, j] = fano_limit(wrong[rows].astype(np.bool_), prior.n_values)
            elif limit == "betting":
                cs[r, j] = quick[form].limit(lengths[form][rows], ALPHA, r)
            else:
                cs[r, j] = code_limit(population.plans[form], lengths[form][rows], limit)
    means = {form: float(each.mean()) for form, each in lengths.items()}
    means["fano"] = float(fano_loss_bits(wrong.mean(0), prior.n_values).sum())
    truth, h = case.channel.true_bits, prior.entropy_bits
    # In a population of M the truth is off by the standard error of M, which N must be far above to show.
    counts_truth = fresh or case.n_population >= 800 * n_units
    rates = expected(population, n_units, wanted, fresh, n_simulated)
    rows_of = []
    for (form, limit), c in zip(wanted, cs.T, strict=True):
        row = {
            "kind": "method",
            "channel": case.name,
            "form": form,
            "limit": limit,
            "sampling": "fresh" if fresh else "population",
            "n_sequences": n_units,
            "truth_bits": truth,
            "population_bits": h - means[form],
            "median_bits": float(np.median(np.maximum(0.0, h - c))),
            "above_truth": int((np.maximum(0.0, h - c) > truth + SLACK).sum()) if counts_truth else NOT_COUNTED,
            "above_population": NOT_COUNTED if fresh else int((c < means[form] - SLACK).sum()),
            "repetitions": repetitions,
        }
        rows_of.append(with_limits(row, *rates[form, limit]))
    return rows_of


def case_rows(name: str) -> list[Row]:
    """All rows of one case."""
    case = case_named(name)
    population = make_population(case)
    rows = [row for n in case.n_sequences for row in cover(population, n)]
    # Groups are too few for blocks of fresh draws of the size that matters.
    return rows + (cover(population, 50, fresh=True) if case.grouped else cover(population, 200, fresh=True))


def tightness_rows(name: str) -> list[Row]:
    """Median certificates at N = 2,000 and 5,000; 200 repetitions place a median well."""
    channel = TIGHTNESS[float(name.rsplit(" ", 1)[1])]
    population = make_population(Case(name, channel, n_population=200_000))
    return [
        replace(row, kind="tightness", above_truth=NOT_COUNTED)
        for n in (2000, 5000)
        for row in cover(population, n, ("betting",), repetitions=200)
    ]
