"""Sweeps as files say them: what they expand to, what is refused, and which runs are trained side by side."""

from __future__ import annotations

import copy
import math
import re
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.models import ModelSpec
from boundprobe.runs import config_hash, open_run
from boundprobe.sweep import SweepConfig
from boundprobe.sweep.config import DEFAULT_SEEDS, group_runs
from boundprobe.tasks import TASKS, AssociativeRecallDecoding, build_task
from boundprobe.training import Schedule, TrainConfig

COPYING = {"name": "copying", "n_tokens": 3}
TRAIN = {"steps": 9, "n_seeds": 2}


def sweep(text: str) -> SweepConfig:
    """The sweep of a TOML text."""
    return SweepConfig.from_dict(tomllib.loads(text))


def of_grid(grid: dict[str, Any], **more: Any) -> SweepConfig:
    return SweepConfig.from_dict({"task": COPYING, "train": TRAIN, "grid": grid, **more})


# what it expands to


def test_the_last_key_changes_fastest() -> None:
    config = sweep(
        """
        seed = 4
        [task]
        name = "copying"
        [model]
        window = 5
        [train]
        steps = 9
        [grid]
        "model.architecture" = ["gru", "attn"]
        seed = [1, 0]
        "train.batch" = [2, 1, 3]
        """
    )
    points = list(config.points)
    assert [tuple(point.settings.values()) for point in points] == [
        (architecture, seed, batch) for architecture in ("gru", "attn") for seed in (1, 0) for batch in (2, 1, 3)
    ]
    for point in points:
        assert point.settings == {
            "model.architecture": point.config.model.architecture,
            "seed": point.config.seed,
            "train.batch": point.config.schedule.batch,
        }
        assert (point.config.model.window, point.config.schedule.steps) == (5, 9)  # what all share


def test_no_grid_is_one_run() -> None:
    (point,) = sweep("seed = 4\nscan = 'reference'\n[task]\nname = 'copying'").points
    assert point.settings == {}
    assert (point.config.seed, point.config.backend) == (4, "reference")
    assert point.config.model == ModelSpec()


def test_the_backend_may_be_given_by_its_old_name() -> None:
    text = "[task]\nname = 'copying'\n[grid]\nscan = ['auto', 'numba']"
    for document in (text, "backend = 'reference'\n" + text):  # the grid overrides what runs share
        assert [point.config.backend for point in sweep(document).points] == ["auto", "numba"]
    for wrong in ("scan = 'auto'\nbackend = 'auto'\n" + text, text + "\nbackend = ['auto']"):
        with pytest.raises(ValueError, match=r"scan.*backend|'backend' twice"):
            sweep(wrong)


def test_joined_keys_change_together() -> None:
    grid = {"model.d_model,model.window,seed": [[8, 4, 0], [12, 6, 1]], "train.batch": [1, 2]}
    points = list(of_grid(grid).points)
    found = [(p.config.model.d_model, p.config.model.window, p.config.seed, p.config.schedule.batch) for p in points]
    assert found == [(8, 4, 0, 1), (8, 4, 0, 2), (12, 6, 1, 1), (12, 6, 1, 2)]
    # In tables each has a column of its own.
    assert points[0].settings == {"model.d_model": 8, "model.window": 4, "seed": 0, "train.batch": 1}


def test_a_value_may_be_a_list() -> None:
    points = of_grid({"train.learning_rates": [[0.1, 0.2], [0.3], 0.4]}).points
    assert [p.config.schedule.learning_rates for p in points] == [(0.1, 0.2), (0.3,), (0.4,)]
    joined = of_grid({"train.learning_rates,seed": [[[0.1, 0.2], 1], [0.3, 2]]}).points
    assert [(p.config.schedule.learning_rates, p.config.seed) for p in joined] == [((0.1, 0.2), 1), ((0.3,), 2)]


def test_the_grid_goes_before_what_all_share() -> None:
    points = of_grid({"model.d_model": [4, 6]}, model={"d_model": 8}).points
    assert [point.config.model.d_model for point in points] == [4, 6]


