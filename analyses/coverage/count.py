"""How often certified limits are wrong: 2,000 repetitions on channels whose information is known.

    python analyses/coverage/count.py [--only NAME;NAME] [--out FOLDER]

Two processes of one thread.  Writes coverage.csv, whole or not at all; README.md says what is counted.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.stats import norm

from boundprobe.bounds import binary_entropy_bits, fano_bits, fano_loss_bits
from boundprobe.channels import (
    AbstractChannel,
    EnumeratedMachine,
    Erasure,
    KeyValueStream,
    LinearHash,
    Null,
    Rotated,
    SignNoise,
    Superposition,
    SymmetricStorage,
    TokenStream,
    WholeStateLoss,
    WholeStateSwap,
    XorPairs,
    XorStorage,
)
from boundprobe.probes.certificates import (
    CONFIDENCE_BOUNDS,
    MOST_BET,
    Plan,
    Prior,
    Scored,
    ball_bits,
    by_answer,
    choose,
    choose_threshold,
    clopper_pearson_upper,
    fit_tangent_fano,
    hypotheses,
    plan,
    rounds,
    states_certificate,
    upper_confidence_bound,
)
from boundprobe.probes.quantised import fit_code
from boundprobe.runs import write_whole

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ALPHA = 0.05
REPETITIONS = 2000
#: 99.9 per cent quantile of binomial(2000, 0.05): more violations fail a method.
MOST_VIOLATIONS = 131
N_CALIBRATION = 500
SEED = 2026
SLACK = 1e-9  # bits, for sums of entropies in floats
FORMS = ("fano", "tangent-fano", "cross-entropy")
BLOCK = 20_000


@dataclass(frozen=True)
class Case:
    """A channel, how it is decoded, and what is known of its answers.

    Attributes
    ----------
    name : str
    channel : AbstractChannel
    chain : bool
        Decoded by ``chain_logits``, which a channel may have beside ``ideal_logits``.
    law_of_defined : bool
        Whether it is known how often answers are defined.
    n_sequences : tuple of int
    n_population : int
        Sequences of the finite population.
    """

    name: str
    channel: AbstractChannel
    chain: bool = False
    law_of_defined: bool = True
    n_sequences: tuple[int, ...] = (500,)
    n_population: int = 400_000

    @property
    def prior(self) -> Prior:
        """What a method is told."""
        n, k, h = self.channel.n_answers, self.channel.n_values, self.channel.entropy_bits
        if not self.law_of_defined:
            return Prior.uniform_where_defined(n, k)
        if math.isclose(h, n * math.log2(k)):
            return Prior.uniform(n, k)
        return Prior.stated(n, k, h)

    def scored(self, n_sequences: int, rng: np.random.Generator) -> Scored:
        """Fresh sequences, read by the channel's own posterior."""
        states, answers = self.channel.draw(n_sequences, rng)
        read = self.channel.chain_logits if self.chain else self.channel.ideal_logits
        return Scored(read(states, answers).astype(np.float32), answers)

    def rng(self, role: str) -> np.random.Generator:
        """One stream for each case and role, whatever the other cases are."""
        return np.random.default_rng([SEED, zlib.crc32(self.name.encode()), zlib.crc32(role.encode())])


