"""Fields of configurations: meaning, allowed values and flag of each, stated once.

The command line derives its flags from these fields (``boundprobe.cli.options``), and a configuration checks itself by
them, so a name, a default and a limit stand in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from boundprobe.checks import check_integer, check_number, check_word


@dataclass(frozen=True)
class Setting:
    """A field of a configuration, beside its name, type and default.

    Attributes
    ----------
    help : str
        Meaning, in a few words.
    flag : str
        Its flag where that is not the field's name; further spellings after commas.
    metavar : str
        Placeholder of the value in a help text.
    least, most, above, below : float
        Limits of a number; ``least`` and ``most`` are allowed, the others are not.
    words : tuple of str
        Allowed values of a text; any if empty.
    """

    help: str
    flag: str = ""
    metavar: str = "X"
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    words: tuple[str, ...] = ()


def setting(default: Any, help: str, **about: Any) -> Any:
    """A dataclass field with a default and a ``Setting``.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     steps: int = setting(10, "optimizer steps", least=1)
    >>> Config().steps, [(f.name, s.help) for f, s in settings_of(Config)]
    (10, [('steps', 'optimizer steps')])
    """
    return field(default=default, metadata={"setting": Setting(help, **about)})


def settings_of(config: Any) -> Iterator[tuple[Any, Setting]]:
    """The fields of a configuration (or of its class) that are settings, in order."""
    return ((f, f.metadata["setting"]) for f in fields(config) if "setting" in f.metadata)


def check_settings(config: Any) -> None:
    """Hold every setting of a configuration against its type and limits.

    Raises
    ------
    ValueError
        In one line, for the first that is not allowed.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     steps: int = setting(10, "optimizer steps", least=1)
    >>> check_settings(Config(0))
    Traceback (most recent call last):
    ...
    ValueError: `steps` must be an integer of at least 1; got 0.
    """
    for found, about in settings_of(config):
        value = getattr(config, found.name)
        if found.type == "int":
            check_integer(found.name, value, int(about.least), None if about.most == math.inf else int(about.most))
        elif found.type == "float":
            limits = {name: getattr(about, name) for name in ("least", "most", "above", "below")}
            check_number(found.name, value, **limits)
        elif about.words:
            check_word(found.name, value, about.words)
