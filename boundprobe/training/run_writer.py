"""What a group of runs keeps on disk while it is trained, and when it is done.

Each run has its own directory.  A group of several runs has one more, ``ensemble-<hash>``, with the checkpoint of the
members that are trained side by side; a run that is trained by itself keeps its checkpoint in its own directory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save

from boundprobe.errors import RunDirectoryError
from boundprobe.runs.files import set_aside, write_whole
from boundprobe.runs.store import Run, open_run
from boundprobe.training.checkpoint import Round, TrainState
from boundprobe.training.config import TrainConfig
from boundprobe.training.data import STEPS_PER_DRAW
from boundprobe.training.distributed import World
from boundprobe.training.member_queue import Place, choose_learning_rate, results_of
from boundprobe.training.results import finite, summarise

log = logging.getLogger(__name__)


class HasPlace(Protocol):
    """A member of a round."""

    @property
    def place(self) -> Place:
        """Which run, and which of its members."""


class Ledger:
    """The runs of a group, their checkpoint, and what is written about them.

    Only process 0 of a world writes.

    Attributes
    ----------
    configs : list of TrainConfig
    runs : list of Run
    state : TrainState
    finished_before : frozenset of int
        Runs that had their result already; nothing of them is trained or written again.
    """

    def __init__(
        self, configs: Sequence[TrainConfig], runs: list[Run], workspace: Run, state: TrainState, world: World
    ) -> None:
        self.configs, self.runs, self.workspace, self.state, self.world = list(configs), runs, workspace, state, world
        done = world.share(lambda: [i for i, run in enumerate(runs) if run.result() is not None])
        self.finished_before = frozenset(done)

    def restore_metrics(self) -> None:
        """Write the metrics of the checkpoint: what a killed process wrote after it is dropped, and made again."""
        if not self.world.keeps_the_run:
            return
        losses = {place: member.losses for place, member in self.state.finished.items()}
        if self.state.round is not None:
            losses |= dict(zip(self.state.round.places, self.state.round.losses, strict=True))
        for i, (config, run) in enumerate(zip(self.configs, self.runs, strict=True)):
            if i not in self.finished_before:
                run.replace_metrics(
                    _line(config, place.member, draw, loss)
                    for place in sorted(losses)
                    if place.run == i
                    for draw, loss in enumerate(losses[place])
                )

    def note(self, seats: Sequence[HasPlace], round_: Round, losses: Sequence[float]) -> None:
        """Add the last draw to the metrics of the runs."""
        if not self.world.keeps_the_run:
            return
        for position, loss in zip(round_.training, losses, strict=True):
            run, index = seats[position].place
            if run not in self.finished_before:
                self.runs[run].append_metrics(_line(self.configs[run], index, len(round_.losses[position]) - 1, loss))

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.world.keeps_the_run:
            self.state.save(self.workspace.path / "train_state.pt")

    def finish(self, backends: Sequence[dict[str, str]]) -> None:
        """Write weights and result of every run, and wait until all processes know."""
        if self.world.keeps_the_run:
            self.restore_metrics()  # in the order of the members, whoever was trained beside whom
            for i, (config, run) in enumerate(zip(self.configs, self.runs, strict=True)):
                if i not in self.finished_before:
                    self._finish_run(i, config, run, backends[i])
            if self.workspace not in self.runs and self.workspace.result() is None:
                document = {"schema": "boundprobe.ensemble/1", "runs": [run.run_id for run in self.runs]}
                self.workspace.finish(document)
        self.world.wait()

    def _finish_run(self, i: int, config: TrainConfig, run: Run, backends: dict[str, str]) -> None:
        calibration, members = results_of(i, config, self.state.finished)
        n_calibration = len(config.calibration_members())
        weights = {
            f"member{place.member - n_calibration}.{name}": value.contiguous().cpu()
            for place, member in self.state.finished.items()
            if place.run == i
            for name, value in member.weights.items()
        }
        write_whole(run.path / "model.safetensors", lambda path: path.write_bytes(save(weights)))
        run.finish(
            {
                "schema": "boundprobe.train/1",
                "run_id": run.run_id,
                "run_dir": str(run.path),
                "learning_rate": choose_learning_rate(config, calibration),
                "backends": backends,
                "summary": summarise(members),
                "members": members,
                "calibration": calibration,
            }
        )


def _line(config: TrainConfig, index: int, draw: int, loss: float) -> dict[str, Any]:
    """A line of the metrics: mean loss (nats) of a draw that ends at a step."""
    step = min((draw + 1) * STEPS_PER_DRAW, config.schedule.steps)
    return {"member": index, "step": step, "loss": finite(loss)}


@contextmanager
def open_ledger(
    configs: Sequence[TrainConfig], root: Path, world: World, *, device: str, set_damaged_aside: bool
) -> Iterator[Ledger]:
    """The ledger of a group, locked for this process; its runs are made if they are not there.

    Raises
    ------
    RunDirectoryError
        If a directory is damaged or foreign; ``RunInUseError`` if another process works on one of the runs.
    """
    runs = world.share(lambda: [open_run(root, "train", config.to_dict()) for config in configs])
    if world.share(lambda: all(run.result() is not None for run in runs)):
        yield Ledger(configs, runs, runs[0], TrainState(), world)
        return
    workspace = runs[0] if len(runs) == 1 else world.share(lambda: open_run(root, "ensemble", _config(configs)))
    where = device if world.size == 1 else f"{device}, {world.size} processes"
    with ExitStack() as sessions:
        if world.keeps_the_run:
            for run in dict.fromkeys((workspace, *runs)):
                if run.result() is None:
                    sessions.enter_context(run.session(device=where, seeds=_seeds(configs[0])))
        state = world.share(lambda: _load(workspace, set_damaged_aside=set_damaged_aside))
        ledger = Ledger(configs, runs, workspace, state, world)
        ledger.restore_metrics()
        yield ledger


def _config(configs: Sequence[TrainConfig]) -> dict[str, Any]:
    return {"runs": [config.to_dict() for config in configs]}


def _seeds(config: TrainConfig) -> dict[str, Any]:
    """Seeds by role, for the manifest."""
    return {
        "seed": config.seed,
        "roles": "boundprobe.seeds.seed_sequence(seed, role, phase, seed_index[, first_step])",
        "calibration_seed_indices": sorted({m.seed_index for m in config.calibration_members()}),
        "report_seed_indices": list(range(config.schedule.n_seeds)),
    }


def _load(workspace: Run, *, set_damaged_aside: bool) -> TrainState:
    path = workspace.path / "train_state.pt"
    try:
        return TrainState.load(path)
    except RunDirectoryError as error:
        if not set_damaged_aside:
            raise
        log.warning("%s; kept as %s, and what it held is trained again", error, set_aside(path).name)
        return TrainState()