REFERENCE = Case(
    "storage 16x16, kept 0.9",
    SymmetricStorage(16, 16, 0.9),
    n_sequences=(200, 500, 1000, 2000, 5000),
    n_population=1_000_000,
)
KEY_VALUE = KeyValueStream(6, 8, 8, 0.1)
CASES = (
    REFERENCE,
    Case("storage 1x4, kept 0.8", SymmetricStorage(1, 4, 0.8)),
    Case("storage 4x16, kept 0.998", SymmetricStorage(4, 16, 0.998)),
    Case("storage 4x2, kept 0.1", SymmetricStorage(4, 2, 0.1)),
    Case("erasure 8x8, lost 0.3", Erasure(8, 8, 0.3)),
    Case("whole-state loss 8x8, lost 0.2", WholeStateLoss(8, 8, 0.2)),
    Case("whole-state swap 8x8, lost 0.1", WholeStateSwap(8, 8, 0.1)),
    Case("whole-state swap 8x8, by a chain", WholeStateSwap(8, 8, 0.1), chain=True),
    Case("sign noise 8, sd 0.5", SignNoise(8, 0.5)),
    Case("xor storage 8", XorStorage(8)),
    Case("xor pairs 8x4", XorPairs(8, 4)),
    Case("linear hash 8, rank 4", LinearHash(8, 4)),
    Case("superposition 6x8 in 32", Superposition(6, 8, 32, 0.2)),
    Case("null 8x4", Null(8, 4, 4)),
    Case("key-value stream 6x8", KEY_VALUE),
    Case("key-value stream 6x8, law of keys unknown", KEY_VALUE, law_of_defined=False),
    Case("token stream 4, 12 tokens", TokenStream(4, 12)),
    Case("machine 4x3 of 6 states", EnumeratedMachine(4, 3, 6)),
    Case("rotated erasure 6x8", Rotated(Erasure(6, 8, 0.3), 32, 0.1)),
)
#: Median certified share of the truth at rare and frequent errors (error = (1 - kept) 15/16).
TIGHTNESS = {error: SymmetricStorage(16, 16, 1 - error * 16 / 15) for error in (0.1, 0.05, 0.01)}


@dataclass(frozen=True)
class Row:
    """One line of coverage.csv.

    ``above_truth`` and ``above_population`` are violations of ``repetitions``; -1 where not counted.
    """

    kind: str
    channel: str
    form: str
    limit: str
    sampling: str
    n_sequences: int
    truth_bits: float
    population_bits: float
    median_bits: float
    above_truth: int
    above_population: int
    repetitions: int

    @property
    def verdict(self) -> str:
        """Whether the rule is kept."""
        return "fails" if max(self.above_truth, self.above_population) > MOST_VIOLATIONS else "holds"


@dataclass(frozen=True)
class Population:
    """Finitely many sequences of a case, whose empirical law is taken for the law: its means are exact."""

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
    def drawn(self) -> tuple[dict[str, FloatArray], BoolArray]:
        """Code lengths (M,) of each form that has a code, and wrong answers (M, n)."""
        rng, wrong = self.case.rng("population"), []
        lengths: dict[str, list[FloatArray]] = {form: [] for form, each in self.plans.items() if each.code}
        for _ in range(0, self.case.n_population, BLOCK):
            scored = self.case.scored(BLOCK, rng)
            wrong.append(scored.wrong)
            for form, parts in lengths.items():
                parts.append(lengths_bits(self.plans[form], scored))
        return {form: np.concatenate(parts) for form, parts in lengths.items()}, np.concatenate(wrong)


def lengths_bits(chosen: Plan, scored: Scored) -> FloatArray:
    """Code lengths under a plan that has a code."""
    if chosen.code is None:
        raise ValueError(f"form is {chosen.form!r}; allowed: those with a code; give its plan")
    return chosen.code.lengths_bits(scored.scores, scored.answers)


def make_population(case: Case) -> Population:
    """The population of a case with plans from its own calibration draw."""
    return Population(case, case.scored(N_CALIBRATION, case.rng("calibration")))


def choices(case: Case, n_sequences: int, repetitions: int, fresh: bool) -> Iterator[IntArray]:
    """Places of each repetition's sequences: with replacement, or disjoint blocks, which are fresh draws."""
    if fresh:
        yield from np.arange(repetitions * n_sequences).reshape(repetitions, n_sequences)
    else:
        rng = case.rng(f"resample {n_sequences}")
        for _ in range(repetitions):
            yield rng.integers(case.n_population, size=n_sequences)


def quick_betting(chosen: Plan, n_sequences: int) -> QuickBetting:
    """The compiled betting limit of a plan that has a code."""
    if chosen.code is None:
        raise ValueError(f"form is {chosen.form!r}; allowed: those with a code; give its plan")
    return QuickBetting(chosen.seen, 0.0, chosen.code.most_bits, n_sequences)


def code_limit(chosen: Plan, lengths: FloatArray, limit: str, alpha: float = ALPHA) -> float:
    """c, as ``information.certify`` takes it from independent draws, whose order says nothing."""
    if chosen.code is None:
        raise ValueError(f"form is {chosen.form!r}; allowed: those with a code; give its plan")
    return upper_confidence_bound(lengths, alpha, 0.0, chosen.code.most_bits, limit, chosen.seen)


