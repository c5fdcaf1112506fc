"""Job arrays on a real Slurm of one node, and what the driver makes of states where there is none."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boundprobe.errors import MissingDependencyError
from boundprobe.sweep.executors import EXECUTORS, Outcome, SlurmExecutor, slurm
from boundprobe.sweep.executors.job_queue import MOST_DEATHS, JobQueue
from boundprobe.sweep.executors.mailbox import Mailbox
from boundprobe.sweep.executors.slurm import allocation_variables, import_submitit
from boundprobe.sweep.executors.slurm_states import OVER, STOPPED, TAKEN, parse_states, read_states
from tests.helpers.runs import TINY_RUN

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def configuration() -> Iterator[Path]:
    """``SLURM_CONF`` of a cluster that runs while the tests of this module do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        slurm_cluster = importlib.import_module("slurm_cluster")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with slurm_cluster.cluster(folder) as configuration:
            yield configuration
    except slurm_cluster.CannotStartError as error:
        pytest.skip(f"no Slurm to start here: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make(configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SlurmExecutor]:
    """Make an executor on the cluster, with short times."""
    monkeypatch.setenv("SLURM_CONF", str(configuration))
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 2.0)
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.1)

    def make_one(**options: Any) -> SlurmExecutor:
        return SlurmExecutor(tmp_path / "slurm", **{"poll_seconds": 0.5, "retry_seconds": 1.0} | options)

    return make_one


def ignore(index: int, done: float, what: str) -> None:
    pass


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


class Meddler(threading.Thread):
    """Do something to the cluster once a condition holds, beside the driver."""

    def __init__(self, condition: Callable[[], bool], act: Callable[[], object]) -> None:
        super().__init__()
        self._condition, self._act, self.acted = condition, act, False

    def run(self) -> None:
        end = time.monotonic() + 60
        while not self._condition() and time.monotonic() < end:
            time.sleep(0.05)
        if time.monotonic() < end:
            self._act()
            self.acted = True

    def __enter__(self) -> Meddler:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.join()


def running_ids() -> list[str]:
    return command("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i").split()


