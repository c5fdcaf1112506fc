"""Many training results as one table: a row for each run, or for each reported seed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from boundprobe.errors import MissingDependencyError
from boundprobe.runs.documents.read import check_document
from boundprobe.runs.documents.training import SweepConfiguration
from boundprobe.runs.files import check_output, parse_or_refuse, write_text, write_whole
from boundprobe.runs.store import Run

Row = dict[str, Any]

FORMATS = (".csv", ".parquet")


class MeasuredLadder(Protocol):
    """A ladder as far as tables need it; see ``boundprobe.probes.ModelLadder``."""

    @property
    def run_id(self) -> str:
        """Run of the measurement."""

    @property
    def violations(self) -> Sequence[str]:
        """Inequalities that must hold and do not."""

    def columns(self) -> Mapping[str, float | int]:
        """Certified bits as columns of a table."""


def sweep_points(sweep: Run) -> list[dict[str, Any]]:
    """The points of a sweep as its configuration has them: ``settings``, and ``run``, a configuration in full.

    Raises
    ------
    RunDirectoryError
        If it is no sweep, or its configuration is damaged.
    """
    points: list[dict[str, Any]] = parse_or_refuse(
        sweep.path / "config.toml", lambda: check_document(sweep.config, SweepConfiguration)
    )["points"]
    return points


@dataclass(frozen=True)
class CollectedRun:
    """A finished run among others.

    Attributes
    ----------
    settings : mapping
        What makes it differ from the others: dotted key to value.
    config : mapping
        Its resolved configuration.
    result : mapping
        Its document ``boundprobe.train/1``.
    receptive_field : int or None
        Tokens that its last position sees; None: all.
    ladders : sequence of MeasuredLadder
        Of its reported members, in order; or none.
    """

    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    receptive_field: int | None
    ladders: Sequence[MeasuredLadder] = ()

    def head(self) -> Row:
        """The columns that say which run it is."""
        architecture = self.config["model"]["architecture"]
        settings = {key: value for key, value in self.settings.items() if key != "model.architecture"}
        return {"architecture": architecture, **settings, "run_id": self.result["run_id"]}


def run_row(run: CollectedRun) -> Row:
    """One run: what was set, its size, the chosen rate, and accuracy over the reported seeds."""
    result = run.result
    members, summary = result["members"], result["summary"]
    accuracies = {
        f"accuracy_{half}": sum(member["accuracy_by_distribution"][half] for member in members) / len(members)
        for half in ("state-hard", "window-hard")
    }
    return {
        **run.head(),
        "n_params": members[0]["n_params"],
        **members[0]["memory"],
        "receptive_field": run.receptive_field,
        "learning_rate": result["learning_rate"],
        "n_seeds": summary["n_seeds"],
        "n_converged": summary["n_converged"],
        **{f"accuracy_{name}": summary[name] for name in ("mean", "median", "percentile_10", "percentile_90")},
        **accuracies,
    }


def seed_rows(run: CollectedRun) -> list[Row]:
    """Every reported seed of a run, with its certified bits where it was probed."""
    rows = []
    for i, member in enumerate(run.result["members"]):
        row = {
            **run.head(),
            "seed_index": member["seed_index"],
            "learning_rate": member["learning_rate"],
            "n_params": member["n_params"],
            **member["memory"],
            "receptive_field": run.receptive_field,
            "accuracy": member["accuracy"],
            **{f"accuracy_{half}": member["accuracy_by_distribution"][half] for half in ("state-hard", "window-hard")},
            "loss": member["loss"],
            "steps": member["steps"],
            "converged": member["converged"],
        }
        if run.ladders:
            row |= run.ladders[i].columns()
        rows.append(row)
    return rows


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV or Parquet, by the suffix of the path; whole or not at all.

    Numbers are written so that they read back as they were; the same rows give the same bytes of CSV.

    Raises
    ------
    ValueError
        For another suffix.
    MissingDependencyError
        For Parquet without pyarrow.
    """
    check_table(path)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({column: _of_one_kind([row.get(column) for row in rows]) for column in columns})
    write_whole(path, lambda temporary: pq.write_table(table, temporary))


def _of_one_kind(values: list[Any]) -> list[Any]:
    """A column for Parquet: as it is, or as texts where a setting is a number here and a text or a list there."""
    kinds = {
        "number" if isinstance(value, int | float) else type(value).__name__ for value in values if value is not None
    }
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]


def check_table(path: Path) -> Path:
    """Return the path of a table, or raise as ``write_table`` would."""
    if path.suffix not in FORMATS:
        raise ValueError(f"a table must end with {' or '.join(FORMATS)}; got {path}.")
    check_output("table", path)
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                f"a table must end with .csv where pyarrow is not installed; got {path}. pip install "
                "'boundprobe[analysis]'."
            ) from None
    return path
