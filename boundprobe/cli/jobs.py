"""Jobs of a verb behind one progress bar."""

from __future__ import annotations

from collections.abc import Sequence

from boundprobe.cli.progress import progress_bar
from boundprobe.errors import UnfinishedError
from boundprobe.sweep.executors.base import AbstractExecutor, Outcome
from boundprobe.sweep.jobs import TrainAndProbe


def run_jobs(jobs: Sequence[TrainAndProbe], executor: AbstractExecutor, *, quiet: bool) -> list[Outcome]:
    """Run the jobs, the longest first; return their outcomes in the order of the jobs."""
    order = sorted(range(len(jobs)), key=lambda i: -jobs[i].total_cost)
    done = [0.0] * len(jobs)
    with progress_bar(sum(job.total_cost for job in jobs), quiet=quiet) as bar:

        def on_news(index: int, units: float, what: str) -> None:
            done[index] = units
            bar.update(sum(done), what)

        outcomes = executor.run([jobs[i] for i in order], on_news)
    return [outcomes[order.index(i)] for i in range(len(jobs))]


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise ``UnfinishedError`` if a job failed: how many, and the first line of each kind of failure."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        reasons = dict.fromkeys(outcome.error or "" for outcome in failed)
        raise UnfinishedError(
            f"{len(failed)} of {len(outcomes)} jobs failed ({'; '.join(reasons)}); what is finished is kept; "
            "mend the cause and give the same command again",
            exit_code=max(outcome.exit_code or 2 for outcome in failed),
        )