def test_a_sweep_has_seeds_for_a_spread_unless_it_says_otherwise() -> None:
    (point,) = SweepConfig({"task": COPYING}).points
    assert {name: getattr(point.config.schedule, name) for name in DEFAULT_SEEDS} == DEFAULT_SEEDS
    (point,) = SweepConfig({"task": COPYING, "train": {"n_seeds": 2, "n_calibration_seeds": 1}}).points
    assert (point.config.schedule.n_seeds, point.config.schedule.n_calibration_seeds) == (2, 1)
    points = SweepConfig({"task": COPYING}, {"train.n_seeds": [4, 5]}).points
    assert [point.config.schedule.n_seeds for point in points] == [4, 5]


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if "paper" in task.presets])
def test_a_preset_is_what_it_stands_for(name: str) -> None:
    paper = build_task(name, {}, "paper")
    for base, grid in (
        ({"task": {"name": name, "preset": "paper"}}, {}),
        ({"task": {"name": name}}, {"task.preset": ["paper"]}),
        ({"task": {"preset": "paper"}}, {"task.name": [name]}),
    ):
        (point,) = SweepConfig(base, grid).points
        assert point.config.task == paper
        spelt_out = TrainConfig.from_dict(point.config.to_dict() | {"task": {"name": name, **paper.parameters()}})
        assert config_hash(point.config.to_dict()) == config_hash(spelt_out.to_dict())


def test_parameters_go_before_the_preset() -> None:
    config = SweepConfig({"task": {"name": "ar-decoding", "preset": "paper"}}, {"task.bit_probability": [0.3, 0.7]})
    paper = build_task("ar-decoding", {}, "paper").parameters()
    for point, p in zip(config.points, (0.3, 0.7), strict=True):
        assert point.config.task.parameters() == paper | {"bit_probability": p}


def test_expanding_changes_nothing() -> None:
    document = {
        "task": {"name": "ar-decoding", "preset": "paper"},
        "model": {"d_model": 8},
        "grid": {"model.d_model,seed": [[4, 1], [6, 2]], "train.batch": [1, 2]},
        "probe": {"n_sequences": 9},
    }
    before = copy.deepcopy(document)
    config = SweepConfig.from_dict(document)
    first, again = list(config.points), list(config.points)
    assert first == again
    assert config.to_dict() == config.to_dict()
    assert document == before


# written down and read back


EVERYTHING = """
seed = 3
backend = "reference"

[task]
name = "selective-copying"
seq_len = 20

[model]
architecture = "mamba-attn"

[train]
learning_rates = [0.003, 1e-05]
stop_below = 0.01

[grid]
"model.d_model,model.window" = [[8, 4], [12, 6]]
"train.weight_decay" = [0.0, 0.1]
"task.number_probability" = ["none", 0.3]

[probe]
n_sequences = 50
"""


def test_toml_round_trips() -> None:
    document = tomllib.loads(EVERYTHING)
    assert tomllib.loads(tomli_w.dumps(document)) == document
    assert SweepConfig.from_dict(tomllib.loads(tomli_w.dumps(document))) == SweepConfig.from_dict(document)


def test_the_resolved_sweep_is_every_run_in_full(tmp_path: Path) -> None:
    """What its directory keeps is enough to make each run again."""
    config = sweep(EVERYTHING)
    run = open_run(tmp_path, "sweep", config.to_dict())
    points = list(config.points)
    assert len(run.config["points"]) == len(points) == 8
    for kept, point in zip(run.config["points"], points, strict=True):
        assert TrainConfig.from_dict(kept["run"]) == point.config
        assert kept["settings"] == point.settings
    assert run.config["probe"] == {
        "n_sequences": 50, "n_calibration": 1000, "n_train": 4000, "confidence": 0.95, "tolerance": 0.01,
        "decoders": ["linear", "mlp"], "part_decoders": ["linear"], "stream": "keys-once", "seed": 0,
    }  # fmt: skip
    assert open_run(tmp_path, "sweep", sweep(EVERYTHING).to_dict()).path == run.path


def test_two_sweeps_have_two_directories(tmp_path: Path) -> None:
    texts = [EVERYTHING, EVERYTHING.replace("seed = 3", "seed = 4"), EVERYTHING.replace("= 50", "= 51")]
    texts += [EVERYTHING.replace("[0.0, 0.1]", "[0.1, 0.0]"), EVERYTHING.partition("[probe]")[0]]
    assert len({open_run(tmp_path, "sweep", sweep(text).to_dict()).path for text in texts}) == len(texts)


# what is refused

