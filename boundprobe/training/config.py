"""Configuration of a training run: task, model and schedule.  Torch-free, so that a bad one is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from boundprobe.checks import MOST_SEED, check_number, check_word
from boundprobe.errors import RunDirectoryError
from boundprobe.models.own_sources import check_recorded, check_sources
from boundprobe.models.spec import ModelSpec
from boundprobe.runs.files import parse_or_refuse
from boundprobe.seeds import generator
from boundprobe.settings import check_settings, setting, settings_of
from boundprobe.tasks.base import IGNORE, AbstractTask, check_distribution
from boundprobe.tasks.custom.source import HASH_KEY
from boundprobe.tasks.registry import task_of

#: Phases of a run: learning rates are chosen on seeds of the first, results are reported on seeds of the second.
PHASES = ("calibration", "report")
#: What is learned: the task's answers, or, as a negative control, permuted labels.
TARGETS = ("task", "random")
PRECISIONS = ("float32", "bfloat16")

#: What runs agree in whose members are trained side by side; it can be compared and hashed.
Shape = tuple[object, ...]


#: Keys of a configuration by an earlier name, which configuration files and run directories may still use.
OLD_KEYS = {"scan": "backend"}


def rename_old_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys of a configuration their present names.

    Raises
    ------
    ValueError
        If a key is given under both names.

    Examples
    --------
    >>> rename_old_keys({"seed": 1, "scan": "numba"})
    {'seed': 1, 'backend': 'numba'}
    """
    for old, new in OLD_KEYS.items():
        if old in config and new in config:
            raise ValueError(f"`{old}` is the old name of `{new}`; only one of them may be given; got both")
    return {OLD_KEYS.get(key, key): value for key, value in config.items()}


@dataclass(frozen=True)
class Schedule:
    """Training and evaluation settings of a member.

    Attributes
    ----------
    distribution : str
        Training distribution.
    steps, batch : int
        Optimizer steps, and sequences in each.
    learning_rates : tuple of float
        Peak rates to choose from.
    n_seeds, n_calibration_seeds : int
        Members that are reported, and members per learning rate that choose it.  With a single learning rate
        there is nothing to choose and no calibration member.
    warmup_steps : int
        Linear warm-up, then linear decay to 0 at ``steps``.
    weight_decay, clip_norm : float
    n_eval : int
        Sequences per distribution in an evaluation.
    stop_below : float
        A member whose mean loss (nats) over the last tenth of ``steps`` is below this has learned the task and stops;
        0: every member takes all steps.  One whose loss is no longer finite always stops.
    targets : "task" | "random"
        "random" deals the answers of each draw out to its questions at random, in training and in judging: a control
        that no model beats by more than chance.
    precision : "float32" | "bfloat16"
        Of activations and matrix products; weights and optimizer are float32.
    micro_batch : int
        Sequences that go through the model at once; their gradients are added up to those of ``batch``.  0: all.
    """

    distribution: str = setting("mixture", "training distribution", metavar="NAME")
    steps: int = setting(4000, "optimizer steps of each member", metavar="N", least=1)
    batch: int = setting(32, "sequences in a step", metavar="N", least=1)
    learning_rates: tuple[float, ...] = setting(
        (0.01,), "peak learning rate; several are compared", flag="--lr", metavar="X[,Y..]"
    )
    n_seeds: int = setting(1, "models that are reported", flag="--seeds", metavar="N", least=1)
    n_calibration_seeds: int = setting(
        1, "models of each learning rate that choose one", flag="--calibration-seeds", metavar="N", least=1
    )
    warmup_steps: int = setting(100, "steps of linear warm-up", metavar="N", least=0)
    weight_decay: float = setting(0.1, "AdamW's weight decay", least=0)
    clip_norm: float = setting(1.0, "norm that gradients are clipped to", above=0)
    n_eval: int = setting(2000, "sequences in each evaluation", flag="--eval-sequences", metavar="N", least=1)
    stop_below: float = setting(0.0, "stop members whose loss stays below this (nats)", least=0)
    targets: str = setting("task", "'task', or 'random' for a negative control", metavar="NAME", words=TARGETS)
    precision: str = setting("float32", "float32 or bfloat16 activations", metavar="NAME", words=PRECISIONS)
    micro_batch: int = setting(0, "sequences at once, gradients add up; 0: all", metavar="N", least=0)

    def __post_init__(self) -> None:
        check_settings(self)
        for rate in self.learning_rates:
            check_number("learning_rates", rate, above=0, why="; give --lr X[,Y..]")
        if not self.learning_rates or len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError(
                f"`learning_rates` must be one or more numbers, each once; got {list(self.learning_rates)}. Give --lr "
                "X[,Y..]."
            )


@dataclass(frozen=True)
class Member:
    """One model of a run: its phase, learning rate and place among the seeds of its phase."""

    phase: str
    learning_rate: float
    seed_index: int

    @property
    def key(self) -> tuple[int, int]:
        """Phase and seed index: with the run's seed, they determine a member's RNG streams.

        The learning rate is left out on purpose: rates are compared on the same data and initial weights.
        """
        return PHASES.index(self.phase), self.seed_index


class MemberId(NamedTuple):
    """The identity of a trained model in a group of runs: which run, and which of its members, calibration first."""

    run: int
    member: int


