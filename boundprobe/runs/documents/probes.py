"""Documents of ``probe``: ladders, bottlenecks, reports on states."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from boundprobe.runs.documents.shapes import (
    Bits,
    Count,
    Document,
    EntropyBound,
    Errors,
    Halves,
    Interval,
    Level,
    LowerBound,
    Memory,
    Plain,
    Positive,
    Sha256,
    Share,
    Text,
)


class Part(Document):
    """Certified bits in what a layer keeps of one kind."""

    layer: Count
    kind: Literal["recurrent", "conv", "cache"]
    nominal_bits: Count
    present_bits: LowerBound


class Group(Document):
    """Retention of a group of answers."""

    group: int
    lower: Bits
    estimate: Bits
    error: Share
    n_sequences: Positive


class Retention(Document):
    """Retention by answer or by distance."""

    by: Literal["answer", "distance"]
    of: Text
    groups: list[Group]


class Machine(Document):
    """A rounded state that was run."""

    entry_bits: Positive
    bits: Count
    accuracy: Share
    accuracy_lower: Share
    used_bits: LowerBound
    required_bits: LowerBound


class NullControl(Document):
    """Certificates of states that know nothing: both must be 0."""

    constant: LowerBound
    others: LowerBound
    counts_bits: float
    excess_bits: Bits


class Assumption(Document):
    """An assumption, and how it was checked."""

    name: Text
    says: Text
    checked: Text


class Diagonal(Document):
    """A diagonal cut."""

    lag: Count
    far_answers: Positive
    recurrent_bits: Count
    conv_bits: Count
    cache_bits: Count
    required_bits: Bits
    accuracy_ceiling: Share


class Ladder(Document):
    """The part of a probe's document that ``Ladder.from_json`` reads."""

    stream: Text
    lag: Count
    entropy_bits: Bits
    n_values: Annotated[int, Field(ge=2)]
    used_bits: LowerBound
    present_bits: LowerBound
    present_by_part: list[Part]
    null_control: NullControl
    retention: Retention | None
    states_bits: LowerBound | None
    needed_bits: Count | None
    nominal_bits: Count
    information_upper_bits: Bits | None
    memory: Memory
    required_bits: Bits
    required_bits_lower: Bits
    accuracy: Halves
    window_accuracy_ceiling: Share
    diagonal: Diagonal | None
    answer_errors: Errors
    rounded: list[Machine]
    rounded_entropy_bits: EntropyBound | None
    assumptions: list[Assumption]
    confidence: Level
    violations: list[Text]


class Point(Document):
    """A bottleneck of one size."""

    entries: Positive
    entry_bits: Positive
    bits: Positive
    accuracy: Interval
    all_accuracy: Interval
    accuracy_ceiling: Share
    accuracy_floor_strategy: Share | None
    used_bits: LowerBound
    n_states_seen: Positive
    violations: list[Text]


class Bottleneck(Document):
    """``boundprobe.bottleneck/1``."""

    schema_: Annotated[Literal["boundprobe.bottleneck/1"], Field(alias="schema")]
    run_id: Text
    run_dir: Text
    trained: Text
    task: Plain
    model: Plain
    member: Count
    confidence: Level
    lag: Count
    n_answers: Positive
    points: list[Point]
    violations: list[Text]


class Tokens(Document):
    """Ids of a foreign model in which it was given a task: of each token, and fixed ones."""

    ids: Annotated[list[list[Count]], Field(min_length=1)]
    before: list[Count]
    between: list[Count]
    after: list[Count]


class Probe(Ladder):
    """``boundprobe.probe/1``."""

    schema_: Annotated[Literal["boundprobe.probe/1"], Field(alias="schema")]
    run_id: Text
    run_dir: Text
    trained: Text
    task: Plain
    model: Plain
    member: Count
    seed_index: Count
    n_params: Positive
    tokens: Tokens | None = None
    bottleneck: Bottleneck | None = None


class Prior(Document):
    """The prior that a user stated."""

    n_answers: Positive
    n_values: Annotated[int, Field(ge=2)]
    entropy_bits: Annotated[float, Field(gt=0)]
    independent_uniform: bool
    evidence: Text
    undefined_bits: Bits = 0.0


class Split(Document):
    """Sequences of each split."""

    train: Positive
    calibration: Positive
    evaluation: Positive


class Report(Document):
    """The part of a measurement of states that ``StatesReport.from_json`` reads."""

    prior: Prior
    present_bits: LowerBound
    null_control: NullControl
    retention: Retention | None
    nominal_bits: Count
    calibration_estimate_bits: Annotated[dict[str, Bits], Field(min_length=1)]
    n_sequences: Split
    n_groups: Split | None
    assumptions: list[Assumption]
    confidence: Level
    violations: list[Text]
    defined_entropy_bits: Bits | None = None


class File(Document):
    """The file of states that was measured."""

    file: Text
    sha256: Sha256


class ProbeStates(Report):
    """``boundprobe.probe-states/1``."""

    schema_: Annotated[Literal["boundprobe.probe-states/1"], Field(alias="schema")]
    run_id: Text
    run_dir: Text
    states: File
