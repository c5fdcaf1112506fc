"""Ladders of trained runs and of sweeps, each measured once and kept in its own run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boundprobe.errors import RunDirectoryError
from boundprobe.models.spec import ModelSpec
from boundprobe.probes.ladder import Ladder
from boundprobe.probes.measurement import measure
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.store import Run, load_run, open_run
from boundprobe.training.config import TrainConfig
from boundprobe.training.weights import load_models


@dataclass(frozen=True)
class ModelLadder:
    """The ladder of one reported model of a training run: the document ``boundprobe.probe/1``.

    Attributes
    ----------
    run_id : str
    run_dir : Path
        Of the measurement.
    trained : str
        Run of the training.
    task : dict
        Its name and parameters, as the configuration of the run has them.
    model : ModelSpec
    member, seed_index, n_params : int
        Index among the reported models of the run, index of its seed, and number of its parameters.
    ladder : Ladder
    """

    run_id: str
    run_dir: Path
    trained: str
    task: dict[str, Any]
    model: ModelSpec
    member: int
    seed_index: int
    n_params: int
    ladder: Ladder

    @property
    def task_name(self) -> str:
        """Name of the task."""
        return str(self.task["name"])

    @property
    def violations(self) -> tuple[str, ...]:
        """Those of the ladder."""
        return self.ladder.violations

    def columns(self) -> dict[str, float | int]:
        """Certified bits as columns of a table with a row for each model."""
        ladder = self.ladder
        return {
            "required_bits": ladder.required.estimate,
            "used_bits_lower": ladder.used.lower,
            "present_bits_lower": ladder.present.lower,
            "bits_confidence": ladder.used.confidence,
            "n_violations": len(ladder.violations),
        }

    def to_json(self) -> dict[str, Any]:
        """The document ``boundprobe.probe/1``."""
        return {
            "schema": "boundprobe.probe/1",
            "run_id": self.run_id,
            "run_dir": str(self.run_dir),
            "trained": self.trained,
            "task": self.task,
            "model": asdict(self.model),
            "member": self.member,
            "seed_index": self.seed_index,
            "n_params": self.n_params,
            **self.ladder.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelLadder:
        """Read a document back."""
        return cls(
            document["run_id"],
            Path(document["run_dir"]),
            document["trained"],
            document["task"],
            ModelSpec(**document["model"]),
            document["member"],
            document["seed_index"],
            document["n_params"],
            Ladder.from_json(document),
        )


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
) -> ModelLadder:
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
    if (known := run.result()) is None:
        train_config, of_member = TrainConfig.from_dict(trained.config), result["members"][member]
        with run.session(device=device, seeds={"seed": config.seed, "roles": "calibration, evaluation"}):
            model = load_models(trained, device)[member]
            measured = ModelLadder(
                run.run_id,
                run.path,
                trained.run_id,
                trained.config["task"],
                train_config.model,
                member,
                of_member["seed_index"],
                of_member["n_params"],
                measure(model, train_config.task, config, device),
            )
            run.finish(measured.to_json())
        known = run.result()
        assert known is not None  # just written
    return ModelLadder.from_json(known)


def probe_run(trained: Run, config: ProbeConfig, root: Path | None = None, *, device: str = "cpu") -> list[ModelLadder]:
    """The ladder of every reported model of a finished training run; arguments are those of ``probe_member``."""
    n_members = len((trained.result() or {}).get("members", [None]))  # None: probe_member says what is wrong
    return [probe_member(trained, member, config, root, device=device) for member in range(n_members)]


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
        return [ModelLadder.from_json(result)] if (result := run.result()) is not None else []
    if run.verb == "sweep":
        return [ladder for trained in _runs_of(run) for ladder in read_ladders(trained)]
    kept = [load_run(path) for path in sorted(run.path.parent.glob("probe-*"))]
    found = [
        ModelLadder.from_json(result)
        for probe in kept
        if probe.config.get("trained") == run.run_id and (result := probe.result()) is not None
    ]
    return sorted(found, key=lambda ladder: ladder.member)


def _runs_of(sweep: Run) -> list[Run]:
    """Training runs of a sweep, in the order of its grid."""
    configs = [TrainConfig.from_dict(point["run"]) for point in sweep.config["points"]]
    return [open_run(sweep.path.parent, "train", config.to_dict()) for config in configs]
