"""Provenance of a run: command line, versions, revision, seeds, device, times, and hashes of what it made."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from boundprobe.errors import RunDirectoryError
from boundprobe.runs.documents.read import check_document
from boundprobe.runs.documents.training import Manifest
from boundprobe.runs.files import parse_json, parse_or_refuse, read_regular, write_json

_PACKAGES = ("boundprobe", "numpy", "scipy", "torch")

log = logging.getLogger(__name__)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest; an empty one if there is none.

    Raises
    ------
    RunDirectoryError
        If it is damaged.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return {"sessions": []}
    return parse_or_refuse(path, lambda: check_document(parse_json(data), Manifest))


def add_session(path: Path, *, device: str, seeds: Mapping[str, Any]) -> None:
    """Note in ``manifest.json`` that a process works on the run; a resumed run has several sessions."""
    manifest = read_manifest(path)
    capability = _cpu_capability()
    before = manifest["sessions"][-1].get("cpu_capability") if manifest["sessions"] else None
    if None not in (before, capability) and before != capability:
        log.warning(
            "%s was begun with torch's CPU kernels for %s and goes on with those for %s (ATEN_CPU_CAPABILITY, or "
            "another machine): its numbers may differ in rounding from a run in one piece",
            path.parent,
            before,
            capability,
        )
    manifest["seeds"] = dict(seeds)
    manifest["sessions"].append(
        {
            "argv": sys.argv,
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in _PACKAGES},
            "git_revision": _git_revision(),
            "platform": platform.platform(),
            "device": device,
            "cpu_capability": capability,
            "started": _now(),
            "finished": None,
        }
    )
    write_json(path, manifest)


def stamp_finished(path: Path, hashes: Mapping[str, str]) -> None:
    """Note when the last session finished, and the sha256 of the files that it made, by name."""
    manifest = read_manifest(path)
    manifest["sessions"][-1]["finished"] = _now()
    manifest["files_sha256"] = manifest.get("files_sha256", {}) | dict(hashes)
    write_json(path, manifest)


def finished_at(path: Path) -> str | None:
    """When the last session of a run was finished, as its manifest has it; None if it does not say."""
    finished = [session.get("finished") for session in read_manifest(path)["sessions"]]
    return next((str(when) for when in reversed(finished) if when), None)


def sha256(data: bytes | memoryview) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_hash(manifest: Path, file: Path, data: bytes) -> None:
    """Hold a file of a finished run against the sha256 that its manifest has.

    A run of an earlier version has none, which is said where it is asked for (``-v``).

    Raises
    ------
    RunDirectoryError
        If they differ, or there is no manifest, which every version has written.
    """
    if not os.path.lexists(manifest):
        raise RunDirectoryError(
            f"a finished run must have its manifest.json, which has the hashes of its files; got {manifest.parent} "
            "without one: restore it, or move the directory away and run the command again"
        )
    recorded = read_manifest(manifest).get("files_sha256", {}).get(file.name)
    if recorded is None:
        log.info("%s: no hash on record", file)
    elif recorded != sha256(data):
        raise RunDirectoryError(
            f"{file} has changed since its run was finished: its sha256 must be {recorded[:12]}..; got "
            f"{sha256(data)[:12]}..; restore it, or move {file.parent} away and run the command again"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cpu_capability() -> str | None:
    """Vector instructions that torch's CPU kernels use; results depend on them by rounding.  None without torch."""
    if (torch := sys.modules.get("torch")) is None:
        return None
    return str(torch.backends.cpu.get_cpu_capability())


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
