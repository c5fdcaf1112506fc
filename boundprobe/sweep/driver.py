"""A sweep from its configuration to jobs, and from finished runs to tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boundprobe.bounds.window import receptive_field
from boundprobe.checks import check_integer
from boundprobe.errors import RunDirectoryError, RunInUseError
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.collect import CollectedRun, run_row, seed_rows, write_table
from boundprobe.runs.store import Run, open_run
from boundprobe.sweep.config import SweepConfig, group_runs
from boundprobe.sweep.executors.base import AbstractExecutor, available_cores
from boundprobe.sweep.executors.local import LocalExecutor
from boundprobe.sweep.jobs import TrainAndProbe, run_jobs
from boundprobe.training.config import TrainConfig
from boundprobe.training.member_queue import LARGEST_ENSEMBLE

RETRY_SECONDS = 0.2
RUNS_TABLE, SEEDS_TABLE = "runs.csv", "seeds.csv"


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``: every ``count``-th group of runs, from ``index`` on."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        check_integer("shards", self.count, 1)
        check_integer("shard", self.index, 0, self.count - 1, why=f" of {self.count}; count from 0")


#: The one shard of a sweep that is not split.
WHOLE = Shard()


def run_sweep(
    config: SweepConfig,
    root: Path,
    executor: AbstractExecutor | None = None,
    *,
    device: str = "cpu",
    shard: Shard = WHOLE,
    largest: int | None = None,
    progress: Callable[[float, str], object] | None = None,
) -> dict[str, Any] | None:
    """Train what is left of a sweep, measure it where it asks for that, and collect its tables.

    The same call again goes on where it stopped; a finished sweep is read back.

    Parameters
    ----------
    config : SweepConfig
    root : Path
        Where run directories are kept.
    executor : AbstractExecutor, optional
        Where jobs run; by default in as many worker processes here as there are cores.
    device : str
        Such as ``cpu`` or ``cuda``.
    shard : Shard
        The part of the sweep that is done here.
    largest : int, optional
        Members that are trained side by side at most.
    progress : callable, optional
        Called with (share of the work that is done, what is being done).

    Returns
    -------
    dict or None
        The document ``boundprobe.sweep/1``; None where other shards are not finished.

    Raises
    ------
    UnfinishedError
        If a job failed; what is finished is kept.
    """
    sweep = Sweep(config, root)
    if (result := sweep.run.result()) is not None:
        return result
    chosen = executor or LocalExecutor(available_cores())
    jobs = sweep.jobs(device=device, largest=largest or LARGEST_ENSEMBLE[device], shard=shard)
    run_jobs(jobs, chosen.in_folder(sweep.run.path), progress)
    return None if sweep.unfinished() else sweep.finish(collect(sweep.run, device=device), device=device)


def collect(sweep: Run, *, device: str) -> list[CollectedRun]:
    """All runs of a sweep in the order of its grid, with their ladders where it asks for them.

    Raises
    ------
    RunDirectoryError
        If one is not finished.
    """
    root = sweep.path.parent
    probe = None if (given := sweep.config.get("probe")) is None else ProbeConfig(**given)
    collected = []
    for point in sweep.config["points"]:
        config = TrainConfig.from_dict(point["run"])
        trained = open_run(root, "train", config.to_dict())
        if (result := trained.result()) is None:
            raise RunDirectoryError(
                f"every run of the sweep must be finished; got {trained.path}, which is not. Give the sweep's command "
                "again."
            )
        ladders = [measured.of_model for measured in TrainAndProbe((config,), probe, root, device).measure(config)]
        reach = receptive_field(config.model.windows)
        collected.append(CollectedRun(point["settings"], trained.config, result, reach, ladders))
    return collected


class Sweep:
    """A sweep in a place: its runs, what is left to do, and its tables.

    Attributes
    ----------
    config : SweepConfig
    root : Path
        Where run directories are.
    run : Run
        Its own directory, which gets the tables.
    """

    def __init__(self, config: SweepConfig, root: Path) -> None:
        self.config, self.root = config, root.resolve()  # workers elsewhere stand in another directory
        self.points, self.probe = config.points, config.probe_config
        self.run: Run = open_run(root, "sweep", config.to_dict())

    def jobs(self, *, device: str, largest: int, shard: Shard) -> list[TrainAndProbe]:
        """The groups of runs of a shard; finished ones among them return at once."""
        configs = [point.config for point in self.points]
        groups = group_runs(configs, largest)[shard.index :: shard.count]
        return [
            TrainAndProbe(tuple(configs[i] for i in group), self.probe, self.root, device, largest=largest)
            for group in groups
        ]

    def unfinished(self) -> list[str]:
        """Runs that have no result yet."""
        runs = [open_run(self.root, "train", point.config.to_dict()) for point in self.points]
        return [run.run_id for run in runs if run.result() is None]

    def finish(self, runs: Sequence[CollectedRun], *, device: str) -> dict[str, Any]:
        """Write both tables and the result, once; return the result."""
        with ExitStack() as stack:
            while True:  # another shard may be at it
                try:
                    stack.enter_context(self.run.session(device=device, seeds={}))
                    break
                except RunInUseError:
                    time.sleep(RETRY_SECONDS)
            rows = [run_row(run) for run in runs]
            write_table(self.run.path / RUNS_TABLE, rows)
            write_table(self.run.path / SEEDS_TABLE, [row for run in runs for row in seed_rows(run)])
            violations = [
                f"{ladder.run_id}: {violation}"
                for run in runs
                for ladder in run.ladders
                for violation in ladder.violations
            ]
            result = {
                "schema": "boundprobe.sweep/1",
                "run_id": self.run.run_id,
                "run_dir": str(self.run.path),
                "tables": {"runs": RUNS_TABLE, "seeds": SEEDS_TABLE},
                "runs": rows,
                "violations": violations,
            }
            self.run.finish(result)
        return result
