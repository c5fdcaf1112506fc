"""Training jobs: plain data that says how much work it is, does it once, and leaves all it knows in run directories."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boundprobe.models import ModelSpec
from boundprobe.probes import ProbeConfig
from boundprobe.runs import Run, open_run
from boundprobe.sweep import TrainAndProbe
from boundprobe.sweep.config import group_runs
from boundprobe.sweep.executors import Outcome, available_cores
from boundprobe.sweep.executors.base import attempt
from boundprobe.tasks import SelectiveCopying, build_task
from boundprobe.training import Schedule, TrainConfig
from tests.helpers.own_tasks import TWO_BITS

CONFIG = TrainConfig(
    SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8),
    ModelSpec("attn", d_model=4, window=3, mlp_ratio=1),
    Schedule(steps=5, batch=2, n_eval=20, n_seeds=2),
)
GROUP = (
    CONFIG,
    replace(CONFIG, seed=1),
    replace(CONFIG, schedule=replace(CONFIG.schedule, n_seeds=1, weight_decay=0.0)),
)
PROBE = ProbeConfig(n_sequences=40, n_calibration=20, n_train=40, decoders=("linear",), seed=3, confidence=0.9)


def trained(config: TrainConfig, root: Path) -> Run:
    return open_run(root, "train", config.to_dict())


def call(job: TrainAndProbe) -> list[tuple[float, str]]:
    """Do a job; what it told."""
    news: list[tuple[float, str]] = []
    assert job(lambda done, what: news.append((done, what))) is None
    return news


def snapshot(root: Path) -> dict[Path, tuple[int, bytes]]:
    """Files and when each was written."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def ignore(done: float, what: str) -> None:
    pass


def test_at_least_one_core() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_a_job_trains_and_measures_a_group_once(tmp_path: Path) -> None:
    job = TrainAndProbe(GROUP, PROBE, tmp_path, "cpu")
    assert pickle.loads(pickle.dumps(job)) == job
    news = call(pickle.loads(pickle.dumps(job)))
    done = [units for units, _ in news]
    assert done == sorted(done)
    assert done[-1] == job.total_cost
    assert all("\n" not in what for _, what in news)
    kinds = [path.name.rsplit("-", 1)[0] for path in tmp_path.iterdir()]
    assert (kinds.count("train"), kinds.count("probe"), kinds.count("ensemble")) == (3, 5, 1)
    before = snapshot(tmp_path)
    for config in GROUP:
        run = trained(config, tmp_path)
        result, ladders = run.result(), list(job.measure(config))
        assert result["schema"] == "boundprobe.train/1"
        assert [measured.of_model.member for measured in ladders] == list(range(config.schedule.n_seeds))
        for measured in ladders:
            assert measured.of_model.trained == run.run_id
            assert measured.of_model.ladder.confidence == 0.9
            assert measured.curve is None
            kept = json.loads((tmp_path / measured.of_model.run_id / "result.json").read_text())
            assert kept == measured.to_json()
    again = call(job)  # nothing is done, and all of it is said to be done
    assert again[-1][0] == job.total_cost
    assert snapshot(tmp_path) == before


def test_a_job_without_a_probe_measures_nothing(tmp_path: Path) -> None:
    job = TrainAndProbe(GROUP, None, tmp_path, "cpu")
    assert call(job)[-1][0] == job.total_cost
    assert [list(job.measure(config)) for config in GROUP] == [[], [], []]
    assert not list(tmp_path.glob("probe-*"))
    assert job.total_cost == sum(config.total_steps for config in GROUP) * job.cost_per_step
    assert job.total_cost < replace(job, probe=PROBE).total_cost


def test_a_job_with_budgets_has_a_curve_of_the_first_model_of_each_run(tmp_path: Path) -> None:
    plain = TrainAndProbe(GROUP[:2], PROBE, tmp_path, "cpu")
    job = replace(plain, budgets=((1, 1), (1, 2)), budget_steps=3)
    assert pickle.loads(pickle.dumps(job)) == job
    assert job.total_cost > plain.total_cost
    news = [units for units, _ in call(job)]
    assert news == sorted(news)
    assert news[-1] == job.total_cost
    for config in GROUP[:2]:
        first, second = job.measure(config)
        curve = first.curve
        assert [point.total_bits for point in curve.points] == [1, 2]
        assert (curve.trained, curve.member, curve.confidence) == (first.of_model.trained, 0, 0.9)
        assert second.curve is None
        assert [each.to_json() for each in plain.measure(config)] == [first.of_model.to_json(), second.to_json()]


