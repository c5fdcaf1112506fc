"""The bound's strongest test: machines of exactly so many bits, trained, run, and held against the ceiling.

A model is given a bottleneck of each of several sizes at the cut; every machine's accuracy on fresh sequences stands
beside the ceiling S3 (or S1) at its bits.  A certified accuracy above the ceiling is a bug, in the theory or in the
code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from boundprobe.bottleneck.module import Bottleneck, BottleneckedModel
from boundprobe.bottleneck.train import BottleneckConfig, train_bottlenecks
from boundprobe.bounds import fano_accuracy_ceiling, packing_accuracy_ceiling, store_some_accuracy
from boundprobe.checks import check_integer, check_number
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.certificates.binomial import answer_errors, required_by, used_information
from boundprobe.probes.model_answers import states_at_cut, wrong_answers
from boundprobe.probes.run import check_trained
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.files import write_whole
from boundprobe.runs.store import Run, open_run, read_or_refuse
from boundprobe.seeds import generator
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.cases import StateCase
from boundprobe.training.config import TrainConfig
from boundprobe.training.evaluate import model_device
from boundprobe.training.weights import load_models


@dataclass(frozen=True)
class CurveConfig:
    """Which bottlenecks are trained, and how they are measured.

    Attributes
    ----------
    budgets : tuple of (entries, bits of an entry)
    steps : int
        Training steps of each.
    n_sequences : int
        Independent evaluation sequences.
    confidence : float
        That every limit of the whole curve holds.
    seed : int
    """

    budgets: tuple[tuple[int, int], ...]
    steps: int = 400
    n_sequences: int = 4000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.budgets or len(set(self.budgets)) < len(self.budgets):
            shown = [f"{m}x{b}" for m, b in self.budgets]
            raise ValueError(f"budgets are {shown}; allowed: one or more, each once; such as 1x2,1x4,2x6")
        for budget in self.budgets:
            self.bottleneck(budget)
        check_integer("n_sequences", self.n_sequences, 1)
        check_integer("seed", self.seed, 0)
        check_number("confidence", self.confidence, above=0, below=1, why="; take e.g. 0.95")

    def bottleneck(self, budget: tuple[int, int]) -> BottleneckConfig:
        """How one of them is trained."""
        return BottleneckConfig(*budget, steps=self.steps)


def parse_budgets(text: str) -> tuple[tuple[int, int], ...]:
    """``1x2,4x3`` is one entry of 2 bits, and four of 3; ``6`` alone is one entry of 6 bits.

    >>> parse_budgets("2,4x3")
    ((1, 2), (4, 3))
    """
    budgets = []
    for part in text.split(","):
        entries, times, bits = part.strip().rpartition("x")
        if not (bits.isdecimal() and (entries.isdecimal() or not times)):
            raise ValueError(f"budget {part!r} is not understood; allowed: ENTRIESxBITS or BITS; such as 1x2,1x4,2x6")
        budgets.append((int(entries or 1), int(bits)))
    return tuple(budgets)


def curve_config(given: Mapping[str, Any], probe: ProbeConfig) -> CurveConfig | None:
    """The curve that ``--budgets`` and ``--bottleneck-steps`` ask for, measured like ``probe``; None if none."""
    if not given:
        return None
    if "budgets" not in given:
        raise ValueError("--bottleneck-steps is given without --budgets; allowed: both; add e.g. --budgets 1x2,1x4")
    return CurveConfig(
        parse_budgets(given["budgets"]),
        **({"steps": given["steps"]} if "steps" in given else {}),
        n_sequences=probe.n_sequences,
        confidence=probe.confidence,
        seed=probe.seed,
    )


def ceiling_and_floor(case: StateCase, bits: int) -> tuple[float, float | None]:
    """Best accuracy of any machine with so many bits, and that of storing some answers (None where not defined)."""
    if not case.independent_uniform:
        return float(fano_accuracy_ceiling(bits, case.entropy_bits, case.n_answers, case.n_values)), None
    ceiling = packing_accuracy_ceiling(bits, case.n_answers, case.n_values)
    return float(ceiling), float(store_some_accuracy(bits, case.n_answers, case.n_values))


def measure_bottleneck(
    machine: BottleneckedModel, task: AbstractTask, n_sequences: int, alpha: float, seed: int
) -> dict[str, Any]:
    """One point of the curve: accuracy and used information of a machine of exactly so many bits.

    Parameters
    ----------
    machine : BottleneckedModel
        Trained on other streams (``boundprobe.seeds`` keeps the roles apart).
    task : AbstractTask
    n_sequences : int
    alpha : float
        Probability, at most, that any limit of this point fails.
    seed : int
    """
    case = task.state_case()
    cut = task.sample_cut(n_sequences, generator(seed, "evaluation", 4))
    states = states_at_cut(machine, cut.prefix)
    errors = answer_errors(wrong_answers(machine, states, cut), alpha)
    used = used_information(case, errors)
    total_bits = states[0].bits().total_bits
    ceiling, floor = ceiling_and_floor(case, total_bits)
    n_seen = len(np.unique(np.concatenate([state.flatten().cpu().numpy() for state in states]), axis=0))
    needs = required_by(case, errors).lower
    slack = 1e-9 * max(1.0, case.entropy_bits)  # sums of binary entropies end an ulp off
    violations = []
    if needs > total_bits + slack:
        violations.append(f"required {needs:.3f} bits is more than the {total_bits} of a bottleneck (S3)")
    if used.lower > total_bits + slack:
        violations.append(f"used {used.lower:.3f} bits is more than the {total_bits} of a bottleneck (S1)")
    if n_seen > 2**total_bits:
        violations.append(f"{n_seen} states were seen, more than {total_bits} bits of a bottleneck can tell apart")
    return {
        "entries": machine.bottleneck.n_entries,
        "entry_bits": machine.bottleneck.entry_bits,
        "bits": total_bits,
        "accuracy": {
            "estimate": 1 - errors.mean_estimate,
            "lower": 1 - errors.mean_upper,
            "upper": 1 - errors.mean_lower,
        },
        "accuracy_ceiling": ceiling,
        "accuracy_floor_strategy": floor,
        "used_bits": vars(used),
        "n_states_seen": n_seen,
        "violations": violations,
    }


def probe_bottleneck(
    trained: Run, member: int, config: CurveConfig, root: Path | None = None, *, device: str = "cpu"
) -> dict[str, Any]:
    """The curve of one member of a finished training run: trained and measured once, and then read back.

    Bottlenecks are trained side by side; an interrupted run goes on with the first that is not measured.

    Returns
    -------
    dict
        The document ``boundprobe.bottleneck/1``.

    Raises
    ------
    RunDirectoryError
        If ``trained`` is not a finished training run.
    ValueError
        If it has no such member.
    """
    check_trained(trained, member)
    settings = {"trained": trained.run_id, "member": member, "bottleneck": _plain(config)}
    run = open_run(root or trained.path.parent, "bottleneck", settings)
    if (known := run.result()) is not None:
        return known
    task = TrainConfig.from_dict(trained.config).task
    alpha = (1 - config.confidence) / len(config.budgets)
    with run.session(device=device, seeds={"seed": config.seed, "roles": "bottleneck, evaluation"}):
        model = load_models(trained, device)[member]
        run.replace_metrics(points := run.metrics())  # without a line that a crash cut off
        done = {(point["entries"], point["entry_bits"]) for point in points}
        _train_missing(run, model, task, config)
        for budget in config.budgets:
            if budget not in done:
                machine = load_bottleneck(run, model, task, budget)
                point = measure_bottleneck(machine, task, config.n_sequences, alpha, config.seed)
                run.append_metrics(point)
                points.append(point)
        run.finish(
            {
                "schema": "boundprobe.bottleneck/1",
                "run_id": run.run_id,
                "run_dir": str(run.path),
                "trained": trained.run_id,
                "task": trained.config["task"],
                "model": trained.config["model"],
                "member": member,
                "confidence": config.confidence,
                "points": points,
                "violations": [violation for point in points for violation in point["violations"]],
            }
        )
    document = run.result()
    assert document is not None  # just written
    return document


def _train_missing(run: Run, model: SequenceModel, task: AbstractTask, config: CurveConfig) -> None:
    """Train all bottlenecks of a curve, unless the weights of all are there."""
    if all((run.path / _file(budget)).exists() for budget in config.budgets):
        return
    # All of them, because rounding may depend on who is trained beside whom.
    configs = [config.bottleneck(budget) for budget in config.budgets]
    for budget, machine in zip(config.budgets, train_bottlenecks(model, task, configs, config.seed), strict=True):
        weights = {name: value.contiguous() for name, value in machine.bottleneck.state_dict().items()}
        write_whole(run.path / _file(budget), _writer(weights))


def _writer(weights: dict[str, Tensor]) -> Callable[[Path], object]:
    content = save(weights)
    return lambda path: path.write_bytes(content)


def load_bottleneck(run: Run, model: SequenceModel, task: AbstractTask, budget: tuple[int, int]) -> BottleneckedModel:
    """A trained bottleneck of a finished run, put back into the model that it was trained for."""
    config, device = BottleneckConfig(*budget), model_device(model)
    cut = task.sample_cut(1, generator(0, "sample"))
    with torch.no_grad():
        state = model.prefill(torch.from_numpy(cut.prefix).to(device))
    bottleneck = Bottleneck(state.flatten().shape[1], *budget, config.hidden)
    path = run.path / _file(budget)
    read_or_refuse(path, lambda: bottleneck.load_state_dict(load_file(path)))
    return BottleneckedModel(model, bottleneck.to(device), state).eval()


def _plain(config: CurveConfig) -> dict[str, Any]:
    """The configuration as ``config.toml`` says it."""
    return asdict(config) | {"budgets": [f"{m}x{b}" for m, b in config.budgets]}


def _file(budget: tuple[int, int]) -> str:
    return f"bottleneck-{budget[0]}x{budget[1]}.safetensors"
