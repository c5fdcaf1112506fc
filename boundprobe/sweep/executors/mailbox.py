"""News and outcomes of jobs through small files in a folder that the driver and the nodes share.

Each file is written whole or not at all.  Nothing is unpickled by the driver.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from boundprobe.errors import Terminated
from boundprobe.runs.files import write_json
from boundprobe.sweep.executors.base import Job, Outcome, attempt
from boundprobe.sweep.executors.progress import SeldomReport
from boundprobe.termination import terminable

#: Least time between two pieces of news of one job: shared file systems do not like many small writes.
NEWS_SECONDS = 5.0
#: Signals that mean what their receiver makes of them.
USER_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Mailbox:
    """``<index>.news.json`` and ``<index>.outcome.json`` of each job in a folder.

    ``<index>.terminated`` is there from when a job has ended on SIGTERM until it is taken up again.
    """

    folder: Path

    def put_news(self, index: int, done: float, what: str) -> None:
        """Replace the news of a job."""
        write_json(self.folder / f"{index}.news.json", {"done": done, "what": what})

    def put_outcome(self, index: int, outcome: Outcome) -> None:
        """Leave the outcome of a job; the last thing that its process does."""
        write_json(self.folder / f"{index}.outcome.json", asdict(outcome))

    def news(self, index: int) -> tuple[float, str] | None:
        """Units of work done and what is being done, if the job has said anything."""
        try:
            found = self._read(f"{index}.news.json")
        except FileNotFoundError:
            return None
        return float(found["done"]), str(found["what"])

    def outcomes(self) -> dict[int, Outcome]:
        """Outcomes of the jobs that have left one."""
        # Listing makes a network file system ask its server; looking for one name may be answered from a cache.
        names = [name for name in os.listdir(self.folder) if not name.startswith(".")]
        ended = [name for name in names if name.endswith(".outcome.json")]
        return {int(name.split(".")[0]): Outcome(**self._read(name)) for name in ended}

    def put_terminated(self, index: int, *, terminated: bool) -> None:
        """Note that a job has ended on SIGTERM, or has been taken up (again)."""
        mark = self.folder / f"{index}.terminated"
        if terminated:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def was_terminated(self, index: int) -> bool:
        """Return whether the process of a job has ended on SIGTERM: it may be taken up again at any time."""
        return f"{index}.terminated" in os.listdir(self.folder)

    def _read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text("utf-8"))


@dataclass(frozen=True)
class PostedJob:
    """A job whose news and outcome go into a mailbox; called without arguments on some node.

    Told to end, the job writes a checkpoint at its next step.  After SIGTERM (which Slurm sends with plain preemption,
    a requeue or a cancellation, having decided what comes next) its process then exits with 143.  The signal before a
    time limit, or of a preemption with ``send_user_signal``, is handed on to submitit, which puts the job back into the
    queue.  submitit's own handlers would ignore the first, and leave at once on the second.

    ``checkpoint`` is submitit's protocol: what takes its place when Slurm takes the node away.  The job itself goes on
    from the checkpoint in its run directory.
    """

    job: Job
    index: int
    mailbox: Mailbox

    def __call__(self) -> None:
        """Do the job; raise ``Terminated`` if the process was told to end and nobody else puts the job back."""
        # Those of the signals for users that have a handler: submitit's, or what SUBMITIT_PREEMPT_SIGNAL chose.
        handlers = {int(n): handler for n in USER_SIGNALS if callable(handler := signal.getsignal(n))}
        report = SeldomReport(partial(self.mailbox.put_news, self.index), NEWS_SECONDS)
        self.mailbox.put_terminated(self.index, terminated=False)
        try:
            with terminable(*handlers) as received:
                outcome = attempt(self.job, report)
        except Terminated:
            if received and received[0] in handlers:
                handlers[received[0]](received[0], None)  # exits, or raises where submitit gives the job up
            self.mailbox.put_terminated(self.index, terminated=True)
            raise
        report.flush()
        self.mailbox.put_outcome(self.index, outcome)

    def checkpoint(self) -> Any:
        """The submission of the job when it is put back into the queue: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
