"""A training run in words: what it resolves to, and what is refused."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tomli_w

from boundprobe.models import ModelSpec
from boundprobe.runs import config_hash
from boundprobe.runs.store import without_none
from boundprobe.tasks import TASKS, SelectiveCopying, build_task
from boundprobe.training import Member, Schedule, TrainConfig
from boundprobe.training.config import PHASES
from boundprobe.training.optimizer import schedule_factor

CONFIG = TrainConfig(
    SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8),
    ModelSpec("attn-2xmamba|gru", d_model=8, window=3, n_heads=2, d_state=2, d_conv=3, expand=1, chunk=5, mlp_ratio=0),
    Schedule("uniform", 7, 3, (0.1, 0.01), 2, 3, 5, 0.5, 2.0, 11, stop_below=0.1, micro_batch=2),
    seed=4,
    backend="reference",
)
CONFIGS = [CONFIG, *(TrainConfig(build_task(name, {}), ModelSpec(), Schedule()) for name in TASKS)]

BAD_SCHEDULES: list[tuple[str, Any]] = [
    *itertools.product(("steps", "batch", "n_seeds", "n_calibration_seeds", "n_eval"), (0, 1.5, "3")),
    ("warmup_steps", -1),
    ("learning_rates", ()),
    ("learning_rates", (0.1, 0.0)),
    ("learning_rates", (-0.1,)),
    ("learning_rates", (float("inf"),)),
    ("learning_rates", (float("nan"),)),
    ("learning_rates", (0.1, 0.1)),
    ("clip_norm", 0.0),
    ("clip_norm", float("nan")),
    ("weight_decay", -0.1),
    ("weight_decay", float("nan")),
    ("stop_below", -0.1),
    ("micro_batch", -1),
    ("targets", "none"),
    ("precision", "float16"),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.task.name)
def test_a_configuration_survives_its_file(config: TrainConfig) -> None:
    """Through a dict, and through config.toml, which has no None."""
    assert TrainConfig.from_dict(config.to_dict()) == config
    document = without_none(config.to_dict())
    read = tomllib.loads(tomli_w.dumps(document))
    assert TrainConfig.from_dict(read) == config
    assert config_hash(read) == config_hash(config.to_dict())


def test_every_setting_is_in_the_configuration() -> None:
    """Two runs that differ in anything have different directories."""
    other = {"distribution": "mixture", "learning_rates": (0.2,), "targets": "random", "precision": "bfloat16"}
    other |= {"architecture": "mamba", "position": "learned", "norm": "none", "mlp_after": "every"}
    hashes = {config_hash(CONFIG.to_dict())}
    changed: list[TrainConfig] = [replace(CONFIG, seed=5), replace(CONFIG, backend="numba")]
    for name, value in vars(CONFIG.schedule).items():
        new = other[name] if name in other else value + 1
        changed.append(replace(CONFIG, schedule=replace(CONFIG.schedule, **{name: new})))
    other |= {"n_kv_heads": 1, "n_groups": 1, "beta_max": 2}
    for name, value in vars(CONFIG.model).items():
        if name == "sources":  # of mixers of one's own, which there are none of
            continue
        new = other[name] if name in other else value + 4
        changed.append(replace(CONFIG, model=replace(CONFIG.model, **{"d_model": 24, name: new})))
    changed.append(replace(CONFIG, task=replace(CONFIG.task, seq_len=9)))
    hashes |= {config_hash(config.to_dict()) for config in changed}
    assert len(hashes) == 1 + len(changed)


def test_the_backend_may_be_given_by_its_old_name() -> None:
    tables = {key: value for key, value in CONFIG.to_dict().items() if key != "scan"}
    assert TrainConfig.from_dict(tables | {"scan": "numba"}) == TrainConfig.from_dict(tables | {"backend": "numba"})
    with pytest.raises(ValueError, match="`scan` is the old name of `backend`"):
        TrainConfig.from_dict(tables | {"scan": "numba", "backend": "numba"})


@pytest.mark.parametrize("table", ["task", "model", "train"])
def test_an_unknown_key_is_refused_by_name(table: str) -> None:
    document = CONFIG.to_dict()
    document[table] = document[table] | {"wndow": 3}
    with pytest.raises(ValueError, match="'wndow'") as caught:
        TrainConfig.from_dict(document)
    assert "\n" not in str(caught.value)
    assert re.search(r" must .*; got ", str(caught.value))


@pytest.mark.parametrize("key", ["sed", "schedule", "lr"])
def test_an_unknown_table_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}'"):
        TrainConfig.from_dict(CONFIG.to_dict() | {key: 3})


@pytest.mark.parametrize(("name", "value"), BAD_SCHEDULES)
def test_a_schedule_that_cannot_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^`{name}` must ") as caught:
        Schedule(**{name: value})
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(r" must .*; got ", message)
    assert ";" in message


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": 1.5}, {"schedule": Schedule(distribution="hard")}])
def test_a_run_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        replace(CONFIG, **change)
    assert "\n" not in str(caught.value)


def test_whole_numbers_of_numpy_are_numbers_or_refused() -> None:
    try:
        config = replace(CONFIG, seed=np.int64(4), model=replace(CONFIG.model, d_model=np.int64(8)))
    except ValueError:
        return
    assert config_hash(config.to_dict()) == config_hash(CONFIG.to_dict())
    json.dumps(config.to_dict())


def test_the_streams_of_a_member_do_not_depend_on_its_learning_rate() -> None:
    members = [Member(phase, 0.1, i) for phase in PHASES for i in range(3)]
    assert len({member.key for member in members}) == len(members)
    for member in members:
        assert replace(member, learning_rate=0.5).key == member.key


def test_members_of_a_run() -> None:
    calibration, report = CONFIG.calibration_members(), CONFIG.report_members(0.1)
    assert [(m.learning_rate, m.seed_index) for m in calibration] == [(r, i) for r in (0.1, 0.01) for i in range(3)]
    assert [(m.learning_rate, m.seed_index) for m in report] == [(0.1, 0), (0.1, 1)]
    assert {m.phase for m in calibration} == {"calibration"}
    assert {m.phase for m in report} == {"report"}
    assert not {m.key for m in calibration} & {m.key for m in report}
    assert CONFIG.total_steps == 7 * (6 + 2)
    single = replace(CONFIG, schedule=replace(CONFIG.schedule, learning_rates=(0.1,)))
    assert single.calibration_members() == []
    assert single.total_steps == 7 * 2


@pytest.mark.parametrize(("steps", "warmup"), [(10, 4), (10, 0), (1, 0), (5, 5), (3, 8)])
def test_the_rate_goes_up_then_down(steps: int, warmup: int) -> None:
    factors = [schedule_factor(step, steps, warmup) for step in range(steps)]
    expected = [(step + 1) / warmup if step < warmup else (steps - step) / (steps - warmup) for step in range(steps)]
    assert factors == pytest.approx(expected)
    assert all(0 < factor <= 1 for factor in factors)
    if warmup <= steps:
        assert max(factors) == 1
        assert schedule_factor(steps, steps, warmup) == 0
