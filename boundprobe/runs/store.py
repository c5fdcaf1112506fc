"""Run directories: one per configuration, resumable, finished by their last file.

``<root>/<verb>-<first 12 hex of sha256 of the resolved configuration>/`` holds ``config.toml``, ``manifest.json``,
``metrics.jsonl``, what the verb makes, and ``result.json``, which is written last, by rename: the done mark.
Nothing here deletes a directory, and no pickle is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from boundprobe.runs.files import write_json, write_text
from boundprobe.runs.lock import locked
from boundprobe.runs.manifest import add_session, stamp_finished

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
    raise ValueError(f"a configuration holds {value!r}; allowed: numbers, texts, lists and tables; change it")


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
        """The result of a finished run, None while it is unfinished."""
        path = self.path / "result.json"
        return read_or_refuse(path, lambda: json.loads(path.read_text("utf-8"))) if path.exists() else None

    @contextmanager
    def session(self, *, device: str, seeds: Mapping[str, Any]) -> Iterator[None]:
        """Work on the run, alone: a lock that dies with its process, and an entry in the manifest.

        Raises
        ------
        RunInUseError
            If another process works on it.
        """
        with locked(self.path):
            manifest = self.path / "manifest.json"
            read_or_refuse(manifest, lambda: add_session(manifest, device=device, seeds=seeds))
            yield

    def finish(self, result: Mapping[str, Any]) -> None:
        """Stamp the manifest, then write ``result.json``, the done mark."""
        stamp_finished(self.path / "manifest.json")
        write_json(self.path / "result.json", result)

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of ``metrics.jsonl``; a last line that a crash cut off is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []

        def read() -> list[dict[str, Any]]:
            lines = path.read_text("utf-8").splitlines(keepends=True)
            return [json.loads(line) for line in lines if line.endswith("\n")]

        return read_or_refuse(path, read)

    def replace_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` anew: on resume, lines after the checkpoint are dropped and made again."""
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_or_refuse(path: Path, read: Callable[[], T]) -> T:
    """Return what ``read`` returns, or raise a ``RunDirectoryError`` that names the damaged file."""
    try:
        return read()
    except Exception as error:  # readers of damaged files raise whatever they meet
        reason = " ".join(str(error).split())[:200]
        raise RunDirectoryError(
            f"{path} is damaged ({type(error).__name__}: {reason}); allowed: the file as boundprobe wrote it; "
            f"move {path.parent} away and run the command again"
        ) from error


def open_run(root: Path, verb: str, config: Config) -> Run:
    """The run directory of a configuration, made if it is not there.

    Raises
    ------
    RunDirectoryError
        If the directory holds another configuration or is damaged.
    """
    resolved: dict[str, Any] = without_none(config)
    path = root.resolve() / f"{verb}-{config_hash(resolved)}"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"--out is {root}, which is a file; allowed: a directory; choose another") from None
        # Made aside and renamed, so that a run directory without its configuration never exists.
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        aside.chmod(0o755)
        write_text(aside / "config.toml", tomli_w.dumps(resolved))
        try:
            os.rename(aside, path)
        except OSError:  # another process was faster: its directory has the same configuration
            shutil.rmtree(aside)
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
    path = Path(path).resolve()
    if not path.exists():
        raise ValueError(f"{path} does not exist; allowed: a directory that boundprobe made; name one")
    file = path / "config.toml"
    if not file.is_file():
        raise RunDirectoryError(
            f"{path} is not a run directory (it has no config.toml); allowed: a directory that boundprobe made; "
            "name another, or move it away"
        )
    run = Run(path, read_or_refuse(file, lambda: tomllib.loads(file.read_text("utf-8"))))
    if not run.run_id.endswith(f"-{read_or_refuse(file, lambda: config_hash(run.config))}"):
        raise RunDirectoryError(
            f"{path} holds another configuration than its name says; allowed: the one it was made from; "
            "move it away and run the command again"
        )
    return run
