"""A run directory as somebody else may send it: edited, with hashes that fit or none, with other kinds of files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def copied(run: Path, into: Path) -> Path:
    """A copy of a run directory, as another user has it."""
    shutil.copytree(run, into / run.name)
    return into / run.name


def edit(file: Path, change: Callable[[dict[str, Any]], object], *, hashes: bool = True) -> None:
    """Change a document of a run; with ``hashes`` its sha256 in the manifest is that of the edited file."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    if hashes:
        record(file)


def record(file: Path) -> None:
    """Put the sha256 of a file into the manifest beside it."""
    manifest = file.with_name("manifest.json")
    document = json.loads(manifest.read_text())
    document.setdefault("files_sha256", {})[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(document))


def forget(run: Path) -> None:
    """Take the hashes out of the manifest, as runs of earlier versions have none."""
    manifest = run / "manifest.json"
    document = json.loads(manifest.read_text())
    document.pop("files_sha256", None)
    manifest.write_text(json.dumps(document))
