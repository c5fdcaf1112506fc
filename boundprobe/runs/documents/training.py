"""Documents of ``train``, ``sweep`` and ``demo``, and the manifest that every run has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from boundprobe.runs.documents.probes import Probe
from boundprobe.runs.documents.shapes import Count, Document, Level, Memory, Plain, Positive, Rate, Sha256, Share, Text


class TrainedMember(Document):
    """One model of a training run."""

    phase: Literal["calibration", "report"]
    learning_rate: Rate
    seed_index: Count
    accuracy: Share
    accuracy_by_distribution: dict[str, Share]
    loss: float | None
    steps: Positive
    converged: bool
    late_improvement: float | None
    n_params: Positive
    memory: Memory
    tokens_per_second: Count


class Summary(Document):
    """Accuracy over the reported seeds."""

    n_seeds: Positive
    n_converged: Count
    mean: Share
    median: Share
    percentile_10: Share
    percentile_90: Share
    values: list[Share]


class Train(Document):
    """``boundprobe.train/1``."""

    schema_: Annotated[Literal["boundprobe.train/1"], Field(alias="schema")]
    run_id: Text
    run_dir: Text
    learning_rate: Rate
    backends: dict[str, Text]
    summary: Summary
    members: Annotated[list[TrainedMember], Field(min_length=1)]
    calibration: list[TrainedMember]


class Ensemble(Document):
    """``boundprobe.ensemble/1``."""

    schema_: Annotated[Literal["boundprobe.ensemble/1"], Field(alias="schema")]
    runs: list[Text]


class Tables(Document):
    """Names of a sweep's tables, which lie beside its result."""

    runs: Annotated[str, Field(pattern=r"^[\w-]+\.csv$")]
    seeds: Annotated[str, Field(pattern=r"^[\w-]+\.csv$")]


class SweepRow(Document):
    """A run of a sweep's table; what the grid sets stands there as well."""

    model_config = ConfigDict(extra="allow")

    architecture: Text
    run_id: Text
    n_params: Positive
    recurrent_bits: Count
    conv_bits: Count
    cache_bits: Count
    receptive_field: Positive | None
    learning_rate: Rate
    n_seeds: Positive
    n_converged: Count
    accuracy_mean: Share


class Sweep(Document):
    """``boundprobe.sweep/1``."""

    schema_: Annotated[Literal["boundprobe.sweep/1"], Field(alias="schema")]
    run_id: Text
    run_dir: Text
    tables: Tables
    runs: Annotated[list[SweepRow], Field(min_length=1)]
    violations: list[Text]


class SweepPoint(Document):
    """A run of a sweep: what the grid sets, and its configuration in full."""

    settings: Plain
    run: dict[str, Any]


class SweepConfiguration(Document):
    """``config.toml`` of a sweep."""

    probe: Plain | None = None
    points: Annotated[list[SweepPoint], Field(min_length=1)]


class DemoTask(Document):
    """A task of the demo, with its models."""

    bounds: dict[str, Any]
    figures: list[Text]
    models: list[Probe]


class PlanePoint(Document):
    """A model in the trade-off plane."""

    architecture: Text
    reach: Count
    bits: Count | None


class DemoPlane(Document):
    """The trade-off plane of the demo, with its models in the order of its points."""

    task: Plain
    accuracy: Share
    points: list[PlanePoint]
    models: list[Probe]
    figures: list[Text]


class Demo(Document):
    """``boundprobe.demo/1``."""

    schema_: Annotated[Literal["boundprobe.demo/1"], Field(alias="schema")]
    run_id: Text
    run_dir: Text
    confidence: Level
    tasks: list[DemoTask]
    plane: DemoPlane
    violations: list[Text]


class Loss(Document):
    """A line of the metrics of ``train``: mean loss (nats) of a draw that ends at a step; None: not finite."""

    member: Count
    step: Positive
    loss: float | None


class Session(Document):
    """A process that worked on a run."""

    argv: list[str]
    python: Text
    versions: dict[str, Text | None]
    git_revision: Text | None
    platform: Text
    device: Text
    cpu_capability: Text | None = None
    started: Text
    finished: Text | None


class Manifest(Document):
    """``manifest.json``: provenance, and sha256 of files by name once the run is finished."""

    seeds: dict[str, Any] = Field(default_factory=dict)
    sessions: list[Session]
    files_sha256: dict[Text, Sha256] = Field(default_factory=dict)