@njit
def lowest_rejected(
    ladder: FloatArray, values: FloatArray, places: IntArray, variances: FloatArray, target: float
) -> float:
    """``betting.betting``, compiled: the lowest rung above which, it included, every hypothesis fell."""
    lowest = 1.0
    for rung in ladder:
        wealth, fell = 0.0, False
        for i, variance in enumerate(variances):
            bet = min(math.sqrt(2 * (target - wealth) / ((len(values) - places[i]) * variance)), MOST_BET)
            gain = 0.0
            for t in range(places[i], places[i + 1]):
                gain += math.log1p(bet * (rung - values[t]))
                if gain + wealth >= target:
                    fell = True
                    break
            if fell:
                break
            wealth += gain
        if not fell:
            break
        lowest = rung
    return lowest


@dataclass(frozen=True)
class QuickBetting:
    """The package's betting limit for many samples of one size, compiled: some 20 times as fast.

    The first ``n_compared`` limits of every count are computed by the package, too, and must agree.
    """

    seen: FloatArray
    least: float
    most: float
    n_values: int
    n_compared: int = 20

    @cached_property
    def ladder(self) -> FloatArray:
        """The hypotheses, which depend on ``seen`` alone."""
        return hypotheses(self.n_values, self._scaled(self.seen))

    def limit(self, values: FloatArray, alpha: float, repetition: int) -> float:
        """Upper limit of the mean."""
        scaled = self._scaled(values)
        places, variances = rounds(scaled, self._scaled(self.seen))
        lowest = lowest_rejected(self.ladder, scaled, places, variances, math.log(1 / alpha))
        quick = self.least + (self.most - self.least) * max(lowest, float(scaled.mean()))
        if repetition < self.n_compared:
            slow = upper_confidence_bound(values, alpha, self.least, self.most, "betting", self.seen)
            if not math.isclose(quick, slow, rel_tol=1e-12):
                raise RuntimeError(f"betting, compiled, says {quick} and the package {slow}; they must be equal")
        return quick

    def _scaled(self, values: FloatArray) -> FloatArray:
        scaled: FloatArray = np.clip((values - self.least) / (self.most - self.least), 0.0, 1.0)
        return scaled


def fano_limit(wrong: BoolArray, n_values: int, alpha: float = ALPHA) -> float:
    """c = sum_i Phi(e_i), not cut at the entropy."""
    upper = clopper_pearson_upper(wrong.sum(0), len(wrong), alpha / wrong.shape[1])
    return float(fano_loss_bits(upper, n_values).sum())


def methods(population: Population, limits: tuple[str, ...] = tuple(CONFIDENCE_BOUNDS)) -> list[tuple[str, str]]:
    """Every form with every limit it may have."""
    coded = [(form, limit) for form in population.plans if form != "fano" for limit in limits]
    return [("fano", "clopper-pearson")] * ("fano" in population.plans) + coded


def cover(
    population: Population,
    n_sequences: int,
    limits: tuple[str, ...] = tuple(CONFIDENCE_BOUNDS),
    repetitions: int = REPETITIONS,
    fresh: bool = False,
) -> list[Row]:
    """Count violations of each method on the same resamples."""
    case, prior = population.case, population.case.prior
    lengths, wrong = population.drawn
    wanted = methods(population, limits)
    quick = {form: quick_betting(population.plans[form], n_sequences) for form in lengths}
    cs = np.empty((repetitions, len(wanted)))
    for r, rows in enumerate(choices(case, n_sequences, repetitions, fresh)):
        for j, (form, limit) in enumerate(wanted):
            if form == "fano":
                cs[r, j] = fano_limit(wrong[rows], prior.n_values)
            elif limit == "betting":
                cs[r, j] = quick[form].limit(lengths[form][rows], ALPHA, r)
            else:
                cs[r, j] = code_limit(population.plans[form], lengths[form][rows], limit)
    means = {form: float(each.mean()) for form, each in lengths.items()}
    means["fano"] = float(fano_loss_bits(wrong.mean(0), prior.n_values).sum())
    truth, h = case.channel.true_bits, prior.entropy_bits
    # In a population of M the truth is off by the standard error of M, which N must be far above to show.
    counts_truth = fresh or case.n_population >= 800 * n_sequences
    return [
        Row(
            "method", case.name, form, limit, "fresh" if fresh else "population", n_sequences, truth, h - means[form],
            float(np.median(np.maximum(0.0, h - c))),
            int((np.maximum(0.0, h - c) > truth + SLACK).sum()) if counts_truth else -1,
            -1 if fresh else int((c < means[form] - SLACK).sum()),
            repetitions,
        )
        for (form, limit), c in zip(wanted, cs.T, strict=True)
    ]  # fmt: skip


