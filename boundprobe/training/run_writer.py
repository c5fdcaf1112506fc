"""Checkpoints, metrics and results of a group of runs on disk.

Each run has its own directory.  A group of several runs has one more, ``ensemble-<hash>``, with the checkpoint of the
members that are trained side by side; a run that is trained by itself keeps its checkpoint in its own directory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save

from boundprobe.errors import RunDirectoryError
from boundprobe.runs.files import set_aside
from boundprobe.runs.store import Run, open_run
from boundprobe.termination import note_checkpoint
from boundprobe.training.checkpoint import MemberBatch, TrainState
from boundprobe.training.config import TrainConfig
from boundprobe.training.data import STEPS_PER_DRAW
from boundprobe.training.distributed import ProcessGroup
from boundprobe.training.member_queue import choose_learning_rate, results_of
from boundprobe.training.results import finite, summarise
from boundprobe.training.weights import WEIGHTS

log = logging.getLogger(__name__)


class RunWriter:
    """The runs of a group, their checkpoint, and what is written about them.

    Only process 0 writes.

    Attributes
    ----------
    configs : list of TrainConfig
    runs : list of Run
    state : TrainState
    finished_before : frozenset of int
        Runs that had their result already; nothing of them is trained or written again.
    """

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        runs: list[Run],
        workspace: Run,
        state: TrainState,
        processes: ProcessGroup,
    ) -> None:
        self.configs, self.runs, self.workspace, self.state, self.processes = (
            list(configs),
            runs,
            workspace,
            state,
            processes,
        )
        done = processes.share(lambda: [i for i, run in enumerate(runs) if run.result() is not None])
        self.finished_before = frozenset(done)

    def restore_metrics(self) -> None:
        """Write the metrics of the checkpoint; later lines of a killed process are dropped and recomputed."""
        if not self.processes.is_writer:
            return
        losses = {member_id: member.losses for member_id, member in self.state.finished.items()}
        if self.state.batch is not None:
            losses |= dict(zip(self.state.batch.ids, self.state.batch.losses, strict=True))
        for i, (config, run) in enumerate(zip(self.configs, self.runs, strict=True)):
            if i not in self.finished_before:
                run.replace_metrics(
                    _line(config, member_id.member, draw, loss)
                    for member_id in sorted(losses)
                    if member_id.run == i
                    for draw, loss in enumerate(losses[member_id])
                )

    def append(self, batch: MemberBatch, losses: Sequence[float]) -> None:
        """Add the last draw to the metrics of the runs."""
        if not self.processes.is_writer:
            return
        for position, loss in zip(batch.training, losses, strict=True):
            run, index = batch.ids[position]
            if run not in self.finished_before:
                self.runs[run].append_metrics(_line(self.configs[run], index, len(batch.losses[position]) - 1, loss))

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.processes.is_writer:
            self.state.save(self.workspace.path / "train_state.pt")
            note_checkpoint()

    def finish(self, backends: Sequence[dict[str, str]]) -> None:
        """Write weights and result of every run, and wait until all processes know."""
        if self.processes.is_writer:
            self.restore_metrics()  # in the order of the members, however they were batched
            for i, (config, run) in enumerate(zip(self.configs, self.runs, strict=True)):
                if i not in self.finished_before:
                    self._finish_run(i, config, run, backends[i])
            if self.workspace not in self.runs and self.workspace.result() is None:
                document = {"schema": "boundprobe.ensemble/1", "runs": [run.run_id for run in self.runs]}
                self.workspace.finish(document)
        self.processes.wait()

    def _finish_run(self, i: int, config: TrainConfig, run: Run, backends: dict[str, str]) -> None:
        calibration, members = results_of(i, config, self.state.finished)
        n_calibration = len(config.calibration_members())
        weights = {
            f"member{member_id.member - n_calibration}.{name}": value.contiguous().cpu()
            for member_id, member in self.state.finished.items()
            if member_id.run == i
            for name, value in member.weights.items()
        }
        hashes = run.write_tensors(WEIGHTS, save(weights))
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
            },
            hashes,
        )


def _line(config: TrainConfig, index: int, draw: int, loss: float) -> dict[str, Any]:
    """A line of the metrics: mean loss (nats) of a draw that ends at a step."""
    step = min((draw + 1) * STEPS_PER_DRAW, config.schedule.steps)
    return {"member": index, "step": step, "loss": finite(loss)}


@contextmanager
def open_run_writer(
    configs: Sequence[TrainConfig], root: Path, processes: ProcessGroup, *, device: str, set_damaged_aside: bool
) -> Iterator[RunWriter]:
    """The writer of a group, locked for this process; its runs are made if they are not there.

    Raises
    ------
    RunDirectoryError
        If a directory is damaged or foreign; ``RunInUseError`` if another process works on one of the runs.
    """
    runs = processes.share(lambda: [open_run(root, "train", config.to_dict()) for config in configs])
    if processes.share(lambda: all(run.result() is not None for run in runs)):
        yield RunWriter(configs, runs, runs[0], TrainState(), processes)
        return
    workspace = runs[0] if len(runs) == 1 else processes.share(lambda: open_run(root, "ensemble", _config(configs)))
    where = device if processes.size == 1 else f"{device}, {processes.size} processes"
    with ExitStack() as sessions:
        if processes.is_writer:
            for run in dict.fromkeys((workspace, *runs)):
                if run.result() is None:
                    sessions.enter_context(run.session(device=where, seeds=_seeds(configs[0])))
        state = processes.share(lambda: _load(workspace, configs, set_damaged_aside=set_damaged_aside))
        if state.finished or state.batch is not None:
            note_checkpoint()
        writer = RunWriter(configs, runs, workspace, state, processes)
        writer.restore_metrics()
        yield writer


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


def _load(workspace: Run, configs: Sequence[TrainConfig], *, set_damaged_aside: bool) -> TrainState:
    path = workspace.path / "train_state.pt"
    try:
        return TrainState.load(path, configs)
    except RunDirectoryError as error:
        if not set_damaged_aside:
            raise
        log.warning("%s; kept as %s, and what it held is trained again", error, set_aside(path).name)
        return TrainState()
