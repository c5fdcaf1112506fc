"""The strongest test of the bounds: trained encoder-decoder pairs of fixed size in bits, compared with the ceiling.

A model is given a bottleneck of each of several sizes at the cut; every pair's accuracy on fresh sequences stands
beside the ceiling S3 (or S1) at its bits.  A certified accuracy above the ceiling is a bug, in the theory or in the
code.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from boundprobe.bottleneck.curve import BottleneckCurve, BottleneckPoint
from boundprobe.bottleneck.module import Bottleneck, BottleneckedModel
from boundprobe.bottleneck.settings import CurveConfig
from boundprobe.bottleneck.train import BottleneckConfig, train_bottlenecks
from boundprobe.bounds import fano_accuracy_ceiling, packing_accuracy_ceiling, store_some_accuracy
from boundprobe.checks import check_kind
from boundprobe.errors import RunDirectoryError
from boundprobe.models.cut_model import CutModel
from boundprobe.probes.certificates.binomial import answer_errors, required_by, used_information
from boundprobe.probes.diagonal import greatest_lag, lag_of, seen_from
from boundprobe.probes.model_answers import states_at_cut, wrong_answers
from boundprobe.probes.run import check_trained
from boundprobe.probes.settings import VERTICAL
from boundprobe.probes.violations import above_size, rounding_slack
from boundprobe.runs.files import parse_or_refuse
from boundprobe.runs.manifest import sha256
from boundprobe.runs.store import Run, find_run, open_run
from boundprobe.seeds import generator
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.beyond import Beyond
from boundprobe.tasks.cases import StateCase
from boundprobe.training.config import config_of_run
from boundprobe.training.evaluate import model_device
from boundprobe.training.weights import WEIGHTS, load_models, load_parameters


def ceiling_and_floor(case: StateCase, bits: int) -> tuple[float, float | None]:
    """Best accuracy of any machine with so many bits, and that of partial storage (None where not defined)."""
    if not case.independent_uniform:
        return float(fano_accuracy_ceiling(bits, case.entropy_bits, case.n_answers, case.n_values)), None
    ceiling = packing_accuracy_ceiling(bits, case.n_answers, case.n_values)
    return float(ceiling), float(store_some_accuracy(bits, case.n_answers, case.n_values))


def measure_bottleneck(
    machine: BottleneckedModel, task: AbstractTask, n_sequences: int, alpha: float, seed: int
) -> BottleneckPoint:
    """Accuracy and used information of an encoder-decoder pair with exactly so many bits between its halves.

    Parameters
    ----------
    machine : BottleneckedModel
        Trained on other streams (``boundprobe.seeds`` keeps the roles apart).
    task : AbstractTask
    n_sequences : int
    alpha : float
        Probability, at most, that any bound of this point fails.
    seed : int
    """
    case, rng = task.state_case(), generator(seed, "evaluation", 4)
    beyond = isinstance(task, Beyond) and task.lag > 0
    cut = task.sample_all(n_sequences, rng) if isinstance(task, Beyond) else task.sample_cut(n_sequences, rng)
    states = states_at_cut(machine, cut.prefix)
    wrong = wrong_answers(machine, states, cut)
    errors = answer_errors(wrong[:, -case.n_answers :], alpha / 2 if beyond else alpha)
    of_all = answer_errors(wrong, alpha / 2).accuracy if beyond else errors.accuracy
    used = used_information(case, errors)
    total_bits = states[0].bits().total_bits
    ceiling, floor = ceiling_and_floor(case, total_bits)
    n_seen = len(np.unique(np.concatenate([state.flatten().cpu().numpy() for state in states]), axis=0))
    bounds = {"required": required_by(case, errors), "used": used}
    slack = rounding_slack(case.entropy_bits)
    violations = above_size(bounds, total_bits, f"the {total_bits} of a bottleneck", slack)
    if n_seen > 2**total_bits:
        violations.append(f"{n_seen} states were seen, more than {total_bits} bits of a bottleneck can tell apart")
    return BottleneckPoint(
        machine.bottleneck.n_entries,
        machine.bottleneck.entry_bits,
        total_bits,
        errors.accuracy,
        of_all,
        ceiling,
        floor,
        used,
        n_seen,
        tuple(violations),
    )


def probe_bottleneck(
    trained: Run, member: int, config: CurveConfig, root: Path | None = None, *, device: str = "cpu"
) -> BottleneckCurve:
    """The curve of one member of a finished training run: trained and measured once, and then read back.

    Bottlenecks are trained side by side; an interrupted run resumes at the first that is not measured.

    Raises
    ------
    RunDirectoryError
        If ``trained`` is not a finished training run.
    ValueError
        If it has no such member.
    """
    check_kind("config", config, CurveConfig)
    check_trained(trained, member)
    settings = {"trained": trained.run_id, "member": member, "bottleneck": _plain(config)}
    root = root or trained.path.parent
    found = find_run(root, "bottleneck", settings)
    if found is not None and (known := found.read_result(BottleneckCurve.from_json)) is not None:
        _check_settings(known, trained, member, config, found)
        trained.read_tensors(WEIGHTS)  # a curve of weights that have changed since is none of this run
        return known
    task = config_of_run(trained.config, trained.path).task
    machine, seen = seen_from(config.cut, load_models(trained, device)[member], task)
    run = open_run(root, "bottleneck", settings)  # made only now that nothing is left to refuse
    with run.session(device=device, seeds={"seed": config.seed, "roles": "bottleneck, evaluation"}):
        points = _measure_missing(run, machine, seen, config)
        curve = BottleneckCurve(
            run.run_id,
            run.path,
            trained.run_id,
            trained.config["task"],
            trained.config["model"],
            member,
            config.confidence,
            tuple(points),
            lag_of(seen),
            seen.state_case().n_answers,
        )
        files = [_file(budget) for budget in config.budgets]
        run.finish(curve.to_json(), {name: sha256(run.read_tensors(name)) for name in files})
    known = run.read_result(BottleneckCurve.from_json)
    assert known is not None  # just written
    return known


def _check_settings(known: BottleneckCurve, trained: Run, member: int, config: CurveConfig, place: Run) -> None:
    """Raise ``RunDirectoryError`` unless a curve that was read back is of this member of this run, measured so."""
    of_model = (known.trained, known.member, known.task, known.model)
    of_curve = (known.confidence, sorted((point.n_entries, point.entry_bits) for point in known.points))
    if of_model != (trained.run_id, member, trained.config["task"], trained.config["model"]) or of_curve != (
        config.confidence,
        sorted(config.budgets),
    ):
        raise RunDirectoryError(
            f"{place.path} must be of member {member} of {trained.run_id}, with the settings of its configuration; got "
            "others; restore it, or move it away and run the command again"
        )
    if ":" not in str(trained.config["task"]["name"]):  # a user's own task is not executed to read a curve
        _check_task(known, trained, config, place)


def _check_task(known: BottleneckCurve, trained: Run, config: CurveConfig, place: Run) -> None:
    """Raise ``RunDirectoryError`` unless lag, answers, ceilings and accuracy over all of them are possible."""
    trained_config = config_of_run(trained.config, trained.path)
    task = trained_config.task
    n_all = task.state_case().n_answers
    if config.cut != VERTICAL:
        task = Beyond(task, greatest_lag(trained_config.model, task))
    case = task.state_case()
    wrong = (known.lag, known.n_answers) != (lag_of(task), case.n_answers)
    for point in known.points:
        far, slack = case.n_answers * point.accuracy.estimate, 1e-9 * n_all
        wrong |= abs(point.accuracy_ceiling - ceiling_and_floor(case, point.total_bits)[0]) > 1e-9
        wrong |= not far - slack <= n_all * point.all_accuracy.estimate <= far + n_all - case.n_answers + slack
        wrong |= not point.all_accuracy.lower - 1e-9 <= point.all_accuracy.estimate <= point.all_accuracy.upper + 1e-9
    if wrong:
        raise RunDirectoryError(
            f"{place.path} must have the lag, answers and ceilings of {trained.run_id}; got others; restore it, or "
            "move it away and run the command again"
        )


def _measure_missing(run: Run, model: CutModel, task: AbstractTask, config: CurveConfig) -> list[BottleneckPoint]:
    """All points of a curve; those that an interrupted run has are read."""
    alpha = (1 - config.confidence) / len(config.budgets)
    run.replace_metrics(lines := run.metrics())  # without a line that a crash cut off
    points = parse_or_refuse(run.path / "metrics.jsonl", lambda: [BottleneckPoint.from_json(line) for line in lines])
    done = {(point.n_entries, point.entry_bits) for point in points}
    _train_missing(run, model, task, config)
    for budget in config.budgets:
        if budget not in done:
            machine = load_bottleneck(run, model, task, budget)
            points.append(measure_bottleneck(machine, task, config.n_sequences, alpha, config.seed))
            run.append_metrics(points[-1].to_json())
    return points


def _train_missing(run: Run, model: CutModel, task: AbstractTask, config: CurveConfig) -> None:
    """Train all bottlenecks of a curve, unless the weights of all are there."""
    if all((run.path / _file(budget)).exists() for budget in config.budgets):
        return
    # All of them, because rounding may depend on the composition of the batch.
    configs = [config.bottleneck(budget) for budget in config.budgets]
    for budget, machine in zip(config.budgets, train_bottlenecks(model, task, configs, config.seed), strict=True):
        weights = {name: value.contiguous() for name, value in machine.bottleneck.state_dict().items()}
        run.write_tensors(_file(budget), save(weights))


def load_bottleneck(run: Run, model: CutModel, task: AbstractTask, budget: tuple[int, int]) -> BottleneckedModel:
    """A trained bottleneck of a finished run, put back into the model that it was trained for."""
    config, device = BottleneckConfig(*budget), model_device(model)
    cut = task.sample_cut(1, generator(0, "sample"))
    with torch.no_grad():
        state = model.prefill(torch.from_numpy(cut.prefix).to(device))
    bottleneck = Bottleneck(state.flatten().shape[1], *budget, config.hidden)
    path = run.path / _file(budget)
    data = run.read_tensors(path.name)
    parse_or_refuse(path, lambda: load_parameters(bottleneck, load(data)))
    return BottleneckedModel(model, bottleneck.to(device), state).eval()


def _plain(config: CurveConfig) -> dict[str, Any]:
    """The configuration as ``config.toml`` says it; the vertical cut is not said, as before there were others."""
    plain = asdict(config) | {"budgets": [f"{m}x{b}" for m, b in config.budgets]}
    return plain if config.cut != VERTICAL else {key: value for key, value in plain.items() if key != "cut"}


def _file(budget: tuple[int, int]) -> str:
    return f"bottleneck-{budget[0]}x{budget[1]}.safetensors"
