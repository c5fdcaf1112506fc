"""The protocol of docs/sweeps.md: what is compared, what is reported, and what a control without answers must show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from boundprobe import seeds
from boundprobe.models import ModelSpec
from boundprobe.runs import Run
from boundprobe.tasks import IGNORE, Batch, SelectiveCopying, build_task
from boundprobe.training import (
    Schedule,
    TrainConfig,
    data,
    load_models,
    loop,
    member_queue,
    results,
    run_writer,
    train,
    weights,
)
from boundprobe.training.convergence import has_converged, improvement, may_stop
from boundprobe.training.data import permute_labels
from boundprobe.training.evaluate import count_correct
from boundprobe.training.results import summarise

LOSSES = st.floats(0, 10, allow_subnormal=False)
LAWS = ("mixture", "state-hard", "window-hard")


# summaries over seeds


def percentile(values: Sequence[float], percent: float) -> float:
    """Between the order statistics, linearly: the definition, at rank ``(n - 1) percent / 100`` from 0."""
    ordered = sorted(values)
    below, part = divmod((len(values) - 1) * percent / 100, 1)
    left, right = ordered[int(below)], ordered[min(int(below) + 1, len(values) - 1)]
    return left + part * (right - left)


ACCURACIES = st.lists(st.floats(0, 1), min_size=1, max_size=15)


@given(ACCURACIES, st.data())
def test_a_summary_is_what_numpy_and_the_definition_say(values: list[float], draw: st.DataObject) -> None:
    converged = draw.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    members = [{"accuracy": a, "converged": c, "loss": 0.5} for a, c in zip(values, converged, strict=True)]
    summary = summarise(members)
    assert summary["values"] == values  # every one, in the order of the seeds
    assert (summary["n_seeds"], summary["n_converged"]) == (len(values), sum(converged))
    assert summary["mean"] == pytest.approx(math.fsum(values) / len(values), abs=1e-12)
    for name, percent in (("percentile_10", 10), ("median", 50), ("percentile_90", 90)):
        assert summary[name] == np.percentile(values, percent)
        assert summary[name] == pytest.approx(percentile(values, percent), abs=1e-12)
    assert min(values) <= summary["percentile_10"] <= summary["median"] <= summary["percentile_90"] <= max(values)
    assert {type(value) for key, value in summary.items() if key not in ("values", "n_seeds", "n_converged")} == {float}


@given(ACCURACIES, st.randoms())
def test_a_summary_does_not_know_the_order_of_the_seeds(values: list[float], random: Any) -> None:
    shuffled = random.sample(values, len(values))
    one, other = (summarise([{"accuracy": a, "converged": True} for a in own]) for own in (values, shuffled))
    for name in ("mean", "median", "percentile_10", "percentile_90"):
        assert one[name] == pytest.approx(other[name], abs=1e-12)


def test_one_seed_is_its_own_summary() -> None:
    summary = summarise([{"accuracy": 0.3, "converged": False}])
    assert {summary[name] for name in ("mean", "median", "percentile_10", "percentile_90")} == {0.3}
    assert (summary["n_seeds"], summary["n_converged"], summary["values"]) == (1, 0, [0.3])


# convergence


@given(st.lists(LOSSES, min_size=2, max_size=60))
def test_improvement_compares_the_last_fifth_with_the_one_before(losses: list[float]) -> None:
    part = max(len(losses) // 5, 1)
    before, last = losses[-2 * part : -part], losses[-part:]
    expected = sum(before) / part - sum(last) / part
    found = improvement(losses, len(losses))
    assert found == pytest.approx(expected, abs=1e-9)
    changed = [9.0] * (len(losses) - 2 * part) + before + last  # what came earlier does not matter
    assert improvement(changed, len(losses)) == found
    assert has_converged(losses, len(losses)) == (found < 0.01)


@given(st.lists(LOSSES, min_size=2, max_size=40), LOSSES)
def test_improvement_is_of_differences(losses: list[float], shift: float) -> None:
    n = len(losses)
    found = improvement(losses, n)
    assert improvement([loss + shift for loss in losses], n) == pytest.approx(found, abs=1e-9)
    assert improvement([-loss for loss in losses], n) == pytest.approx(-found, abs=1e-9)


@pytest.mark.parametrize("n_draws", [5, 10, 23, 60])
def test_a_steady_fall_is_an_improvement_of_so_much(n_draws: int) -> None:
    """A fall of ``slope`` a draw is one of ``slope`` times the draws of a fifth from fifth to fifth."""
    part = n_draws // 5
    for slope, converged in ((0.0, True), (0.009 / part, True), (0.011 / part, False), (-0.1, True)):
        losses = [20 - slope * i for i in range(n_draws)]
        assert improvement(losses, n_draws) == pytest.approx(slope * part, abs=1e-9)
        assert has_converged(losses, n_draws) is converged


@given(st.integers(1, 100), st.data())
def test_too_few_draws_say_nothing(n_draws: int, draw: st.DataObject) -> None:
    """Neither that it improved nor that it converged."""
    part = max(n_draws // 5, 1)
    n = draw.draw(st.integers(1, 2 * part - 1))
    assert improvement([0.5] * n, n_draws) is None
    assert has_converged([0.5] * n, n_draws) is False
    assert has_converged([0.5] * 2 * part, n_draws) is True


@given(st.lists(LOSSES, min_size=10, max_size=30), st.integers(0, 9), st.sampled_from([math.nan, math.inf]))
def test_a_lost_member_has_not_converged(losses: list[float], where: int, value: float) -> None:
    losses[where] = value
    assert improvement(losses, len(losses)) is None
    assert has_converged(losses, len(losses)) is False


# early stops


@given(st.lists(LOSSES, min_size=1, max_size=40), st.integers(1, 60), LOSSES)
def test_a_member_stops_when_its_mean_over_a_tenth_is_below(losses: list[float], n_draws: int, below: float) -> None:
    assume(n_draws >= len(losses))
    part = max(n_draws // 10, 1)
    mean = math.fsum(losses[-part:]) / part
    assume(abs(mean - below) > 1e-9)
    stops = may_stop(losses, n_draws, below)
    assert stops == (len(losses) >= part and mean < below)
    assert not may_stop(losses, n_draws, 0.0), "0 is: never"
    assert may_stop(losses, n_draws, below + 1) >= stops  # who asks for less is done no later
    earlier = [9.0] * (len(losses) - part) + losses[-part:]
    assert may_stop(earlier, n_draws, below) == stops  # nobody is held up by how it began


@given(st.lists(LOSSES, max_size=20), st.sampled_from([math.nan, math.inf]), st.sampled_from([0.0, 1e9]))
def test_a_lost_member_always_stops(losses: list[float], last: float, below: float) -> None:
    assert may_stop([*losses, last], 100, below)


# what chooses the rate, and what is reported

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6)
SCHEDULE = Schedule(
    "mixture", steps=12, batch=4, learning_rates=(0.02, 0.005), n_seeds=3, n_calibration_seeds=2, n_eval=60
)
CONFIG = TrainConfig(TASK, ModelSpec("attn", d_model=4, window=3, mlp_ratio=1), SCHEDULE)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws of 5 steps."""
    for module in (data, results, run_writer, loop):
        monkeypatch.setattr(module, "STEPS_PER_DRAW", 5)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """Every random stream that is opened, by role and indices, in order."""
    opened: list[tuple[str, tuple[int, ...]]] = []
    seed_sequence = seeds.seed_sequence

    def spy(seed: int, role: str, *indices: int) -> np.random.SeedSequence:
        opened.append((role, indices))
        return seed_sequence(seed, role, *indices)

    monkeypatch.setattr(seeds, "seed_sequence", spy)
    monkeypatch.setattr(weights, "seed_sequence", spy)
    return opened


