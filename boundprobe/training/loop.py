"""Training of one run: calibration members choose a learning rate, fresh members are trained with it and reported."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from boundprobe.models.operations import chosen_backends
from boundprobe.models.stack import SequenceModel
from boundprobe.runs.files import write_whole
from boundprobe.runs.store import Run, open_run, read_or_refuse
from boundprobe.seeds import generator, seed_sequence
from boundprobe.tasks.base import IGNORE
from boundprobe.training.allocator import keep_freed_memory
from boundprobe.training.checkpoint import TrainState
from boundprobe.training.config import Member, TrainConfig
from boundprobe.training.evaluate import count_correct
from boundprobe.training.optimizer import Optimizer

#: Steps whose data are drawn together, from one stream; checkpoints and metrics fall on its multiples.
STEPS_PER_DRAW = 50
STEPS_PER_CHECKPOINT = 500

#: Told (steps done in the whole run, what is being done); called every STEPS_PER_DRAW steps.
Progress = Callable[[int, str], None]


def train(config: TrainConfig, root: Path, *, device: str = "cpu", progress: Progress = lambda done, what: None) -> Run:
    """Train a run to its end, from wherever it stopped; a finished run is returned as it is.

    Parameters
    ----------
    config : TrainConfig
    root : Path
        Where run directories are.
    device : str
        "cpu" or "cuda".  Not part of the configuration: the manifest notes it.
    progress : callable
        Told the steps done and what is being done.

    Raises
    ------
    RunDirectoryError
        If the run directory is damaged, foreign or in use.
    ValueError
        If the distribution asks for no answer.
    MissingDependencyError
        If the backend that ``config.scan`` names cannot be used here.
    """
    _check_asks(config)
    backends = chosen_backends(config.model, config.scan, device)
    run = open_run(root, "train", config.to_dict())
    if run.result() is not None:
        return run
    keep_freed_memory()
    with run.session(device=device, seeds=_seeds(config)):
        state = TrainState.load(run.path / "train_state.pt")
        calibration = config.calibration_members()
        for member in calibration[len(state.finished) :]:
            _train_member(config, member, state, run, device, progress)
        learning_rate = choose_learning_rate(config, state.finished[: len(calibration)])
        report = config.report_members(learning_rate)
        for member in report[len(state.finished) - len(calibration) :]:
            _train_member(config, member, state, run, device, progress)
        finished = state.finished[len(calibration) :]
        weights = {
            f"member{i}.{name}": value.contiguous()
            for i, member_done in enumerate(finished)
            for name, value in member_done["weights"].items()
        }
        write_whole(run.path / "model.safetensors", lambda path: save_file(weights, path))
        run.finish(
            {
                "schema": "boundprobe.train/1",
                "run_id": run.run_id,
                "run_dir": str(run.path),
                "learning_rate": learning_rate,
                "backends": backends,
                "members": [done["result"] for done in finished],
                "calibration": [done["result"] for done in state.finished[: len(calibration)]],
            }
        )
    return run


def _check_asks(config: TrainConfig) -> None:
    """Raise ``ValueError`` for a distribution without targets: it is there to be looked at, not to train on."""
    distribution = config.schedule.distribution
    looked_at = config.task.sample(64, generator(config.seed, "sample"), distribution)
    if (looked_at.targets == IGNORE).all():
        others = [name for name in config.task.distributions if name != distribution]
        raise ValueError(
            f"distribution {distribution!r} asks for no answer; allowed: {', '.join(others)}; choose one of them"
        )


def choose_learning_rate(config: TrainConfig, calibration: list[dict[str, Any]]) -> float:
    """The rate with the best mean accuracy over calibration seeds; among equals the one with the least loss."""
    rates = config.schedule.learning_rates

    def quality(rate: float) -> tuple[float, float]:
        results = [done["result"] for done in calibration if done["result"]["learning_rate"] == rate]
        losses = [math.inf if result["loss"] is None else result["loss"] for result in results]  # None: diverged
        return sum(result["accuracy"] for result in results), -sum(losses)

    return max(rates, key=quality) if calibration else rates[0]


def load_models(run: Run, device: str = "cpu") -> list[SequenceModel]:
    """The reported models of a finished run, in the order of its members, in evaluation mode.

    Raises
    ------
    RunDirectoryError
        If the weights are missing or damaged.
    """
    config = TrainConfig.from_dict(run.config)
    path = run.path / "model.safetensors"
    weights = read_or_refuse(path, lambda: load_file(path))
    models = []
    for i in range(config.schedule.n_seeds):
        model = SequenceModel(config.model, config.task.n_token_ids, config.scan)
        prefix = f"member{i}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        read_or_refuse(path, partial(model.load_state_dict, own))
        models.append(model.to(device).eval())
    return models


def build_model(config: TrainConfig, member: Member) -> SequenceModel:
    """A member's model with its initial weights, a function of (seed, phase, seed index)."""
    seed = int(seed_sequence(config.seed, "initialisation", *member.key).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):  # the caller's global generator is left as it was
        torch.manual_seed(seed)
        return SequenceModel(config.model, config.task.n_token_ids, config.scan)


