"""The report on the real tasks: contract keys, printed numbers, and the tasks' cases enumerated."""

import dataclasses
import itertools
import json
import math
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from boundprobe.bounds import Bound, BoundsReport, bounds_report, distinct_rows, window_accuracy_ceiling
from boundprobe.bounds.report import bound as bound_module
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying

NUMBERS = {"entropy_bits", "fano_bits", "packing_bits", "zero_error_bits"}


class TaskOfAnAuthor(SelectiveCopying):
    """Stands for a task from outside the package: the report must not call its claims proved."""


class DependentAnswers(TaskOfAnAuthor):
    """A case whose answers are not independent, so that ball packing does not hold."""

    def state_case(self):
        case = super().state_case()
        return type(case)(case.n_answers, case.n_values, 20.0, False, 20.0, case.theorem, case.forces)


def test_keys_are_the_contract():
    document = bounds_report(SelectiveCopying()).to_json()
    assert set(document) == {"schema", "task", "error", "state", "window"}
    assert document["schema"] == "boundprobe.bounds/1"
    assert set(document["task"]) == {"name", "parameters"}
    assert document["task"] == {"name": "selective-copying", "parameters": SelectiveCopying().parameters()}
    assert set(document["state"]) == NUMBERS | {"theorem", "evidence", "vacuous"}
    assert set(document["state"]["theorem"]) == set(document["state"]["evidence"]) == NUMBERS
    assert set(document["state"]["evidence"].values()) == {"proved"}
    assert set(document["window"]) == {
        "min_receptive_field",
        "min_sum_window_minus_one",
        "blind_accuracy",
        "theorem",
    }


def test_document_survives_json_and_cites():
    document = bounds_report(AssociativeRecallDecoding(), 0.1, curve_points=3).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for name, statement in (("fano_bits", "S1"), ("packing_bits", "S3"), ("zero_error_bits", "S4")):
        assert document["state"]["theorem"][name].startswith(statement)
    assert "Theorem 3.3" in document["state"]["theorem"]["fano_bits"]
    assert document["window"]["theorem"].startswith("W1")


@pytest.mark.parametrize(
    ("task", "error", "fano_bits"),
    [
        (SelectiveCopying(), 0.0, 51.699250),
        (SelectiveCopying(), 1 / 3, 25.418682),
        (AssociativeRecallDecoding(), 0.0, 64.0),
        (AssociativeRecallDecoding(), 0.1, 50.245046),
    ],
)
def test_the_printed_numbers(task, error, fano_bits):
    report = bounds_report(task, error)
    assert isinstance(report, BoundsReport)
    assert round(report.state.fano_bits, 6) == fano_bits
    assert report.state.packing_bits >= report.state.fano_bits
    assert report.state.zero_error_bits == report.state.entropy_bits
    assert report.to_json()["state"]["vacuous"] == []
    assert report.window.min_receptive_field == 100
    assert report.window.min_sum_window_minus_one == 99


def test_the_printed_blind_accuracy():
    assert round(bounds_report(SelectiveCopying()).window.blind_accuracy, 6) == 0.201518


def test_an_error_at_chance_is_vacuous():
    report = bounds_report(AssociativeRecallDecoding(), error=1 - 1 / 16)
    assert report.state.fano_bits == report.state.packing_bits == 0.0
    assert report.to_json()["state"]["vacuous"] == ["fano_bits", "packing_bits"]


def test_curves_run_from_chance_to_certainty():
    curves = bounds_report(SelectiveCopying(), curve_points=52).to_json()["curves"]
    assert set(curves) == {
        "bits",
        "accuracy_ceiling_fano",
        "accuracy_ceiling_packing",
        "accuracy_floor_strategy",
    }
    assert {len(curve) for curve in curves.values()} == {52}
    assert curves["bits"][0] == 0.0
    assert curves["bits"][-1] == 10 * math.log2(36)
    for name in ("accuracy_ceiling_fano", "accuracy_ceiling_packing", "accuracy_floor_strategy"):
        assert curves[name][0] == pytest.approx(1 / 36, abs=1e-7)
        assert curves[name][-1] == 1.0