REFUSED = {
    "unknown key": ({"sed": 1}, "Did you mean 'seed'?"),
    "unknown table": ({"modle": {}}, "Did you mean 'model'?"),
    "no task": ({"task": {}}, "a task must be given, one of "),
    "no such task": ({"task": {"name": "copyin"}}, "Did you mean 'copying'?"),
    "no such preset": ({"task": {"name": "mqar", "preset": "papr"}}, "Did you mean 'paper'?"),
    "task parameter": ({"task": COPYING | {"n_token": 3}}, "Did you mean 'n_tokens'?"),
    "model key": ({"model": {"dmodel": 8}}, "Did you mean 'd_model'?"),
    "train key": ({"train": {"step": 8}}, "Did you mean 'steps'?"),
    "probe key": ({"probe": {"sequences": 8}}, "Did you mean 'n_sequences'?"),
    "probe value": ({"probe": {"confidence": 1.5}}, "`confidence` must be above 0 and at most 0.999999999; got 1.5"),
    "train value": ({"train": {"steps": 0}}, "`steps` must be an integer of at least 1; got 0"),
    "model value": ({"model": {"d_model": "8"}}, "`d_model` must be an integer of at least 1; got '8' (str)"),
    "distribution": ({"train": {"distribution": "easy"}}, "'easy'"),
    "seed": ({"seed": -1}, "`seed` must be an integer from 0 to 9223372036854775807; got -1"),
    "seed of another kind": ({"seed": True}, "9223372036854775807; got True (bool)"),
    "a task that is no table": ({"task": "copying"}, "task"),
    "a model that is no table": ({"model": 3}, "model"),
    "a train that is no table": ({"train": [1]}, "train"),
    "a probe that is no table": ({"probe": 3}, "probe"),
    "a grid that is no table": ({"grid": 3}, "grid"),
    "grid key": ({"grid": {"model.dmodel": [8]}}, "Did you mean 'd_model'?"),
    "grid table": ({"grid": {"modle.d_model": [8]}}, "Did you mean 'model'?"),
    "grid key without a table": ({"grid": {"d_model": [8]}}, "'d_model'"),
    "grid table alone": ({"grid": {"model": [8]}}, "'model'"),
    "grid table of tables": ({"grid": {"model": {"d_model": [8]}}}, "'model'"),
    "grid key below a key": ({"grid": {"model.x.d_model": [8, 16]}}, "model.x.d_model"),
    "grid seed with a key": ({"grid": {"seed.x": [1]}}, "'seed.x'"),
    "grid over probes": ({"grid": {"probe.seed": [1]}}, "'probe.seed'"),
    "grid key of spaces": ({"grid": {"model.d_model, seed": [[8, 1]]}}, "' seed'"),
    "grid value": ({"grid": {"train.steps": [5, "a"]}}, "`steps` must be an integer of at least 1; got 'a' (str)"),
    "grid value of another kind": (
        {"grid": {"model.d_model": [8, 8.0]}},
        "`d_model` must be an integer of at least 1; "
        "got "
        "8.0 (float)",
    ),
    "no list": ({"grid": {"model.d_model": 8}}, "`model.d_model` in [grid] must be a list of values; got 8"),
    "a text": (
        {"grid": {"model.architecture": "attn"}},
        "`model.architecture` in [grid] must be a "
        "list of "
        "values; got 'attn'",
    ),
    "empty list": ({"grid": {"model.d_model": []}}, "`model.d_model` in [grid] must be a list of values; got []"),
    "joined, no lists": ({"grid": {"model.d_model,seed": [8, 1]}}, "lists of 2 values"),
    "joined, too short": (
        {"grid": {"model.d_model,seed": [[8, 1], [8]]}},
        "`model.d_model,seed` in [grid] must have lists of "
        "2 values, "
        "one for each key; got [8]",
    ),
    "joined, too long": (
        {"grid": {"model.d_model,seed": [[8, 1, 2]]}},
        "`model.d_model,seed` in [grid] must have lists of 2 "
        "values, one "
        "for each key; got [8, 1, 2]",
    ),
    "twice": ({"grid": {"model.d_model": [8, 4, 8]}}, "`[grid]` must give each run once; got one twice, as {"),
    "twice, by a default": (
        {"grid": {"train.distribution": ["mixture"], "seed": [0, 0]}},
        "`[grid]` must give each run once; got "
        "one "
        "twice, as {",
    ),
    "twice, joined": (
        {"grid": {"model.d_model,seed": [[8, 1], [4, 1], [8, 1]]}},
        "`[grid]` must give each run once; got "
        "one "
        "twice, as {",
    ),
    "twice, in other words": (
        {"grid": {"train.learning_rates": [0.1, [0.1]]}},
        "`[grid]` must give each run once; got "
        "one "
        "twice, as {",
    ),
    "a key in two places": ({"grid": {"model.d_model": [8], "model.d_model,seed": [[4, 1], [6, 2]]}}, "d_model"),
    "a key twice in one": ({"grid": {"seed,seed": [[1, 2], [2, 3]]}}, "seed"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    """In one line that says what was wrong and what is allowed."""
    document, said = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        SweepConfig.from_dict({"task": COPYING, "train": TRAIN} | document)
    assert "\n" not in str(caught.value)
    assert re.search(r" must .*; got ", str(caught.value))


@pytest.mark.parametrize("name", ["probe", "grid", "task", "model", "train"])
@pytest.mark.parametrize("value", [0, False, "", [], 1, "x", [{}]])
def test_what_is_no_table_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be a table"):
        SweepConfig.from_dict({"task": {"name": "copying"}} | {name: value})


@pytest.mark.parametrize("n_values", [(101, 100), (10_001,), (1000, 1000, 1000, 1000)])
def test_a_grid_that_nobody_can_run_is_refused_at_once(n_values: tuple[int, ...]) -> None:
    keys = ("train.steps", "train.batch", "seed", "train.n_eval")
    grid = {key: list(range(1, n + 1)) for key, n in zip(keys, n_values, strict=False)}
    with pytest.raises(ValueError, match=rf"at most 10000 runs; got {math.prod(n_values)}\."):
        SweepConfig({"task": {"name": "copying"}}, grid)


def test_what_is_changed_to_make_them_is_accepted() -> None:
    """The negative control: without the fault there is no error."""
    assert len(list(SweepConfig.from_dict({"task": COPYING, "train": TRAIN}).points)) == 1


# side by side

TASK = AssociativeRecallDecoding(word_bits=2, seq_len=8)
CONFIGS = st.builds(
    TrainConfig,
    st.builds(
        AssociativeRecallDecoding,
        word_bits=st.sampled_from([2, 3]),
        seq_len=st.sampled_from([12, 13]),
        bit_probability=st.sampled_from([0.2, 0.6]),
    ),
    st.builds(ModelSpec, st.sampled_from(["attn", "gru"]), d_model=st.sampled_from([4, 8])),
    st.builds(
        Schedule,
        steps=st.sampled_from([5, 6]),
        batch=st.sampled_from([1, 2]),
        warmup_steps=st.sampled_from([0, 1]),
        precision=st.sampled_from(["float32", "bfloat16"]),
        micro_batch=st.sampled_from([0, 1]),
        weight_decay=st.sampled_from([0.0, 0.5]),
        learning_rates=st.sampled_from([(0.1,), (0.1, 0.2), (0.1, 0.2, 0.3)]),
        n_seeds=st.integers(1, 6),
        n_calibration_seeds=st.integers(1, 3),
        distribution=st.sampled_from(["uniform", "mixture"]),
    ),
    seed=st.integers(0, 9),
    backend=st.sampled_from(["auto", "reference"]),
)
#: Mostly of one shape, or all groups would be of one.
ALIKE = st.builds(
    TrainConfig,
    st.just(TASK),
    st.builds(ModelSpec, st.just("attn"), d_model=st.sampled_from([4, 8])),
    st.builds(Schedule, learning_rates=st.sampled_from([(0.1,), (0.1, 0.2)]), n_seeds=st.integers(1, 6)),
    seed=st.integers(0, 9),
)


def shape(config: TrainConfig) -> object:
    """What must agree in an ensemble: one graph of operations, over one schedule."""
    s, task = config.schedule, config.task
    return (
        config.model, config.backend, task.n_token_ids, task.n_positions, s.steps, s.batch, s.warmup_steps, s.precision,
        s.micro_batch,
    )  # fmt: skip


def size(config: TrainConfig) -> int:
    """Members of its largest phase, which are trained side by side."""
    return max(len(config.calibration_members()), config.schedule.n_seeds)


@given(st.lists(CONFIGS, max_size=12) | st.lists(ALIKE, max_size=12), st.integers(1, 20))
def test_groups_of_runs(configs: list[TrainConfig], largest: int) -> None:
    groups = group_runs(configs, largest)
    assert sorted(i for group in groups for i in group) == list(range(len(configs)))  # a partition
    for group in groups:
        assert len({shape(configs[i]) for i in group}) == 1
        assert group == sorted(group)
        n_calibration = sum(len(configs[i].calibration_members()) for i in group)
        n_reported = sum(configs[i].schedule.n_seeds for i in group)
        assert max(n_calibration, n_reported) <= largest or len(group) == 1
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    assert group_runs(configs, largest) == groups
    # None is split without need: the first run of a group did not fit into the one before it.
    for alike in {shape(config): None for config in configs}:
        own = [group for group in groups if shape(configs[group[0]]) == alike]
        for group, following in pairwise(own):
            assert sum(size(configs[i]) for i in group) + size(configs[following[0]]) > largest


def test_what_runs_of_a_group_may_differ_in() -> None:
    base: dict[str, Any] = {"task": {"name": "ar-decoding", "word_bits": 2, "seq_len": 12}, "train": TRAIN}
    alike: dict[str, Sequence[Any]] = {
        "seed": [1, 2], "train.weight_decay": [0.0, 0.5], "train.clip_norm": [0.1, 1.0],
        "train.learning_rates": [[0.1, 0.2], 0.3], "train.distribution": ["uniform", "mixture"],
        "task.bit_probability": [0.2, 0.8], "train.stop_below": [0.0, 0.1], "train.targets": ["task", "random"],
        "train.n_seeds": [1, 2], "train.n_eval": [10, 20],
    }  # fmt: skip
    apart: dict[str, Sequence[Any]] = {
        "model.architecture": ["attn", "gru"], "model.d_model": [4, 8], "model.window": [4, 5],
        "backend": ["auto", "numba"],
        "train.steps": [5, 6], "train.batch": [1, 2], "train.warmup_steps": [0, 1], "train.micro_batch": [0, 1],
        "train.precision": ["float32", "bfloat16"], "task.word_bits": [2, 3], "task.seq_len": [12, 13],
    }  # fmt: skip
    for keys, n_groups in ((alike, 1), (apart, 2)):
        for key, values in keys.items():
            configs = [point.config for point in SweepConfig(base, {key: list(values)}).points]
            assert len(group_runs(configs, 1000)) == n_groups, key


def test_a_run_that_is_too_large_is_a_group_of_its_own() -> None:
    configs = [point.config for point in of_grid({"train.n_seeds": [3, 9, 2, 1, 4]}).points]
    assert group_runs(configs, 6) == [[0], [1], [2, 3], [4]]
    assert group_runs(configs, 1) == [[0], [1], [2], [3], [4]]
    assert group_runs(configs, 19) == [[0, 1, 2, 3, 4]]
    assert group_runs([], 5) == []


# tasks of one's own

OWN = '''
class Recall:
    """Which of its bits is asked for."""

    def __init__(self, n_bits=2):
        self.n_bits = n_bits

    def prefixes(self):
        return [tuple(i >> j & 1 for j in range(self.n_bits)) for i in range(2**self.n_bits)]

    def queries(self):
        return [(2 + j,) for j in range(self.n_bits)]

    def answer(self, prefix, query):
        return prefix[query[0] - 2]
'''


def test_tasks_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their parameters are swept like those of any other; runs of one shape are trained side by side."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    grid = {"task.n_bits": [2, 3], "train.weight_decay": [0.0, 0.1]}
    config = SweepConfig.from_dict({"task": {"name": "own.py:Recall"}, "train": TRAIN, "grid": grid})
    configs = [point.config for point in config.points]
    assert [own.task.state_case().entropy_bits for own in configs] == [2, 2, 3, 3]
    assert group_runs(configs, 100) == [[0, 1], [2, 3]]
    kept = open_run(tmp_path, "sweep", config.to_dict()).config["points"]
    assert [TrainConfig.from_dict(point["run"]) for point in kept] == configs
    (tmp_path / "own.py").write_text(OWN + "# changed\n")
    with pytest.raises(
        ValueError,
        match=r"the source of own\.py:Recall must be as it was, with source_sha256.*; got 1317dde1791b\.\.\.",
    ):
        TrainConfig.from_dict(kept[0]["run"])
    with pytest.raises(ValueError, match="n_bit") as caught:
        SweepConfig.from_dict({"task": {"name": "own.py:Recall"}, "grid": {"task.n_bit": [2]}})
    assert "\n" not in str(caught.value)
