"""Jobs are given to an executor longest first, and what is done of them is told as a share of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from boundprobe.errors import UnfinishedError
from boundprobe.sweep import TrainAndProbe
from boundprobe.sweep.executors import AbstractExecutor, Outcome
from boundprobe.sweep.executors.base import Job, OnNews
from boundprobe.sweep.jobs import run_jobs
from boundprobe.training import TrainConfig


class Recorder(AbstractExecutor):
    """Does nothing but keep what it was given."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.jobs = outcome, list[Job]()

    def run(self, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        self.jobs += jobs
        for i, job in enumerate(jobs):
            on_news(i, job.total_cost, "done")
        return [self.outcome for _ in jobs]


def jobs() -> list[TrainAndProbe]:
    tables = {"task": {"name": "copying"}, "model": {"architecture": "attn"}}
    configs = [TrainConfig.from_dict(tables | {"train": {"steps": steps}}) for steps in (20, 40, 30)]
    return [TrainAndProbe((config,), None, Path("runs"), "cpu") for config in configs]


def test_the_longest_job_comes_first_and_shares_add_up_to_one() -> None:
    recorder, told = Recorder(Outcome()), list[float]()
    run_jobs(jobs(), recorder, lambda share, what: told.append(share))
    assert [job.configs[0].schedule.steps for job in recorder.jobs] == [40, 30, 20]
    assert told == pytest.approx([40 / 90, 70 / 90, 1.0])


def test_failures_are_counted_and_said_once_each() -> None:
    with pytest.raises(UnfinishedError, match=r"3 of 3 jobs failed \(no luck\)") as caught:
        run_jobs(jobs(), Recorder(Outcome("no luck", exit_code=4)))
    assert caught.value.exit_code == 4
