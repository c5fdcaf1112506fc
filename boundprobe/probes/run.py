"""Probe a trained run, and keep the ladder in a run directory of its own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from boundprobe.errors import RunDirectoryError
from boundprobe.probes.ladder import measure
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.store import Run, open_run
from boundprobe.training.config import TrainConfig
from boundprobe.training.weights import load_models


def check_trained(trained: Run, member: int) -> dict[str, Any]:
    """The result of a finished training run that has this member.

    Raises
    ------
    RunDirectoryError
        If it is not a finished training run.
    ValueError
        If it has no such member.
    """
    if trained.verb != "train" or (result := trained.result()) is None:
        raise RunDirectoryError(
            f"{trained.path} is not a finished training run; allowed: a directory that 'boundprobe train' finished; "
            "run its command again to the end"
        )
    n_members = len(result["members"])
    if not 0 <= member < n_members:
        raise ValueError(f"member is {member}; allowed: 0 to {n_members - 1} for {trained.run_id}; change --member")
    return result


def probe_member(
    trained: Run, member: int, config: ProbeConfig, root: Path | None = None, *, device: str = "cpu"
) -> dict[str, Any]:
    """The ladder of one member of a finished training run, measured once and then read back.

    Parameters
    ----------
    trained : Run
        A run of ``train``.
    member : int
        Index among its reported members.
    config : ProbeConfig
    root : Path, optional
        Where the probe's run directory is made; beside the trained run if not given.
    device : str

    Returns
    -------
    dict
        The document ``boundprobe.probe/1``.

    Raises
    ------
    RunDirectoryError
        If ``trained`` is not a finished training run.
    ValueError
        If it has no such member.
    """
    result = check_trained(trained, member)
    settings = {"trained": trained.run_id, "member": member, "probe": asdict(config)}
    run = open_run(root or trained.path.parent, "probe", settings)
    if (known := run.result()) is not None:
        return known
    train_config = TrainConfig.from_dict(trained.config)
    with run.session(device=device, seeds={"seed": config.seed, "roles": "calibration, evaluation"}):
        model = load_models(trained, device)[member]
        ladder = measure(model, train_config.task, config, device)
        run.finish(
            {
                "schema": "boundprobe.probe/1",
                "run_id": run.run_id,
                "run_dir": str(run.path),
                "trained": trained.run_id,
                "task": trained.config["task"],
                "model": trained.config["model"],
                "member": member,
                "seed_index": result["members"][member]["seed_index"],
                "n_params": result["members"][member]["n_params"],
                **ladder.to_json(),
            }
        )
    document = run.result()
    assert document is not None  # just written
    return document


def probe_sweep(
    sweep: Run, config: ProbeConfig, root: Path | None = None, *, device: str = "cpu"
) -> list[dict[str, Any]]:
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
    ladders = []
    for point in sweep.config["points"]:
        trained = open_run(sweep.path.parent, "train", TrainConfig.from_dict(point["run"]).to_dict())
        n_members = len((trained.result() or {}).get("members", [None]))  # None: probe_member says what is wrong
        ladders += [probe_member(trained, member, config, root, device=device) for member in range(n_members)]
    return ladders
