"""Ladders of trained runs and of sweeps, each measured once and kept in its own run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from boundprobe.checks import check_kind
from boundprobe.errors import RunDirectoryError
from boundprobe.hf.source import ForeignModel
from boundprobe.models.spec import ModelSpec
from boundprobe.probes.ladder import Ladder
from boundprobe.probes.measurement import measure
from boundprobe.probes.read_back import check_same
from boundprobe.probes.run_relations import check_in_run
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.documents.probes import Probe
from boundprobe.runs.documents.read import check_document
from boundprobe.runs.manifest import finished_at
from boundprobe.runs.store import Run, find_run, open_run
from boundprobe.training.config import config_of_run
from boundprobe.training.results import check_result
from boundprobe.training.weights import WEIGHTS, load_models


@dataclass(frozen=True)
class ModelLadder:
    """The ladder of one reported model of a training run, or of a foreign one: the document ``boundprobe.probe/1``.

    Attributes
    ----------
    run_id : str
    run_dir : Path
        Of the measurement.
    trained : str
        Run of the training; the name of a foreign model.
    task : dict
        Its name and parameters, as the configuration of the run has them.
    model : ModelSpec or ForeignModel
    member, seed_index, n_params : int
        Index among the reported models of the run, index of its seed, and number of its parameters; of a foreign model
        the first two are 0.
    ladder : Ladder
    measured_earlier : str or None
        When it was measured, where it was read back and not measured now; no part of the document.
    tokens : dict or None
        Ids in which a foreign model was given the task (``boundprobe.hf.tokens_of``); None if they were the task's own.
    """

    run_id: str
    run_dir: Path
    trained: str
    task: dict[str, Any]
    model: ModelSpec | ForeignModel
    member: int
    seed_index: int
    n_params: int
    ladder: Ladder
    measured_earlier: str | None = field(default=None, compare=False)
    tokens: dict[str, Any] | None = None

    @property
    def task_name(self) -> str:
        """Name of the task."""
        return str(self.task["name"])

    @property
    def spec(self) -> ModelSpec:
        """The model, where it is one of the package's own.

        Raises
        ------
        ValueError
            For a foreign one.
        """
        return check_kind("model", self.model, ModelSpec)

    @property
    def label(self) -> str:
        """The model in words: its architecture and where it comes from."""
        if isinstance(self.model, ForeignModel):
            return f"{self.model.family}, {self.model.name}"
        return f"{self.model.architecture}, member {self.member} of {self.trained}"

    @property
    def which(self) -> str:
        """Name of the model among those of its architecture, for figures."""
        return self.model.name if isinstance(self.model, ForeignModel) else f"seed {self.seed_index}"

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
            "model": self.model.to_dict(),
            "member": self.member,
            "seed_index": self.seed_index,
            "n_params": self.n_params,
            **({} if self.tokens is None else {"tokens": self.tokens}),
            **self.ladder.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelLadder:
        """Read a document back.

        Raises
        ------
        ValueError
            If it is none, or its numbers cannot be of one measurement.
        """
        check_document(document, Probe)
        foreign = "sha256" in document["model"]
        return cls(
            document["run_id"],
            Path(document["run_dir"]),
            document["trained"],
            document["task"],
            ForeignModel.from_json(document["model"]) if foreign else ModelSpec.from_dict(document["model"]),
            document["member"],
            document["seed_index"],
            document["n_params"],
            Ladder.from_json(document),
            tokens=document.get("tokens"),
        )

    def __hash__(self) -> int:
        return hash((self.run_id, self.trained, self.member))


def check_trained(trained: Run, member: int) -> dict[str, Any]:
    """The result of a finished training run that has this member.

    Raises
    ------
    RunDirectoryError
        If it is not a finished training run.
    ValueError
        If it has no such member.
    """
    if trained.verb != "train" or (result := trained.read_result(check_result)) is None:
        raise RunDirectoryError(
            f"RUN must be a finished training run; got {trained.path}, which is none. Run its command again to the end."
        )
    n_members = len(result["members"])
    if not 0 <= member < n_members:
        raise ValueError(f"`--member` must be from 0 to {n_members - 1} for {trained.run_id}; got {member}.")
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
        If ``trained`` is not a finished training run, or its weights are missing or have changed.
    ValueError
        If it has no such member.
    """
    check_kind("config", config, ProbeConfig)
    result = check_trained(trained, member)
    settings = {"trained": trained.run_id, "member": member, "probe": config.to_dict()}
    root, of_member = root or trained.path.parent, result["members"][member]
    found = find_run(root, "probe", settings)
    if found is not None and (known := read_ladder(found)) is not None:
        _check_trained_by(known, trained, of_member, config, found)
        trained.read_tensors(WEIGHTS)  # a ladder of weights that have changed since is none of this run
        return replace(known, measured_earlier=finished_at(found.path / "manifest.json") or "at a time not on record")
    train_config, model = config_of_run(trained.config, trained.path), load_models(trained, device)[member]
    train_config.task.stream_case(config.stream)  # refuses a stream that the task has not
    run = open_run(root, "probe", settings)  # made only now that nothing is left to refuse
    with run.session(device=device, seeds={"seed": config.seed, "roles": "calibration, evaluation"}):
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
    known = read_ladder(run)
    assert known is not None  # just written
    return known


def read_ladder(run: Run) -> ModelLadder | None:
    """The ladder of a finished probe of a model, held against the configuration of the probe."""

    def read(document: dict[str, Any]) -> ModelLadder:
        known = ModelLadder.from_json(document)
        check_in_run(known.ladder, known.model, known.task, run.config)
        check_same(run.config.get("tokens"), known.tokens, "tokens")
        return known

    return run.read_result(read)


def read_of(trained: Run, probe: Run) -> ModelLadder | None:
    """The ladder that a finished probe has of a training run, held against that run."""
    known, result = read_ladder(probe), trained.read_result(check_result)
    if known is None or result is None:
        return known
    if known.member >= len(result["members"]):
        raise RunDirectoryError(
            f"{probe.path} must be of one of {len(result['members'])} models of {trained.run_id}; got {known.member}"
        )
    _check_trained_by(known, trained, result["members"][known.member], ProbeConfig(**probe.config["probe"]), probe)
    return known


def _check_trained_by(
    known: ModelLadder, trained: Run, of_member: Mapping[str, Any], config: ProbeConfig, place: Run
) -> None:
    """Raise ``RunDirectoryError`` unless a ladder that was read back is of this member of this run, measured so."""
    same = (
        known.ladder.confidence == config.confidence
        and known.ladder.stream == config.stream
        and known.member == place.config["member"]
        and known.trained == trained.run_id
        and known.task == trained.config["task"]
        and known.model.to_dict() == trained.config["model"]
        and known.seed_index == of_member["seed_index"]
        and known.n_params == of_member["n_params"]
        and (known.ladder.lag > 0 or asdict(known.ladder.memory) == of_member["memory"])
    )
    if not same:
        raise RunDirectoryError(
            f"{place.path} must be of a model of {trained.run_id}: its task, sizes or seed are others; restore it, or "
            "move it away and run the command again"
        )


def probe_run(trained: Run, config: ProbeConfig, root: Path | None = None, *, device: str = "cpu") -> list[ModelLadder]:
    """The ladder of every reported model of a finished training run; arguments are those of ``probe_member``."""
    n_members = len(check_trained(trained, 0)["members"])
    return [probe_member(trained, member, config, root, device=device) for member in range(n_members)]
