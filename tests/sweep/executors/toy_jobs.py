"""Jobs that worker processes of the tests can import: the tests put this folder on their path."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boundprobe.errors import RunInUseError
from boundprobe.training import Stepper, TrainConfig, train

Report = Callable[[float, str], None]


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
        import torch

        report(self.value / 2, f"job {self.value}")
        time.sleep(self.seconds)
        while self.wait_for is not None and not self.wait_for.exists():
            time.sleep(0.01)
        if self.mark is not None:
            self.mark.touch()
        if self.error is not None:
            raise ArithmeticError(self.error)
        return self.value, os.getpid(), torch.get_num_threads()


@dataclass(frozen=True)
class Steps:
    """Work in steps, as a training run does it: alone, from its checkpoint, and not at all if it was finished.

    ``<name>.steps`` is the checkpoint, a line for each step that was done; ``<name>.starts`` has a line for each
    process that took up the work.
    """

    folder: Path
    name: str
    n_steps: int = 1
    seconds: float = 0.0
    reports: bool = True

    def __call__(self, report: Report) -> None:
        with self.path("lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._note("busy")
                raise RunInUseError(f"{self.name} is in use") from None
            if self.path("done").exists():
                return
            self._note("starts")
            for step in range(len(self.lines("steps")), self.n_steps):
                if self.reports:
                    report(step, f"{self.name} step {step}")
                time.sleep(self.seconds)
                self._note("steps", str(step))
            self.path("done").touch()

    def path(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"

    def lines(self, kind: str) -> list[str]:
        return self.path(kind).read_text().splitlines() if self.path(kind).exists() else []

    def is_exact(self) -> bool:
        """Whether it was finished, and every step was done once, in order."""
        return self.path("done").exists() and self.lines("steps") == [str(step) for step in range(self.n_steps)]

    def _note(self, kind: str, line: str = "") -> None:
        with self.path(kind).open("a") as file:
            file.write(f"{line or os.getpid()}\n")


@dataclass(frozen=True)
class Fails:
    """Raise an error of two lines."""

    def __call__(self, report: Report) -> None:
        raise ArithmeticError("no\nluck")


@dataclass(frozen=True)
class Dies:
    """Note the process and kill it, as the kernel does where memory is short."""

    starts: Path

    def __call__(self, report: Report) -> None:
        with self.starts.open("a") as file:
            file.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Meets:
    """Tell what ``CUDA_VISIBLE_DEVICES`` is once so many such jobs run at the same time."""

    folder: Path
    name: str
    n_others: int

    def __call__(self, report: Report) -> None:
        (self.folder / self.name).touch()
        while len(list(self.folder.iterdir())) < self.n_others + 1:
            time.sleep(0.02)
        report(os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))


@dataclass(frozen=True)
class TellsThreads:
    """Tell how many threads torch uses here."""

    def __call__(self, report: Report) -> None:
        import torch

        report(torch.get_num_threads(), "threads")


@dataclass(frozen=True)
class TellsDevices:
    """Tell how many CUDA devices torch sees, and that one of them computes."""

    def __call__(self, report: Report) -> None:
        import torch

        report(torch.cuda.device_count(), str(torch.ones(2, device="cuda:0").sum().item()))


@dataclass(frozen=True)
class Trains:
    """Train a run, a line in ``steps`` for each step that was done; the step ``at`` meets a signal, once."""

    config: TrainConfig
    root: Path
    number: int
    at: int

    def __call__(self, report: Report) -> None:
        real, notes = Stepper.step, self.root / "steps"

        def step(stepper: Stepper, *args: Any) -> Any:
            with notes.open("a") as file:
                file.write("step\n")
            if len(notes.read_text().split()) == self.at:
                os.kill(os.getpid(), self.number)
            return real(stepper, *args)

        Stepper.step = step  # type: ignore[method-assign]
        try:
            train(self.config, self.root)
        finally:
            Stepper.step = real  # type: ignore[method-assign]
