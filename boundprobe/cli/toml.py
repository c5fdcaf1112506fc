"""TOML files that users give."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from boundprobe.checks import meant
from boundprobe.models.own_sources import check_recorded
from boundprobe.runs.files import MOST_CONFIG, read_regular
from boundprobe.runs.given import read_given
from boundprobe.tasks.custom.source import HASH_KEY
from boundprobe.training.config import rename_old_keys


def read_config(path: Path, keys: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """The tables of a user's configuration file, whose keys must all be known.

    Parameters
    ----------
    path : Path
    keys : iterable of tuples of str
        Allowed keys, with the tables that they lie in; any key may stand under ``[task]`` where there is such a table.

    Raises
    ------
    ValueError
        If the file cannot be read, or has a key that is not allowed.
    """
    config = load_toml(path, f"--config {path}")
    allowed = set(keys)
    if ("backend",) in allowed:
        config = rename_old_keys(config)
    has_task = any(path[0] == "task" for path in allowed)
    above = {path[:i] for path in allowed for i in range(1, len(path))}
    for found, is_empty in _leaves(config):
        if is_empty and found in above:
            continue
        # Any key may stand under [task]: the task itself knows its parameters and names a wrong one.
        if found == ("model", "sources") and ("model", "architecture") in allowed:  # as boundprobe wrote it
            continue
        if found not in allowed and not (has_task and found[0] == "task" and len(found) == 2):
            names = sorted({".".join(path) for path in allowed})
            wrong = ".".join(found)
            raise ValueError(
                f"a key in --config {path} must be one of {', '.join(names)}; got {wrong!r}.{meant(wrong, names)}"
            )
    return config


def load_toml(path: Path, name: str) -> dict[str, Any]:
    """The tables of a user's TOML file.

    Raises
    ------
    ValueError
        If it cannot be read, is not TOML, or lies in a run directory and names a user's own task without the hash
        of its source: then it is not what boundprobe wrote there.
    """
    directory = path.absolute().parent.name
    of_run = path.name == "config.toml" and re.fullmatch(r"[a-z]+-[0-9a-f]{12}", directory) is not None
    try:
        data = read_regular(path, MOST_CONFIG) if of_run else read_given(name, path)
    except OSError as error:
        raise ValueError(f"{name} must be a TOML file; got one that cannot be read ({error.strerror}).") from None
    try:
        config = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError(
            f"{name} must be TOML of a few levels; got tables or lists that are nested too deeply."
        ) from None
    except ValueError as error:
        raise ValueError(f"{name} must be TOML 1.0; got something else ({error}).") from None
    task = config.get("task")
    if of_run and isinstance(task, Mapping) and ":" in str(task.get("name", "")) and HASH_KEY not in task:
        raise ValueError(
            f"{name} must be as boundprobe wrote it, with the {HASH_KEY} of its task's source; got the task "
            f"{task['name']!r} without. Copy it to a file of your own if you trust it."
        )
    if of_run and isinstance(config.get("model"), Mapping):
        try:
            check_recorded(config["model"])
        except ValueError as error:
            raise ValueError(f"{name}: {error} Copy it to a file of your own if you trust it.") from None
    return config


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], bool]]:
    """Paths to values and to tables with nothing below them: (path, whether it is such a table)."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), isinstance(value, Mapping)
