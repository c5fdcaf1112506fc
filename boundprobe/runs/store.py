"""Run directories: one per configuration, resumable, finished by their last file.

``<root>/<verb>-<first 12 hex of sha256 of the resolved configuration>/`` holds ``config.toml``, ``manifest.json``,
``metrics.jsonl``, what the verb makes, and ``result.json``, which is written last, by rename: the done mark.
Nothing here deletes a directory, and no pickle is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from boundprobe.errors import RunDirectoryError
from boundprobe.runs.files import (
    MOST_CONFIG,
    MOST_TENSORS,
    append_text,
    json_text,
    make_output_directory,
    parse_json,
    parse_or_refuse,
    read_regular,
    write_bytes,
    write_text,
)
from boundprobe.runs.given import real_path
from boundprobe.runs.lock import locked
from boundprobe.runs.manifest import add_session, check_hash, sha256, stamp_finished

Config = Mapping[str, Any]
T = TypeVar("T")


def without_none(value: Any) -> Any:
    """``value`` as plain TOML: no None (which stands for the default), no tuples, no numpy numbers."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    raise ValueError(f"a configuration must hold numbers, strings, lists and tables; got {value!r}.")


def config_hash(config: Config) -> str:
    """First 12 hex digits of the sha256 of the configuration in canonical JSON.

    >>> config_hash({"b": 1, "a": None}) == config_hash({"b": 1})
    True
    """
    canonical = json.dumps(without_none(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Run:
    """One run directory, opened with ``open_run`` or ``load_run``."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config

    @property
    def run_id(self) -> str:
        """Name of the directory: ``<verb>-<hash>``."""
        return self.path.name

    @property
    def verb(self) -> str:
        """Verb that made the run."""
        return self.run_id.rsplit("-", 1)[0]

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, None while it is unfinished.

        Raises
        ------
        RunDirectoryError
            If it is damaged, is not of this run, or has changed since it was written.
        """
        from boundprobe.runs.documents.read import check_result

        path = self.path / "result.json"
        try:
            data = read_regular(path)
        except FileNotFoundError:
            return None
        document = parse_or_refuse(path, lambda: check_result(parse_json(data), self.verb))
        if document.get("run_id", self.run_id) != self.run_id:
            raise RunDirectoryError(
                f"{path} is of another run: `run_id` must be {self.run_id!r}; got {document['run_id']!r}; restore it, "
                f"or move {self.path} away"
            )
        check_hash(self.path / "manifest.json", path, data)
        if "run_dir" in document:  # where it was loaded from, wherever it was made
            document["run_dir"] = str(self.path)
        return document

    def read_result(self, read: Callable[[dict[str, Any]], T]) -> T | None:
        """Result of a finished run as ``read`` makes it, None while the run is unfinished.

        Raises
        ------
        RunDirectoryError
            As ``result``, and if ``read`` refuses the document.
        """
        if (document := self.result()) is None:
            return None
        return parse_or_refuse(self.path / "result.json", lambda: read(document))

    def read_tensors(self, name: str) -> bytes:
        """The bytes of a file of tensors of a finished run, held against the hash on record.

        Raises
        ------
        RunDirectoryError
            If it is not there, is no regular file, or has changed since it was written.
        """
        path = self.path / name
        try:
            data = read_regular(path, MOST_TENSORS)
        except FileNotFoundError:
            raise RunDirectoryError(f"{path} is missing; move {self.path} away and run the command again") from None
        check_hash(self.path / "manifest.json", path, data)
        return data

    @contextmanager
    def session(self, *, device: str, seeds: Mapping[str, Any]) -> Iterator[None]:
        """Work on the run, alone: a lock that dies with its process, and an entry in the manifest.

        Raises
        ------
        RunInUseError
            If another process works on it.
        """
        with locked(self.path):
            add_session(self.path / "manifest.json", device=device, seeds=seeds)
            yield

    def finish(self, result: Mapping[str, Any], hashes: Mapping[str, str] | None = None) -> None:
        """Stamp the manifest, then write ``result.json``, the done mark.

        Parameters
        ----------
        result : mapping
        hashes : mapping of str to str
            sha256 of further files of the run, by name, to be compared when they are read.
        """
        text = json_text(result)
        stamp_finished(self.path / "manifest.json", {**(hashes or {}), "result.json": sha256(text.encode("utf-8"))})
        write_text(self.path / "result.json", text)

    def write_tensors(self, name: str, data: bytes) -> dict[str, str]:
        """Write a file of tensors; return its sha256 by its name, as ``finish`` takes it."""
        write_bytes(self.path / name, data)
        return {name: sha256(data)}

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of ``metrics.jsonl``; a last line that a crash cut off is left out."""
        from boundprobe.runs.documents.read import METRICS, check_document

        path, shape = self.path / "metrics.jsonl", METRICS.get(self.verb)
        try:
            data = read_regular(path)
        except FileNotFoundError:
            return []

        def read() -> list[dict[str, Any]]:
            whole = data[: data.rfind(b"\n") + 1]
            documents = [parse_json(line) for line in whole.splitlines()]
            return documents if shape is None else [check_document(each, shape) for each in documents]

        return parse_or_refuse(path, read)

    def replace_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` anew: on resume, lines after the checkpoint are dropped and made again."""
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        append_text(self.path / "metrics.jsonl", json.dumps(line) + "\n")


def find_run(root: Path, verb: str, config: Config) -> Run | None:
    """The run directory of a configuration if it is there; nothing is made.

    Raises
    ------
    RunDirectoryError
        If the directory holds another configuration or is damaged.
    """
    path = real_path(root) / run_name(verb, config)
    return _load_here(path) if os.path.lexists(path) else None


def run_name(verb: str, config: Config) -> str:
    """Name of the run directory of a configuration: ``<verb>-<hash>``."""
    return f"{verb}-{config_hash(config)}"


def open_run(root: Path, verb: str, config: Config) -> Run:
    """The run directory of a configuration, made if it is not there.

    Raises
    ------
    RunDirectoryError
        If the directory holds another configuration or is damaged.
    """
    resolved: dict[str, Any] = without_none(config)
    path = real_path(root) / run_name(verb, resolved)
    if not os.path.lexists(path):
        make_output_directory("--out", root)
        # Made aside and renamed, so that a run directory without its configuration never exists.
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            aside.chmod(0o755)
            write_text(aside / "config.toml", tomli_w.dumps(resolved))
            os.rename(aside, path)
        except OSError:
            shutil.rmtree(aside)
            if not path.exists():
                raise
            # Another process was faster: its directory has the same configuration.
    return _load_here(path)


def _load_here(path: Path) -> Run:
    """A run that is looked for by its name; one that lies elsewhere would be written to there."""
    if path.is_symlink():
        raise RunDirectoryError(
            f"a run directory must lie where it is looked for; got {path}, a symbolic link. Move the directory there, "
            "or name the one that holds it."
        )
    return load_run(path)


def load_run(path: Path) -> Run:
    """An existing run directory.

    Raises
    ------
    ValueError
        If there is nothing at the path.
    RunDirectoryError
        If it is not one, cannot be read, or its name does not belong to its configuration.
    """
    path = real_path(Path(path))
    if not path.exists():
        raise ValueError(f"RUN must be a directory that boundprobe made; got {path}, which does not exist.")
    file = path / "config.toml"
    try:
        data = read_regular(file, MOST_CONFIG)
    except (FileNotFoundError, NotADirectoryError):
        raise RunDirectoryError(
            f"RUN must be a directory that boundprobe made; got {path}, which has no config.toml. Name another, or "
            "move it away."
        ) from None
    run = Run(path, parse_or_refuse(file, lambda: _parse_config(data)))
    name = parse_or_refuse(file, lambda: config_hash(run.config))
    if not run.run_id.endswith(f"-{name}"):
        raise RunDirectoryError(_misnamed(path, name))
    return run


def _misnamed(path: Path, digest: str) -> str:
    """A directory whose name is not the hash of its configuration was renamed, or its configuration was changed."""
    must = f"a run directory must be named after the configuration that it holds, <verb>-{digest}; got {path}"
    stem, _, end = path.name.rpartition("-")
    if stem and re.fullmatch(r"[0-9a-f]{12}", end):  # the name of another configuration
        return f"{must}. If it was renamed, rename it back to {stem}-{digest}; else move it away and run again."
    return f"{must}. Rename it back to {_verb_of(path) or '<verb>'}-{digest}."


def _verb_of(path: Path) -> str | None:
    """The verb that made a run whose directory has another name, as its result says."""
    try:
        found = re.match(r"boundprobe\.(\w+)/", str(parse_json(read_regular(path / "result.json")).get("schema")))
    except (OSError, ValueError, AttributeError, RunDirectoryError):
        return None
    return {"probe-states": "probe"}.get(found[1], found[1]) if found else None


def _parse_config(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("values must be nested less deeply") from None
