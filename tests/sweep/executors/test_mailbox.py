"""News and outcomes through files, and submitit's protocol for a job that is put back, without Slurm."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import submitit

from boundprobe.sweep.executors import Outcome
from boundprobe.sweep.executors import progress as news
from boundprobe.sweep.executors.mailbox import Mailbox, PostedJob
from boundprobe.sweep.executors.progress import SeldomReport

HERE = Path(__file__).parent


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``toy_jobs``, from a path that submitit's processes inherit."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return importlib.import_module("toy_jobs")


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
