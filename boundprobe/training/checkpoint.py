"""Checkpoints of a group of runs: finished members, and the state of members in training."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boundprobe.runs.files import write_whole
from boundprobe.runs.store import read_or_refuse
from boundprobe.training.config import MemberId
from boundprobe.training.member_queue import Finished

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
    matrices : list of Tensor (M, P)
        Weights, and the optimizer's first and second moments; none before the first checkpoint.
    stopped : dict of int to Tensor (P,)
        Weights of those that have stopped early.
    """

    ids: list[MemberId]
    step: int = 0
    training: list[int] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    matrices: list[Tensor] = field(default_factory=list)
    stopped: dict[int, Tensor] = field(default_factory=dict)


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
        document = {
            "finished": [(*member_id, asdict(member)) for member_id, member in self.finished.items()],
            "batch": None if self.batch is None else vars(self.batch) | {"ids": [(*each,) for each in self.batch.ids]},
        }
        buffer = io.BytesIO()  # torch.save into a file says nothing of a full disk
        torch.save(document, buffer)
        write_whole(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))

    @classmethod
    def load(cls, path: Path) -> TrainState:
        """Read the state onto the CPU; a fresh one if there is no file.

        Raises
        ------
        RunDirectoryError
            If the file is damaged.
        """
        return read_or_refuse(path, lambda: cls._read(path)) if path.exists() else cls()

    @classmethod
    def _read(cls, path: Path) -> TrainState:
        document: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        finished = {MemberId(run, index): Finished(**member) for run, index, member in document.pop("finished")}
        in_training = document.pop("batch")
        if document:
            raise ValueError(f"unknown parts {sorted(document)}")
        if in_training is not None:
            in_training = MemberBatch(**in_training | {"ids": [MemberId(*each) for each in in_training["ids"]]})
            if len(in_training.matrices) != N_MATRICES:
                raise ValueError("members in training without their weights")
        return cls(finished, in_training)
