"""Whole reports with everything done anew: fresh states, a linear decoder trained, calibrated and evaluated, certified.

200 repetitions at alpha = 0.05: binomial(200, 0.05) is above 21 with probability 0.0005, so 22 broken reports fail.
The totals alone have level 0.025: more than 13 fail, probability 0.0006.  The fast suite has the first 40, by the same
quantile.  The other decoders: analyses/coverage.
"""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest
from scipy.stats import binom

from boundprobe.channels import SymmetricStorage

ANALYSIS = Path(__file__).resolve().parents[2] / "analyses" / "coverage"
REPETITIONS, MOST_BROKEN, MOST_ABOVE = 200, 21, 13
#: The first of them, in the fast suite; the same quantile.
FEW = 40


def load(name):
    """A script of the analysis as a module."""
    spec = importlib.util.spec_from_file_location(f"analysis_coverage_{name}", ANALYSIS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


analysis = load("end_to_end")
TINY = analysis.Trial(
    "tiny storage", SymmetricStorage(2, 2, 0.8), analysis.symmetric_bits(2, 0.8, 2), analysis.symmetric_bits(2, 0.8, 2),
    ("linear",), 600, True,
)  # fmt: skip


@pytest.fixture(scope="module", params=[FEW, pytest.param(REPETITIONS, marks=pytest.mark.slow)])
def outcomes(request):
    return [analysis.once(TINY, repetition) for repetition in range(request.param)]


def most(outcomes, level):
    """The 0.999 quantile of failures at a level."""
    return binom.ppf(0.999, len(outcomes), level)


def test_the_limits_are_the_quantiles_that_they_are_said_to_be():
    assert binom.ppf(0.999, REPETITIONS, 0.05) == MOST_BROKEN
    assert binom.ppf(0.999, REPETITIONS, 0.025) == MOST_ABOVE


def test_reports_of_fresh_decoders_keep_their_confidence(outcomes):
    assert sum(outcome.above_truth for outcome in outcomes) <= most(outcomes, 0.025)
    assert sum(outcome.broken for outcome in outcomes) <= most(outcomes, 0.05)


def test_they_are_not_empty(outcomes):
    """Truth 1.06 bits; with 300 sequences to evaluate the standard error of a code length is 0.1 bits."""
    assert analysis.row(TINY, outcomes).median_bits > 0.6


def test_estimates_fail_the_same_count(outcomes):
    """The negative control: what a report calls an estimate is above the truth in about half of the repetitions."""
    assert sum(outcome.estimate > TINY.channel.true_bits for outcome in outcomes) > most(outcomes, 0.05)


# What is stored.


@pytest.fixture(scope="module")
def table():
    with (ANALYSIS / "end_to_end.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_has_every_trial_and_keeps_the_rule(table):
    assert [(line["channel"], line["decoders"], int(line["n_sequences"])) for line in table] == [
        (trial.name, " ".join(trial.decoders), trial.n_sequences) for trial in analysis.TRIALS
    ]
    for line, trial in zip(table, analysis.TRIALS, strict=True):
        assert int(line["repetitions"]) == (REPETITIONS if trial.repeated else 1)
        assert int(line["above_truth"]) <= (MOST_ABOVE if trial.repeated else 0)
        assert int(line["broken"]) <= (MOST_BROKEN if trial.repeated else 0)
        assert float(line["truth_bits"]) == pytest.approx(trial.channel.true_bits, abs=1e-4)


def test_what_only_some_decoders_see(table):
    seen = {
        (line["channel"], line["decoders"]): float(line["median_bits"]) / float(line["truth_bits"])
        for line in table
        if line["channel"].startswith("xor") and " " not in line["decoders"]
    }
    xor, pairs = "xor storage 6, in 24 entries", "xor pairs 8x2, in 24 entries"
    assert seen[xor, "linear"] == seen[pairs, "linear"] == seen[pairs, "mlp"] == 0
    assert min(seen[xor, "mlp"], seen[xor, "chain"], seen[pairs, "chain"]) > 0.95


def test_the_claims_are_what_the_table_says(table):
    expected = json.loads((ANALYSIS / "expected.json").read_text(encoding="utf-8"))["end_to_end"]
    for line in table:
        if int(line["repetitions"]) > 1:
            assert expected["broken_of_200"][line["channel"]] == int(line["broken"])
    share = {int(line["n_sequences"]): float(line["median_bits"]) / float(line["truth_bits"]) for line in table[4:6]}
    assert share[10_000] == pytest.approx(expected["share_of_truth_16x16"]["10000"], abs=5e-5)
    assert share[50_000] == pytest.approx(expected["share_of_truth_16x16"]["50000"], abs=5e-5)
    assert share[10_000] >= 0.99