@dataclass(frozen=True)
class TrainConfig:
    """A training run; its result is a function of this alone.

    Examples
    --------
    >>> config = TrainConfig(task_of({"name": "ar-decoding"}), ModelSpec("attn-attn"), Schedule())
    >>> TrainConfig.from_dict(config.to_dict()) == config
    True

    ``backend`` names the backend of every operation that has one of that name; ``auto`` leaves the choice to device and
    installation, and the result says which was taken.  Run directories record it as ``scan``, its first name: the
    name of a run is a hash of its configuration, and a new key would give every run another one.
    """

    task: AbstractTask
    model: ModelSpec
    schedule: Schedule
    seed: int = setting(0, "seed of everything random", metavar="N", least=0, most=MOST_SEED)
    backend: str = setting("auto", "backend of the operations; see doctor", flag="--backend,--scan", metavar="NAME")

    def __post_init__(self) -> None:
        check_settings(self)
        check_distribution(self.schedule.distribution, self.task.distributions)

    def calibration_members(self) -> list[Member]:
        """Members that choose the learning rate: none if there is only one rate."""
        rates = self.schedule.learning_rates
        seeds = range(self.schedule.n_calibration_seeds)
        return [Member("calibration", rate, i) for rate in rates for i in seeds] if len(rates) > 1 else []

    def report_members(self, learning_rate: float) -> list[Member]:
        """Members that are reported."""
        return [Member("report", learning_rate, i) for i in range(self.schedule.n_seeds)]

    def shape(self) -> Shape:
        """Settings that runs must share to be trained side by side: those with one value per ensemble."""
        schedule = self.schedule
        shared = (schedule.steps, schedule.batch, schedule.warmup_steps, schedule.precision, schedule.micro_batch)
        return self.model, self.backend, *shared, self.task.n_token_ids, self.task.n_positions

    def check_asks(self) -> None:
        """Raise ``ValueError`` for a distribution without targets: it is there to be looked at, not to train on."""
        distribution = self.schedule.distribution
        looked_at = self.task.sample(64, generator(self.seed, "sample"), distribution)
        if (looked_at.targets == IGNORE).all():
            others = [name for name in self.task.distributions if name != distribution]
            raise ValueError(
                f"`distribution` must be one that asks for an answer, one of {', '.join(others)}; got {distribution!r}."
            )

    @property
    def n_members(self) -> int:
        """Models of the run, calibration members included."""
        return len(self.calibration_members()) + self.schedule.n_seeds

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all members together."""
        return self.schedule.steps * self.n_members

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration, as in ``config.toml``."""
        return {
            "seed": int(self.seed),
            "scan": self.backend,
            "task": {"name": self.task.name, **self.task.parameters()},
            "model": self.model.to_dict(),
            "train": self._train_table(),
        }

    def _train_table(self) -> dict[str, Any]:
        """[train]; 0 and 0.0 are one number in a configuration, and one run."""
        table = asdict(self.schedule) | {"learning_rates": [float(rate) for rate in self.schedule.learning_rates]}
        return table | {field.name: float(table[field.name]) for field in fields(Schedule) if field.type == "float"}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> TrainConfig:
        """The configuration that tables describe, as a TOML file or a run directory has them; inverse of ``to_dict``.

        Raises
        ------
        ValueError
            For unknown keys and values that are not allowed.
        """
        config = rename_old_keys(config)
        for key in config:
            check_word("key", key, ("seed", "backend", "task", "model", "train"))
        for name in ("task", "model", "train"):
            if not isinstance(config.get(name, {}), Mapping):
                raise ValueError(f"`{name}` must be a table, [{name}] with its keys below it; got {config[name]!r}.")
        tables = {name: dict(config.get(name, {})) for name in ("task", "model", "train")}
        for name, keys in (("model", ModelSpec), ("train", Schedule)):
            known = [f.name for f, _ in settings_of(keys)]
            for key in tables[name]:
                if (name, key) != ("model", "sources"):  # which boundprobe wrote
                    check_word("key", key, known, of=f" of [{name}]")
        rates = tables["train"].get("learning_rates")
        if rates is not None:
            tables["train"]["learning_rates"] = tuple(rates) if isinstance(rates, list | tuple) else (rates,)
        return cls(
            task=task_of(tables["task"]),
            model=ModelSpec(**tables["model"]),
            schedule=Schedule(**tables["train"]),
            seed=config.get("seed", 0),
            backend=config.get("backend", "auto"),
        )


def config_of_run(table: Mapping[str, Any], place: Path) -> TrainConfig:
    """The configuration that a run directory has: of a training run, or one point of a sweep.

    Parameters
    ----------
    table : mapping
        As ``TrainConfig.to_dict`` made it.
    place : Path
        The run directory.

    Raises
    ------
    RunDirectoryError
        If the configuration is none, or names a user's own task without the hash of its source.
    ValueError
        If it names a user's own task that the user has not named and does not trust, or the source of a mixer that
        was named has changed.
    """
    task = table.get("task")
    name = str(task.get("name", "")) if isinstance(task, Mapping) else ""
    parse_or_refuse(place / "config.toml", lambda: check_recorded(table.get("model")))
    if ":" in name:  # a user's own
        if HASH_KEY not in table["task"]:
            raise RunDirectoryError(
                f"{place} must have the {HASH_KEY} of its task {name!r}, as boundprobe writes it; got none, and "
                "executed nothing; name another directory"
            )
        config = TrainConfig.from_dict(table)
    else:
        config = parse_or_refuse(place / "config.toml", lambda: TrainConfig.from_dict(table))
    check_sources(config.model.sources)
    return config


class ActiveMember(NamedTuple):
    """A member in training, with the configuration of its run."""

    config: TrainConfig
    member: Member
