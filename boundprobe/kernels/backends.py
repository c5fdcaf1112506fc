"""An operation and its implementations: which are usable here, which is taken, and why another is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from boundprobe.checks import check_word
from boundprobe.errors import MissingDependencyError

#: The name that leaves the choice to device and installation.
AUTO = "auto"


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    Attributes
    ----------
    load : callable
        Imports what is needed and returns the function; raises ``ImportError`` where something is missing.
    devices : tuple of str
        Device types that it runs on, such as ``("cpu", "cuda")``.
    install : str
        What to install where ``load`` fails: "pip install 'boundprobe[cuda]'".
    """

    load: Callable[[], Callable[..., Any]]
    devices: tuple[str, ...] = ("cpu", "cuda")
    install: str = ""


@dataclass(frozen=True)
class Operation:
    """An operation with its backends.

    Attributes
    ----------
    name : str
        As records of runs and ``boundprobe doctor`` have it: "selective scan".
    backends : mapping of str to Backend
        In order of preference: ``auto`` takes the first that is usable.
    """

    name: str
    backends: Mapping[str, Backend]

    def usable(self, device_type: str) -> tuple[str, ...]:
        """Names of the backends that can be used on a device, in order of preference."""
        return tuple(name for name, backend in self.backends.items() if find_problem(backend, device_type) is None)

    def choose(self, name: str, device_type: str) -> str:
        """Name of the backend that is taken: ``name`` itself, or for ``auto`` the first that is usable here.

        Raises
        ------
        ValueError
            If there is no backend of that name.
        MissingDependencyError
            If it cannot be used here, or for ``auto`` none can; the line says why and what to install.
        """
        check_word(self.name, name, (AUTO, *self.backends))
        problems = {}
        for key in self.backends if name == AUTO else (name,):
            problem = find_problem(self.backends[key], device_type)
            if problem is None:
                return key
            problems[key] = problem
        reasons = (f"{self.name} {key!r} cannot be used here: {problem}" for key, problem in problems.items())
        raise MissingDependencyError("; ".join(reasons))

    def function(self, name: str, device_type: str) -> Callable[..., Any]:
        """The function of the backend that ``choose`` takes."""
        return _loaded(self.backends[self.choose(name, device_type)])

    def own_or_auto(self, name: str) -> str:
        """``name`` if this operation has such a backend, else ``auto``: one name is given to several operations."""
        return name if name in self.backends else AUTO


def check_backend(name: str, *operations: Operation) -> str:
    """Return ``name`` if it is "auto" or a backend of one of the operations, else raise ``ValueError``."""
    return check_word("backend", name, dict.fromkeys((AUTO, *(key for of in operations for key in of.backends))))


def find_problem(backend: Backend, device_type: str) -> str | None:
    """Reason why a backend cannot be used on a device, with advice; None if it can."""
    problems = []
    if (problem := _load_problem(backend)) is not None:
        problems.append(f"{problem}; {backend.install}")
    if device_type not in backend.devices:
        devices = " and ".join(backend.devices)
        problems.append(f"it runs on {devices}, not on {device_type}; give --device {backend.devices[0]}")
    elif device_type == "cuda" and not torch.cuda.is_available():
        problems.append("no CUDA device; run it where there is one")
    return "; ".join(problems) or None


@cache
def _load_problem(backend: Backend) -> str | None:
    """The error that importing a backend raised, looked for once in each process."""
    try:
        backend.load()
    except Exception as error:  # whatever a broken installation raises while it is imported
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


@cache
def _loaded(backend: Backend) -> Callable[..., Any]:
    return backend.load()
