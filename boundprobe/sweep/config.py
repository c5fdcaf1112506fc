"""A sweep: settings that all runs share, a grid of settings that differ, and which runs are trained side by side.

Torch-free, so that a bad sweep is refused at once.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from boundprobe.checks import check_word, refuse
from boundprobe.probes.settings import VERTICAL, ProbeConfig
from boundprobe.runs.store import config_hash
from boundprobe.training.config import OLD_KEYS, Shape, TrainConfig, rename_old_keys

#: Tables of a sweep's file; the first three and ``seed`` and ``backend`` are those of ``boundprobe train``.
TABLES = ("task", "model", "train", "grid", "probe")
KEYS = ("seed", "backend", *TABLES)
#: What a sweep takes where its file says nothing: seeds enough to speak of a spread, and for a choice that holds.
DEFAULT_SEEDS = {"n_seeds": 11, "n_calibration_seeds": 3}
#: Runs of one sweep: all are checked before the first, about 2,000 a second.
MOST_RUNS = 10_000


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes
    ----------
    settings : dict
        What the grid sets here: dotted key to value.
    config : TrainConfig
    """

    settings: dict[str, Any]
    config: TrainConfig


@dataclass(frozen=True)
class SweepConfig:
    """A sweep; what comes out of it is a function of this alone.

    Attributes
    ----------
    base : dict
        The tables that all runs share, as ``TrainConfig.from_dict`` takes them.
    grid : dict
        Dotted key such as ``model.d_model`` to the values that it takes, every one with every value of the other keys.
        Keys joined by commas change together: ``"model.d_model,model.window" = [[8, 4], [12, 6]]``.
    probe : dict or None
        Arguments of ``ProbeConfig``: reported models are measured.  None: they are trained only.

    Examples
    --------
    >>> sweep = SweepConfig(
    ...     {"task": {"name": "copying"}, "train": {"steps": 9}}, {"model.d_model": [8, 16], "train.batch": [1, 2]}
    ... )
    >>> [tuple(point.settings.values()) for point in sweep.points]
    [(8, 1), (8, 2), (16, 1), (16, 2)]
    """

    base: dict[str, Any]
    grid: dict[str, list[Any]] = field(default_factory=dict)
    probe: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, table in [
            *self.base.items(),
            ("grid", self.grid),
            ("probe", {} if self.probe is None else self.probe),
        ]:
            if name in TABLES and not isinstance(table, Mapping):
                raise ValueError(f"`{name}` must be a table, [{name}] with its keys below it; got {table!r}.")
        known: set[str] = set()
        for key, values in self.grid.items():
            names = key.split(",")
            for name in names:
                _check_key(name)
                if OLD_KEYS.get(name, name) in known:
                    raise ValueError(f"each key of `[grid]` must be given once; got {name!r} twice.")
                known.add(OLD_KEYS.get(name, name))
            if not isinstance(values, list) or not values:
                raise ValueError(f"`{key}` in [grid] must be a list of values; got {values!r}.")
            for value in values:
                if len(names) > 1 and not (isinstance(value, list) and len(value) == len(names)):
                    raise ValueError(
                        f"`{key}` in [grid] must have lists of {len(names)} values, one for each key; got {value!r}."
                    )
        if self.probe is not None:
            for name in self.probe:
                check_word("key", name, ProbeConfig.__dataclass_fields__, of=" of [probe]")
        _ = self.probe_config  # which also refuses wrong settings
        seen: dict[str, dict[str, Any]] = {}
        for point in self.points:  # which also refuses what no run can be made of
            if (other := seen.setdefault(config_hash(point.config.to_dict()), point.settings)) is not point.settings:
                raise ValueError(
                    f"`[grid]` must give each run once; got one twice, as {other} and as {point.settings}. Drop "
                    "repeated values, and keys that change nothing."
                )

    @cached_property
    def probe_config(self) -> ProbeConfig | None:
        """Settings with which reported models are measured; None: they are trained only."""
        if self.probe is None:
            return None
        config = ProbeConfig(**self.probe)
        if config.cut != VERTICAL:
            refuse("cut", "vertical in [probe], as the tables are of all answers", repr(config.cut))
        return config

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SweepConfig:
        """The sweep of a TOML file.

        Raises
        ------
        ValueError
            For unknown keys and values that are not allowed.
        """
        document = rename_old_keys(document)
        for key in document:
            check_word("key", key, KEYS)
        base = {key: value for key, value in document.items() if key not in ("grid", "probe")}
        return cls(base, document.get("grid", {}), document.get("probe"))

    def to_dict(self) -> dict[str, Any]:
        """The resolved sweep: every run in full, in order."""
        points = [{"settings": point.settings, "run": point.config.to_dict()} for point in self.points]
        return {"probe": None if self.probe_config is None else self.probe_config.to_dict(), "points": points}

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The runs, the last key of the grid changing fastest."""
        return tuple(self._expanded())

    def _expanded(self) -> Iterator[Point]:
        if (n_runs := math.prod(map(len, self.grid.values()))) > MOST_RUNS:
            raise ValueError(f"`[grid]` must have at most {MOST_RUNS} runs; got {n_runs}. Make several sweeps of it.")
        for values in itertools.product(*self.grid.values()):
            settings: dict[str, Any] = {}
            for key, value in zip(self.grid, values, strict=True):
                names = key.split(",")
                settings |= dict(zip(names, value if len(names) > 1 else [value], strict=True))
            base = rename_old_keys(self.base)
            tables = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
            tables["train"] = DEFAULT_SEEDS | tables.get("train", {})
            for name, value in settings.items():
                *above, last = name.split(".")
                (tables.setdefault(above[0], {}) if above else tables)[OLD_KEYS.get(last, last)] = value
            yield Point(settings, TrainConfig.from_dict(tables))


def _check_key(name: str) -> None:
    table, _, key = name.partition(".")
    allowed = ["seed", "backend", "task.NAME", "model.NAME", "train.NAME"]
    tables, keys = ("task", "model", "train"), ("seed", "backend", *OLD_KEYS)
    if not ((table in tables and key and "." not in key) or (table in keys and not key)):
        near = [] if table in (*tables, *keys) else difflib.get_close_matches(table, (*tables, *keys), n=1)
        asked = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"a key of `[grid]` must be one of {', '.join(allowed)}; got {name!r}.{asked}")


def group_runs(configs: Sequence[TrainConfig], largest: int) -> list[list[int]]:
    """Groups of runs to be trained side by side: those whose models have one shape, while they fit into one ensemble.

    Such runs agree in model, backend, batch, steps, warm-up, precision, and in token ids and length of their task;
    they may differ in everything else, such as seed, weight decay, learning rates, distribution and the
    parameters of what a task draws.

    Parameters
    ----------
    configs : sequence of TrainConfig
    largest : int
        Members of an ensemble.  A run with more is a group of its own, trained in several rounds.

    Returns
    -------
    list of lists of int
        Indices of the runs of each group, in order.
    """
    groups: list[list[int]] = []
    open_groups: dict[Shape, tuple[list[int], int]] = {}
    for i, config in enumerate(configs):
        key, size = config.shape(), _largest_round(config)
        group, used = open_groups.get(key, ([], largest + 1))
        if used + size > largest:
            group, used = [], 0
            groups.append(group)
        group.append(i)
        open_groups[key] = (group, used + size)
    return groups


def _largest_round(config: TrainConfig) -> int:
    return max(len(config.calibration_members()), config.schedule.n_seeds)
