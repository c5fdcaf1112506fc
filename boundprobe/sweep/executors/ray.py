"""Jobs as Ray tasks, on this machine or a Ray cluster.

Ray (Moritz et al. 2018, arXiv:1712.05889): https://docs.ray.io, "Tasks" and "Fault tolerance".
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from boundprobe.checks import check_integer, check_number
from boundprobe.errors import MissingDependencyError
from boundprobe.sweep.executors.base import AbstractExecutor, Job, OnNews, Outcome, attempt
from boundprobe.sweep.executors.environment import thread_variables
from boundprobe.sweep.executors.job_queue import JobQueue, lost
from boundprobe.sweep.executors.progress import SeldomReport

POLL_SECONDS = 0.5
#: Least time between two pieces of news of one job.
NEWS_SECONDS = 0.5
#: Time that a job waits for its news to be taken.
PUT_SECONDS = 10.0
#: Time until a job is tried again whose run is in use by another process.
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class RayExecutor(AbstractExecutor):
    """Ray tasks; needs the extra ``ray``.

    A Ray that is running in this process is used and left running; otherwise one is started, or joined, and left
    afterwards.  Run directories must be on a file system that all nodes share.

    Attributes
    ----------
    num_cpus, num_gpus : float
        What a job takes of a node; parts of a GPU let several jobs share one.
    max_retries : int
        Times that Ray runs a job again whose worker or node died.
    address : str or None
        Of a Ray cluster; None takes ``RAY_ADDRESS``, or starts Ray on this machine.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    max_retries: int = 2
    address: str | None = None

    def __post_init__(self) -> None:
        check_number("num_cpus", self.num_cpus, least=0)
        check_number("num_gpus", self.num_gpus, least=0)
        check_integer("max_retries", self.max_retries, 0)

    def check_usable(self) -> None:
        """Raise ``MissingDependencyError`` if Ray is not there."""
        import_ray()

    def run(self, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        """Run every job to its end; return their outcomes in the order of the jobs.

        Raises
        ------
        MissingDependencyError
            If Ray is not there.
        """
        ray = import_ray()
        joined = not ray.is_initialized()
        if joined:
            ray.init(address=self.address, log_to_driver=False)
        try:
            return self._run(ray, jobs, on_news)
        finally:
            if joined:
                ray.shutdown()

    def _run(self, ray: Any, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        board = ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
        task = ray.remote(
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            max_retries=self.max_retries,
            runtime_env={"env_vars": thread_variables(1)},
        )(do_job)
        queue = JobQueue(len(jobs), retry_seconds=RETRY_SECONDS)
        running: dict[Any, int] = {}  # reference of a task to its job
        try:
            while queue.unfinished:
                for index in queue.take_up_to(len(jobs)):
                    running[task.remote(jobs[index], index, board)] = index
                ended, _ = ray.wait(list(running), timeout=POLL_SECONDS) if running else ((), ())
                if not running:
                    time.sleep(POLL_SECONDS)
                _pass_on(ray, board, on_news)
                for reference in ended:
                    queue.settle(running.pop(reference), _outcome(ray, reference))
        finally:
            for reference in running:
                ray.cancel(reference, force=True)  # runs go on from their checkpoints
            ray.kill(board)
        return queue.outcomes()


def import_ray() -> Any:
    """Ray, where it is there.

    Raises
    ------
    MissingDependencyError
        If it is not.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(f"ray is not usable ({error}); pip install 'boundprobe[ray]'") from error
    return ray


class Board:
    """A Ray actor that keeps the latest news of each job until they are fetched."""

    def __init__(self) -> None:
        self._news: dict[int, tuple[float, str]] = {}

    def put(self, index: int, done: float, what: str) -> None:
        """Replace the news of a job."""
        self._news[index] = (done, what)

    def take(self) -> dict[int, tuple[float, str]]:
        """News since the last call."""
        news, self._news = self._news, {}
        return news


def do_job(job: Job, index: int, board: Any) -> Outcome:
    """Do a job in a Ray worker; ``board`` is the handle of a ``Board``."""
    report = SeldomReport(partial(_put, index, board), NEWS_SECONDS)
    outcome = attempt(job, report)
    report.flush()
    return outcome


def _put(index: int, board: Any, done: float, what: str) -> None:
    import ray

    with suppress(ray.exceptions.RayError):  # the node of the board died: work goes on without news
        ray.get(board.put.remote(index, done, what), timeout=PUT_SECONDS)


def _pass_on(ray: Any, board: Any, on_news: OnNews) -> None:
    try:
        news = ray.get(board.take.remote())
    except ray.exceptions.RayActorError:  # its node died; Ray makes it anew, and jobs say more
        return
    for index, (done, what) in news.items():
        on_news(index, done, what)


def _outcome(ray: Any, reference: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:  # the worker died, or could not read the job
        plain = re.sub(r"\x1b\[[0-9;]*m", "", f"{type(error).__name__}: {error}")  # Ray colours its messages
        return lost(" ".join(plain.split()))
    return outcome