def case_rows(name: str) -> list[Row]:
    """All rows of one case."""
    case = next(case for case in CASES if case.name == name)
    population = make_population(case)
    rows = [row for n in case.n_sequences for row in cover(population, n)]
    return rows + cover(population, 200, fresh=True)


# Certificates that hold together, and of other things than information.


def joint_rows(name: str) -> list[Row]:
    """Retention, and a whole report of two parts, against the population."""
    case = next(case for case in CASES if case.name == name)
    population, n_sequences = make_population(case), 500
    lengths, wrong = population.drawn
    k, h = case.channel.n_values, case.prior.entropy_bits
    own = math.log2(k) - fano_loss_bits(wrong.mean(0), k)
    chosen = choose(case.prior, {"ideal": population.calibration}, n_sequences, ALPHA / 2)
    target = (
        float(fano_loss_bits(wrong.mean(0), k).sum()) if chosen.code is None else float(lengths[chosen.form].mean())
    )
    quick = None if chosen.code is None else quick_betting(chosen, n_sequences)
    broken, report, total, present = 0, 0, [], []
    for r, rows in enumerate(choices(case, n_sequences, REPETITIONS, fresh=False)):
        held = by_answer(wrong[rows], k, ALPHA)
        broken += bool((held.lower_bits > own + SLACK).any())
        total.append(held.lower_bits.sum())
        half = by_answer(wrong[rows], k, ALPHA / 2)
        c = (
            fano_limit(wrong[rows], k, ALPHA / 2)
            if quick is None
            else quick.limit(lengths[chosen.form][rows], ALPHA / 2, r)
        )
        report += bool(c < target - SLACK or (half.lower_bits > own + SLACK).any())
        present.append(max(0.0, h - c))
    truth = case.channel.true_bits
    return [
        Row("joint", case.name, "retention of every answer", "clopper-pearson", "population", n_sequences, truth,
            float(own.sum()), float(np.median(total)), -1, broken, REPETITIONS),
        Row("joint", case.name, f"report of two parts, {chosen.form}", "betting", "population", n_sequences, truth,
            h - target, float(np.median(present)), -1, report, REPETITIONS),
    ]  # fmt: skip


#: Channels with finitely many states, log2 of how many, and the errors that are allowed (None: by calibration).
COUNTED: tuple[tuple[Case, float, int | None], ...] = (
    (Case("storage 4x4, kept 0.7", SymmetricStorage(4, 4, 0.7)), 8.0, None),
    (Case("whole-state loss 4x4, lost 0.3", WholeStateLoss(4, 4, 0.3)), math.log2(257), None),
    # Its decoder always gives the same list, right in one of 16 sequences: the theorem is an equality.
    (Case("machine 4x2 of 1 state", EnumeratedMachine(4, 2, 1)), 0.0, 0),
)


def states_rows(name: str) -> list[Row]:
    """List decoding: log2 of the number of states, from below."""
    case, truth, threshold = next(each for each in COUNTED if each[0].name == name)
    population, n_sequences, k = make_population(case), 500, case.channel.n_values
    wrong = population.drawn[1]
    if threshold is None:
        threshold = choose_threshold(population.calibration.wrong, k, n_sequences, ALPHA)
    exact = ball_bits(case.channel.n_answers, k)[threshold] + math.log2((wrong.sum(1) <= threshold).mean())
    lower = np.array(
        [
            states_certificate(wrong[rows], k, threshold, ALPHA).lower
            for rows in choices(case, n_sequences, REPETITIONS, fresh=False)
        ]
    )
    return [
        Row("joint", case.name, f"number of states, t = {threshold}", "clopper-pearson", "population", n_sequences,
            truth, float(exact), float(np.median(lower)), int((lower > truth + SLACK).sum()),
            int((lower > max(0.0, exact) + SLACK).sum()), REPETITIONS),
    ]  # fmt: skip


