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
    if (problem := _load_problem(backend)) is not None:
        return f"{problem}; {backend.install}"
    if device_type not in backend.devices:
        return f"it runs on {' and '.join(backend.devices)}, not on {device_type}; give --device {backend.devices[0]}"
    if device_type == "cuda" and not torch.cuda.is_available():
        return "no CUDA device; run it where there is one"
    return None


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
        If it cannot be used here; the line says why and what to install.
    """
    check_word(operation, name, (AUTO, *backends))
    if name == AUTO:
        return next(key for key, backend in backends.items() if find_problem(backend, device_type) is None)
    if (problem := find_problem(backends[name], device_type)) is not None:
        raise MissingDependencyError(f"{operation} {name!r} cannot be used here: {problem}")
    return name


def function(operation: str, backends: Mapping[str, Backend], name: str, device_type: str) -> Callable[..., Any]:
    """The function of the backend that ``choose`` takes."""
    return _loaded(backends[choose(operation, backends, name, device_type)])
