"""Certificates that hold together, and of other things than information."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from boundprobe.bounds import binary_entropy_bits, fano_loss_bits
from boundprobe.channels import EnumeratedMachine, Erasure, SymmetricStorage, WholeStateLoss
from boundprobe.probes.certificates import (
    ball_bits,
    by_answer,
    choose,
    choose_threshold,
    states_certificate,
    upper_confidence_bound,
)
from boundprobe.probes.quantised import fit_code
from counting.cases import ALPHA, N_CALIBRATION, REPETITIONS, SLACK, Case, FloatArray, IntArray, case_named
from counting.fast_betting import QuickBetting, quick_betting
from counting.methods import ALL, fano_limit
from counting.populations import choices, make_population
from counting.reference import code_rates, report_rates, upper_limits
from counting.rows import NOT_COUNTED, Rate, Row, with_limits

N_SEQUENCES = 500
#: What is not counted has no rate either.
NONE = Rate(0.0, 0.0)


def joint_rows(name: str) -> list[Row]:
    """Retention, and a whole report of two parts, against the population."""
    case = case_named(name)
    population, n_sequences = make_population(case), N_SEQUENCES
    lengths, drawn = population.drawn
    wrong = drawn.astype(np.bool_)
    k, h = case.channel.n_values, case.prior.entropy_bits
    own = math.log2(k) - fano_loss_bits(wrong.mean(0), k)
    chosen = choose(case.prior, {"ideal": population.calibration}, n_sequences, ALPHA / 2)
    own_lost = float(fano_loss_bits(wrong.mean(0), k).sum())
    target = own_lost if chosen.code is None else float(lengths[chosen.form].mean())
    quick = None if chosen.code is None else quick_betting(chosen, n_sequences)
    broken, report, total, present = 0, 0, [], []
    for r, rows in enumerate(choices(case, n_sequences, REPETITIONS, fresh=False)):
        held = by_answer(wrong[rows], k, ALPHA)
        broken += bool((held.lower_bits > own + SLACK).any())
        total.append(held.lower_bits.sum())
        half = by_answer(wrong[rows], k, ALPHA / 2)
        if quick is None:
            c = fano_limit(wrong[rows], k, ALPHA / 2)
        else:
            c = quick.limit(lengths[chosen.form][rows], ALPHA / 2, r)
        report += bool(c < target - SLACK or (half.lower_bits > own + SLACK).any())
        present.append(max(0.0, h - c))
    truth = case.channel.true_bits
    coded = None if chosen.code is None else (lengths[chosen.form], chosen.code.most_bits, chosen.seen)
    of_retention, of_report = report_rates(wrong, coded, n_sequences, k, case.rng("reference joint"))
    rows_of = (
        ("retention of every answer", "clopper-pearson", float(own.sum()), total, broken, of_retention),
        (f"report of two parts, {chosen.form}", "betting", h - target, present, report, of_report),
    )
    return [
        with_limits(line(case, form, limit, truth, value, bits, NOT_COUNTED, count), NONE, rate)
        for form, limit, value, bits, count, rate in rows_of
    ]


def line(
    case: Case, form: str, limit: str, truth: float, own: float, bits: object, above_truth: int, above_own: int
) -> dict[str, object]:
    """What was counted of something that holds together."""
    return {
        "kind": "joint",
        "channel": case.name,
        "form": form,
        "limit": limit,
        "sampling": "population",
        "n_sequences": N_SEQUENCES,
        "truth_bits": truth,
        "population_bits": own,
        "median_bits": float(np.median(np.asarray(bits))),
        "above_truth": above_truth,
        "above_population": above_own,
        "repetitions": REPETITIONS,
    }


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
    population, k = make_population(case), case.channel.n_values
    wrong = population.drawn[1].astype(np.bool_)
    if threshold is None:
        threshold = choose_threshold(population.calibration.wrong, k, N_SEQUENCES, ALPHA)
    share = float((wrong.sum(1) <= threshold).mean())
    exact = float(ball_bits(case.channel.n_answers, k)[threshold]) + math.log2(share)
    lower = np.array(
        [
            states_certificate(wrong[rows], k, threshold, ALPHA).lower
            for rows in choices(case, N_SEQUENCES, REPETITIONS, fresh=False)
        ]
    )
    # The reference: n log2 K - log2 sum_{j <= t} C(n, j) (K - 1)^j + log2 of Clopper and Pearson's lower bound.
    n, counts = case.channel.n_answers, np.arange(N_SEQUENCES + 1)
    ball = sum(math.comb(n, j) * (k - 1) ** j for j in range(threshold + 1))
    with np.errstate(divide="ignore"):
        bits = n * math.log2(k) - math.log2(ball) + np.log2(1 - upper_limits(N_SEQUENCES, ALPHA)[::-1])
    chance = binom.pmf(counts, N_SEQUENCES, share)
    of_truth, of_own = (
        Rate(rate, rate) for rate in (float(chance[bits > above + SLACK].sum()) for above in (truth, max(0.0, exact)))
    )
    above_truth, above_own = int((lower > truth + SLACK).sum()), int((lower > max(0.0, exact) + SLACK).sum())
    row = line(
        case, f"number of states, t = {threshold}", "clopper-pearson", truth, exact, lower, above_truth, above_own
    )
    return [with_limits(row, of_truth, of_own)]


def entropy_rows(name: str) -> list[Row]:
    """H(Q(S)) of letters as codes of 2 bits, from above: here a violation is a limit below what it limits."""
    case = Case(name, Erasure(6, 4, 0.3))
    rng = case.rng("entropy")

    def codes(n: int) -> IntArray:
        return np.rint(case.channel.draw(n, rng)[0] + 1).astype(np.int64)

    code, seen = fit_code(codes(2000), 2), codes(N_CALIBRATION)
    pool, known = code.lengths_bits(codes(case.n_population)), code.lengths_bits(seen)
    truth = 6 * (float(binary_entropy_bits(np.array(0.3))) + 0.7 * 2)
    quick = QuickBetting(known, code.least_bits, code.most_bits, N_SEQUENCES)
    uppers: dict[str, FloatArray] = {limit: np.empty(REPETITIONS) for limit in ALL}
    for r, rows in enumerate(choices(case, N_SEQUENCES, REPETITIONS, fresh=False)):
        for limit, upper in uppers.items():
            if limit == "betting":
                c = quick.limit(pool[rows], ALPHA, r)
            else:
                c = upper_confidence_bound(pool[rows], ALPHA, code.least_bits, code.most_bits, limit, known)
            upper[r] = min(c, float(code.nominal_bits))
    least, mean = code.least_bits, float(pool.mean())
    rates = code_rates(
        pool - least, code.most_bits - least, known - least, [truth - SLACK - least, mean - SLACK - least], list(ALL),
        N_SEQUENCES, case.rng("reference entropy"),
    )  # fmt: skip
    return [
        with_limits(
            line(
                case, "entropy of the rounded state", limit, truth, mean, upper,
                int((upper < truth - SLACK).sum()), int((upper < mean - SLACK).sum()),
            ),
            *rates[limit],
        )
        for limit, upper in uppers.items()
    ]  # fmt: skip
