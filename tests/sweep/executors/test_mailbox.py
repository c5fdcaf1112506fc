"""News and outcomes through files, and submitit's protocol for a job that is put back, without Slurm."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import submitit
import torch
from submitit.core.submission import process_job
from submitit.helpers import DelayedSubmission

from boundprobe.sweep.executors import Outcome
from boundprobe.sweep.executors import progress as news
from boundprobe.sweep.executors.mailbox import Mailbox, PostedJob
from boundprobe.sweep.executors.progress import SeldomReport
from tests.helpers.runs import TINY_RUN

HERE = Path(__file__).parent


def test_news_are_replaced_and_outcomes_stay(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    assert mailbox.news(3) is None
    assert mailbox.outcomes() == {}
    mailbox.put_news(3, 1.5, "half")
    mailbox.put_news(3, 3.0, "all")
    mailbox.put_outcome(3, Outcome("no luck", "Traceback ...", busy=True))
    mailbox.put_outcome(12, Outcome())
    (tmp_path / ".77.5.outcome.json").write_text("{")  # not yet renamed
    assert mailbox.news(3) == (3.0, "all")
    assert mailbox.outcomes() == {3: Outcome("no luck", "Traceback ...", busy=True), 12: Outcome()}


def test_a_posted_job_leaves_its_last_news_and_its_outcome(toys: Any, tmp_path: Path) -> None:
    """Many reports in no time are few files, the last among them."""
    mailbox = Mailbox(tmp_path)
    PostedJob(toys.Steps(tmp_path, "a", 20), 0, mailbox)()
    PostedJob(toys.Fails(), 1, mailbox)()
    assert mailbox.news(0) == (19.0, "a step 19")
    assert mailbox.outcomes()[0] == Outcome()
    assert json.loads((tmp_path / "1.outcome.json").read_text())["error"] == "ArithmeticError: no luck"


def test_seldom_reports_are_the_first_and_then_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(news.time, "monotonic", lambda: now[0])
    said: list[tuple[float, str]] = []
    report = SeldomReport(lambda *item: said.append(item), 5.0)
    for second in range(12):
        now[0] = 50.0 + second
        report(second, f"at {second}")
    assert [done for done, _ in said] == [0, 5, 10]
    report.flush()
    report.flush()
    assert said[3:] == [(11, "at 11")]


def test_a_job_that_is_told_to_leave_goes_on_from_its_checkpoint(toys: Any, tmp_path: Path) -> None:
    """submitit's stand-in for Slurm on this machine: the signal before a time limit, then the job anew."""
    job, mailbox = toys.Steps(tmp_path, "a", 40, 0.05), Mailbox(tmp_path / "mail")
    mailbox.folder.mkdir()
    executor = submitit.LocalExecutor(tmp_path / "log")
    executor.update_parameters(timeout_min=5)
    handle = executor.submit(PostedJob(job, 0, mailbox))
    end = time.monotonic() + 60
    while len(job.lines("steps")) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(int(job.lines("starts")[0]), submitit.JobEnvironment._usr_sig())
    handle.wait()
    assert mailbox.outcomes() == {0: Outcome()}
    assert job.is_exact()
    assert len(job.lines("starts")) == 2
    assert handle._process.wait() == 0


# Jobs as Slurm's nodes run them, by submitit itself; only ``scontrol`` is a script that notes what it was asked.


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of job 7, in the environment that Slurm makes; signals are handled as before afterwards."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "mail").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    variables = {"PATH": f"{scontrol.parent}:{os.environ['PATH']}", "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_PROCID", "SLURM_ARRAY_JOB_ID", "SUBMITIT_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    numbers = (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


def submitted(job: Any, node: Path) -> Mailbox:
    """Leave a job where submitit looks for it; return its mailbox."""
    mailbox = Mailbox(node / "mail")
    delayed = DelayedSubmission(PostedJob(job, 0, mailbox))
    delayed.set_timeout(60, 3)
    delayed.dump(node / "7_submitted.pkl")
    return mailbox


def steps_of(job: Any) -> int:
    return len((job.root / "steps").read_text().split())


@pytest.mark.parametrize("at", [1, 77, 100])
@pytest.mark.parametrize(
    ("number", "code", "asked"),
    [(signal.SIGUSR2, -1, ["requeue 7"]), (signal.SIGTERM, 143, [])],
    ids=["time limit", "taken or cancelled"],
)
def test_a_job_that_slurm_ends_loses_no_step(
    toys: Any, node: Path, number: int, code: int, asked: list[str], at: int
) -> None:
    """Far from the next checkpoint of its own.  After SIGTERM it is Slurm that puts a job back, or the driver."""
    job = toys.Trains(TINY_RUN, node, number, at)
    mailbox = submitted(job, node)
    with pytest.raises(SystemExit) as caught:
        process_job(node)
    assert caught.value.code == code
    assert steps_of(job) == at
    (path,) = node.glob("*/train_state.pt")
    assert torch.load(path, weights_only=True)["batch"]["step"] == at
    assert mailbox.outcomes() == {}
    assert mailbox.was_terminated(0) == (number == signal.SIGTERM)
    assert ((node / "asked").read_text().splitlines() if asked else []) == asked
    process_job(node)
    assert mailbox.outcomes() == {0: Outcome()}
    assert not mailbox.was_terminated(0)
    assert steps_of(job) == TINY_RUN.schedule.steps


def test_a_time_limit_that_submitit_has_given_up_on_is_an_error(toys: Any, node: Path) -> None:
    mailbox = submitted(toys.Trains(TINY_RUN, node, signal.SIGUSR2, 5), node)
    delayed = DelayedSubmission.load(node / "7_submitted.pkl")
    delayed.set_timeout(0, 0)
    delayed.dump(node / "7_submitted.pkl")
    with pytest.raises(submitit.core.utils.UncompletedJobError, match="timed-out too many times"):
        process_job(node)
    assert not mailbox.was_terminated(0)
