"""Jobs in worker processes: results in order, news, and an end when one fails."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boundprobe.models.spec import ModelSpec
from boundprobe.sweep.executors import available_cores, run_jobs
from boundprobe.sweep.jobs import TrainAndProbe
from boundprobe.tasks import SelectiveCopying
from boundprobe.training.config import Schedule, TrainConfig

CONFIG = TrainConfig(
    SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8),
    ModelSpec("attn", d_model=4, window=3),
    Schedule(steps=5, batch=2, n_eval=20),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``toy_jobs.Toy``, from a path that spawned processes inherit."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("toy_jobs").Toy


def ignore(index: int, done: float, what: str) -> None:
    pass


def test_results_come_in_order_and_news_arrive(toy: Any, tmp_path: Path) -> None:
    """Job 0 ends only after job 1, which takes a second worker."""
    news: list[tuple[int, float, str]] = []
    jobs = [toy(0, 0.3, wait_for=tmp_path / "1"), toy(1, 0.3, mark=tmp_path / "1"), toy(2, 0.3)]
    results = run_jobs(jobs, n_workers=2, on_news=lambda *item: news.append(item))
    assert [value for value, _, _ in results] == [0, 1, 2]
    processes = {process for _, process, _ in results}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {threads for _, _, threads in results} == {1}
    assert sorted(news) == [(0, 0.0, "job 0"), (1, 0.5, "job 1"), (2, 1.0, "job 2")]
    assert multiprocessing.active_children() == []


def test_an_error_is_raised_and_stops_the_others(toy: Any, tmp_path: Path) -> None:
    jobs = [toy(0, seconds=30.0, mark=tmp_path / "0"), toy(1, error="no luck"), toy(2, 30.0, mark=tmp_path / "2")]
    started = time.monotonic()
    with pytest.raises(ArithmeticError, match="no luck"):
        run_jobs(jobs, n_workers=2, on_news=ignore)
    assert time.monotonic() - started < 25
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


def test_an_interruption_stops_the_workers(toy: Any, tmp_path: Path) -> None:
    def interrupt(index: int, done: float, what: str) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([toy(0, seconds=30.0, mark=tmp_path / "0")], n_workers=1, on_news=interrupt)
    assert time.monotonic() - started < 25
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


def test_no_jobs_have_no_results() -> None:
    assert run_jobs([], n_workers=2, on_news=ignore) == []


def test_at_least_one_core() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_train_and_probe_is_plain_data_that_says_how_much_work_it_is(tmp_path: Path) -> None:
    job = TrainAndProbe(CONFIG, {"n_sequences": 40, "n_calibration": 20}, tmp_path, "cpu")
    assert pickle.loads(pickle.dumps(job)) == job
    news: list[tuple[float, str]] = []
    result = job(lambda done, what: news.append((done, what)))
    done = [item for item, _ in news]
    assert done == sorted(done)
    assert done[-1] == job.total_cost
    assert result["train"]["schema"] == "boundprobe.train/1"
    assert len(result["probes"]) == 1
    assert result["probes"][0]["trained"] == result["train"]["run_id"]
    assert job(lambda done, what: None) == result  # nothing is done again


def test_a_job_with_budgets_has_a_curve_of_its_first_model(tmp_path: Path) -> None:
    config = replace(CONFIG, schedule=replace(CONFIG.schedule, n_seeds=2))
    probe = {"n_sequences": 40, "n_calibration": 20, "seed": 3, "confidence": 0.9}
    plain = TrainAndProbe(config, probe, tmp_path, "cpu")
    job = replace(plain, budgets=((1, 1),))
    assert pickle.loads(pickle.dumps(job)) == job
    assert job.total_cost > plain.total_cost
    news: list[float] = []
    first, second = job(lambda done, what: news.append(done))["probes"]
    assert news == sorted(news)
    assert news[-1] == job.total_cost
    curve = first.pop("bottleneck")
    assert [point["bits"] for point in curve["points"]] == [1]
    assert (curve["trained"], curve["member"], curve["confidence"]) == (first["trained"], 0, 0.9)
    assert "bottleneck" not in second
    assert plain(lambda done, what: None)["probes"] == [first, second]


@pytest.mark.parametrize("architecture", ["attn", "mamba|attn-3xgru", "gated-deltanet"])
def test_every_architecture_has_a_cost(architecture: str, tmp_path: Path) -> None:
    model = ModelSpec(architecture, d_model=4, window=3)
    job = TrainAndProbe(replace(CONFIG, model=model), {}, tmp_path, "cpu")
    assert job.cost_per_step >= len(model.mixers)
