"""Jobs in worker processes on this machine, one thread each, that survive the death of a worker.

Every worker has a pipe of its own, and nothing is shared between workers: one that is killed at any moment can neither
hold a lock that the others need nor leave half a message in their way.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait

from boundprobe.checks import check_integer
from boundprobe.sweep.executors.base import AbstractExecutor, Job, OnNews, Outcome, Report, attempt
from boundprobe.sweep.executors.environment import environment, thread_variables
from boundprobe.sweep.executors.job_queue import JobQueue
from boundprobe.termination import terminable
from boundprobe.text import logging_lines

#: How often the driver looks for workers that died, and for jobs that wait for another process.
POLL_SECONDS = 0.2
#: How often a worker looks whether the driver is still there.
WATCH_SECONDS = 1.0
#: Time until a job is tried again whose run is in use by another process.
RETRY_SECONDS = 1.0
#: Time that a worker has to end by itself.
END_SECONDS = 5.0
#: Time that workers have for their checkpoints when the driver is told to end; Slurm gives the driver 30 seconds.
TERMINATE_SECONDS = 20.0
#: Characters of one piece of news: a pipe takes so short a message whole or not at all.
NEWS_CHARACTERS = 500


@dataclass(frozen=True)
class LocalExecutor(AbstractExecutor):
    """Worker processes on this machine.

    A worker that dies (killed, or out of memory) is made anew and its job put back; after three deaths of one job its
    outcome is an error.  Workers end within seconds when the driver does, however it ended.

    Attributes
    ----------
    n_workers : int
        Jobs that run at once.
    devices : tuple of str
        CUDA devices such as ``("cuda:0", "cuda:1")``: worker *i* sees only the device *i*, counted around, as its
        ``cuda:0``, so that several workers may share one.  Empty: workers see what the driver sees.
    """

    n_workers: int
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_integer("n_workers", self.n_workers, 1)
        for device in self.devices:
            visible_device(device)

    def run(self, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        """Run every job to its end; return their outcomes in the order of the jobs."""
        pickled = [pickle.dumps(job) for job in jobs]
        queue = JobQueue(len(jobs), retry_seconds=RETRY_SECONDS)
        places: list[dict[str, str | None]]
        places = [{"CUDA_VISIBLE_DEVICES": visible_device(device)} for device in self.devices] or [{}]
        slots = [_Slot(places[i % len(places)]) for i in range(min(self.n_workers, len(jobs)))]
        try:
            while queue.unfinished:
                for slot in slots:
                    if slot.index is None and (index := queue.take()) is not None:
                        slot.give(index, pickled[index])
                busy = [slot for slot in slots if slot.index is not None]
                wait([slot.connection for slot in busy], timeout=POLL_SECONDS)
                for slot in busy:
                    slot.listen(queue, on_news)
        except BaseException:
            for slot in slots:
                slot.terminate()  # they write a checkpoint and end
            deadline = time.monotonic() + TERMINATE_SECONDS
            for slot in slots:
                slot.close(max(deadline - time.monotonic(), 0.0))
            raise
        for slot in slots:
            slot.close()
        return queue.outcomes()


def visible_device(device: str) -> str:
    """Value of ``CUDA_VISIBLE_DEVICES`` for a process that is to see one device of this one.

    >>> visible_device("cuda:x")
    Traceback (most recent call last):
    ...
    ValueError: `device` must be cuda:0, cuda:1 and so on; got 'cuda:x'.
    """
    match = re.fullmatch(r"cuda:(\d+)", device)
    if match is None:
        raise ValueError(f"`device` must be cuda:0, cuda:1 and so on; got {device!r}.")
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return match[1]
    names = [name for name in seen.split(",") if name]  # numbers of the machine, or UUIDs
    if int(match[1]) >= len(names):
        raise ValueError(
            f"`device` must be one of the first {len(names)}, as CUDA_VISIBLE_DEVICES is {seen!r}; got {device!r}."
        )
    return names[int(match[1])]


class _Slot:
    """A place for one worker process at a time, and the job that it does."""

    def __init__(self, variables: Mapping[str, str | None]) -> None:
        self.index: int | None = None
        self._variables = {**thread_variables(1), **variables}
        self._process: multiprocessing.process.BaseProcess | None = None
        self.connection: Connection

    def give(self, index: int, pickled: bytes) -> None:
        """Give a job to the worker, started if there is none."""
        if self._process is None or not self._process.is_alive():
            self.close()
            self._start()
        self.index = index
        with suppress(OSError):  # it died just now; listening will find out
            self.connection.send_bytes(pickled)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork is not safe once torch has started threads
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, os.getpid()))
        with environment(self._variables):
            self._process.start()
        theirs.close()  # so that the end of the worker is the end of what it writes

    def listen(self, queue: JobQueue, on_news: OnNews) -> None:
        """Pass on what the worker said, and notice if it ended or died."""
        if self.index is None or self._process is None:
            return
        alive = self._process.is_alive()  # asked first: what a dead one said is there by now
        while (said := self._hear()) is not None:
            if isinstance(said, Outcome):
                queue.settle(self.index, said)
                self.index = None
                return
            on_news(self.index, *said)
        if not alive:
            how = _describe(self._process.exitcode)
            on_news(self.index, 0.0, f"its worker died, {how}")
            queue.bury(self.index, how)
            self.index = None

    def _hear(self) -> Outcome | tuple[float, str] | None:
        """The next that the worker said; None if it has said nothing more, or died while it spoke."""
        try:
            said: Outcome | tuple[float, str] | None = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            return None
        return said

    def terminate(self) -> None:
        """Tell the worker to write a checkpoint and end."""
        if self._process is not None:
            self._process.terminate()

    def close(self, seconds: float = END_SECONDS) -> None:
        """End the worker, gently if it listens within so many seconds."""
        if self._process is None:
            return
        self.connection.close()  # a worker that waits for a job ends
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._process = None


def _describe(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"by exiting with code {exit_code}"
    if -exit_code == signal.SIGKILL:
        return "killed by SIGKILL, which the system sends where memory is short"
    return f"killed by signal {-exit_code} ({signal.strsignal(-exit_code)})"


def _work(connection: Connection, parent: int) -> None:
    """Do jobs that come through a pipe, until it is closed.  The whole life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends its workers
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()

    def report(done: float, what: str) -> None:
        try:
            connection.send((done, what[:NEWS_CHARACTERS]))
        except OSError:  # the driver is gone
            os._exit(1)

    with logging_lines(), terminable():
        while True:
            try:
                pickled = connection.recv_bytes()
            except (EOFError, OSError):
                return
            connection.send(attempt(partial(_unpickle_and_call, pickled), report))


def _unpickle_and_call(pickled: bytes, report: Report) -> None:
    pickle.loads(pickled)(report)  # a module that is missing here is an error of the job


def _follow(parent: int) -> None:
    """Leave when the driver is gone, even one that was killed: an orphan would keep its run directory locked."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
