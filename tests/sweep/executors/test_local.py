"""Worker processes on this machine: what becomes of jobs when they fail, die or wait, and of workers when all ends."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from boundprobe.sweep.executors import EXECUTORS, LocalExecutor, Outcome, job_queue
from boundprobe.sweep.executors.local import visible_device

#: Long beside all that is waited for, so that a worker which is not ended shows.
FOREVER = 600.0
#: A driver in a process of its own, for tests that end it.
DRIVER = """
import sys
from pathlib import Path
from toy_jobs import Steps
from boundprobe.sweep.executors.local import LocalExecutor

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    jobs = [Steps(folder, name, 1, {seconds}, reports=False) for name in "ab"]
    LocalExecutor(2).run(jobs, lambda *news: None)
"""


def ignore(index: int, done: float, what: str) -> None:
    pass


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until something holds; whether it came to hold."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie; one without a parent may wait long for somebody to reap it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_outcomes_come_in_order_whatever_ends_first_and_news_arrive(toys: Any, tmp_path: Path) -> None:
    """Job 0 ends only after job 1, which takes a second worker."""
    news: list[tuple[int, float, str]] = []
    jobs = [
        toys.Toy(0, wait_for=tmp_path / "1"),
        toys.Toy(1, mark=tmp_path / "1"),
        toys.Fails(),
        toys.TellsThreads(),
    ]
    outcomes = LocalExecutor(2).run(jobs, lambda *item: news.append(item))
    assert [outcome.error for outcome in outcomes] == [None, None, "ArithmeticError: no luck", None]
    assert sorted(news) == [(0, 0.0, "job 0"), (1, 0.5, "job 1"), (3, 1, "threads")]
    assert multiprocessing.active_children() == []


def test_a_job_that_raises_says_where_and_does_not_stop_the_others(toys: Any, tmp_path: Path) -> None:
    jobs = [toys.Fails(), toys.Steps(tmp_path, "a"), toys.Fails(), toys.Steps(tmp_path, "b")]
    failed, done, *_ = LocalExecutor(1).run(jobs, ignore)
    assert failed.error == "ArithmeticError: no luck"
    assert "toy_jobs.py" in failed.traceback
    assert done == Outcome()
    assert jobs[1].is_exact()
    assert jobs[3].is_exact()


def test_a_job_that_always_dies_is_given_up_after_three_workers(toys: Any, tmp_path: Path) -> None:
    jobs = [toys.Dies(tmp_path / "starts"), *(toys.Steps(tmp_path, name, 3, 0.1) for name in "abc")]
    news: list[str] = []
    died, *others = LocalExecutor(2).run(jobs, lambda index, done, what: news.append(what))
    assert died.error is not None
    assert died.error.startswith("its process died 3 times, the last time killed by SIGKILL")
    assert len(set((tmp_path / "starts").read_text().split())) == 3
    assert sum("its worker died" in what for what in news) == 3
    assert others == [Outcome()] * 3
    for job in jobs[1:]:
        assert job.is_exact()
        assert len(job.lines("starts")) == 1  # the death of one worker leaves the other alone


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_minus_9_at_random_moments_loses_and_repeats_nothing(
    toys: Any, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers die in the middle of reports and checkpoints alike, eight times for four jobs."""
    monkeypatch.setattr(job_queue, "MOST_DEATHS", 100)
    rng = random.Random(seed)
    jobs = [toys.Steps(tmp_path, name, 200, 0.005) for name in "abcd"]
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while len(killed) < 8 and not over.wait(rng.uniform(0.0, 0.5)):
            started = [job for job in jobs if job.lines("starts") and not job.path("done").exists()]
            pids = [pid for job in started if is_running(pid := int(job.lines("starts")[-1]))]
            if pids:
                killed.append(rng.choice(pids))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcomes = LocalExecutor(2).run(jobs, ignore)
    finally:
        over.set()
        killer.join()
    assert outcomes == [Outcome()] * len(jobs)
    assert all(job.is_exact() for job in jobs)
    assert len(set(killed)) >= 3, "hardly any worker was killed; make the jobs longer"
    assert sum(len(job.lines("starts")) for job in jobs) > len(jobs)


