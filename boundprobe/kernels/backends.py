"""One operation, several implementations: which are usable here, which is taken, and why another is not."""

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


def find_problem(backend: Backend, device_type: str) -> str | None:
    """Why a backend cannot be used on a device, and what to do; None if it can."""
    problems = []
    if (problem := _load_problem(backend)) is not None:
        problems.append(f"{problem}; {backend.install}")
    if device_type not in backend.devices:
        devices = " and ".join(backend.devices)
        problems.append(f"it runs on {devices}, not on {device_type}; give --device {backend.devices[0]}")
    elif device_type == "cuda" and not torch.cuda.is_available():
        problems.append("no CUDA device; run it where there is one")
    return "; ".join(problems) or None


def usable(backends: Mapping[str, Backend], device_type: str) -> tuple[str, ...]:
    """Names of the backends that can be used on a device, in order of preference."""
    return tuple(key for key, backend in backends.items() if find_problem(backend, device_type) is None)


@cache
def _load_problem(backend: Backend) -> str | None:
    """What went wrong while a backend was imported, once for each process."""
    try:
        backend.load()
    except Exception as error:  # whatever a broken installation raises while it is imported
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


@cache
def _loaded(backend: Backend) -> Callable[..., Any]:
    return backend.load()


def choose(operation: str, backends: Mapping[str, Backend], name: str, device_type: str) -> str:
    """Name of the backend that is taken: ``name`` itself, or for ``auto`` the first that is usable here.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    MissingDependencyError
        If it cannot be used here, or for ``auto`` none can; the line says why and what to install.
    """
    check_word(operation, name, (AUTO, *backends))
    problems = {}
    for key in backends if name == AUTO else (name,):
        problem = find_problem(backends[key], device_type)
        if problem is None:
            return key
        problems[key] = problem
    reasons = "; ".join(f"{operation} {key!r} cannot be used here: {problem}" for key, problem in problems.items())
    raise MissingDependencyError(reasons)


def function(operation: str, backends: Mapping[str, Backend], name: str, device_type: str) -> Callable[..., Any]:
    """The function of the backend that ``choose`` takes."""
    return _loaded(backends[choose(operation, backends, name, device_type)])


def check_any(operation: str, name: str, *tables: Mapping[str, Backend]) -> str:
    """Return the name of a backend of any of several operations, or "auto"; else ``ValueError`` that lists them."""
    return check_word(operation, name, dict.fromkeys((AUTO, *(key for table in tables for key in table))))


def meant_by(name: str, backends: Mapping[str, Backend]) -> str:
    """What a name that is given to several operations means for one: itself if it has such a backend, else ``auto``."""
    return name if name in backends else AUTO
