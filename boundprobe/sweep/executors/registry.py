"""Executors by name; each is imported when it is asked for, since Slurm and Ray are optional."""

from __future__ import annotations

from collections.abc import Callable

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
