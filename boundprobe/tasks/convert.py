"""From names and values, as a command line or a TOML file gives them, to a task."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping

from boundprobe.checks import check_word
from boundprobe.tasks.base import AbstractTask

_NONE_WORDS = ("none", "null")
_KINDS = {int: ("an integer", "10"), float: ("a number", "0.2"), str: ("a text", "suffix")}


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
    ValueError: parameter 'wordbits' of ar-decoding is not known; did you mean 'word_bits'? allowed: \
bit_probability, seq_len, word_bits; rename or drop it
    """
    # Imported here because the package's __init__ imports this module.
    from boundprobe.tasks import TASKS

    if ":" in str(name):  # a user's own
        from boundprobe.tasks.custom.task import load_task

        if preset is not None:
            raise ValueError(f"preset {preset!r} of {name} is not known; allowed: none; give parameters with -p")
        return load_task(name, parameters)

    task_class = TASKS[check_word("task", name, sorted(TASKS))]
    settings: dict[str, object] = {}
    if preset is not None:
        settings |= task_class.presets[check_word("preset", preset, task_class.presets, of=f" of {name}")]
    hints = typing.get_type_hints(task_class)
    fields = sorted(field.name for field in dataclasses.fields(task_class))
    for key, value in parameters.items():
        check_word("parameter", key, fields, "rename or drop it", of=f" of {name}")
        settings[key] = _convert(key, value, hints[key])
    return task_class(**settings)


def _convert(name: str, value: object, hint: object) -> object:
    """Convert ``value`` to a parameter's type: int, float, str, or one of these or None."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    optional = type(None) in kinds
    if optional and (value is None or (isinstance(value, str) and value.strip().lower() in _NONE_WORDS)):
        return None
    kind = next(kind for kind in kinds if kind is not type(None))
    try:
        if kind is str:
            return _exact(value, str)
        if kind is int:
            return int(value) if isinstance(value, str) else _exact(value, int)
        if kind is float:
            return float(value) if isinstance(value, str) else float(_exact(value, int, float))
    except (TypeError, ValueError):
        allowed, example = _KINDS[kind]
        if optional:
            allowed += f" or {_NONE_WORDS[0]}"
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}; write e.g. {name}={example}") from None
    raise TypeError(f"parameter {name} has the type {kind}, which build_task cannot read; teach _convert")


def _exact(value: typing.Any, *allowed: type) -> typing.Any:
    """Return ``value`` if its type is allowed (a bool is no int), else raise ``TypeError``."""
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise TypeError
    return value
