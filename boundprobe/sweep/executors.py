"""Run many independent jobs in worker processes, one thread each, with news of their progress."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from typing import Any

#: A job: called with a function that takes (units of work done, what is being done); must be picklable.
Report = Callable[[float, str], None]
Job = Callable[[Report], Any]

POLL_SECONDS = 0.1

_news: Any = None  # the queue to the parent, set once in each worker process


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(jobs: Sequence[Job], *, n_workers: int, on_news: Callable[[int, float, str], None]) -> list[Any]:
    """Run jobs in ``n_workers`` processes; return their results in order.

    Parameters
    ----------
    jobs : sequence of callables
        Started in this order; put the longest first.
    n_workers : int
    on_news : callable
        Called here with (job index, units done, what is being done).

    Raises
    ------
    Exception
        The first error of a job, after the other workers were stopped.
    """
    if not jobs:
        return []
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # fork is not safe once torch has started threads
    news = context.SimpleQueue()  # what was put is there before the job's result is
    executor = ProcessPoolExecutor(
        min(n_workers, len(jobs)), context, initializer=_start_worker, initargs=(news, os.getpid())
    )
    try:
        futures = [executor.submit(_run_job, index, job) for index, job in enumerate(jobs)]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
            _drain(news, on_news)
            for future in done:
                future.result()  # raises what the job raised
        _drain(news, on_news)
        return [future.result() for future in futures]
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()  # runs resume from their checkpoints
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _drain(news: Any, on_news: Callable[[int, float, str], None]) -> None:
    while not news.empty():
        on_news(*news.get())


def _start_worker(news: Any, parent: int) -> None:
    global _news  # noqa: PLW0603 - a worker process has no other place for what its initializer gets
    _news = (news, parent)
    import torch

    torch.set_num_threads(1)  # tiny operations collapse when threads outnumber free cores


def _run_job(index: int, job: Job) -> Any:
    news, parent = _news

    def report(done: float, what: str) -> None:
        if os.getppid() != parent:  # the parent was killed: an orphan would keep its run directory locked
            os._exit(1)
        news.put((index, done, what))

    return job(report)
