"""Training of runs: members side by side, calibration members first, from wherever they stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from boundprobe.checks import check_integer
from boundprobe.models.operations import chosen_backends
from boundprobe.runs.store import Run, config_hash
from boundprobe.training.allocator import keep_freed_memory
from boundprobe.training.checkpoint import Round, TrainState
from boundprobe.training.config import Member, TrainConfig
from boundprobe.training.convergence import may_stop
from boundprobe.training.cuda_graphs import Replayer
from boundprobe.training.data import STEPS_PER_DRAW, draw
from boundprobe.training.distributed import World, join_world
from boundprobe.training.ensemble import Ensemble
from boundprobe.training.fused import chosen_step
from boundprobe.training.member_queue import LARGEST_ENSEMBLE, Finished, Place, member_at, next_round
from boundprobe.training.results import judge
from boundprobe.training.run_writer import Ledger, open_ledger
from boundprobe.training.step import Stepper
from boundprobe.training.weights import build_model

STEPS_PER_CHECKPOINT = 500

#: Told (steps done by all members together, what is being done); called after every draw.
Progress = Callable[[int, str], None]


class Seat(NamedTuple):
    """A member of a round, with what it is trained by."""

    place: Place
    config: TrainConfig
    member: Member


def train(
    config: TrainConfig,
    root: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda done, what: None,
    largest: int | None = None,
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

    Raises
    ------
    RunDirectoryError
        If the run directory is damaged or foreign (``RunInUseError`` if another process works on it).
    ValueError
        If the distribution asks for no answer.
    MissingDependencyError
        If the backend that ``config.backend`` names cannot be used here.
    """
    return train_group([config], root, device=device, progress=progress, largest=largest)[0]


