"""Jobs on a Slurm cluster: arrays submitted through submitit, watched through ``squeue`` and files.

Slurm may take a node away at any time.  With a warning (a time-out, or preemption with ``send_user_signal``) submitit
puts the job back into the queue; without one (plain preemption, a lost node) Slurm does, for jobs are submitted with
``--requeue``; and what is still lost is submitted again from here.  A job goes on from its last checkpoint each time:
one of the step it was in if it was told to end (``mailbox.PostedJob``), else at most 500 steps old.

submitit: https://github.com/facebookincubator/submitit.  Slurm: https://slurm.schedmd.com/preempt.html and ``sbatch``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from boundprobe.checks import check_integer, check_number
from boundprobe.errors import MissingDependencyError
from boundprobe.sweep.executors.base import AbstractExecutor, Job, OnNews, Outcome
from boundprobe.sweep.executors.environment import environment, thread_variables
from boundprobe.sweep.executors.job_queue import JobQueue, lost
from boundprobe.sweep.executors.mailbox import Mailbox, PostedJob
from boundprobe.sweep.executors.slurm_states import FORGOTTEN, OVER, STOPPED, TAKEN, read_states
from boundprobe.text import printable

#: Jobs of one array; Slurm's MaxArraySize is 1001 unless an administrator changed it.
ARRAY_SIZE = 1000
#: How often the folders of outcomes are looked into.
LOOK_SECONDS = 1.0
#: Time for the outcome of a job that is over to show up on a network file system.
GRACE_SECONDS = 60.0
#: Times that a job may reach its time limit; each time it has done more of its work.
MOST_TIMEOUTS = 1000
PROGRAMS = ("sbatch", "squeue", "srun", "scontrol")


@dataclass(frozen=True)
class SlurmExecutor(AbstractExecutor):
    """Job arrays on a Slurm cluster; needs the extra ``slurm``.

    Interrupting the driver leaves the Slurm jobs running.  The same jobs may be run again at any time: finished ones
    return at once, and those whose run is in use by an earlier Slurm job wait for it.

    Attributes
    ----------
    folder : Path or None
        Where logs, news and outcomes go; must be shared with the nodes.  Each array makes a folder of its own in it.
        None: a sweep's own directory.
    partition : str or None
        None leaves it to Slurm.
    time_min : int
        Time limit in minutes; a job that reaches it is put back into the queue and goes on from its checkpoint.
    cpus_per_task : int
        CPU cores and threads of a job.
    gpus_per_node : int
        GPUs of a job.
    array_parallelism : int
        Jobs of one array that run at once.
    additional : mapping
        Further options of ``sbatch`` without their dashes: ``{"account": "lab", "mem": "8G"}``; "" for a plain flag.
    setup : str
        Shell to run before each job, such as ``module load cuda``.
    signal_delay_s : int
        Seconds before the time limit at which a job is told to leave.
    poll_seconds : float
        How often Slurm is asked for states.
    retry_seconds : float
        Time until a job is submitted again whose run was in use.
    """

    folder: Path | None = None
    partition: str | None = None
    time_min: int = 60
    cpus_per_task: int = 1
    gpus_per_node: int = 0
    array_parallelism: int = 256
    additional: Mapping[str, Any] = field(default_factory=dict)
    setup: str = ""
    signal_delay_s: int = 90
    poll_seconds: float = 10.0
    retry_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("time_min", "cpus_per_task", "array_parallelism", "signal_delay_s"):
            check_integer(name, getattr(self, name), 1)
        check_integer("gpus_per_node", self.gpus_per_node, 0)
        check_number("poll_seconds", self.poll_seconds, above=0)
        check_number("retry_seconds", self.retry_seconds, above=0)

    def in_folder(self, folder: Path) -> SlurmExecutor:
        """The executor with a folder in this one, if it was given none."""
        return self if self.folder is not None else replace(self, folder=folder / "slurm")

    def check_usable(self) -> None:
        """Raise ``MissingDependencyError`` if submitit or Slurm's programs are not there."""
        import_submitit()

    def run(self, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        """Run every job to its end; return their outcomes in the order of the jobs.

        Raises
        ------
        MissingDependencyError
            If submitit or Slurm's programs are not there.
        ValueError
            If ``sbatch`` refuses the options.
        """
        queue = JobQueue(len(jobs), retry_seconds=self.retry_seconds)
        watch = _Watch(queue, on_news)
        next_poll = 0.0
        try:
            while queue.unfinished:
                while ready := queue.take_up_to(ARRAY_SIZE):
                    watch.add(self._submit({index: jobs[index] for index in ready}))
                watch.look()
                if time.monotonic() >= next_poll:
                    watch.ask()
                    next_poll = time.monotonic() + self.poll_seconds
                time.sleep(LOOK_SECONDS if queue.unfinished else 0.0)
        except BaseException:
            if ids := ",".join(watch.array_ids()):
                line = f"Slurm goes on with its jobs; 'squeue --jobs={ids}' shows them, 'scancel {ids}' ends them"
                print(f"boundprobe: {printable(line)}", file=sys.stderr)
            raise
        return queue.outcomes()

    def _submit(self, jobs: Mapping[int, Job]) -> list[_Submitted]:
        """Submit one job array."""
        submitit = import_submitit()
        root = self.folder or Path("slurm")
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=root)).resolve()
        folder.chmod(0o755)
        mailbox = Mailbox(folder / "mail")
        mailbox.folder.mkdir()
        try:
            with environment(allocation_variables()):
                array = submitit.SlurmExecutor(folder=folder / "log", max_num_timeout=MOST_TIMEOUTS)
                array.update_parameters(**self._parameters())
                handles = array.submit_array([PostedJob(job, index, mailbox) for index, job in jobs.items()])
        except (RuntimeError, subprocess.SubprocessError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"options must ask for what the cluster has; sbatch refused the jobs: {line}") from error
        return [
            _Submitted(index, handle.job_id, mailbox, handle.paths.stderr)
            for index, handle in zip(jobs, handles, strict=True)
        ]

    def _parameters(self) -> dict[str, Any]:
        """Options in submitit's names."""
        given = {"partition": self.partition, "gpus_per_node": self.gpus_per_node or None}
        threads = [f"export {name}={value}" for name, value in thread_variables(self.cpus_per_task).items()]
        flags = {name: True if value == "" else value for name, value in self.additional.items()}
        return {name: value for name, value in given.items() if value is not None} | {
            "job_name": "boundprobe",
            "time": self.time_min,
            "cpus_per_task": self.cpus_per_task,
            "array_parallelism": self.array_parallelism,
            "signal_delay_s": self.signal_delay_s,
            "setup": [*threads, self.setup],
            # srun does not take the number of cores over from sbatch since Slurm 22.05
            "srun_args": [f"--cpus-per-task={self.cpus_per_task}"],
            "additional_parameters": {"requeue": True, **flags},
        }