def test_a_job_whose_run_is_in_use_waits_for_the_others_and_then_for_its_turn(toys: Any, tmp_path: Path) -> None:
    jobs = [toys.Steps(tmp_path, "busy"), *(toys.Steps(tmp_path, name) for name in "abc")]
    with jobs[0].path("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def release() -> None:
            until(lambda: len(jobs[0].lines("busy")) > 1)  # tried again, at least a second after the first time
            fcntl.flock(lock, fcntl.LOCK_UN)

        thread = threading.Thread(target=release)
        thread.start()
        outcomes = LocalExecutor(1).run(jobs, ignore)
        thread.join()
    assert outcomes == [Outcome()] * 4
    assert jobs[0].is_exact()
    ended = [job.path("done").stat().st_mtime_ns for job in jobs]
    assert max(ended) == ended[0]
    assert 2 <= len(jobs[0].lines("busy")) <= 4


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_no_worker_outlives_a_driver_that_is_killed(toys: Any, tmp_path: Path, how: signal.Signals) -> None:
    """The jobs do not report, so nothing but the watch on the driver can end them."""
    with driver_at_work(toys, tmp_path) as (driver, pids):
        driver.send_signal(how)
        driver.communicate(timeout=60)
        assert until(lambda: not any(map(is_running, pids)))


def test_ctrl_c_ends_workers_promptly_and_quietly(toys: Any, tmp_path: Path) -> None:
    """A terminal sends the signal to the whole group: driver and workers."""
    with driver_at_work(toys, tmp_path) as (driver, pids):
        os.killpg(driver.pid, signal.SIGINT)
        _, err = driver.communicate(timeout=60)  # a second or two; a busy machine takes longer
    assert not any(map(is_running, pids))
    assert err.count("Traceback") == 1, err  # the driver's own
    assert err.rstrip().endswith("KeyboardInterrupt")


@contextmanager
def driver_at_work(toys: Any, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A driver in a process group of its own, and its two workers, both at work; none of them outlives the test."""
    script = folder / "driver.py"
    script.write_text(DRIVER.format(seconds=FOREVER))
    driver = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        jobs = [toys.Steps(folder, name) for name in "ab"]
        assert until(lambda: all(job.lines("starts") for job in jobs) or driver.poll() is not None)
        pids = [int(job.lines("starts")[0]) for job in jobs]
        assert all(map(is_running, pids))
        yield driver, pids
    finally:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_an_error_in_the_driver_is_its_own_and_ends_the_workers(
    toys: Any, tmp_path: Path, error: type[BaseException]
) -> None:
    def on_news(index: int, done: float, what: str) -> None:
        raise error

    started = time.monotonic()
    with pytest.raises(error):
        LocalExecutor(1).run([toys.Steps(tmp_path, "a", 1, FOREVER)], on_news)
    assert time.monotonic() - started < FOREVER / 10
    assert multiprocessing.active_children() == []


def test_workers_see_their_device_only_and_may_share_one(
    toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers at once on two devices, of which the driver has other names."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc,7")
    seen: dict[float, str] = {}
    jobs = [toys.Meets(tmp_path, str(i), 2) for i in range(3)]
    outcomes = LocalExecutor(3, ("cuda:1", "cuda:2")).run(jobs, lambda i, pid, what: seen.update({pid: what}))
    assert outcomes == [Outcome()] * 3
    assert sorted(seen.values()) == ["7", "GPU-abc", "GPU-abc"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,GPU-abc,7"


@pytest.mark.gpu
def test_a_worker_computes_on_its_one_device(toys: Any) -> None:
    news: list[tuple[int, float, str]] = []
    outcomes = LocalExecutor(2, ("cuda:0",)).run([toys.TellsDevices()] * 2, lambda *item: news.append(item))
    assert outcomes == [Outcome()] * 2
    assert sorted(news) == [(0, 1, "2.0"), (1, 1, "2.0")]


def test_a_device_that_is_not_there_or_not_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_device("cuda:3") == "3"
    for wrong in ("cpu", "cuda", "cuda:-1", "cuda:0,1"):
        with pytest.raises(ValueError, match=r"`device` must be cuda:0, cuda:1 and so on; got .*"):
            LocalExecutor(1, (wrong,))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(
        ValueError, match="`device` must be one of the first 1, as CUDA_VISIBLE_DEVICES is '4'; got 'cuda:1'"
    ):
        LocalExecutor(1, ("cuda:1",))


def test_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="`n_workers` must be an integer of at least 1; got 0"):
        LocalExecutor(0)


def test_a_job_that_no_process_could_be_sent_is_refused_at_once() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        LocalExecutor(1).run([lambda report: None], ignore)


def test_no_jobs_have_no_outcomes() -> None:
    assert LocalExecutor(3).run([], ignore) == []


def test_it_has_a_name() -> None:
    assert EXECUTORS["local"]() is LocalExecutor
    assert list(EXECUTORS) == ["local", "slurm", "ray"]
