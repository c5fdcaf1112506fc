"""Checkpoints of a run: what is finished, and how far the member in progress is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from boundprobe.runs.files import write_whole
from boundprobe.runs.store import read_or_refuse


@dataclass
class TrainState:
    """Everything that a run needs to go on, bit for bit on one device.

    Data and initial weights are functions of (seed, phase, member, step), so no generator's state is kept.

    Attributes
    ----------
    finished : list of dict
        For each finished member its results, and its weights if it is reported.
    step : int
        Steps done by the member in progress.
    model, optimizer : dict
        Its weights and its optimizer's state; empty at step 0.
    """

    finished: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        write_whole(path, lambda temporary: torch.save(asdict(self), temporary))

    @classmethod
    def load(cls, path: Path) -> TrainState:
        """Read the state onto the CPU; a fresh one if there is no file.

        Raises
        ------
        RunDirectoryError
            If the file is damaged.
        """
        if not path.exists():
            return cls()

        def read() -> TrainState:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))

        return read_or_refuse(path, read)