def test_packing_is_unavailable_without_its_condition():
    document = bounds_report(DependentAnswers(), curve_points=2).to_json()
    assert document["state"]["packing_bits"] is None
    assert document["state"]["evidence"]["packing_bits"] == "unavailable"
    assert document["curves"]["accuracy_ceiling_packing"] is None
    assert document["curves"]["accuracy_floor_strategy"] is None
    assert document["state"]["vacuous"] == []


def test_claims_of_a_foreign_task_are_its_authors():
    assert set(bounds_report(TaskOfAnAuthor()).to_json()["state"]["evidence"].values()) == {"author"}


STATEMENTS = {
    "fano", "rate_distortion", "packing", "zero_error", "whole_string", "receptive_field", "sum_window_minus_one",
    "blind_accuracy",
}  # fmt: skip


@pytest.mark.parametrize("task", [SelectiveCopying(), AssociativeRecallDecoding()])
def test_every_bound_is_an_object_that_agrees_with_the_report(task):
    report = bounds_report(task, 0.1)
    bounds = {bound.key: bound for bound in report.bounds}
    assert set(bounds) == STATEMENTS
    assert json.loads(json.dumps([bound.to_json() for bound in report.bounds], allow_nan=False))
    for name, value in (
        ("fano", report.state.fano_bits),
        ("rate_distortion", pytest.approx(report.state.fano_bits, abs=1e-9)),  # S2 is S1 for uniform answers
        ("packing", report.state.packing_bits),
        ("zero_error", report.state.zero_error_bits),
        ("whole_string", report.state.entropy_bits + math.log2(0.9)),
        ("receptive_field", report.window.min_receptive_field),
        ("sum_window_minus_one", report.window.min_sum_window_minus_one),
        ("blind_accuracy", report.window.blind_accuracy),
    ):
        assert bounds[name].value == value, name
        assert bounds[name].assumptions
        assert bounds[name].evidence == "proved"
        assert not bounds[name].vacuous
    assert bounds["blind_accuracy"].statement.direction == "upper"


def test_bounds_without_their_condition_are_unavailable():
    bounds = {bound.key: bound for bound in bounds_report(DependentAnswers()).bounds}
    for name in ("rate_distortion", "packing"):
        assert (bounds[name].value, bounds[name].evidence, bounds[name].vacuous) == (None, "unavailable", False)
    assert bounds["fano"].evidence == bounds["whole_string"].evidence == "author"
    chance = {bound.key: bound for bound in bounds_report(AssociativeRecallDecoding(), error=15 / 16).bounds}
    assert {name for name in chance if chance[name].vacuous} == {"fano", "rate_distortion", "packing"}


class UnequalRows(TaskOfAnAuthor):
    """Fewer bits of entropy than distinct rows: some memory parts are likelier than others."""

    def state_case(self):
        case = super().state_case()
        return type(case)(case.n_answers, case.n_values, 20.0, False, 21.0, case.theorem, case.forces)


def test_whole_string_needs_equally_likely_memory_parts():
    bounds = {bound.key: bound for bound in bounds_report(UnequalRows()).bounds}
    assert bounds["whole_string"].value is None
    assert bounds["zero_error"].value == 21.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"key": "fanno"},
            r"`key` must be one of entropy, fano, rate_distortion.*; got 'fanno'\. Did you mean 'fano'\?",
        ),
        ({"evidence": "sure"}, "`evidence` must be one of proved, enumerated, author, unavailable; got 'sure'"),
        (
            {"evidence": "unavailable"},
            r"bound 'fano' must have no value exactly where its.*; got value 1\.0 with evidence 'unavailable'",
        ),
        ({"value": math.nan}, "bound 'fano' must have a finite value; got nan"),
    ],
)
def test_a_bound_that_contradicts_itself_is_refused(change, said):
    bound = Bound("fano", 1.0, "proved")
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(bound, **change)


