"""Finite populations of units, whose empirical distribution is taken for the distribution: its means are exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boundprobe.probes.certificates import FORMS, Plan, Scored, plan
from counting.cases import ALPHA, N_CALIBRATION, Case, FloatArray, IntArray

BLOCK = 20_000


def unit_means(values: NDArray[np.generic], groups: IntArray | None) -> FloatArray:
    """Mean over each group of rows (N, ...), in the order of their numbers; a second implementation, on purpose."""
    rows = np.asarray(values, np.float64)
    if groups is None:
        return rows
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    means: FloatArray = np.add.reduceat(rows[order], starts, axis=0) / sizes.reshape(-1, *[1] * (rows.ndim - 1))
    return means


def lengths_bits(chosen: Plan, scored: Scored) -> FloatArray:
    """Code lengths under a plan that has a code."""
    if chosen.code is None:
        raise ValueError(f"form is {chosen.form!r}; allowed: those with a code; give its plan")
    return chosen.code.lengths_bits(scored.scores, scored.answers)


@dataclass(frozen=True)
class Population:
    """Finitely many units of a case, with each form's plan from a calibration draw of its own."""

    case: Case
    calibration: Scored
    n_plan: int = 500

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """Each form, fixed on the calibration draw."""
        prior = self.case.prior
        forms = [form for form in FORMS if form != "fano" or not prior.undefined_bits]
        return {form: plan(prior, "ideal", form, self.calibration, self.n_plan, ALPHA) for form in forms}

    @cached_property
    def drawn(self) -> tuple[dict[str, FloatArray], NDArray[np.generic]]:
        """Code lengths (M,) of each form with a code, and wrong answers (M, n): of groups, the mean and the share."""
        rng, wrong = self.case.rng("population"), []
        lengths: dict[str, list[FloatArray]] = {form: [] for form, each in self.plans.items() if each.code}
        for _ in range(0, self.case.n_population, BLOCK):
            scored = self.case.scored(BLOCK, rng)
            wrong.append(scored.wrong if scored.groups is None else unit_means(scored.wrong, scored.groups))
            for form, parts in lengths.items():
                parts.append(unit_means(lengths_bits(self.plans[form], scored), scored.groups))
        return {form: np.concatenate(parts) for form, parts in lengths.items()}, np.concatenate(wrong)


def make_population(case: Case) -> Population:
    """The population of a case with plans from its own calibration draw."""
    return Population(case, case.scored(N_CALIBRATION, case.rng("calibration")))


def choices(case: Case, n_units: int, repetitions: int, fresh: bool) -> Iterator[IntArray]:
    """Places of each repetition's units: with replacement, or disjoint blocks, which are fresh draws."""
    if fresh:
        yield from np.arange(repetitions * n_units).reshape(repetitions, n_units)
    else:
        rng = case.rng(f"resample {n_units}")
        for _ in range(repetitions):
            yield rng.integers(case.n_population, size=n_units)
