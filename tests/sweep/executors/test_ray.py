"""Jobs as tasks of a Ray on this machine."""

from __future__ import annotations

import builtins
import fcntl
import importlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boundprobe.errors import MissingDependencyError
from boundprobe.sweep.executors import EXECUTORS, Outcome, RayExecutor

HERE = Path(__file__).parent
#: Ray leaves its daemons' handles to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <function Popen\.__del__:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def toys() -> Iterator[Any]:
    """The module ``toy_jobs``, and a Ray of two cores whose workers can import it."""
    ray = pytest.importorskip("ray", reason="ray is heavy and not installed; pip install 'boundprobe[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("PYTHONPATH", str(HERE))  # Ray's workers take over the environment
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield importlib.import_module("toy_jobs")
        ray.shutdown()


def ignore(index: int, done: float, what: str) -> None:
    pass


@pytest.mark.services
def test_outcomes_come_in_order_and_news_arrive(toys: Any, tmp_path: Path) -> None:
    """One job ends well, one raises, one dies each time, one tells its threads."""
    news: list[tuple[int, float, str]] = []
    jobs = [toys.Steps(tmp_path, "a", 4), toys.Fails(), toys.Dies(tmp_path / "starts"), toys.TellsThreads()]
    outcomes = RayExecutor(max_retries=1).run(jobs, lambda *item: news.append(item))
    done, failed, died, threads = outcomes
    assert done == threads == Outcome()
    assert jobs[0].is_exact()
    assert failed.error == "ArithmeticError: no luck"
    assert "toy_jobs.py" in failed.traceback
    assert died.error is not None
    assert died.error.startswith("WorkerCrashedError")
    assert len((tmp_path / "starts").read_text().split()) == 2
    assert (0, 3, "a step 3") in news
    assert (3, 1, "threads") in news


@pytest.mark.services
def test_parts_of_a_core_let_several_jobs_run_at_once(toys: Any, tmp_path: Path) -> None:
    """Each waits until it has met the three others, on two cores."""
    jobs = [toys.Meets(tmp_path, str(i), 3) for i in range(4)]
    assert RayExecutor(num_cpus=0.5).run(jobs, ignore) == [Outcome()] * 4


@pytest.mark.services
def test_a_job_whose_run_is_in_use_is_tried_again(toys: Any, tmp_path: Path) -> None:
    jobs = [toys.Steps(tmp_path, "busy"), toys.Steps(tmp_path, "a")]
    with jobs[0].path("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def release() -> None:
            end = time.monotonic() + 60
            while not jobs[0].lines("busy") and time.monotonic() < end:
                time.sleep(0.02)
            fcntl.flock(lock, fcntl.LOCK_UN)

        thread = threading.Thread(target=release)
        thread.start()
        try:
            outcomes = RayExecutor().run(jobs, ignore)
        finally:
            thread.join()
    assert outcomes == [Outcome()] * 2
    assert all(job.is_exact() for job in jobs)
    assert jobs[0].lines("busy")


@pytest.mark.services
def test_an_interruption_stops_the_jobs(toys: Any, tmp_path: Path) -> None:
    job = toys.Steps(tmp_path, "a", 600, 0.1)

    def interrupt(index: int, done: float, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RayExecutor().run([job], interrupt)
    # Its lock is free once its process is gone.
    end = time.monotonic() + 20
    with job.path("lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < end
                time.sleep(0.05)
    assert not job.path("done").exists()


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"pip install 'boundprobe\[ray\]'"):
        RayExecutor().run([], ignore)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`num_gpus` must be at least 0; got -0\.5"):
        RayExecutor(num_gpus=-0.5)
    with pytest.raises(ValueError, match="`max_retries` must be an integer of at least 0; got -1"):
        RayExecutor(max_retries=-1)


def test_it_has_a_name() -> None:
    assert EXECUTORS["ray"]() is RayExecutor
