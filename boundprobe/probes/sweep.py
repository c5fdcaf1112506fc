"""Ladders of every model of a sweep, measured or read back."""

from __future__ import annotations

from pathlib import Path

from boundprobe.errors import RunDirectoryError
from boundprobe.probes.run import ModelLadder, probe_run, read_ladder, read_of
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.collect import sweep_points
from boundprobe.runs.store import Run, find_run, load_run, run_name


def probe_sweep(sweep: Run, config: ProbeConfig, root: Path | None = None, *, device: str = "cpu") -> list[ModelLadder]:
    """The ladder of every reported model of a finished sweep, in the order of its grid.

    Parameters
    ----------
    sweep : Run
    config : ProbeConfig
    root : Path, optional
        Where run directories of the probes are made; beside the trained runs if not given.
    device : str

    Raises
    ------
    RunDirectoryError
        If one of its runs is not finished.
    """
    return [ladder for trained in _runs_of(sweep) for ladder in probe_run(trained, config, root, device=device)]


def read_ladders(run: Run) -> list[ModelLadder]:
    """The ladders that are kept beside a training run or a sweep, or in a probe's own run; nothing is measured.

    Parameters
    ----------
    run : Run
        Of ``train``, ``sweep`` or ``probe``.

    Returns
    -------
    list of ModelLadder
        In the order of the sweep's grid, and of members within a run; a model that was measured with several
        configurations is there several times.
    """
    if run.verb == "probe":
        beside = run.path.parent / str(run.config.get("trained"))
        known = read_of(load_run(beside), run) if beside.is_dir() else read_ladder(run)
        return [] if known is None else [known]
    if run.verb == "sweep":
        return [ladder for trained in _runs_of(run) for ladder in read_ladders(trained)]
    kept = [load_run(path) for path in sorted(run.path.parent.glob("probe-*"))]
    found = [
        known
        for probe in kept
        if probe.config.get("trained") == run.run_id and (known := read_of(run, probe)) is not None
    ]
    return sorted(found, key=lambda ladder: ladder.member)


def _runs_of(sweep: Run) -> list[Run]:
    """Training runs of a sweep, in the order of its grid."""
    runs = []
    for point in sweep_points(sweep):
        if (run := find_run(sweep.path.parent, "train", point["run"])) is None:
            name = run_name("train", point["run"])
            raise RunDirectoryError(
                f"a sweep must lie beside its finished runs; got none at {sweep.path.parent / name}. Give its command "
                "again."
            )
        runs.append(run)
    return runs
