"""A sweep from its configuration to jobs, and from finished runs to tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from boundprobe.bounds.window import receptive_field
from boundprobe.checks import check_integer, check_kind
from boundprobe.errors import RunDirectoryError, RunInUseError
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.collect import CollectedRun, run_row, seed_rows, sweep_points, write_table
from boundprobe.runs.files import parse_or_refuse
from boundprobe.runs.given import real_path
from boundprobe.runs.store import Run, find_run, open_run, run_name
from boundprobe.sweep.config import SweepConfig, group_runs
from boundprobe.sweep.executors.base import AbstractExecutor, available_cores
from boundprobe.sweep.executors.local import LocalExecutor
from boundprobe.sweep.jobs import TrainAndProbe, run_jobs
from boundprobe.training.config import config_of_run
from boundprobe.training.member_queue import ensemble_size
from boundprobe.training.results import check_result

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
    root: Path | str,
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
    check_kind("config", config, SweepConfig)
    size = ensemble_size(largest, device)
    chosen = executor or LocalExecutor(available_cores())
    chosen.check_usable()  # before anything is made
    sweep = Sweep(config, root)
    if (result := sweep.result()) is not None:
        return result
    jobs = sweep.jobs(device=device, largest=size, shard=shard)
    if not jobs and sweep.unfinished():
        return None  # a shard without work leaves nothing behind
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
    points = sweep_points(sweep)
    given = sweep.config.get("probe")
    probe = None if given is None else parse_or_refuse(sweep.path / "config.toml", lambda: ProbeConfig(**given))
    collected = []
    for point in points:
        config = config_of_run(point["run"], sweep.path)
        trained = find_run(root, "train", config.to_dict())
        if trained is None or (result := trained.read_result(check_result)) is None:
            place = root / run_name("train", config.to_dict())
            raise RunDirectoryError(
                f"every run of the sweep must be finished; got {place}, which is not. Give the sweep's command again."
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

    def __init__(self, config: SweepConfig, root: Path | str) -> None:
        check_kind("config", config, SweepConfig)
        self.config, self.root = config, real_path(Path(root))  # workers elsewhere stand in another directory
        self.points, self.probe = config.points, config.probe_config

    @cached_property
    def run(self) -> Run:
        """Its own directory, made where it is not there yet."""
        return open_run(self.root, "sweep", self.config.to_dict())

    @property
    def run_id(self) -> str:
        """Name of its directory."""
        return run_name("sweep", self.config.to_dict())

    def result(self) -> dict[str, Any] | None:
        """Its result, if it is finished; makes nothing."""
        found = find_run(self.root, "sweep", self.config.to_dict())
        return None if found is None else found.read_result(self._check_rows)

    def _check_rows(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result if it has a row for each run of the sweep, in order, with what the grid sets there."""
        rows = result["runs"]
        expected = [
            {key: value for key, value in point.settings.items() if key != "model.architecture"}
            | {"run_id": run_name("train", point.config.to_dict())}
            for point in self.points
        ]
        if len(rows) != len(expected) or any(
            row.keys() != rows[0].keys() or not row.items() >= wanted.items()
            for row, wanted in zip(rows, expected, strict=True)
        ):
            raise ValueError("`runs` must have a row for each run of the sweep, with what the grid sets; got others")
        return result

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
        left = []
        for point in self.points:
            run = find_run(self.root, "train", config := point.config.to_dict())
            if run is None or run.result() is None:
                left.append(run_name("train", config))
        return left

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
