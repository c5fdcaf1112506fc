"""A training run that takes a second, how a test stops one, and when two are the same."""

from __future__ import annotations

from typing import Any

from boundprobe.models import ModelSpec
from boundprobe.runs import Run
from boundprobe.tasks import SelectiveCopying
from boundprobe.training import Schedule, TrainConfig
from boundprobe.training.loop import Progress

#: Two layers, one learning rate, one seed; fewer steps than lie between two checkpoints.
TINY_RUN = TrainConfig(
    SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6),
    ModelSpec("mamba-attn", d_model=4, window=3, d_state=2, mlp_ratio=1),
    Schedule("mixture", steps=120, batch=2, learning_rates=(0.01,), n_eval=20),
)


class StoppedError(Exception):
    """What a test stops a run with."""


def stop_at(steps: int) -> Progress:
    def progress(done: int, what: str) -> None:
        if done >= steps:
            raise StoppedError

    return progress


def without_clock(document: Any) -> Any:
    """A result without what may differ between two runs of one configuration."""
    if isinstance(document, dict):
        return {k: without_clock(v) for k, v in document.items() if k not in ("run_dir", "tokens_per_second")}
    return [without_clock(item) for item in document] if isinstance(document, list) else document


def assert_same_run(found: Run, expected: Run) -> None:
    for name in ("model.safetensors", "metrics.jsonl", "config.toml"):
        assert (found.path / name).read_bytes() == (expected.path / name).read_bytes(), name
    assert without_clock(found.result()) == without_clock(expected.result())


def assert_same_runs(found: list[Run], expected: list[Run]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert_same_run(one, other)