def _train_member(
    config: TrainConfig, member: Member, state: TrainState, run: Run, device: str, progress: Progress
) -> None:
    """Train one member from ``state`` to its end, and add it to ``state.finished``."""
    schedule = config.schedule
    model = build_model(config, member).to(device)
    optimizer = Optimizer(model, schedule, member.learning_rate)
    if state.step:
        read_or_refuse(run.path / "train_state.pt", lambda: _restore(model, optimizer, state))
    # What a killed run wrote after its checkpoint is dropped, and made again.
    run.replace_metrics(line for line in run.metrics() if _is_before(line, state))
    index = len(state.finished)
    what = f"{config.task.name} {config.model.architecture} {member.phase} lr {member.learning_rate:g}"
    started, first_step, loss = time.perf_counter(), state.step, torch.tensor(float("nan"))
    for first in range(state.step, schedule.steps, STEPS_PER_DRAW):
        last = min(first + STEPS_PER_DRAW, schedule.steps)
        rng = generator(config.seed, "training-data", *member.key, first)
        data = config.task.sample((last - first) * schedule.batch, rng, schedule.distribution)
        tokens = torch.from_numpy(data.tokens).to(device).split(schedule.batch)
        targets = torch.from_numpy(data.targets).to(device).split(schedule.batch)
        losses = []
        for step in range(first, last):
            logits = model(tokens[step - first])
            loss = F.cross_entropy(logits.flatten(0, 1), targets[step - first].flatten(), ignore_index=IGNORE)
            loss.backward()
            optimizer.step(step)
            losses.append(loss.detach())
        loss = torch.stack(losses).mean()
        run.append_metrics({"member": index, "step": last, "loss": _finite(float(loss))})
        progress(index * schedule.steps + last, what)
        if last % STEPS_PER_CHECKPOINT == 0 and last < schedule.steps:
            state.step, state.model, state.optimizer = last, model.state_dict(), optimizer.adamw.state_dict()
            state.save(run.path / "train_state.pt")
    seconds = time.perf_counter() - started
    n_tokens = (schedule.steps - first_step) * schedule.batch * config.task.n_positions
    state.finished.append(
        {
            "result": _evaluate(config, member, model)
            | {"loss": _finite(float(loss)), "tokens_per_second": round(n_tokens / seconds)},
            "weights": model.state_dict() if member.phase == "report" else {},
        }
    )
    state.step, state.model, state.optimizer = 0, {}, {}
    state.save(run.path / "train_state.pt")


def _restore(model: SequenceModel, optimizer: Optimizer, state: TrainState) -> None:
    """Load a checkpoint into a member's model and optimizer."""
    model.load_state_dict(state.model)
    optimizer.adamw.load_state_dict(state.optimizer)


def _finite(value: float) -> float | None:
    """A number as JSON can say it: None for NaN and infinity, the loss of a member that diverged."""
    return value if math.isfinite(value) else None


def _evaluate(config: TrainConfig, member: Member, model: SequenceModel) -> dict[str, Any]:
    """A member's entry in the result: accuracies on sequences of its own phase, sizes and nominal memory.

    Calibration members are judged on sequences that are never used again.
    """
    role = "calibration" if member.phase == "calibration" else "evaluation"
    laws = dict.fromkeys((config.schedule.distribution, "state-hard", "window-hard"))
    accuracy = {}
    for i, distribution in enumerate(laws):
        rng = generator(config.seed, role, 0, i)
        correct, asked = count_correct(model, config.task.sample(config.schedule.n_eval, rng, distribution))
        accuracy[distribution] = correct / asked
    prefix = config.task.sample_cut(1, generator(config.seed, role, 1)).prefix
    with torch.no_grad():
        device = next(model.parameters()).device
        memory = model.prefill(torch.from_numpy(prefix).to(device)).bits()
    return {
        "phase": member.phase,
        "learning_rate": member.learning_rate,
        "seed_index": member.seed_index,
        "accuracy": accuracy[config.schedule.distribution],
        "accuracy_by_distribution": accuracy,
        "steps": config.schedule.steps,
        "n_params": model.n_params,
        "memory": {
            "recurrent_bits": memory.recurrent_bits,
            "conv_bits": memory.conv_bits,
            "cache_bits": memory.cache_bits,
        },
    }


def _is_before(line: dict[str, Any], state: TrainState) -> bool:
    """Whether a metrics line was written before the checkpoint."""
    return (line["member"], line["step"]) <= (len(state.finished), state.step)


def _seeds(config: TrainConfig) -> dict[str, Any]:
    """Seeds by role, for the manifest."""
    return {
        "seed": config.seed,
        "roles": "boundprobe.seeds.seed_sequence(seed, role, phase, seed_index[, first_step])",
        "calibration_seed_indices": sorted({m.seed_index for m in config.calibration_members()}),
        "report_seed_indices": list(range(config.schedule.n_seeds)),
    }
