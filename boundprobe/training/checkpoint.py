"""Checkpoints of a group of runs: what is finished, and how far the members in training are."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boundprobe.runs.files import write_whole
from boundprobe.runs.store import read_or_refuse
from boundprobe.training.member_queue import Finished, Place

N_MATRICES = 3


@dataclass
class Round:
    """Members that are trained side by side, between two draws.

    Data and initial weights are functions of (seed, phase, member, step), so no generator's state is kept.

    Attributes
    ----------
    places : list of Place
        All members of the round.
    step : int
        Steps that the members in training have done.
    training : list of int
        Which of ``places`` are still in training: the rows of the matrices.
    losses : list of lists of float
        Mean loss (nats) of each draw of each of ``places``.
    matrices : list of Tensor (M, P)
        Weights, and the optimizer's first and second moments; none before the first checkpoint.
    stopped : dict of int to Tensor (P,)
        Weights of those that have stopped early.
    """

    places: list[Place]
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
    finished : dict of Place to Finished
    round : Round or None
        The members in training; None between two rounds.
    """

    finished: dict[Place, Finished] = field(default_factory=dict)
    round: Round | None = None

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        document = {
            "finished": [(*place, asdict(member)) for place, member in self.finished.items()],
            "round": None if self.round is None else vars(self.round) | {"places": [(*p,) for p in self.round.places]},
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
        finished = {Place(run, index): Finished(**member) for run, index, member in document.pop("finished")}
        in_training = document.pop("round")
        if document:
            raise ValueError(f"unknown parts {sorted(document)}")
        if in_training is not None:
            in_training = Round(**in_training | {"places": [Place(*place) for place in in_training["places"]]})
            if len(in_training.matrices) != N_MATRICES:
                raise ValueError("members in training without their weights")
        return cls(finished, in_training)
