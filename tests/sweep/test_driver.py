"""What a sweep refuses or leaves alone before it makes anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import boundprobe as bp
from boundprobe.sweep import Shard, SweepConfig, run_sweep
from boundprobe.training import TrainConfig

TABLES: dict[str, Any] = {"task": {"name": "copying", "n_tokens": 2}, "train": {"steps": 2, "n_seeds": 1}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device": "tpu"}, "`device` must be cpu, cuda, or cuda with a number as in cuda:0; got 'tpu'"),
        ({"device": None}, "`device` must be cpu, cuda, or .*; got None"),
        ({"largest": 0}, "`largest` must be an integer of at least 1; got 0"),
        ({"largest": 2.5}, "`largest` must be an integer of at least 1; got 2.5"),
    ],
)
def test_devices_and_sizes_are_checked_before_anything_is_made(
    arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        run_sweep(SweepConfig(TABLES), tmp_path, **arguments)
    with pytest.raises(ValueError, match=said):
        bp.train(TrainConfig.from_dict(TABLES), tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_without_work_leaves_nothing_behind(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert run_sweep(SweepConfig(TABLES), str(root), shard=Shard(3, 4)) is None
    assert not root.exists()
