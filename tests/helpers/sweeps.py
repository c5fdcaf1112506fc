"""Sweeps of tiny runs, as the text of a file."""

from __future__ import annotations

from typing import Any

import tomli_w

TASK: dict[str, Any] = {"name": "selective-copying", "n_numbers": 2, "n_letters": 2, "seq_len": 6}


def sweep_text(
    *,
    train: dict[str, Any],
    model: dict[str, Any] | None = None,
    task: dict[str, Any] = TASK,
    grid: dict[str, list[Any]] | None = None,
    probe: dict[str, Any] | None = None,
) -> str:
    """TOML of a sweep; models have a width of 4 and see 3 tokens."""
    tables = {"task": task, "model": {"d_model": 4, "window": 3} | (model or {}), "train": train}
    optional = {"grid": grid, "probe": probe}
    return tomli_w.dumps(tables | {name: table for name, table in optional.items() if table is not None})
