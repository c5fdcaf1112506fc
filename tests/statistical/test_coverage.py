"""Coverage of the certificates: a quick part of analyses/coverage, its negative controls, and what is stored there.

2,000 repetitions at alpha = 0.05; binomial(2000, 0.05) is above 131 with probability 0.00095 (test_used_memory.py), so
131 violations pass and 132 fail.  Here are some 50 counts, of which nearly all are far below 100, with fixed seeds.
"""

import csv
import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from boundprobe.channels import (
    Erasure,
    KeyValueStream,
    Null,
    SymmetricStorage,
    WholeStateLoss,
    WholeStateSwap,
    XorPairs,
)
from boundprobe.probes.certificates import CONFIDENCE_BOUNDS, certify, upper_confidence_bound

ANALYSIS = Path(__file__).resolve().parents[2] / "analyses" / "coverage"


def load(name):
    """A script of the analysis as a module."""
    spec = importlib.util.spec_from_file_location(f"analysis_coverage_{name}", ANALYSIS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


count = load("count")
QUICK = [
    count.Case("quick storage", SymmetricStorage(1, 4, 0.8), n_population=400_000),
    count.Case("quick loss", WholeStateLoss(4, 4, 0.2), n_population=400_000),
    count.Case("quick swap, chain", WholeStateSwap(4, 4, 0.3), chain=True, n_population=400_000),
    count.Case("quick keys", KeyValueStream(4, 4, 5, 0.1), law_of_defined=False, n_population=400_000),
    count.Case("quick null", Null(4, 2, 4), n_population=400_000),
]


def name_of(case):
    return case.name.replace(" ", "-")


@pytest.mark.parametrize("case", QUICK, ids=name_of)
def test_betting_and_clopper_pearson_keep_their_level_in_every_form(case):
    """Against the truth by fresh draws, and against the frozen decoder's own value in a finite population."""
    population = count.make_population(case)
    of_population = count.cover(population, 200, ("betting",))
    of_truth = count.cover(population, 200, ("betting",), fresh=True)
    forms = [row.form for row in of_population]
    assert forms == (["fano"] if case.law_of_defined else []) + ["tangent-fano", "cross-entropy"]
    for row in of_population:
        assert row.above_population <= count.MOST_VIOLATIONS, row
    for row in of_truth:
        assert row.above_truth <= count.MOST_VIOLATIONS, row


@pytest.mark.parametrize("name", ["pooled tokens, rare loss", "normal interval", "plug-in"])
def test_what_is_not_valid_fails_the_same_count(name):
    row = count.control_row(name)
    assert row.above_population > count.MOST_VIOLATIONS, row
    assert row.verdict == "fails"


# The analysis computes what the package computes.


@pytest.mark.parametrize(
    "channel", [SymmetricStorage(4, 4, 0.8), Erasure(4, 4, 0.3), XorPairs(4, 3)], ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize("limit", CONFIDENCE_BOUNDS)
def test_counted_limits_are_those_of_certify(channel, limit):
    case = count.Case("equal", channel)
    population = count.make_population(case)
    rng = np.random.default_rng(5)
    for _ in range(5):
        scored = case.scored(300, rng)
        for form, plan in population.plans.items():
            certified = certify(case.prior, plan, scored, count.ALPHA, Unshuffled(), limit)
            if form == "fano":
                c = count.fano_limit(scored.wrong, channel.n_values)
            else:
                c = count.code_limit(plan, count.lengths_bits(plan, scored), limit)
            assert certified.lower == pytest.approx(max(0.0, case.prior.entropy_bits - c), rel=1e-12, abs=1e-12)


class Unshuffled:
    """In place of a generator: any order of independent draws is as good."""

    def permutation(self, values):
        return values


@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("n_values", [20, 333])
def test_compiled_betting_is_the_packages(alpha, n_values):
    rng = np.random.default_rng(6)
    laws = (
        lambda n: rng.beta(1, 9, n),
        lambda n: (rng.random(n) < 0.03) * 1.0,
        lambda n: np.full(n, 0.25),
        lambda n: np.sort(rng.random(n)),  # early wealth: the limit is cut at the mean
    )
    for law in laws:
        seen, values = 3.0 * law(50), 3.0 * law(n_values)
        quick = count.QuickBetting(seen, 0.0, 3.0, n_values, n_compared=0)
        slow = upper_confidence_bound(values, alpha, 0.0, 3.0, "betting", seen)
        assert quick.limit(values, alpha, 0) == pytest.approx(slow, rel=1e-12)


def test_a_compiled_limit_that_differs_from_the_packages_is_refused(monkeypatch):
    quick = count.QuickBetting(np.full(9, 0.2), 0.0, 1.0, 40)
    monkeypatch.setattr(count, "lowest_rejected", lambda *given: 0.7)
    with pytest.raises(RuntimeError, match="must be equal"):
        quick.limit(np.full(40, 0.2), 0.05, 0)


def test_every_case_has_its_own_stream():
    first, second = (case.rng("population").integers(2**62) for case in QUICK[:2])
    assert first != second
    assert first == QUICK[0].rng("population").integers(2**62)


# What is stored.


@pytest.fixture(scope="module")
def table():
    with (ANALYSIS / "coverage.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def expected():
    return json.loads((ANALYSIS / "expected.json").read_text(encoding="utf-8"))


def of_kind(table, kind):
    return [line for line in table if line["kind"] == kind]


def test_the_table_has_every_channel_form_limit_and_size(table):
    stored = {
        (line["channel"], line["form"], line["limit"], line["sampling"], int(line["n_sequences"]))
        for line in of_kind(table, "method")
    }
    wanted = set()
    for case in count.CASES:
        methods = count.methods(count.make_population(case))
        for n, sampling in [(n, "population") for n in case.n_sequences] + [(200, "fresh")]:
            wanted |= {(case.name, form, limit, sampling, n) for form, limit in methods}
    assert stored == wanted
    assert len(of_kind(table, "method")) == len(wanted)
    assert {line["form"] for line in of_kind(table, "control")} == set(count.CONTROLS)
    joint = {line["channel"] for line in of_kind(table, "joint")}
    assert joint == {name for function, name in count.JOBS if function.__name__ in JOINT}
    assert {type(case.channel).__name__ for case in count.CASES} >= {
        "SymmetricStorage", "Erasure", "WholeStateLoss", "WholeStateSwap", "SignNoise", "XorStorage", "XorPairs",
        "LinearHash", "Superposition", "Null", "KeyValueStream", "TokenStream", "EnumeratedMachine", "Rotated",
    }  # fmt: skip


JOINT = ("joint_rows", "states_rows", "entropy_rows")


def test_every_valid_method_in_the_table_holds_and_every_control_fails(table):
    for line in table:
        counts = [int(line["above_truth"]), int(line["above_population"])]
        assert line["verdict"] == ("fails" if max(counts) > count.MOST_VIOLATIONS else "holds")
        assert (line["verdict"] == "fails") == (line["kind"] == "control"), line
        if line["kind"] != "tightness":
            assert int(line["repetitions"]) == count.REPETITIONS
            assert max(counts) >= 0, line


def test_the_truths_in_the_table_are_the_channels(table):
    truths = {case.name: case.channel.true_bits for case in count.CASES}
    for line in of_kind(table, "method"):
        assert float(line["truth_bits"]) == pytest.approx(truths[line["channel"]], abs=1e-4)


def test_the_claims_are_what_the_table_says(table, expected):
    methods = of_kind(table, "method")
    counts = [int(line[which]) for line in methods for which in ("above_truth", "above_population")]
    counted = [c for c in counts if c >= 0]
    assert expected["most_violations_allowed"] == count.MOST_VIOLATIONS
    assert expected["counts"] == len(counted)
    assert expected["most_violations_of_a_valid_method"] == max(counted)
    for name, violations in expected["violations_of_controls"].items():
        line = next(line for line in of_kind(table, "control") if line["form"] == name)
        assert int(line["above_population"]) == violations
    for error, by_size in expected["median_share_of_truth_betting"].items():
        for n, share in by_size.items():
            line = next(
                line
                for line in of_kind(table, "tightness")
                if line["channel"].endswith(f"error {error}")
                and (line["n_sequences"], line["form"], line["limit"]) == (n, "tangent-fano", "betting")
            )
            assert float(line["median_bits"]) / float(line["truth_bits"]) == pytest.approx(share, abs=5e-5)
            assert share >= {"2000": 0.99, "5000": 0.995}[n]
    for limit, by_size in expected["median_bits_16x16"].items():
        for n, bits in by_size.items():
            line = next(
                line
                for line in methods
                if (line["channel"], line["limit"], line["n_sequences"], line["sampling"])
                == (count.REFERENCE.name, limit, n, "population")
                and line["form"] in ("fano", "tangent-fano")
            )
            assert float(line["median_bits"]) == pytest.approx(bits, abs=0.005)
            assert math.isclose(bits, expected["reference_bits_16x16"][limit][n], abs_tol=1.0)
