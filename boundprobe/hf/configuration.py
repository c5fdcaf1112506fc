"""Configurations of transformers, ``config.json``, read as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from boundprobe.checks import check_integer, check_number, refuse
from boundprobe.hf.layer_size import DTYPE_BITS
from boundprobe.models.spec import MOST_LAYERS
from boundprobe.runs.given import read_given
from boundprobe.text import one_line

#: Entries along one axis of a state, so that a mistyped size is refused.
MOST_SIZE = 2**40
#: Names of layer types in configurations that earlier releases of transformers wrote.
LEGACY_TYPES = {"mamba": "linear_attention", "attention": "full_attention"}

_MISSING = object()


def read_configuration(source: Path | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration in a folder, in a file, or given as it is.

    Parameters
    ----------
    source : path or mapping
        A folder with a ``config.json``, such a file, or its contents.

    Raises
    ------
    ValueError
        If there is none, or it is no JSON object.
    """
    if isinstance(source, Mapping):
        return source
    path = Path(source)
    file = path / "config.json" if path.is_dir() else path
    if not file.exists():
        got = f"{path}, a folder without one" if path.is_dir() else f"{path}, which does not exist"
        refuse(
            "--hf", "a folder with a config.json, or such a file", got, "; models are read locally, never downloaded"
        )
    try:
        document = json.loads(read_given("the configuration", file, 2**24))
    except (ValueError, RecursionError) as error:
        refuse("--hf", "a configuration in JSON", f"{file} ({one_line(error, 120)})")
    if not isinstance(document, dict):
        refuse("--hf", "a configuration, which is a JSON object", f"{file}, a {type(document).__name__}")
    return cast(dict[str, Any], document)


class Configuration:
    """A configuration whose keys are checked as they are read, and whose missing keys are noted.

    Parameters
    ----------
    values : mapping
    family : str
        Whose defaults stand for missing keys; named in refusals.
    """

    def __init__(self, values: Mapping[str, Any], family: str) -> None:
        self.values, self.family = values, family
        #: Keys that were asked for and are missing, and what was taken instead.
        self.defaults: dict[str, Any] = {}

    def raw(self, name: str, default: Any = _MISSING, *, aliases: Sequence[str] = ()) -> Any:
        """The value of a key, null included, or of the first alias that is there, or the default.

        Raises
        ------
        ValueError
            If neither is there and the key has no default.
        """
        for key in (name, *aliases):
            if key in self.values:
                return self.values[key]
        if default is _MISSING:
            raise ValueError(f"`{name}` must be in a configuration of {self.family}; got none.")
        self.defaults[name] = default
        return default

    def integer(self, name: str, default: Any = _MISSING, *, aliases: Sequence[str] = (), least: int = 1) -> int:
        """A size, which must be an integer."""
        return check_integer(name, self.raw(name, default, aliases=aliases), least, MOST_SIZE)

    def optional(self, name: str, default: int | None = None, *, least: int = 1) -> int | None:
        """A size that may be null or, without a default, missing, and is then derived from others."""
        value = self.values.get(name) if default is None else self.raw(name, default)
        return None if value is None else check_integer(name, value, least, MOST_SIZE)

    def number(self, name: str, default: float) -> float:
        """A ratio."""
        return check_number(name, self.raw(name, default), above=0, most=MOST_SIZE)

    def n_layers(self, *aliases: str) -> int:
        """Number of layers."""
        return check_integer("num_hidden_layers", self.raw("num_hidden_layers", aliases=aliases), 1, MOST_LAYERS)

    def head_width(self, heads: str = "num_attention_heads", name: str = "hidden_size", times: int = 1) -> int:
        """Width of a head: ``times`` the width of the model over the number of heads.

        Raises
        ------
        ValueError
            If that is less than 1.
        """
        width, n_heads = times * self.integer(name), self.integer(heads)
        if width < n_heads:
            refuse(name, f"at least {heads}, {n_heads}, which share it", f"{width}")
        return width // n_heads

    def indices(self, name: str, value: Any) -> set[int]:
        """A list of indices of layers."""
        if not isinstance(value, list | tuple):
            refuse(name, "a list of indices of layers", f"{one_line(repr(value), 60)}")
        return {check_integer(name, index, 0) for index in value}

    def layer_types(self, name: str, allowed: Sequence[str], n_layers: int | None, value: Any) -> list[str]:
        """Types of all layers by name, those of earlier releases included."""
        is_list = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        types = [LEGACY_TYPES.get(each, each) for each in value] if is_list else []
        if not types or not set(types) <= set(allowed) or len(types) > MOST_LAYERS:
            refuse(name, f"a list of layer types, each one of {', '.join(allowed)}", one_line(repr(value), 80))
        if n_layers is not None and len(types) != n_layers:
            refuse(name, f"a list of {n_layers} types, one for each layer", f"{len(types)}")
        return types

    def dtype(self) -> str:
        """Type of weights and activations, in which caches and convolution buffers are kept."""
        name = str(self.raw("dtype", "float32", aliases=("torch_dtype",)) or "float32").removeprefix("torch.")
        if name not in DTYPE_BITS:
            refuse("dtype", f"one of {', '.join(DTYPE_BITS)}", repr(name))
        return name
