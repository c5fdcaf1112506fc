"""Training loop of a group of runs: calibration members first, resumed from checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from boundprobe.checks import check_integer, check_kind
from boundprobe.errors import Terminated
from boundprobe.models.operations import chosen_backends
from boundprobe.runs.store import Run, config_hash
from boundprobe.termination import deferred
from boundprobe.training.allocator import keep_freed_memory
from boundprobe.training.checkpoint import MemberBatch
from boundprobe.training.config import ActiveMember, MemberId, TrainConfig
from boundprobe.training.convergence import may_stop
from boundprobe.training.cuda_graphs import Replayer
from boundprobe.training.data import STEPS_PER_DRAW, draw
from boundprobe.training.distributed import ProcessGroup, join_processes
from boundprobe.training.ensemble import Ensemble
from boundprobe.training.fused import chosen_step
from boundprobe.training.member_queue import Finished, active_member, ensemble_size, next_batch
from boundprobe.training.results import evaluate_members
from boundprobe.training.run_writer import RunWriter, open_run_writer
from boundprobe.training.step import Stepper
from boundprobe.training.weights import any_model, build_model

STEPS_PER_CHECKPOINT = 500

#: Told (steps done by all members together, what is being done); called after every draw.
Progress = Callable[[int, str], None]

#: Told (step of the members in training, members that are trained already) where a run goes on from a checkpoint.
Resumed = Callable[[int, int], None]


def train(
    config: TrainConfig,
    root: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda done, what: None,
    largest: int | None = None,
    resumed: Resumed = lambda step, n_trained: None,
) -> Run:
    """Train a run to its end, from wherever it stopped; a finished run is returned as it is.

    Parameters
    ----------
    config : TrainConfig
    root : Path
        Where run directories are.
    device : str
        "cpu" or "cuda".  Not part of the configuration: the manifest notes it.
    progress : callable
        Told the steps done by all members together and what is being done.
    largest : int, optional
        Members that are trained side by side at most.  A result does not depend on it by more than rounding.
    resumed : callable
        Told once, where a checkpoint is gone on from: the step of the members in training, and how many are trained.

    Raises
    ------
    RunDirectoryError
        If the run directory is damaged or foreign (``RunInUseError`` if another process works on it).
    ValueError
        If the distribution asks for no answer.
    MissingDependencyError
        If the backend that ``config.backend`` names cannot be used here.
    """
    return train_group([config], root, device=device, progress=progress, largest=largest, resumed=resumed)[0]


def train_group(
    configs: Sequence[TrainConfig],
    root: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda done, what: None,
    largest: int | None = None,
    set_damaged_aside: bool = False,
    resumed: Resumed = lambda step, n_trained: None,
) -> list[Run]:
    """Train several runs whose models have one shape, all their members side by side.

    Parameters
    ----------
    configs : sequence of TrainConfig
        They agree in model, steps, batch and length of sequences; see ``boundprobe.sweep.config.group_runs``.
    set_damaged_aside : bool
        Whether a damaged checkpoint is renamed and its members are trained anew, instead of refused.

    Other parameters, result and errors are those of ``train``, one run for each configuration.
    """
    _check_group(configs)
    root, size = Path(root), ensemble_size(largest, device)
    processes, device = join_processes(device)
    check_integer("batch", configs[0].schedule.batch, processes.size, why=", one sequence for each process")
    backends = [
        chosen_backends(config.model, config.backend, device) | chosen_step(config, device) for config in configs
    ]
    keep_freed_memory()
    any_model(configs[0])  # sizes that no memory holds are refused here
    with open_run_writer(configs, root, processes, device=device, set_damaged_aside=set_damaged_aside) as writer:
        if (state := writer.state).finished or state.batch is not None:
            resumed(0 if state.batch is None else state.batch.step, len(state.finished))
        while active := _active_members(writer, size):
            _train_batch(active, writer, processes, device, progress)
        writer.finish(backends)
    return writer.runs


def _check_group(configs: Sequence[TrainConfig]) -> None:
    """Raise ``ValueError`` unless there are runs, of one shape, each once, that ask something."""
    if not configs:
        raise ValueError("`configs` must hold at least one run; got none.")
    for config in configs:
        check_kind("config", config, TrainConfig).check_asks()
        if config.shape() != configs[0].shape():
            raise ValueError(
                f"runs that train together must have one shape; got {configs[0].shape()} and {config.shape()}. Group "
                "them with boundprobe.sweep.config.group_runs."
            )
    if len({config_hash(config.to_dict()) for config in configs}) < len(configs):
        raise ValueError("each run must be given once; got one twice.")


def _active_members(writer: RunWriter, largest: int) -> list[ActiveMember]:
    """The members of the batch in progress, or of the next, which is begun; none when all is done."""
    state = writer.state
    if state.batch is None:
        ids = next_batch(writer.configs, state.finished, writer.finished_before, largest)
        if not ids:
            return []
        state.batch = MemberBatch(ids, 0, list(range(len(ids))), [[] for _ in ids])
    return [active_member(writer.configs[each.run], each, state.finished) for each in state.batch.ids]


def _train_batch(
    active: list[ActiveMember], writer: RunWriter, processes: ProcessGroup, device: str, progress: Progress
) -> None:
    """Train members side by side to their ends, and add them to ``finished``."""
    state, batch = writer.state, writer.state.batch
    assert batch is not None  # begun by _active_members
    stepper = _begin(active, batch, processes, device)
    schedule = active[0].config.schedule
    n_draws = -(-schedule.steps // STEPS_PER_DRAW)
    done_before = len(state.finished) * schedule.steps
    what = _describe(active)
    replayer = Replayer(stepper)
    started, first_step = time.perf_counter(), batch.step
    with deferred() as told_to_end:
        while batch.step < schedule.steps and batch.training:
            losses = _train_draw(batch, replayer, device, told_to_end if processes.size == 1 else lambda: False)
            if losses is not None:
                for position, loss in zip(batch.training, losses, strict=True):
                    batch.losses[position].append(loss)
                writer.append(batch, losses)
                progress(done_before + len(active) * batch.step, what)
                if (rest := _drop_stopped(batch, stepper, n_draws)) is not stepper:
                    stepper, replayer = rest, Replayer(rest)
            ends = processes.any(told_to_end())
            if ends or (batch.step % STEPS_PER_CHECKPOINT == 0 and batch.step < schedule.steps):
                _save(batch, stepper, writer)
            if ends:
                raise Terminated
    seconds = time.perf_counter() - started
    n_steps = sum(max(min(len(own) * STEPS_PER_DRAW, schedule.steps) - first_step, 0) for own in batch.losses)
    speed = round(n_steps * schedule.batch * active[0].config.task.n_positions / seconds)
    for position, row in zip(batch.training, stepper.ensemble.values, strict=True):
        batch.stopped[position] = row
    try:
        state.finished |= processes.share(lambda: _evaluate(active, batch, stepper.ensemble, speed))
    except Terminated:
        batch.stopped = {i: row for i, row in batch.stopped.items() if i not in batch.training}
        _save(batch, stepper, writer)
        raise
    state.batch = None
    writer.save()


def _begin(active: list[ActiveMember], batch: MemberBatch, processes: ProcessGroup, device: str) -> Stepper:
    """The stepper of the members in training, from their checkpoint or from their initial weights."""
    if batch.matrices:
        values, first_moments, second_moments = (x.to(device) for x in batch.matrices)
        ensemble = Ensemble(build_model(*active[0]).to(device), values)
        stepper = Stepper(ensemble, [active[i] for i in batch.training], processes)
        stepper.optimizer.load(first_moments, second_moments)
        batch.stopped = {i: row.to(device) for i, row in batch.stopped.items()}  # evaluated beside the others
        return stepper
    models = [build_model(*each).to(device) for each in active]
    return Stepper(Ensemble.of(models), active, processes)


def _save(batch: MemberBatch, stepper: Stepper, writer: RunWriter) -> None:
    """Write a checkpoint of the members in training as they are."""
    optimizer = stepper.optimizer
    batch.matrices = [stepper.ensemble.values, optimizer.first_moments, optimizer.second_moments]
    writer.save()


def _train_draw(
    batch: MemberBatch, replayer: Replayer, device: str, told_to_end: Callable[[], bool]
) -> list[float] | None:
    """Do the steps of a draw that are left; return the mean loss of each member, None where it ends within the draw."""
    stepper, done = replayer.stepper, len(batch.step_losses)
    first = batch.step - done
    n_steps = min(STEPS_PER_DRAW, stepper.schedule.steps - first)
    tokens, targets = (x.to(device) for x in draw(stepper.members, first, n_steps))
    scalars = stepper.scalars_of(first, n_steps)
    losses: list[Tensor] = []
    for i in range(done, n_steps):
        losses.append(replayer.step(tokens[:, i], targets[:, i], scalars[i]))
        if told_to_end():
            break
    rows = batch.step_losses + torch.stack(losses).tolist()
    batch.step = first + len(rows)
    if len(rows) < n_steps:
        batch.step_losses = rows
        return None
    batch.step_losses = []
    # Exact sums: torch adds up columns in an order that depends on how many members there are.
    return [math.fsum(own) / n_steps for own in zip(*rows, strict=True)]


def _drop_stopped(batch: MemberBatch, stepper: Stepper, n_draws: int) -> Stepper:
    """Drop members that have converged or diverged; return the stepper of the others."""
    stay = [
        row
        for row, (position, active) in enumerate(zip(batch.training, stepper.members, strict=True))
        if not may_stop(batch.losses[position], n_draws, active.config.schedule.stop_below)
    ]
    if len(stay) == len(batch.training):
        return stepper
    for row, position in enumerate(batch.training):
        if row not in stay:
            batch.stopped[position] = stepper.ensemble.values[row].clone()
    batch.training = [batch.training[row] for row in stay]
    return stepper.keep(stay)


def _evaluate(
    active: list[ActiveMember], batch: MemberBatch, ensemble: Ensemble, speed: int
) -> dict[MemberId, Finished]:
    """Evaluate the members of a batch, those of one run and phase together, on the same sequences."""
    finished: dict[MemberId, Finished] = {}
    keys = [(member_id.run, each.member.phase) for member_id, each in zip(batch.ids, active, strict=True)]
    for key in dict.fromkeys(keys):
        positions = [i for i, other in enumerate(keys) if other == key]
        own = Ensemble(ensemble.skeleton, torch.stack([batch.stopped[i] for i in positions]))
        losses = [batch.losses[i] for i in positions]
        config = active[positions[0]].config
        results = evaluate_members(config, [active[i].member for i in positions], own, losses)
        for row, (i, result) in enumerate(zip(positions, results, strict=True)):
            weights = own.state_dict(row) if active[i].member.phase == "report" else {}
            finished[batch.ids[i]] = Finished(result | {"tokens_per_second": speed}, losses[row], weights)
    return finished


def _describe(active: list[ActiveMember]) -> str:
    config, member = active[0]
    members = f"{len(active)} members" if len(active) > 1 else f"lr {member.learning_rate:g}"
    return f"{config.task.name} {config.model.architecture} {member.phase} {members}"
