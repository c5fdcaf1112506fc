"""Executors by name; each is imported when it is asked for, since Slurm and Ray are optional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from boundprobe.checks import check_word
from boundprobe.sweep.executors.base import AbstractExecutor


def _local() -> type[AbstractExecutor]:
    from boundprobe.sweep.executors.local import LocalExecutor

    return LocalExecutor


def _slurm() -> type[AbstractExecutor]:
    from boundprobe.sweep.executors.slurm import SlurmExecutor

    return SlurmExecutor


def _ray() -> type[AbstractExecutor]:
    from boundprobe.sweep.executors.ray import RayExecutor

    return RayExecutor


#: Name of an executor to a function that imports its class.
EXECUTORS: dict[str, Callable[[], type[AbstractExecutor]]] = {"local": _local, "slurm": _slurm, "ray": _ray}


def build_executor(name: str, options: Mapping[str, Any]) -> AbstractExecutor:
    """An executor by its name and options.

    Parameters
    ----------
    name : str
        A key of ``EXECUTORS``.
    options : mapping
        Fields of its class; for ``slurm``, whatever is none of its fields is an option of ``sbatch``.

    Raises
    ------
    ValueError
        For an unknown executor or option, and values that are not allowed.

    Examples
    --------
    >>> build_executor("local", {"n_workers": 2})
    LocalExecutor(n_workers=2, devices=())
    """
    kind = EXECUTORS[check_word("executor", name, EXECUTORS)]()
    known = {field.name for field in fields(kind)}
    given = {key: value for key, value in options.items() if key in known}
    others = {key: value for key, value in options.items() if key not in known}
    if "additional" in known:
        given |= {"additional": others} if others else {}
    else:
        for key in others:
            check_word("option", key, known, of=f" of executor {name}")
    return kind(**given)