def entropy_rows(name: str) -> list[Row]:
    """H(Q(S)) of letters as codes of 2 bits, from above: here a violation is a limit below what it limits."""
    case = Case(name, Erasure(6, 4, 0.3))
    rng = case.rng("entropy")

    def codes(n: int) -> IntArray:
        return np.rint(case.channel.draw(n, rng)[0] + 1).astype(np.int64)

    code, seen = fit_code(codes(2000), 2), codes(N_CALIBRATION)
    pool, known = code.lengths_bits(codes(case.n_population)), code.lengths_bits(seen)
    truth = 6 * (float(binary_entropy_bits(np.array(0.3))) + 0.7 * 2)
    quick = QuickBetting(known, code.least_bits, code.most_bits, 500)
    uppers = {limit: np.empty(REPETITIONS) for limit in CONFIDENCE_BOUNDS}
    for r, rows in enumerate(choices(case, 500, REPETITIONS, fresh=False)):
        for limit, upper in uppers.items():
            if limit == "betting":
                c = quick.limit(pool[rows], ALPHA, r)
            else:
                c = upper_confidence_bound(pool[rows], ALPHA, code.least_bits, code.most_bits, limit, known)
            upper[r] = min(c, float(code.nominal_bits))
    return [
        Row("joint", name, "entropy of the rounded state", limit, "population", 500, truth, float(pool.mean()),
            float(np.median(upper)), int((upper < truth - SLACK).sum()), int((upper < pool.mean() - SLACK).sum()),
            REPETITIONS)
        for limit, upper in uppers.items()
    ]  # fmt: skip


def tightness_rows(name: str) -> list[Row]:
    """Median certificates at N = 2,000 and 5,000; 200 repetitions place a median well."""
    channel = TIGHTNESS[float(name.rsplit(" ", 1)[1])]
    population = make_population(Case(name, channel, n_population=200_000))
    return [
        Row(**{**asdict(row), "kind": "tightness", "above_truth": -1})
        for n in (2000, 5000)
        for row in cover(population, n, ("betting",), repetitions=200)
    ]


# Methods that are not valid: the same count must fail them.


