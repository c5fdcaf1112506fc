"""Methods that are not valid: the same count must fail them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from boundprobe.bounds import binary_entropy_bits, fano_bits, fano_loss_bits
from boundprobe.channels import Null, SymmetricStorage, WholeStateLoss
from boundprobe.probes.certificates import Scored, clopper_pearson_upper, fit_tangent_fano, upper_confidence_bound
from counting.cases import ALPHA, GROUPED, REPETITIONS, SLACK, Case
from counting.methods import fano_limit
from counting.populations import unit_means
from counting.rows import AT_LEVEL, Row, with_limits


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


def sequence_as_unit(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """Clopper-Pearson of all sequences of all groups, as if they were independent: against A5."""
    return case.prior.entropy_bits - fano_limit(scored.wrong, case.channel.n_values)


def sequence_as_unit_betting(case: Case, scored: Scored, rng: np.random.Generator) -> float:
    """The same by tangents and betting; the tangents are those of other groups."""
    known = case.scored(100, rng)
    code = fit_tangent_fano(known.scores, known.answers)
    seen, lengths = (code.lengths_bits(each.scores, each.answers) for each in (known, scored))
    c = upper_confidence_bound(rng.permutation(lengths), ALPHA, 0.0, code.most_bits, "betting", seen)
    return case.prior.entropy_bits - c


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
    "sequence as unit": (sequence_as_unit, GROUPED[0], 300),
    "sequence as unit, small groups lost more often": (sequence_as_unit, GROUPED[1], 300),
    "sequence as unit, betting": (sequence_as_unit_betting, GROUPED[0], 300),
}  # fmt: skip


def control_row(name: str, repetitions: int = REPETITIONS) -> Row:
    """Violations of a method that is not valid, on fresh draws; its value from infinitely many is Fano's."""
    method, case, n_units = CONTROLS[name]
    rng, choosing = case.rng(f"control {name}"), case.rng(f"choice {name}")
    known = case.scored(50_000 if case.grouped else 400_000, case.rng("control population"))
    errors = unit_means(known.wrong, known.groups).mean(0)
    population_bits = case.prior.entropy_bits - float(fano_loss_bits(errors, case.channel.n_values).sum())
    truth = case.channel.true_bits
    lower = np.array([method(case, case.scored(n_units, rng), choosing) for _ in range(repetitions)])
    row: dict[str, object] = {
        "kind": "control",
        "channel": case.name,
        "form": name,
        "limit": "not valid",
        "sampling": "fresh",
        "n_sequences": n_units,
        "truth_bits": truth,
        "population_bits": population_bits,
        "median_bits": float(np.median(lower)),
        "above_truth": int((lower > truth + SLACK).sum()),
        "above_population": int((lower > max(0.0, population_bits) + SLACK).sum()),
        "repetitions": repetitions,
    }
    return with_limits(row, AT_LEVEL, AT_LEVEL)


def control_rows(name: str) -> list[Row]:
    """As a list, as every job."""
    return [control_row(name)]
