"""What a training run is: task, model and schedule.  Torch-free, so that a bad one is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from boundprobe.checks import check_integer, check_number, check_word
from boundprobe.models.spec import ModelSpec
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE, AbstractTask, check_distribution
from boundprobe.tasks.registry import TASKS, build_task

#: Phases of a run: learning rates are chosen on seeds of the first, results are reported on seeds of the second.
PHASES = ("calibration", "report")
#: What is learned: the task's answers, or, as a negative control, answers dealt out at random.
TARGETS = ("task", "random")
PRECISIONS = ("float32", "bfloat16")

#: What runs agree in whose members are trained side by side; it can be compared and hashed.
Shape = tuple[object, ...]


@dataclass(frozen=True)
class Schedule:
    """How a member is trained and judged.

    Attributes
    ----------
    distribution : str
        Training law.
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

    distribution: str = "mixture"
    steps: int = 4000
    batch: int = 32
    learning_rates: tuple[float, ...] = (0.01,)
    n_seeds: int = 1
    n_calibration_seeds: int = 1
    warmup_steps: int = 100
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    n_eval: int = 2000
    stop_below: float = 0.0
    targets: str = "task"
    precision: str = "float32"
    micro_batch: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "n_seeds", "n_calibration_seeds", "n_eval"):
            check_integer(name, getattr(self, name), 1)
        check_integer("warmup_steps", self.warmup_steps, 0)
        check_integer("micro_batch", self.micro_batch, 0)
        check_word("targets", self.targets, TARGETS)
        check_word("precision", self.precision, PRECISIONS)
        check_number("stop_below", self.stop_below, least=0)
        check_number("weight_decay", self.weight_decay, least=0)
        check_number("clip_norm", self.clip_norm, above=0)
        for rate in self.learning_rates:
            check_number("learning_rates", rate, above=0, why="; give --lr X[,Y..]")
        if not self.learning_rates or len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError(
                f"learning_rates is {list(self.learning_rates)}; allowed: one or more numbers, each once; "
                "give --lr X[,Y..]"
            )


@dataclass(frozen=True)
class Member:
    """One model of a run: its phase, learning rate and place among the seeds of its phase."""

    phase: str
    learning_rate: float
    seed_index: int

    @property
    def key(self) -> tuple[int, int]:
        """Phase and seed index: what a member's random streams depend on, beside the run's seed.

        The learning rate is left out on purpose: rates are compared on the same data and initial weights.
        """
        return PHASES.index(self.phase), self.seed_index


@dataclass(frozen=True)
class TrainConfig:
    """A training run; its result is a function of this alone.

    Examples
    --------
    >>> config = TrainConfig(build_task("ar-decoding", {}), ModelSpec("attn-attn"), Schedule())
    >>> TrainConfig.from_dict(config.to_dict()) == config
    True

    ``scan`` names the backend of the recurrences; ``auto`` leaves it to device and installation, and the result
    says which was taken.
    """

    task: AbstractTask
    model: ModelSpec
    schedule: Schedule
    seed: int = 0
    scan: str = "auto"

    def __post_init__(self) -> None:
        check_distribution(self.schedule.distribution, self.task.distributions)
        check_integer("seed", self.seed, 0)

    def calibration_members(self) -> list[Member]:
        """Members that choose the learning rate: none if there is only one rate."""
        rates = self.schedule.learning_rates
        seeds = range(self.schedule.n_calibration_seeds)
        return [Member("calibration", rate, i) for rate in rates for i in seeds] if len(rates) > 1 else []

    def report_members(self, learning_rate: float) -> list[Member]:
        """Members that are reported."""
        return [Member("report", learning_rate, i) for i in range(self.schedule.n_seeds)]

    def shape(self) -> Shape:
        """What runs must agree in to be trained side by side: all that is one number for a whole ensemble."""
        schedule = self.schedule
        shared = (schedule.steps, schedule.batch, schedule.warmup_steps, schedule.precision, schedule.micro_batch)
        return self.model, self.scan, *shared, self.task.n_token_ids, self.task.n_positions

    def check_asks(self) -> None:
        """Raise ``ValueError`` for a distribution without targets: it is there to be looked at, not to train on."""
        distribution = self.schedule.distribution
        looked_at = self.task.sample(64, generator(self.seed, "sample"), distribution)
        if (looked_at.targets == IGNORE).all():
            others = [name for name in self.task.distributions if name != distribution]
            raise ValueError(
                f"distribution {distribution!r} asks for no answer; allowed: {', '.join(others)}; choose one of them"
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
            "scan": self.scan,
            "task": {"name": self.task.name, **self.task.parameters()},
            "model": {key: x if isinstance(x, str) else int(x) for key, x in asdict(self.model).items()},
            "train": self._train_table(),
        }

    def _train_table(self) -> dict[str, Any]:
        """[train]; 0 and 0.0 are one number in a configuration, and one run."""
        table = asdict(self.schedule) | {"learning_rates": [float(rate) for rate in self.schedule.learning_rates]}
        return table | {field.name: float(table[field.name]) for field in fields(Schedule) if field.type == "float"}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> TrainConfig:
        """The configuration of a run directory; inverse of ``to_dict``.

        Raises
        ------
        ValueError
            For unknown keys and values that are not allowed.
        """
        for key in config:
            check_word("key", key, ("seed", "scan", "task", "model", "train"), "rename or drop it")
        tables = {name: dict(config.get(name, {})) for name in ("task", "model", "train")}
        if ":" not in str(tables["task"].get("name")):  # a user's own task is known by its reference
            check_word("task", tables["task"].get("name"), TASKS)
        for name, keys in (("model", ModelSpec), ("train", Schedule)):
            for key in tables[name]:
                check_word(
                    "key",
                    key,
                    [field.name for field in fields(keys)],
                    "rename or drop it",
                    of=f" of [{name}]",
                )
        rates = tables["train"].get("learning_rates")
        if rates is not None:
            tables["train"]["learning_rates"] = tuple(rates) if isinstance(rates, list | tuple) else (rates,)
        return cls(
            task=build_task(tables["task"].pop("name"), tables["task"]),
            model=ModelSpec(**tables["model"]),
            schedule=Schedule(**tables["train"]),
            seed=config.get("seed", 0),
            scan=config.get("scan", "auto"),
        )