@pytest.mark.services
def test_arrays_run_to_their_end_and_say_what_failed(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More jobs than one array may have: an array of three, and a job by itself."""
    monkeypatch.setattr(slurm, "ARRAY_SIZE", 3)
    news: list[tuple[int, float, str]] = []
    jobs = [toys.Steps(tmp_path, "a", 3), toys.Fails(), toys.TellsThreads(), toys.Steps(tmp_path, "b")]
    executor = make(cpus_per_task=2, additional={"overcommit": "", "comment": "a test"}, setup="export TOY=1\ntrue")
    first, failed, threads, second = executor.run(jobs, lambda *item: news.append(item))
    assert first == second == threads == Outcome()
    assert jobs[0].is_exact()
    assert jobs[3].is_exact()
    assert failed.error == "ArithmeticError: no luck"
    assert "toy_jobs.py" in failed.traceback
    assert (0, 2, "a step 2") in news
    assert (2, 2, "threads") in news
    assert any("pending in Slurm" in what for _, _, what in news)
    scripts = [script.read_text() for script in (tmp_path / "slurm").rglob("*_submission.sh")]
    assert ["#SBATCH --array=0-2%3\n" in script for script in sorted(scripts, key=len)] == [False, True]
    for line in ("#SBATCH --requeue", "#SBATCH --overcommit", "#SBATCH --comment='a test'", "export TOY=1\ntrue"):
        assert all(f"{line}\n" in script for script in scripts), line


@pytest.mark.services
def test_a_job_that_always_dies_is_given_up_and_its_log_named(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor]
) -> None:
    died, done = make().run([toys.Dies(tmp_path / "starts"), toys.Steps(tmp_path, "a")], ignore)
    assert done == Outcome()
    assert died.error is not None
    assert died.error.startswith("its process died 3 times, the last time as Slurm job ")
    assert Path(died.error.split("its log is ")[1]).is_file()
    assert len((tmp_path / "starts").read_text().split()) == 3


@pytest.mark.services
def test_preemption_puts_jobs_back_and_repeats_nothing_that_was_finished(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor]
) -> None:
    """A job in a partition of higher rank takes the node; Slurm itself puts ours back, as it was asked to."""
    short, *long = jobs = [toys.Steps(tmp_path, "short"), *(toys.Steps(tmp_path, name, 100, 0.1) for name in "ab")]

    def preempt() -> None:
        command("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")

    with Meddler(
        lambda: short.path("done").exists() and all(len(job.lines("steps")) > 3 for job in long), preempt
    ) as it:
        outcomes = make(partition="low").run(jobs, ignore)
    assert it.acted
    assert outcomes == [Outcome()] * 3
    assert all(job.is_exact() for job in jobs)
    assert [len(job.lines("starts")) for job in jobs] == [1, 2, 2]


@pytest.mark.services
@pytest.mark.parametrize("how", ["scontrol requeue", "scancel --signal=USR2"])
def test_a_job_that_is_put_back_goes_on_from_its_checkpoint(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor], how: str
) -> None:
    """By hand, without a warning; and by the signal that Slurm sends before a time limit, which submitit answers."""
    job = toys.Steps(tmp_path, "a", 100, 0.1)
    with Meddler(lambda: len(job.lines("steps")) > 3, lambda: command(*how.split(), *running_ids())) as it:
        outcomes = make().run([job], ignore)
    assert it.acted
    assert outcomes == [Outcome()]
    assert job.is_exact()
    assert len(job.lines("starts")) == 2


@pytest.mark.services
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM], ids=["before a time limit", "without a requeue"])
def test_a_training_that_is_told_to_end_repeats_no_step(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor], number: int
) -> None:
    """Far from its next checkpoint; submitit puts it back after the first signal, the driver after the second."""
    job = toys.Trains(TINY_RUN, tmp_path, number, 77)
    assert make().run([job], ignore) == [Outcome()]
    assert len((tmp_path / "steps").read_text().split()) == TINY_RUN.schedule.steps


@pytest.mark.services
def test_a_job_that_was_cancelled_is_not_submitted_again(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor]
) -> None:
    jobs = [toys.Steps(tmp_path, "a", 1, 600.0), toys.Steps(tmp_path, "b")]
    started = jobs[0].path("starts").exists
    with Meddler(started, lambda: command("scancel", *running_ids())) as it:
        cancelled, done = make(array_parallelism=1).run(jobs, ignore)
    assert it.acted
    assert cancelled.error is not None
    assert cancelled.error.endswith("was ended: cancelled")
    assert done == Outcome()


@pytest.mark.services
def test_jobs_go_on_without_their_driver_and_the_same_again_waits_for_them(
    toys: Any, tmp_path: Path, make: Callable[..., SlurmExecutor], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [toys.Steps(tmp_path, "a", 60, 0.1), toys.Steps(tmp_path, "b")]

    def interrupt(index: int, done: float, what: str) -> None:
        if jobs[0].lines("steps"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().run(jobs, interrupt)
    array = running_ids()[0].split("_")[0]
    said = f"boundprobe: Slurm goes on with its jobs; 'squeue --jobs={array}' shows them, 'scancel {array}' ends them\n"
    assert capsys.readouterr().err == said
    assert not jobs[0].path("done").exists()
    assert make().run(jobs, ignore) == [Outcome()] * 2
    assert all(job.is_exact() for job in jobs)
    assert jobs[0].lines("busy")
    assert [len(job.lines("starts")) for job in jobs] == [1, 1]


@pytest.mark.services
def test_options_that_sbatch_refuses_are_an_error_of_one_line(toys: Any, make: Callable[..., SlurmExecutor]) -> None:
    with pytest.raises(ValueError, match=r"sbatch refused the jobs: .*invalid partition") as caught:
        make(partition="nowhere").run([toys.Fails()], ignore)
    assert "\n" not in str(caught.value)


@pytest.mark.services
def test_states_come_from_squeue(make: Callable[..., SlurmExecutor]) -> None:
    array = command("sbatch", "--parsable", "--array=0-1", "--hold", "--output=/dev/null", "--wrap=true")
    assert read_states([array]) == {f"{array}_{i}": ("PENDING", "JobHeldUser") for i in range(2)}
    command("scancel", array)
    assert {state for state, _ in (read_states([array]) or {}).values()} == {"CANCELLED"}
    assert read_states(["99999"]) == {}


# What follows needs no cluster.


def lost_in(state: str | None, monkeypatch: pytest.MonkeyPatch, folder: Path) -> JobQueue:
    """The queue after a job was found in a state, without an outcome, for longer than the time of grace."""
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "read_states", lambda ids: {} if state is None else {"7_0": (state, "None")})
    queue = JobQueue(1, retry_seconds=1)
    assert queue.take() == 0
    watch = slurm._Watch(queue, ignore)
    watch.add([slurm._Submitted(0, "7_0", Mailbox(folder), folder / "log")])
    watch.ask()
    assert queue.take() is None  # not at once: its outcome may still show up
    watch.ask()
    return queue


@pytest.mark.parametrize("state", [*sorted(OVER - STOPPED), None])
def test_lost_jobs_are_submitted_again(state: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = lost_in(state, monkeypatch, tmp_path)
    assert queue.take() == 0


def test_jobs_that_were_told_to_end_are_submitted_again_however_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the time of grace before a preemption they end with 143, which Slurm calls failed; that is no death."""
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "read_states", lambda ids: {"7_0": ("FAILED", "NonZeroExitCode")})
    mailbox, queue = Mailbox(tmp_path), JobQueue(1, retry_seconds=1)
    mailbox.put_terminated(0, terminated=True)
    for _ in range(MOST_DEATHS + 1):
        assert queue.take() == 0
        watch = slurm._Watch(queue, ignore)
        watch.add([slurm._Submitted(0, "7_0", mailbox, tmp_path / "log")])
        watch.ask()
        watch.ask()
    assert queue.unfinished


