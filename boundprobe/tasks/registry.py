"""Tasks by name, and construction from a name and parameters."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping

from boundprobe.checks import check_word
from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.convert import convert
from boundprobe.tasks.copying import Copying
from boundprobe.tasks.custom.task import load_task
from boundprobe.tasks.mkar import MultiKeyRecall
from boundprobe.tasks.mqar import MultiQueryRecall
from boundprobe.tasks.needle import Needle
from boundprobe.tasks.ngram_retrieval import NgramRetrieval
from boundprobe.tasks.position_retrieval import PositionRetrieval
from boundprobe.tasks.selective_copying import SelectiveCopying

#: Every task by the name that the command line and TOML use.
TASKS: dict[str, type[AbstractTask]] = {
    task.name: task
    for task in (
        SelectiveCopying,
        AssociativeRecallDecoding,
        MultiKeyRecall,
        Needle,
        MultiQueryRecall,
        Copying,
        NgramRetrieval,
        PositionRetrieval,
    )
}


def build_task(name: str, parameters: Mapping[str, object], preset: str | None = None) -> AbstractTask:
    """Build a task: its defaults, then the preset, then the parameters.

    Parameters
    ----------
    name : str
        A key of ``TASKS``, or a user's own: ``module:name`` or ``file.py:name`` (see ``custom.load_task``).
    parameters : mapping
        Values by parameter name; strings, as a command line gives them ("10", "0.2", "none"), are converted
        to the parameter's type.
    preset : str, optional
        A key of the task's ``presets``.

    Returns
    -------
    AbstractTask

    Raises
    ------
    ValueError
        In one line, for an unknown task, preset or parameter, and for a value that cannot be read or is not
        allowed.

    Examples
    --------
    >>> build_task("ar-decoding", {"word_bits": "6"}).state_case().entropy_bits
    160.0
    >>> build_task("ar-decoding", {"wordbits": 6})
    Traceback (most recent call last):
    ...
    ValueError: `parameter` of ar-decoding must be one of bit_probability, gap, seq_len, word_bits; got 'wordbits'. \
Did you mean 'word_bits'?
    """
    if ":" in str(name):  # a user's own
        if preset is not None:
            raise ValueError(
                f"`preset` must not be given for {name}, which has none; got {preset!r}. Give parameters with -p."
            )
        return load_task(name, parameters)

    if str(name).endswith(".py"):
        raise ValueError(f"`task` must be file.py:ClassName for your own task; got {name!r}. Add :ClassName.")
    task_class = TASKS[check_word("task", name, sorted(TASKS))]
    settings: dict[str, object] = {}
    if preset is not None:
        settings |= task_class.presets[check_word("preset", preset, task_class.presets, of=f" of {name}")]
    hints = typing.get_type_hints(task_class)
    fields = sorted(field.name for field in dataclasses.fields(task_class))
    for key, value in parameters.items():
        check_word("parameter", key, fields, of=f" of {name}")
        settings[key] = convert(key, value, hints[key])
    return task_class(**settings)


def task_of(table: Mapping[str, object]) -> AbstractTask:
    """The task that a ``[task]`` table describes: ``name``, maybe ``preset``, and parameters.

    >>> task_of({"name": "copying", "n_tokens": 3}).state_case().n_answers
    3

    Raises
    ------
    ValueError
        If no task is named, or its parameters are wrong.
    """
    parameters = dict(table)
    name, preset = parameters.pop("name", None), parameters.pop("preset", None)
    if name is None:
        raise ValueError(
            f"a task must be given, one of {', '.join(TASKS)}; got none. Give --task NAME, or name under [task]."
        )
    return build_task(str(name), parameters, None if preset is None else str(preset))
