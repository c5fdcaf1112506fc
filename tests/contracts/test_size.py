"""Modules stay small enough to read in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

import boundprobe

PACKAGE = Path(boundprobe.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_longer_than_300_lines(path: Path) -> None:
    n_lines = len(path.read_text("utf-8").splitlines())
    assert n_lines <= MOST_LINES, f"{path.name} has {n_lines} lines; allowed: {MOST_LINES}; split it"


def test_modules_were_found() -> None:
    assert len(MODULES) > 30