def test_statements_speak_of_what_the_package_measures():
    for statement in bound_module.STATEMENTS.values():
        assert statement.direction in ("lower", "upper", "exact")
        assert statement.unit in ("bits", "tokens", "probability", "states", "queries", "")


def test_only_numbers_can_be_taken_as_numbers():
    assert Bound("vc_dimension", 3, "enumerated").number == 3.0
    with pytest.raises(ValueError, match="bound 'packing' must be available to be used as a number; got None"):
        Bound("packing", None, "unavailable").number  # noqa: B018
    with pytest.raises(ValueError, match="`key` must be one of entropy, fano, "):
        bounds_report(SelectiveCopying())["no such bound"]


@pytest.mark.parametrize("error", [-0.1, 1.0, 1.5, math.nan])
def test_bad_error_is_named_in_one_line(error):
    with pytest.raises(ValueError, match=rf"`error` must be at least 0 and below 1; got {error}") as caught:
        bounds_report(SelectiveCopying(), error=error)
    assert "\n" not in str(caught.value)


def test_bad_curve_points_are_named():
    with pytest.raises(
        ValueError, match="`curve_points` must be an integer from 2 to 100000, or None for no curve; got 1"
    ):
        bounds_report(SelectiveCopying(), curve_points=1)
    with pytest.raises(ValueError, match=r"from 2 to 100000, or None for no curve; got 100000000\."):
        bounds_report(SelectiveCopying(), curve_points=10**8)


@pytest.mark.parametrize(
    "task",
    [
        SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6),
        AssociativeRecallDecoding(word_bits=2, seq_len=12),
    ],
)
def test_the_state_case_by_enumeration(task):
    # `proved` rests on this: all rows that the case claims do occur, and no others.  A row is missed by 2000
    # draws with probability at most 16 exp(-2000 / 16) < 1e-50.
    cut = task.sample_cut(2000, np.random.default_rng(7))
    case = task.state_case()
    assert cut.answers.shape[1] == case.n_answers
    assert distinct_rows(cut.answers) == 2**case.zero_error_bits == case.n_values**case.n_answers


def window_hard_sequences(task):
    """Every window-hard sequence, each once, where the sequence has no room for filler that matters."""
    if isinstance(task, SelectiveCopying):
        letters = range(task.n_numbers, task.vocab_size)
        tails = itertools.product(letters, repeat=task.seq_len - 1)
        return [(number, *tail) for tail in tails for number in range(task.n_numbers)]
    keys, values = range(0, 2**task.word_bits, 2), range(1, 2**task.word_bits, 2)
    sequences = []
    for order in itertools.permutations(keys):
        for chosen in itertools.product(values, repeat=len(order)):
            pairs = [2 + word for pair in zip(order, chosen, strict=True) for word in pair]
            for key in keys:
                bits = [key >> shift & 1 for shift in reversed(range(task.word_bits))]
                sequences.append((*bits, *pairs))
    return sequences


@pytest.mark.parametrize(
    "task",
    [
        SelectiveCopying(n_numbers=3, n_letters=2, seq_len=7),
        AssociativeRecallDecoding(word_bits=2, seq_len=6),
        AssociativeRecallDecoding(word_bits=3, seq_len=11),
    ],
)
def test_the_window_ceiling_by_enumeration(task):
    # W2 from its definition, E[max_y P(y | last R tokens)], over every sequence and at every R.
    tokens = np.array(window_hard_sequences(task))
    assert tokens.shape[1] == task.seq_len
    answers = task.answers(tokens)[:, -1]
    for sees in range(1, task.seq_len + 1):
        seen = defaultdict(Counter)
        for view, answer in zip(map(bytes, tokens[:, -sees:]), answers.tolist(), strict=True):
            seen[view][answer] += 1
        best = sum(max(counts.values()) for counts in seen.values()) / len(tokens)
        assert window_accuracy_ceiling(task.window_case(), sees) == pytest.approx(best, abs=1e-12), sees


def test_bounds_need_no_torch_and_no_scipy_to_start():
    code = "import sys, boundprobe.bounds; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
