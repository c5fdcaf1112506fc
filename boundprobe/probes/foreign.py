"""Ladders of models of Hugging Face, each measured once and kept in a run directory of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from boundprobe.checks import check_kind
from boundprobe.errors import RunDirectoryError
from boundprobe.hf.loading import load
from boundprobe.hf.source import ForeignModel, Source, configuration_text
from boundprobe.hf.vocabulary import check_vocabulary, tokens_of
from boundprobe.probes.measurement import measure
from boundprobe.probes.run import ModelLadder, read_ladder
from boundprobe.probes.settings import VERTICAL, ProbeConfig
from boundprobe.runs.manifest import finished_at
from boundprobe.runs.store import find_run, open_run, without_none
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.rewritten import Rewritten


def run_settings(source: Source, task: AbstractTask, config: ProbeConfig, dtype: str | None = None) -> dict[str, Any]:
    """The configuration of a run: the model by its hash, the task, the ids in which it is given, the settings."""
    plain = task.task if isinstance(task, Rewritten) else task
    model = {
        "family": source.family,
        "sha256": source.sha256,
        "configuration": configuration_text(source.configuration),
        "dtype": dtype,
    }
    table = {"name": plain.name, **plain.parameters()}
    tokens = {"tokens": tokens_of(task)} if isinstance(task, Rewritten) else {}
    settings: dict[str, Any] = without_none({"hf": model, "task": table, **tokens, "probe": config.to_dict()})
    return settings


def probe_source(
    source: Source,
    task: AbstractTask,
    config: ProbeConfig,
    root: Path,
    *,
    dtype: str | None = None,
    device: str = "cpu",
) -> ModelLadder:
    """The ladder of a model of Hugging Face, measured once and then read back.

    Parameters
    ----------
    source : Source
        ``boundprobe.hf.find_source(folder)``.
    task : AbstractTask
        In ids of the model: ``boundprobe.hf.in_vocabulary(task, tokenizer)``, or a task whose own ids it was trained
        on.
    config : ProbeConfig
        Of a vertical cut.
    root : Path
        Where the run directory is made.
    dtype : str, optional
        Type of the weights; that of the files if not given.
    device : str

    Returns
    -------
    ModelLadder
        Whose ``model`` is a ``ForeignModel``.

    Raises
    ------
    ValueError
        If the model cannot be loaded, or has fewer token ids than the task.
    ContinuationError
        If it does not continue from its own cache.
    RunDirectoryError
        If the run directory is damaged, or of another measurement.
    """
    check_kind("config", config, ProbeConfig)
    if config.cut != VERTICAL:
        raise ValueError("`--cut` must be vertical with --hf; got diagonal, which only boundprobe's own models have.")
    task.stream_case(config.stream)  # refuses a distribution that the task has not
    settings = run_settings(source, task, config, dtype)
    found = find_run(root, "probe", settings)
    if found is not None and (known := read_ladder(found)) is not None:
        if known.task != settings["task"]:
            raise RunDirectoryError(f"{found.path} must be of the task that its configuration has; got another")
        return replace(known, measured_earlier=finished_at(found.path / "manifest.json") or "at a time not on record")
    model = load(source.path, dtype=dtype, device=device)
    check_vocabulary(task, model.vocab_size)
    run = open_run(root, "probe", settings)  # made only now that nothing is left to refuse
    with run.session(device=device, seeds={"seed": config.seed, "roles": "calibration, evaluation"}):
        measured = ModelLadder(
            run.run_id,
            run.path,
            source.name,
            settings["task"],
            ForeignModel(source.family, source.name, source.sha256, model.dtype),
            0,
            0,
            sum(weights.numel() for weights in model.parameters()),
            measure(model, task, config, device),
            tokens=settings.get("tokens"),
        )
        run.finish(measured.to_json())
    again = read_ladder(run)
    assert again is not None  # just written
    return again
