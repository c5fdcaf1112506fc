"""Options of the verbs: a table of flags, configuration keys and readers.

Defaults < TOML file < flags.  An unknown flag or key is an error that names it.  No torch here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boundprobe.checks import MOST_SEED
from boundprobe.cli.toml import read_config
from boundprobe.models.spec import ModelSpec
from boundprobe.probes.settings import ProbeConfig
from boundprobe.settings import Setting, settings_of
from boundprobe.tasks.registry import TASKS

_MISSING = argparse.SUPPRESS


@dataclass(frozen=True)
class Option:
    """A flag and the key of the configuration that it sets.

    Attributes
    ----------
    flag : str
        Such as ``--d-model``; further spellings after commas.
    path : tuple of str
        Place in the configuration, and in a TOML file: ("model", "d_model") is ``d_model`` under ``[model]``.
    read : callable
        From the text to the value; raises ``argparse.ArgumentTypeError`` that says what is allowed.
    help, metavar : str
    without_value : object
        What the flag alone stands for; None: it needs a value.
    """

    flag: str
    path: tuple[str, ...]
    read: Callable[[str], Any]
    help: str
    metavar: str = "X"
    without_value: Any = None


def options_of(config: type, table: str = "") -> tuple[Option, ...]:
    """The options that set the fields of a configuration class.

    Parameters
    ----------
    config : dataclass
        Whose fields are made with ``boundprobe.settings.setting``.
    table : str
        Table of the configuration that the fields lie in; empty: at the top.
    """
    return tuple(
        Option(
            about.flag or f"--{found.name.replace('_', '-')}",
            (table, found.name) if table else (found.name,),
            _reader(found.type, about),
            f"{about.help} (default {_shown(found.default)})",
            about.metavar,
        )
        for found, about in settings_of(config)
    )


def _shown(default: object) -> str:
    """A default as a user would type it."""
    return ",".join(map(_shown, default)) if isinstance(default, tuple) else f"{default}"


def _reader(kind: str, about: Setting) -> Callable[[str], Any]:
    """The reader of a field, by its type."""
    readers: dict[str, Callable[[str], Any]] = {
        "float": number, "str": word, "tuple[str, ...]": words, "tuple[float, ...]": numbers,
    }  # fmt: skip
    return (
        whole_number(int(about.least), None if about.most == math.inf else int(about.most))
        if kind == "int"
        else readers[kind]
    )


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reader of whole numbers from ``least`` up, perhaps to ``most``."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be an integer {limits}; got {text!r}.")
        return value

    return read


def number(text: str) -> float:
    """Reader of numbers; the configuration checks their range."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, such as 0.1; got {text!r}.") from None


def numbers(text: str) -> list[float]:
    """Reader of numbers joined by commas."""
    return [number(part) for part in text.split(",")]


def word(text: str) -> str:
    """Reader of a name; the configuration checks it."""
    return text


def words(text: str) -> list[str]:
    """Reader of names joined by commas."""
    return [part.strip() for part in text.split(",")]


def one_of(*allowed: str) -> Callable[[str], str]:
    """Reader of one of a few names."""

    def read(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(allowed)}; got {text!r}.")
        return text

    return read


def parameter(text: str) -> tuple[str, str]:
    """Reader of ``name=value``."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"must be name=value, such as seq_len=64; got {text!r}.")
    return name, value


TASK_OPTIONS = (
    Option("--task", ("task", "name"), word, f"{', '.join(TASKS)}, or your own as file.py:Name", "NAME"),
    Option("--preset", ("task", "preset"), word, "fill in a preset's parameters, such as paper", "NAME"),
)

MODEL_OPTIONS = options_of(ModelSpec, "model")

LADDER_OPTIONS = options_of(ProbeConfig)

BOTTLENECK_OPTIONS = (
    Option("--budgets", ("bottleneck", "budgets"), word, "also behind bottlenecks of so many bits", "1x2,4x3,.."),
    Option("--bottleneck-steps", ("bottleneck", "steps"), whole_number(1), "training steps of each (default 400)", "N"),
)

#: Where the parser keeps a task that the command line names, which is consent to execute it.
TASK_NAME = "task.name"

SEED_OPTION = Option("--seed", ("seed",), whole_number(0, MOST_SEED), "seed of everything random (default 0)", "N")


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option], *, task: bool) -> None:
    """Add a verb's options, ``-p name=value`` where it has a task, and the flags of ``add_verb_flags``."""
    for option in options:
        parser.add_argument(
            *option.flag.split(","), dest=".".join(option.path), type=option.read, metavar=option.metavar,
            help=option.help, default=_MISSING, const=option.without_value,
            nargs=None if option.without_value is None else "?",
        )  # fmt: skip
    if task:
        parser.add_argument(
            "-p", dest="task_parameters", type=parameter, metavar="name=value", action="append", default=[],
            help="a parameter of the task; repeatable",
        )  # fmt: skip
        add_trust(parser)
    add_verb_flags(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``."""
    parser.add_argument(
        "--trust", action="store_true", help="execute the own task that a run directory or its configuration names"
    )


def add_trusted_task(parser: argparse.ArgumentParser) -> None:
    """Add ``--task`` and ``--trust`` to a verb that takes its task from run directories."""
    parser.add_argument(
        "--task", dest=TASK_NAME, default=_MISSING, metavar="NAME",
        help="the own task of the run, file.py:Name: executed because you name it",
    )  # fmt: skip
    add_trust(parser)


def add_verb_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every verb has."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="configuration file; flags override what it says"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("--json", action="store_true", help="print exactly one JSON document on stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes on stderr")
    parser.add_argument("-v", "--verbose", action="store_true", help="tracebacks with errors")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", type=one_of("auto", "cpu", "cuda"), default="auto", metavar="auto|cpu|cuda",
        help="where tensors live; auto takes a GPU where there is one (default auto)",
    )  # fmt: skip


def resolve(options: Sequence[Option], args: argparse.Namespace) -> dict[str, Any]:
    """The configuration that a TOML file and flags say together, as nested tables; defaults are not in it.

    Raises
    ------
    ValueError
        If the file cannot be read or has a key that no option sets.
    """
    config = read_config(args.config, [option.path for option in options]) if args.config else {}
    given = vars(args)
    for option in options:
        key = ".".join(option.path)
        if key in given:
            _table(config, option.path)[option.path[-1]] = given[key]
    parameters = given.get("task_parameters", [])
    for name, value in parameters:
        if [other for other, _ in parameters].count(name) > 1:
            raise ValueError(f"`-p {name}` must be given once; got it more than once.")
        config.setdefault("task", {})[name] = value
    return config


def _table(config: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        config = config.setdefault(key, {})
    return config
