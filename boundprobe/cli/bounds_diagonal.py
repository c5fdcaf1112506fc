"""Diagonal cuts in ``boundprobe bounds``: what crosses those of a model, and the least state for each reach."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boundprobe.cli.output import exact, print_table, say

if TYPE_CHECKING:
    from boundprobe.tasks.base import AbstractTask

#: Rows of a table of cuts that are printed; the document has all.
MOST_ROWS = 12


def reaches(text: str) -> list[int]:
    """Reader of reaches in tokens, joined by commas."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"must be numbers of tokens, such as 0,8,16; got {text!r}.")
    return values


def model_document(task: AbstractTask, model: Mapping[str, Any], error: float, entry_bits: int) -> dict[str, Any]:
    """Parameters, memory and diagonal cuts of a model, as ``bounds --model --json`` has them."""
    from boundprobe.bounds.diagonal.ceiling import diagonal_bounds
    from boundprobe.models.parameters import n_params
    from boundprobe.models.sizes import model_stages, nominal_bits
    from boundprobe.models.spec import ModelSpec

    spec = ModelSpec(**model)
    cuts = diagonal_bounds(task.state_case(), model_stages(spec, entry_bits), task.prefix_len, error)
    return {
        "n_params": n_params(spec, task.n_token_ids),
        "memory": nominal_bits(spec, task.prefix_len, entry_bits)._asdict(),
        "diagonal": cuts[0].to_json(),
        "diagonal_cuts": [cut.to_json() for cut in sorted(cuts, key=lambda cut: cut.lag)],
    }


def print_model(document: Mapping[str, Any]) -> None:
    """Print the size of a model, and its diagonal cuts with the binding one marked."""
    binding, cuts = document["diagonal"], document["diagonal_cuts"]
    if document["n_params"] is not None:  # a configuration of Hugging Face does not tell
        say(f"{document['n_params']} parameters, embedding and read-out included")
    say("\nbits that cross the diagonal cuts (D1), and bits that the answers beyond them take:")
    rows = _some(cuts, binding)
    columns = ["lag", "far answers", "recurrent", "conv", "cache", "required", "accuracy at most", ""]
    mark = "<- binds" if binding["accuracy_ceiling"] < 1 else "<- least to spare"
    print_table(columns, [[*_row(cut), mark if cut == binding else ""] for cut in rows])
    if len(rows) < len(cuts):
        say(f"({len(rows)} of {len(cuts)} cuts; --json has all)")


def frontier_document(task: AbstractTask, wanted: Sequence[int] | None, error: float) -> list[dict[str, Any]]:
    """Least recurrent bits for each reach, as ``bounds --frontier --json`` has them."""
    from boundprobe.bounds.diagonal.ceiling import frontier

    points = frontier(task.state_case(), wanted or None, error)
    return [
        {"reach": point.reach, "far_answers": point.far_answers, "required_bits": point.required_bits}
        for point in points
    ]


def print_frontier(points: Sequence[Mapping[str, Any]]) -> None:
    """Print how much recurrent state each reach of the windows leaves to be held."""
    say("\nleast recurrent bits for a reach, the sum of (window - 1) over windows and convolutions (D1), without")
    say("full attention and attention over summaries:")
    rows = [
        [str(point["reach"]), str(point["far_answers"]), exact(point["required_bits"], ".3f")]
        for point in _some(points, points[-1], _first_gain(points))
    ]
    print_table(["reach", "far answers", "recurrent bits"], rows)
    if len(rows) < len(points):
        say(f"({len(rows)} of {len(points)} reaches; --json has all)")


def _row(cut: Mapping[str, Any]) -> list[str]:
    counts = [str(cut[key]) for key in ("lag", "far_answers", "recurrent_bits", "conv_bits", "cache_bits")]
    return [*counts, exact(cut["required_bits"], ".3f"), exact(cut["accuracy_ceiling"], ".6f")]


def _first_gain(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The least reach at which fewer answers are far; the first of all where none is."""
    return next((point for point in points if point["far_answers"] < points[0]["far_answers"]), points[0])


def _some(rows: Sequence[Any], *always: Any) -> list[Any]:
    """Rows for a table, in order: all, or some of them evenly with those that must be among them."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    n_even = MOST_ROWS - len(always)
    chosen = {round(i * (len(rows) - 1) / (n_even - 1)) for i in range(n_even)} | {rows.index(row) for row in always}
    return [rows[i] for i in sorted(chosen)]
