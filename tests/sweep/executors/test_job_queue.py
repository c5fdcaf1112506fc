"""Which job is next, without any processes."""

from __future__ import annotations

import pytest

from boundprobe.sweep.executors import Outcome, job_queue
from boundprobe.sweep.executors.job_queue import MOST_DEATHS, JobQueue

BUSY = Outcome("in use", busy=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list that a test may change."""
    now = [100.0]
    monkeypatch.setattr(job_queue.time, "monotonic", lambda: now[0])
    return now


def test_outcomes_are_in_the_order_of_the_jobs() -> None:
    queue = JobQueue(3, retry_seconds=1)
    assert queue.take_up_to(5) == [0, 1, 2]
    for index in (2, 0):
        queue.settle(index, Outcome(str(index)))
    assert queue.unfinished
    queue.settle(1, Outcome())
    assert not queue.unfinished
    assert [outcome.error for outcome in queue.outcomes()] == ["0", None, "2"]


def test_no_jobs_are_finished() -> None:
    assert not JobQueue(0, retry_seconds=1).unfinished


def test_a_busy_job_waits_for_its_time_and_for_the_others(clock: list[float]) -> None:
    queue = JobQueue(3, retry_seconds=10)
    queue.settle(queue.take_up_to(1)[0], BUSY)
    clock[0] += 11
    assert queue.take_up_to(5) == [1, 2, 0]
    queue.settle(0, BUSY)
    assert queue.take() is None
    clock[0] += 9
    assert queue.take() is None
    assert queue.unfinished
    clock[0] += 2
    assert queue.take() == 0


def test_a_job_whose_process_dies_is_given_up_in_the_end() -> None:
    queue = JobQueue(2, retry_seconds=1)
    for death in range(MOST_DEATHS):
        assert queue.unfinished
        index = queue.take_up_to(2)[-1] if death else queue.take_up_to(2)[0]
        assert index == 0
        queue.bury(0, f"way {death}")
    queue.settle(1, Outcome())
    first, second = queue.outcomes()
    assert first.error == "its process died 3 times, the last time way 2"
    assert second.error is None


def test_a_job_that_is_put_back_may_be_so_for_ever() -> None:
    queue = JobQueue(1, retry_seconds=1)
    for _ in range(10 * MOST_DEATHS):
        assert queue.take() == 0
        queue.put_back(0)
    assert queue.unfinished