def test_a_group_that_grew_does_not_repeat_what_was_finished(tmp_path: Path) -> None:
    call(TrainAndProbe(GROUP[:2], PROBE, tmp_path, "cpu"))
    before = snapshot(tmp_path)
    call(TrainAndProbe(GROUP, PROBE, tmp_path, "cpu"))
    assert before.items() <= snapshot(tmp_path).items()
    assert trained(GROUP[2], tmp_path).result() is not None


def test_the_largest_ensemble_is_passed_on(tmp_path: Path) -> None:
    """Five members, two at a time: each round tells how many it has."""
    told = [what for _, what in call(TrainAndProbe(GROUP, None, tmp_path, "cpu", largest=2))]
    assert len([what for what in told if "report 2 members" in what]) == 2
    assert len([what for what in told if "report lr" in what]) == 1


def test_a_damaged_checkpoint_does_not_stop_a_job(tmp_path: Path) -> None:
    workspace = open_run(tmp_path, "ensemble", {"runs": [config.to_dict() for config in GROUP]})
    (workspace.path / "train_state.pt").write_bytes(b"damaged")
    call(TrainAndProbe(GROUP, None, tmp_path, "cpu"))
    assert all(trained(config, tmp_path).result() for config in GROUP)
    assert (workspace.path / "train_state.pt.damaged-1").read_bytes() == b"damaged"


def test_a_job_whose_run_is_in_use_is_busy_and_one_that_fails_says_why(tmp_path: Path) -> None:
    job = TrainAndProbe(GROUP, None, tmp_path, "cpu")
    with trained(GROUP[1], tmp_path).session(device="cpu", seeds={}):
        outcome = attempt(job, ignore)
    assert outcome.busy
    assert trained(GROUP[1], tmp_path).run_id in (outcome.error or "")
    wrong = replace(job, configs=(replace(CONFIG, backend="fastest"),))
    outcome = attempt(wrong, ignore)
    assert (outcome.busy, outcome.exit_code) == (False, 2)
    assert "'fastest'" in (outcome.error or "")
    assert "\n" not in (outcome.error or "")
    assert attempt(job, ignore) == Outcome()


@pytest.mark.parametrize("architecture", ["attn", "mamba|attn-3xgru", "gated-deltanet"])
def test_every_architecture_has_a_cost(architecture: str, tmp_path: Path) -> None:
    model = ModelSpec(architecture, d_model=4, window=3)
    job = TrainAndProbe((replace(CONFIG, model=model),), None, tmp_path, "cpu")
    assert job.cost_per_step >= len(model.mixers)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A task of one's own, by the path of its file."""
    (tmp_path / "own.py").write_text(f"class Recall:{TWO_BITS}")
    monkeypatch.chdir(tmp_path)
    return build_task("own.py:Recall", {})


def test_a_task_of_ones_own_is_trained_and_measured(own: Any, tmp_path: Path) -> None:
    configs = (replace(CONFIG, task=own), replace(CONFIG, task=own, seed=1))
    assert group_runs(configs, 16) == [[0, 1]]
    job = TrainAndProbe(configs, PROBE, tmp_path / "runs", "cpu")
    call(job)
    assert [len(list(job.measure(config))) for config in configs] == [2, 2]


def test_a_job_of_a_task_of_ones_own_reaches_a_worker(own: Any, tmp_path: Path) -> None:
    """The same task twice, as a sweep reads it for each of its runs."""
    again = build_task("own.py:Recall", {})
    job = TrainAndProbe((replace(CONFIG, task=own), replace(CONFIG, task=again, seed=1)), None, tmp_path, "cpu")
    assert pickle.loads(pickle.dumps(job)) == job