def train_group(
    configs: Sequence[TrainConfig],
    root: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda done, what: None,
    largest: int | None = None,
    set_damaged_aside: bool = False,
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
    world, device = join_world(device)
    check_integer("batch", configs[0].schedule.batch, world.size, why=", one sequence for each process; raise it")
    backends = [
        chosen_backends(config.model, config.backend, device) | chosen_step(config, device) for config in configs
    ]
    keep_freed_memory()
    with open_ledger(configs, root, world, device=device, set_damaged_aside=set_damaged_aside) as ledger:
        state = ledger.state
        largest = largest or LARGEST_ENSEMBLE[torch.device(device).type]
        while seats := _seats(ledger, largest):
            _train_round(seats, state, ledger, world, device, progress)
        ledger.finish(backends)
    return ledger.runs


def _check_group(configs: Sequence[TrainConfig]) -> None:
    """Raise ``ValueError`` unless there are runs, of one shape, each once, that ask something."""
    if not configs:
        raise ValueError("there are no runs to train; allowed: one or more; give their configurations")
    for config in configs:
        config.check_asks()
        if config.shape() != configs[0].shape():
            raise ValueError(
                f"runs of shapes {configs[0].shape()} and {config.shape()} are given together; allowed: one shape; "
                "group them with boundprobe.sweep.config.group_runs"
            )
    if len({config_hash(config.to_dict()) for config in configs}) < len(configs):
        raise ValueError("one run is given twice; allowed: each run once; drop the second")


def _seats(ledger: Ledger, largest: int) -> list[Seat]:
    """The members of the round in progress, or of the next."""
    state = ledger.state
    if state.round is not None:  # it goes on with the members that it was begun with
        places = state.round.places
    else:
        places = next_round(ledger.configs, state.finished, ledger.finished_before, largest)
    configs = [ledger.configs[place.run] for place in places]
    return [Seat(p, config, member_at(config, p, state.finished)) for p, config in zip(places, configs, strict=True)]


def _train_round(
    seats: list[Seat], state: TrainState, ledger: Ledger, world: World, device: str, progress: Progress
) -> None:
    """Train members side by side to their ends, and add them to ``state.finished``."""
    round_, stepper = _begin(seats, state, world, device)
    schedule = seats[0].config.schedule
    n_draws = -(-schedule.steps // STEPS_PER_DRAW)
    done_before = len(state.finished) * schedule.steps
    what = _describe(seats)
    replayer = Replayer(stepper)
    started, first_step = time.perf_counter(), round_.step
    while round_.step < schedule.steps and round_.training:
        losses = _train_draw(seats, round_, replayer, device)
        for position, loss in zip(round_.training, losses, strict=True):
            round_.losses[position].append(loss)
        round_.step = min(round_.step + STEPS_PER_DRAW, schedule.steps)
        ledger.note(seats, round_, losses)
        progress(done_before + len(seats) * round_.step, what)
        if (rest := _let_go(seats, round_, stepper, n_draws)) is not stepper:
            stepper, replayer = rest, Replayer(rest)
        if round_.step % STEPS_PER_CHECKPOINT == 0 and round_.step < schedule.steps:
            _remember(round_, stepper)
            ledger.save()
    seconds = time.perf_counter() - started
    n_steps = sum(max(min(len(own) * STEPS_PER_DRAW, schedule.steps) - first_step, 0) for own in round_.losses)
    speed = round(n_steps * schedule.batch * seats[0].config.task.n_positions / seconds)
    for position, row in zip(round_.training, stepper.ensemble.values, strict=True):
        round_.stopped[position] = row
    state.finished |= world.share(lambda: _judge_all(seats, round_, stepper.ensemble, speed))
    state.round = None
    ledger.save()


def _begin(seats: list[Seat], state: TrainState, world: World, device: str) -> tuple[Round, Stepper]:
    """The round in progress, or a fresh one, and what trains it."""
    pairs = [(seat.config, seat.member) for seat in seats]
    if state.round is not None:
        round_ = state.round
        values, first_moments, second_moments = (x.to(device) for x in round_.matrices)
        skeleton = build_model(*pairs[0]).to(device)
        stepper = Stepper(Ensemble(skeleton, values), [pairs[i] for i in round_.training], world)
        stepper.optimizer.load(first_moments, second_moments)
        round_.stopped = {i: row.to(device) for i, row in round_.stopped.items()}  # judged beside the others
        return round_, stepper
    everyone = list(range(len(seats)))
    state.round = Round([seat.place for seat in seats], 0, everyone, [[] for _ in seats])
    models = [build_model(*pair) for pair in pairs]
    return state.round, Stepper(Ensemble.of([model.to(device) for model in models]), pairs, world)


def _train_draw(seats: list[Seat], round_: Round, replayer: Replayer, device: str) -> list[float]:
    """The steps of one draw; the mean loss of each member."""
    stepper = replayer.stepper
    schedule = stepper.schedule
    n_steps = min(STEPS_PER_DRAW, schedule.steps - round_.step)
    pairs = [(seats[i].config, seats[i].member) for i in round_.training]
    tokens, targets = (x.to(device) for x in draw(pairs, round_.step, n_steps))
    numbers = stepper.numbers_of(round_.step, n_steps)
    losses = [replayer.step(tokens[:, i], targets[:, i], numbers[i]) for i in range(n_steps)]
    # Exact sums: torch adds up columns in an order that depends on how many members there are.
    return [math.fsum(own) / n_steps for own in torch.stack(losses, dim=1).tolist()]


def _let_go(seats: list[Seat], round_: Round, stepper: Stepper, n_draws: int) -> Stepper:
    """Take members out that need no more steps; the others have the machine to themselves."""
    stay = [
        row
        for row, position in enumerate(round_.training)
        if not may_stop(round_.losses[position], n_draws, seats[position].config.schedule.stop_below)
    ]
    if len(stay) == len(round_.training):
        return stepper
    for row, position in enumerate(round_.training):
        if row not in stay:
            round_.stopped[position] = stepper.ensemble.values[row].clone()
    round_.training = [round_.training[row] for row in stay]
    return stepper.keep(stay)


def _remember(round_: Round, stepper: Stepper) -> None:
    """Put the matrices where a checkpoint takes them from."""
    optimizer = stepper.optimizer
    round_.matrices = [stepper.ensemble.values, optimizer.first_moments, optimizer.second_moments]


def _judge_all(seats: list[Seat], round_: Round, ensemble: Ensemble, speed: int) -> dict[Place, Finished]:
    """Judge the members of a round, those of one run and phase together, on the same sequences."""
    finished: dict[Place, Finished] = {}
    for key in dict.fromkeys((seat.place.run, seat.member.phase) for seat in seats):
        positions = [i for i, seat in enumerate(seats) if (seat.place.run, seat.member.phase) == key]
        own = Ensemble(ensemble.skeleton, torch.stack([round_.stopped[i] for i in positions]))
        losses = [round_.losses[i] for i in positions]
        results = judge(seats[positions[0]].config, [seats[i].member for i in positions], own, losses)
        for row, (i, result) in enumerate(zip(positions, results, strict=True)):
            weights = own.state_dict(row) if seats[i].member.phase == "report" else {}
            finished[seats[i].place] = Finished(result | {"tokens_per_second": speed}, losses[row], weights)
    return finished


def _describe(seats: list[Seat]) -> str:
    config, member = seats[0].config, seats[0].member
    members = f"{len(seats)} members" if len(seats) > 1 else f"lr {member.learning_rate:g}"
    return f"{config.task.name} {config.model.architecture} {member.phase} {members}"
