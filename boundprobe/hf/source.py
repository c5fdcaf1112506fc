"""A model of Hugging Face on this machine: where its files are, what they say, and the hash that it is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.bounds.window import receptive_field
from boundprobe.checks import refuse
from boundprobe.errors import MissingDependencyError
from boundprobe.hf.configuration import read_configuration
from boundprobe.hf.families import FAMILIES
from boundprobe.hf.layer_size import StateSizes
from boundprobe.hf.readers import NO_TRANSFORMERS, gguf_configuration
from boundprobe.hf.sizes import layer_windows, state_sizes, state_stages


@dataclass(frozen=True)
class ForeignModel:
    """A model of Hugging Face as ladders name it.

    Attributes
    ----------
    family : str
        ``model_type`` of its configuration.
    name : str
        Of its folder or file, or in the cache of Hugging Face.
    sha256 : str
        Of its configuration and weights (``Source.sha256``).
    dtype : str
        Type of the weights that were measured, such as ``"float32"``.
    """

    family: str
    name: str
    sha256: str
    dtype: str

    @property
    def architecture(self) -> str:
        """The family."""
        return self.family

    def to_dict(self) -> dict[str, str]:
        """As ladders have it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ForeignModel:
        """Read it back.

        Raises
        ------
        ValueError
            If it has other keys, or values that are no texts.
        """
        names = [each.name for each in fields(cls)]
        if sorted(document) != sorted(names) or not all(isinstance(value, str) for value in document.values()):
            refuse("model", f"texts named {', '.join(names)}", ", ".join(map(str, document)))
        return cls(**document)


@dataclass(frozen=True)
class Source:
    """The files of a model.

    Attributes
    ----------
    path : Path
        Folder with ``config.json`` and safetensors, or a ``.gguf`` file.
    name : str
    configuration : mapping
        The contents of ``config.json``; of a ``.gguf`` file, what transformers makes of it.
    sha256 : str
        Of the names and contents of its files.
    files : tuple of Path
        ``config.json`` and all safetensors in order of their names, or the ``.gguf`` file.
    """

    path: Path
    name: str
    configuration: Mapping[str, Any]
    sha256: str
    files: tuple[Path, ...]

    @property
    def family(self) -> str:
        """``model_type`` of its configuration."""
        return str(self.configuration.get("model_type"))


def find_source(source: Path | str) -> Source:
    """The files of a model that is on this machine; nothing is downloaded.

    Parameters
    ----------
    source : path or str
        A folder with ``config.json`` and weights as safetensors, a ``.gguf`` file, or the name of a model in the cache
        of Hugging Face.

    Raises
    ------
    ValueError
        If there is no such model, or it has no safetensors.
    MissingDependencyError
        Without transformers, for a name or a ``.gguf`` file.
    """
    path = Path(source)
    if path.suffix == ".gguf" and path.is_file():
        return Source(path, path.name, gguf_configuration(path), _digest([path]), (path,))
    folder = path if path.is_dir() else _in_cache(str(source))
    values = read_configuration(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        refuse("--hf", "a folder with weights as safetensors", f"{folder}, which has none")
    name = folder.resolve().name if path.is_dir() else str(source)
    files = (folder / "config.json", *weights)
    return Source(folder, name, values, _digest(files), files)


def _digest(files: Sequence[Path]) -> str:
    """The sha256 of the names of files and the hashes of their contents."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.name}\n{content}\n".encode())
    return digest.hexdigest()


def _in_cache(name: str) -> Path:
    """Folder of a model in the cache of Hugging Face."""
    must = "a folder with config.json and safetensors, a .gguf file, or the name of a model that is on this machine"
    if Path(name).exists():
        refuse("--hf", must, f"{name}, a file")
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise MissingDependencyError(NO_TRANSFORMERS) from None
    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        found = None
    if not isinstance(found, str):
        refuse("--hf", must, name, "; nothing is downloaded")
    return Path(found).parent


def configuration_text(values: Mapping[str, Any]) -> str:
    """A configuration as one line of JSON, as runs have it on record."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)


@dataclass(frozen=True)
class KnownSizes:
    """Sizes that a configuration says: those that a measurement is held against when it is read back.

    Attributes
    ----------
    receptive_field : int or None, in tokens
    stages : tuple of Stage or None
        None in a family that boundprobe does not know.
    sizes : StateSizes or None
        After the tokens before the cut; None likewise.
    """

    receptive_field: int | None
    stages: tuple[Stage, ...] | None
    sizes: StateSizes | None

    @classmethod
    def of(cls, values: Mapping[str, Any], dtype: str, n_tokens: int) -> KnownSizes:
        """Read a configuration; ``dtype`` is that of the weights.

        Raises
        ------
        ValueError
            As ``state_sizes``, where the family is known.

        Examples
        --------
        >>> known = KnownSizes.of({"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 4}, "float32", 9)
        Traceback (most recent call last):
        ...
        ValueError: `hidden_size` must be in a configuration of mistral; got none.
        >>> KnownSizes.of({"model_type": "some_new_family"}, "float32", 9)
        KnownSizes(receptive_field=None, stages=None, sizes=None)
        """
        nested = values.get("text_config")
        family = nested.get("model_type") if isinstance(nested, Mapping) else None
        if family not in FAMILIES and values.get("model_type") not in FAMILIES:
            return cls(None, None, None)
        return cls(
            receptive_field(layer_windows(values)),
            state_stages(values, dtype=dtype),
            state_sizes(values, n_tokens, dtype=dtype),
        )