@pytest.mark.parametrize("state", sorted(STOPPED))
def test_stopped_jobs_are_not(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (outcome,) = lost_in(state, monkeypatch, tmp_path).outcomes()
    assert outcome.error == f"Slurm job 7_0 was ended: {state.lower()}"


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "REQUEUE_HOLD"])
def test_jobs_that_are_not_over_are_left_alone(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = lost_in(state, monkeypatch, tmp_path)
    assert queue.take() is None
    assert queue.unfinished


def test_a_controller_that_does_not_answer_says_nothing_about_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "read_states", lambda ids: None)
    queue = JobQueue(1, retry_seconds=1)
    watch = slurm._Watch(queue, ignore)
    watch.add([slurm._Submitted(queue.take() or 0, "7", Mailbox(tmp_path), tmp_path / "log")])
    for _ in range(3):
        watch.ask()
    assert queue.take() is None


def test_states_are_sorted_out() -> None:
    assert STOPPED < OVER
    assert TAKEN < OVER
    assert not STOPPED & TAKEN
    assert parse_states("slurm: noise\n") == {}


def test_variables_of_an_allocation_are_taken_away_within_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")
    assert allocation_variables() == {}
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    assert allocation_variables() == {"SLURM_JOB_ID": None, "SLURM_MEM_PER_CPU": None}


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="no sbatch, squeue, srun, scontrol on the PATH") as caught:
        import_submitit()
    assert caught.value.exit_code == 3


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`time_min` must be an integer of at least 1; got 0"):
        SlurmExecutor(tmp_path, time_min=0)
    with pytest.raises(ValueError, match="`gpus_per_node` must be an integer of at least 0; got -1"):
        SlurmExecutor(tmp_path, gpus_per_node=-1)
    with pytest.raises(ValueError, match="`poll_seconds` must be above 0"):
        SlurmExecutor(tmp_path, poll_seconds=0)


def test_it_has_a_name() -> None:
    assert EXECUTORS["slurm"]() is SlurmExecutor
