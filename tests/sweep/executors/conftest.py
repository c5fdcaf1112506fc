"""What the tests of executors share."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``toy_jobs``, from a path that other processes inherit."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return importlib.import_module("toy_jobs")
