"""Values of parameters, as a command line or a TOML file gives them, converted to the parameter's type."""

from __future__ import annotations

import types
import typing

_NONE_WORDS = ("none", "null")
_KINDS = {int: ("an integer", "10"), float: ("a number", "0.2"), str: ("a string", "suffix")}


def convert(name: str, value: object, hint: object) -> object:
    """Convert ``value`` to a parameter's type: int, float, str, or one of these or None.

    >>> convert("seq_len", "64", int), convert("number_probability", "none", float | None)
    (64, None)

    Raises
    ------
    ValueError
        In one line that names the parameter, if the value cannot be read.
    """
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
        raise ValueError(f"`{name}` must be {allowed}, as in {name}={example}; got {value!r}.") from None
    raise TypeError(f"parameter {name} has the type {kind}, which cannot be read from text; teach convert")


def _exact(value: typing.Any, *allowed: type) -> typing.Any:
    """Return ``value`` if its type is allowed (a bool is no int), else raise ``TypeError``."""
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise TypeError
    return value