def test_reported_seeds_and_data_do_not_choose_the_rate(
    small_steps: None, streams: list[tuple[str, tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Until the rate is chosen, only streams of the calibration phase are drawn from; afterwards, none of these."""
    choices: list[tuple[int, list[str]]] = []
    choose = member_queue.choose_learning_rate

    def spy(config: TrainConfig, calibration: Sequence[dict[str, Any]]) -> float:
        choices.append((len(streams), [result["phase"] for result in calibration]))
        return choose(config, calibration)

    monkeypatch.setattr(member_queue, "choose_learning_rate", spy)
    train(CONFIG, tmp_path)
    assert {tuple(phases) for _, phases in choices} == {("calibration",) * 4}
    chosen_at = choices[0][0]
    assert streams[0] == ("sample", ())  # the look at whether the distribution asks anything
    before, after = streams[1:chosen_at], streams[chosen_at:]
    for part, phase, role, n_seeds in ((before, 0, "calibration", 2), (after, 1, "evaluation", 3)):
        assert {r for r, _ in part} == {"initialisation", "training-data", role}
        members = {indices[:2] for r, indices in part if r != role}
        assert members == {(phase, i) for i in range(n_seeds)}
        assert {indices for r, indices in part if r == role} == {(0, 0), (0, 1), (0, 2)}


@pytest.mark.parametrize("best", [0.02, 0.005])
def test_the_rate_is_that_of_the_best_calibration_members(
    best: float, small_steps: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the reported members are worth: here the evaluation finds them good where the others are bad."""
    honest = loop.evaluate_members

    def biased(*arguments: Any) -> list[dict[str, Any]]:
        results = honest(*arguments)
        for result in results:
            result["accuracy"] = float((result["learning_rate"] == best) == (result["phase"] == "calibration"))
        return results

    monkeypatch.setattr(loop, "evaluate_members", biased)
    result = train(CONFIG, tmp_path).result()
    assert result["learning_rate"] == best
    assert [member["learning_rate"] for member in result["members"]] == [best] * 3
    assert result["summary"]["values"] == [0.0] * 3


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (data, results, run_writer, loop):
            patch.setattr(module, "STEPS_PER_DRAW", 5)
        yield train(CONFIG, tmp_path_factory.mktemp("reported"))


def test_every_seed_is_reported_and_comes_again_from_its_weights(reported: Run) -> None:
    result = reported.result()
    models = load_models(reported)
    assert [member["seed_index"] for member in result["members"]] == [0, 1, 2]
    for member, model in zip(result["members"], models, strict=True):
        for i, law in enumerate(LAWS):
            batch = TASK.sample(SCHEDULE.n_eval, seeds.generator(CONFIG.seed, "evaluation", 0, i), law)
            correct, asked = count_correct(model, batch)
            assert member["accuracy_by_distribution"][law] == correct / asked
        assert member["accuracy"] == member["accuracy_by_distribution"]["mixture"]
    assert result["summary"] == summarise(result["members"])
    assert result["summary"]["values"] == [member["accuracy"] for member in result["members"]]


def test_what_is_said_of_convergence_follows_from_the_metrics(reported: Run) -> None:
    result = reported.result()
    for i, member in enumerate((*result["calibration"], *result["members"])):
        losses = [line["loss"] for line in reported.metrics() if line["member"] == i]
        assert len(losses) == 3
        assert member["loss"] == losses[-1]
        assert member["late_improvement"] == improvement(losses, 3)
        assert member["converged"] == has_converged(losses, 3)


# the negative control

NEEDLE = build_task("needle", {"vocab_size": 3, "seq_len": 6})
TRUE = TrainConfig(
    NEEDLE,
    ModelSpec("attn-attn", d_model=16, window=8, mlp_ratio=2),
    Schedule("mixture", steps=150, batch=32, learning_rates=(0.02,), n_seeds=3, warmup_steps=20, weight_decay=0.0),
)
RANDOM = replace(TRUE, schedule=replace(TRUE.schedule, targets="random"))


def questions(law: str) -> Batch:
    """What reported members are evaluated on under random targets."""
    rng = seeds.generator(RANDOM.seed, "evaluation", 0, LAWS.index(law))
    return permute_labels(NEEDLE.sample(RANDOM.schedule.n_eval, rng, law), rng)


def limit(law: str) -> float:
    """Accuracy of the best constant guess, and five standard errors.

    One answer is asked of each of n sequences, and the answers are dealt out by a uniform permutation.  A model that
    says k to n_k of them is right on average n_k c_k / n times, c_k the number of answers k: in all at most as often
    as the best constant guess, p = max c_k / n.  The variance is at most n / (n - 1) that of a binomial, and
    p (1 - p) grows up to p = 1/2.  Nine comparisons fail together with probability below 9 * 3e-7.
    """
    answers = questions(law).targets
    asked = answers[answers != IGNORE]
    assert len(asked) == len(answers), "one answer for each sequence"
    n, best = len(asked), np.bincount(asked).max() / len(asked)
    assert best < 0.5
    return float(best + 5 * math.sqrt(best * (1 - best) / (n - 1)))


def test_random_targets_cannot_be_learned(tmp_path: Path) -> None:
    true, random = (train(config, tmp_path).result()["members"] for config in (TRUE, RANDOM))
    for learned, control in zip(true, random, strict=True):
        for law in LAWS:
            assert control["accuracy_by_distribution"][law] <= limit(law) < 0.4
            # The same model, budget and questions with their own answers: the control is not idle.
            assert learned["accuracy_by_distribution"][law] > 0.9


def test_the_limit_is_caught_by_whoever_knows_a_tenth_of_the_answers() -> None:
    """The negative control of the limit: a leak of one answer in ten shows."""
    for law in LAWS:
        answers = questions(law).targets[:, -1]
        guess = np.full_like(answers, np.bincount(answers).argmax())
        leak = np.arange(len(answers)) % 10 == 0
        assert (guess == answers).mean() <= limit(law)
        assert (np.where(leak, answers, guess) == answers).mean() > limit(law)


def test_answers_are_dealt_out_in_judging_too() -> None:
    """Where a sequence asks several times, among all that is asked."""
    batch = TASK.sample(400, np.random.default_rng(0), "uniform")
    dealt = permute_labels(batch, np.random.default_rng(1))
    asked = batch.targets != IGNORE
    assert np.array_equal(dealt.tokens, batch.tokens)
    assert np.array_equal(dealt.targets != IGNORE, asked)
    assert np.array_equal(np.sort(dealt.targets[asked]), np.sort(batch.targets[asked]))
    shares = np.bincount(batch.targets[asked]) / asked.sum()
    by_chance, n = float((shares**2).sum()), int(asked.sum())
    agree = float((dealt.targets[asked] == batch.targets[asked]).mean())
    assert abs(agree - by_chance) < 5 * math.sqrt(by_chance * (1 - by_chance) / n)
