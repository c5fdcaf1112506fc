"""Checkpoints of a group of runs: finished members, and the state of members in training."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boundprobe.checks import check_integer
from boundprobe.runs.documents.read import check_document
from boundprobe.runs.documents.training import TrainedMember
from boundprobe.runs.files import MOST_TENSORS, parse_or_refuse, read_regular, write_bytes
from boundprobe.training import data
from boundprobe.training.config import MemberId, TrainConfig
from boundprobe.training.member_queue import Finished
from boundprobe.training.results import finite
from boundprobe.training.weights import any_model

N_MATRICES = 3


@dataclass
class MemberBatch:
    """Members that are trained side by side, between two draws.

    Data and initial weights are functions of (seed, phase, member, step), so no generator's state is kept.

    Attributes
    ----------
    ids : list of MemberId
        All members of the batch.
    step : int
        Steps that the members in training have done.
    training : list of int
        Positions in ``ids`` of those that are still in training: the rows of the matrices.
    losses : list of lists of float
        Mean loss (nats) of each draw of each of ``ids``.
    step_losses : list of lists of float
        Losses (nats) of the steps of a draw in progress, those of a step for each in ``training``; empty between draws.
    matrices : list of Tensor (M, P)
        Weights, and the optimizer's first and second moments; none before the first checkpoint.
    stopped : dict of int to Tensor (P,)
        Weights of those that have stopped early.
    not_finite : list of int
        Positions in ``ids`` of members that diverged: NaN or infinity is among their weights or moments when a
        checkpoint is written.  Of the others it is damage.
    """

    ids: list[MemberId]
    step: int = 0
    training: list[int] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    step_losses: list[list[float]] = field(default_factory=list)
    matrices: list[Tensor] = field(default_factory=list)
    stopped: dict[int, Tensor] = field(default_factory=dict)
    not_finite: list[int] = field(default_factory=list)

    def diverged(self) -> list[int]:
        """Positions in ``ids`` of members whose weights or moments are not finite, in order."""
        rows = torch.stack([matrix.isfinite().all(1) for matrix in self.matrices]).all(0).tolist()
        in_training = {i for i, is_finite in zip(self.training, rows, strict=True) if not is_finite}
        return sorted(in_training | {i for i, weights in self.stopped.items() if not weights.isfinite().all()})


@dataclass
class TrainState:
    """Everything that a group of runs needs to go on, bit for bit on one device.

    Attributes
    ----------
    finished : dict of MemberId to Finished
    batch : MemberBatch or None
        The members in training; None between two batches.
    """

    finished: dict[MemberId, Finished] = field(default_factory=dict)
    batch: MemberBatch | None = None

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        if self.batch is not None:
            self.batch.not_finite = self.batch.diverged()
        document = {
            "finished": [(*member_id, asdict(member)) for member_id, member in self.finished.items()],
            "batch": None if self.batch is None else vars(self.batch) | {"ids": [(*each,) for each in self.batch.ids]},
        }
        buffer = io.BytesIO()  # torch.save into a file says nothing of a full disk
        torch.save(document, buffer)
        write_bytes(path, buffer.getbuffer())

    @classmethod
    def load(cls, path: Path, configs: Sequence[TrainConfig]) -> TrainState:
        """Read the state onto the CPU; a fresh one if there is no file.

        Parameters
        ----------
        path : Path
        configs : sequence of TrainConfig
            The runs of the group: every number and tensor is held against them, because compiled steps do not look
            at shapes again.

        Raises
        ------
        RunDirectoryError
            If the file is damaged, or is not of these runs.
        """
        try:
            content = read_regular(path, MOST_TENSORS)
        except FileNotFoundError:
            return cls()
        return parse_or_refuse(path, lambda: cls._read(content, configs))

    @classmethod
    def _read(cls, content: bytes, configs: Sequence[TrainConfig]) -> TrainState:
        document: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        finished = {MemberId(run, index): Finished(**member) for run, index, member in document.pop("finished")}
        in_training = document.pop("batch")
        if document:
            raise ValueError(f"unknown parts {sorted(document)}")
        if in_training is not None:
            in_training = MemberBatch(**in_training | {"ids": [MemberId(*each) for each in in_training["ids"]]})
        state = cls(finished, in_training)
        _Check(configs).state(state)
        return state


class _Check:
    """Holds a state that was read against the runs that it is of; raises ``ValueError`` where it differs."""

    def __init__(self, configs: Sequence[TrainConfig]) -> None:
        self.configs, schedule = configs, configs[0].schedule  # steps and model are those of all
        self.steps, self.n_draws = schedule.steps, -(-schedule.steps // data.STEPS_PER_DRAW)
        model = any_model(configs[0])
        self.weights = {name: value.detach() for name, value in model.named_parameters()}
        self.n_params = sum(value.numel() for value in self.weights.values())
        self.dtype = next(iter(self.weights.values())).dtype

    def state(self, state: TrainState) -> None:
        for member_id, member in state.finished.items():
            self._finished(member_id, member)
        if state.batch is not None:
            self._batch(state.batch, state)

    def _id(self, member_id: MemberId) -> TrainConfig:
        run, member = (check_integer("member", number, 0) for number in member_id)
        if run >= len(self.configs) or member >= self.configs[run].n_members:
            raise ValueError(f"members must be those of {len(self.configs)} runs; got member {member} of run {run}")
        return self.configs[run]

    def _finished(self, member_id: MemberId, member: Finished) -> None:
        config = self._id(member_id)
        check_document(member.result, TrainedMember)
        self._losses(member.losses, range(1, self.n_draws + 1), diverged=True)
        if member.result["steps"] != min(len(member.losses) * data.STEPS_PER_DRAW, self.steps):
            raise ValueError(f"steps of a member must be those of its losses; got {member.result['steps']}")
        reported = member_id.member >= len(config.calibration_members())
        if (member.result["phase"] == "report") != reported or set(member.weights) != set(
            self.weights if reported else ()
        ):
            raise ValueError(
                f"a {'reported' if reported else 'calibration'} member must have its phase and its weights"
            )
        for name, value in member.weights.items():
            self._tensor(name, value, tuple(self.weights[name].shape))
        is_finite = all(value.isfinite().all() for value in member.weights.values())
        of_draw = finite(member.losses[-1])
        # Weights of calibration members are not kept, and may have become infinite after a finite loss.
        if member.result["loss"] not in ((of_draw if is_finite else None,) if reported else (of_draw, None)):
            raise ValueError(
                f"`loss` of a member must be that of its last draw, none if it diverged; got {member.result['loss']}"
                + ("" if is_finite else ", and NaN or infinity among its weights")
            )

    def _batch(self, batch: MemberBatch, state: TrainState) -> None:
        for member_id in batch.ids:
            self._id(member_id)
        if not batch.ids or len(set(batch.ids) | set(state.finished)) < len(batch.ids) + len(state.finished):
            raise ValueError("members in training must each be there once, and not be finished")
        step, done = check_integer("step", batch.step, 0, self.steps), len(batch.step_losses)
        first = step - done
        if (first % data.STEPS_PER_DRAW and first != self.steps) or not 0 <= done < data.STEPS_PER_DRAW or first < 0:
            raise ValueError(f"step must be that of the losses; got {step}, {done} of them in a draw")
        n_draws = -(-first // data.STEPS_PER_DRAW)
        if batch.training != sorted(set(batch.training) & set(range(len(batch.ids)))):
            raise ValueError("members that still train must be some of the batch")
        if len(batch.losses) != len(batch.ids) or set(batch.stopped) != set(range(len(batch.ids))) - {*batch.training}:
            raise ValueError("every member of the batch must have losses, and weights if it has stopped")
        for i, losses in enumerate(batch.losses):
            in_training = i in batch.training
            self._losses(losses, (n_draws,) if in_training else range(1, n_draws + 1), diverged=not in_training)
        for row in batch.step_losses:
            self._row(row, (len(batch.training),))
        for i, weights in batch.stopped.items():
            self._tensor(f"weights of {i}", weights, (self.n_params,))
        if len(batch.matrices) != N_MATRICES:
            raise ValueError("members in training without their weights")
        for matrix in batch.matrices:
            self._tensor("a matrix", matrix, (len(batch.training), self.n_params))
        if (found := batch.diverged()) != batch.not_finite:
            raise ValueError(
                f"weights and moments must be finite but for members that diverged, {batch.not_finite}; got NaN or "
                f"infinity in those of {found}"
            )

    def _losses(self, losses: object, lengths: Sequence[int], *, diverged: bool) -> None:
        """A member stops after the first draw whose loss is not finite, its last."""
        read = self._row(losses, lengths)
        if not all(map(math.isfinite, read[:-1] if diverged else read)):
            raise ValueError("losses of a member that goes on must be finite; got NaN or infinity")

    def _row(self, losses: object, lengths: Sequence[int]) -> list[float]:
        if not isinstance(losses, list) or len(losses) not in lengths or not all(type(x) is float for x in losses):
            raise ValueError(f"losses must be a list of {lengths} numbers")
        return losses

    def _tensor(self, name: str, value: object, shape: tuple[int, ...]) -> None:
        if not isinstance(value, Tensor) or value.dtype != self.dtype or tuple(value.shape) != shape:
            found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} must be {self.dtype} {shape}; got {found}")
        if value.layout != torch.strided or not value.is_contiguous():
            raise ValueError(f"{name} must lie in one piece")
