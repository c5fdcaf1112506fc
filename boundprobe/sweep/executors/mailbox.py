"""News and outcomes of jobs through small files in a folder that the driver and the nodes share.

Each file is written whole or not at all.  Nothing is unpickled by the driver.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from boundprobe.runs.files import write_json
from boundprobe.sweep.executors.base import Job, Outcome, attempt
from boundprobe.sweep.executors.progress import SeldomReport

#: Least time between two pieces of news of one job: shared file systems do not like many small writes.
NEWS_SECONDS = 5.0


@dataclass(frozen=True)
class Mailbox:
    """``<index>.news.json`` and ``<index>.outcome.json`` of each job in a folder."""

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

    def _read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text("utf-8"))


@dataclass(frozen=True)
class PostedJob:
    """A job whose news and outcome go into a mailbox; called without arguments on some node.

    ``checkpoint`` is submitit's protocol: what takes its place when Slurm takes the node away.  The job itself goes on
    from the checkpoint in its run directory.
    """

    job: Job
    index: int
    mailbox: Mailbox

    def __call__(self) -> None:
        """Do the job."""
        report = SeldomReport(partial(self.mailbox.put_news, self.index), NEWS_SECONDS)
        outcome = attempt(self.job, report)
        report.flush()
        self.mailbox.put_outcome(self.index, outcome)

    def checkpoint(self) -> Any:
        """The submission of the job when it is put back into the queue: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
