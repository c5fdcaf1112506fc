"""Provenance of a run: command line, versions, revision, seeds, device, times.  Nothing is computed from it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from boundprobe.runs.files import write_json

_PACKAGES = ("boundprobe", "numpy", "scipy", "torch")


def add_session(path: Path, *, device: str, seeds: Mapping[str, Any]) -> None:
    """Note in ``manifest.json`` that a process works on the run; a resumed run has several sessions."""
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sessions": []}
    manifest["seeds"] = dict(seeds)
    manifest["sessions"].append(
        {
            "argv": sys.argv,
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in _PACKAGES},
            "git_revision": _git_revision(),
            "platform": platform.platform(),
            "device": device,
            "started": _now(),
            "finished": None,
        }
    )
    write_json(path, manifest)


def stamp_finished(path: Path) -> None:
    """Note when the last session finished."""
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["sessions"][-1]["finished"] = _now()
    write_json(path, manifest)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Revision of the checkout that the package runs from; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        described = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