def pooled_tokens(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """All N n answers as if they were independent: one Clopper-Pearson limit for their mean error."""
    wrong, n = scored.wrong, case.channel.n_answers
    upper = clopper_pearson_upper(wrong.sum(), wrong.size, ALPHA)
    return case.prior.entropy_bits - n * float(fano_loss_bits(float(upper), case.channel.n_values))


def central_limit(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """A normal interval for each answer, empty where no error was seen."""
    wrong, n = scored.wrong, case.channel.n_answers
    p = wrong.mean(0)
    upper = p + norm.isf(ALPHA / n) * np.sqrt(p * (1 - p) / len(wrong))
    return fano_bits(case.prior.entropy_bits, case.channel.n_values, np.minimum(upper, 1.0))


def plug_in(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """The estimate, without any limit."""
    return fano_bits(case.prior.entropy_bits, case.channel.n_values, scored.wrong.mean(0))


def without_cap(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """Phi without its cap falls again beyond 1 - 1/K."""
    k, n = case.channel.n_values, case.channel.n_answers
    e = clopper_pearson_upper(scored.wrong.sum(0), len(scored.wrong), ALPHA / n)
    return case.prior.entropy_bits - float((binary_entropy_bits(e) + e * math.log2(k - 1)).sum())


def best_of_many(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """The best of 20 decoders on the evaluation split, at alpha and not alpha / 20: against A3."""
    k = case.channel.n_values
    guesses = rng.integers(k, size=(20, *scored.answers.shape))
    return case.prior.entropy_bits - min(fano_limit(guess != scored.answers, k) for guess in guesses)


def own_tangents(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """Tangents, and the range of the code, from the sequences that are evaluated: against A3 and A1."""
    code = fit_tangent_fano(scored.scores, scored.answers)
    lengths = code.lengths_bits(scored.scores, scored.answers)
    least, most = float(lengths.min()), float(lengths.max())
    return case.prior.entropy_bits - upper_confidence_bound(lengths, ALPHA, least, most, "empirical-bernstein")


Control = Callable[[Case, Scored, np.random.Generator], float]
CONTROLS: dict[str, tuple[Control, Case, int]] = {
    "pooled tokens": (pooled_tokens, Case("whole-state loss 16x8, lost 0.2", WholeStateLoss(16, 8, 0.2)), 200),
    "pooled tokens, rare loss": (pooled_tokens, Case("whole-state loss 8x4, lost 0.1", WholeStateLoss(8, 4, 0.1)), 500),
    "normal interval": (central_limit, Case("storage 1x4, kept 0.996", SymmetricStorage(1, 4, 0.996)), 300),
    "plug-in": (plug_in, Case("storage 1x4, kept 0.8", SymmetricStorage(1, 4, 0.8)), 500),
    "Phi without its cap": (without_cap, Case("null 8x2", Null(8, 2, 4)), 200),
    "best of 20 decoders at alpha": (best_of_many, Case("null 1x4", Null(1, 4, 4)), 200),
    "code and range from the evaluation": (
        own_tangents, Case("storage 1x4, kept 0.996", SymmetricStorage(1, 4, 0.996)), 300,
    ),
}  # fmt: skip


def control_row(name: str, repetitions: int = REPETITIONS) -> Row:
    """Violations of a method that is not valid, on fresh draws; its value from infinitely many is Fano's."""
    method, case, n_sequences = CONTROLS[name]
    rng, choosing = case.rng(f"control {name}"), case.rng(f"choice {name}")
    errors = case.scored(400_000, case.rng("control population")).wrong.mean(0)
    population_bits = case.prior.entropy_bits - float(fano_loss_bits(errors, case.channel.n_values).sum())
    truth = case.channel.true_bits
    lower = np.array([method(case, case.scored(n_sequences, rng), choosing) for _ in range(repetitions)])
    return Row(
        "control", case.name, name, "not valid", "fresh", n_sequences, truth, population_bits,
        float(np.median(lower)), int((lower > truth + SLACK).sum()),
        int((lower > max(0.0, population_bits) + SLACK).sum()), repetitions,
    )  # fmt: skip


def control_rows(name: str) -> list[Row]:
    """As a list, as every job."""
    return [control_row(name)]


#: Longest first, so that both processes end together.
JOBS: tuple[tuple[Callable[[str], list[Row]], str], ...] = (
    *((case_rows, case.name) for case in CASES),
    *((joint_rows, CASES[i].name) for i in (1, 5, 13)),
    *((states_rows, case.name) for case, *_ in COUNTED),
    (entropy_rows, "erasure 6x4, lost 0.3"),
    *((tightness_rows, f"storage 16x16, error {error}") for error in TIGHTNESS),
    *((control_rows, name) for name in CONTROLS),
)


def run(job: int) -> list[Row]:
    """One job, with a line on stderr when it is done."""
    function, name = JOBS[job]
    start = time.perf_counter()
    rows = function(name)
    worst = max(max(row.above_truth, row.above_population) for row in rows)
    print(
        f"{function.__name__} {name}: worst {worst}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True
    )
    return rows


def write(rows: list[Row], path: Path) -> None:
    """The table, whole or not at all."""

    def fill(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            names = [field.name for field in fields(Row)]
            writer.writerow([*names, "verdict"])
            for row in rows:
                values = [getattr(row, name) for name in names]
                writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in values] + [row.verdict])

    write_whole(path, fill)


def main() -> None:
    """Run every job in two processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="names of channels or controls, separated by semicolons")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    wanted = set(filter(None, arguments.only.split(";")))
    jobs = [i for i, (_, name) in enumerate(JOBS) if not wanted or name in wanted]
    with ProcessPoolExecutor(2) as pool:
        rows = [row for rows in pool.map(run, jobs) for row in rows]
    write(rows, arguments.out / "coverage.csv")


if __name__ == "__main__":
    main()
