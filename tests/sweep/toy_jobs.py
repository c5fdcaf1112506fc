"""Jobs that worker processes of the tests can import: the tests put this folder on their path."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Toy:
    """Report once, wait for a time and for another job's mark, then leave a mark, fail or return."""

    value: int
    seconds: float = 0.0
    error: str | None = None
    mark: Path | None = None
    wait_for: Path | None = None

    def __call__(self, report: Callable[[float, str], None]) -> tuple[int, int, int]:
        """Return the value, this process, and its number of threads."""
        report(self.value / 2, f"job {self.value}")
        time.sleep(self.seconds)
        while self.wait_for is not None and not self.wait_for.exists():
            time.sleep(0.01)
        if self.mark is not None:
            self.mark.touch()
        if self.error is not None:
            raise ArithmeticError(self.error)
        return self.value, os.getpid(), torch.get_num_threads()