def import_submitit() -> Any:
    """Submitit, where it and Slurm are there.

    Raises
    ------
    MissingDependencyError
        If they are not.
    """
    try:
        import submitit
    except ImportError as error:
        raise MissingDependencyError(f"submitit is not usable ({error}); pip install 'boundprobe[slurm]'") from error
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise MissingDependencyError(f"no {', '.join(missing)} on the PATH; run this where Slurm's commands are")
    return submitit


def allocation_variables() -> dict[str, None]:
    """Variables that say how the allocation that this process is in was made, to be taken away; none outside of one.

    Jobs submitted from within would take over cores and memory of it.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return {}
    return dict.fromkeys(
        name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_")) and name != "SLURM_CONF"
    )


@dataclass
class _Submitted:
    """A job that Slurm has, and what was last said of it."""

    index: int
    slurm_id: str
    mailbox: Mailbox
    log: Path
    news: tuple[float, str] | None = None
    state: str = ""
    over_since: float | None = None


class _Watch:
    """Jobs that were submitted and are not settled."""

    def __init__(self, queue: JobQueue, on_news: OnNews) -> None:
        self._queue, self._on_news = queue, on_news
        self._submitted: list[_Submitted] = []

    def add(self, submitted: list[_Submitted]) -> None:
        self._submitted += submitted

    def array_ids(self) -> list[str]:
        return sorted({job.slurm_id.split("_")[0] for job in self._submitted})

    def look(self) -> None:
        """Settle the jobs that have left an outcome."""
        outcomes = {mailbox: mailbox.outcomes() for mailbox in {job.mailbox for job in self._submitted}}
        for job in list(self._submitted):
            if (outcome := outcomes[job.mailbox].get(job.index)) is not None:
                self._tell(job)
                self._submitted.remove(job)
                self._queue.settle(job.index, outcome)

    def _tell(self, job: _Submitted) -> None:
        news = job.mailbox.news(job.index)
        if news is not None and news != job.news:
            job.news = news
            self._on_news(job.index, *news)

    def ask(self) -> None:
        """Pass on news; ask Slurm for states; find jobs that are over and have left no outcome."""
        for job in self._submitted:
            self._tell(job)
        if not self._submitted or (states := read_states(self.array_ids())) is None:
            return
        for job in list(self._submitted):
            state, reason = states.get(job.slurm_id, (FORGOTTEN, ""))
            said = f"{state.lower()} in Slurm" + (f" ({reason})" if reason not in ("", "None") else "")
            if said != job.state and state != "RUNNING":
                self._on_news(job.index, job.news[0] if job.news else 0.0, said)
            job.state = said
            if state not in OVER and state != FORGOTTEN:
                job.over_since = None
            elif job.over_since is None:
                job.over_since = time.monotonic()
            elif time.monotonic() - job.over_since >= GRACE_SECONDS:
                self._submitted.remove(job)
                self._settle_lost(job, state)

    def _settle_lost(self, job: _Submitted, state: str) -> None:
        if state in STOPPED:
            self._queue.settle(job.index, lost(f"Slurm job {job.slurm_id} was ended: {state.lower()}"))
        elif state in TAKEN or job.mailbox.was_terminated(job.index):  # as in the time of grace before a preemption
            self._queue.put_back(job.index)
        else:
            self._queue.bury(job.index, f"as Slurm job {job.slurm_id}: {state.lower()}; its log is {job.log}")
