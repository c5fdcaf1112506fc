"""``boundprobe bounds``: required state and window, and what they imply for a model."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from boundprobe.checks import MOST_CURVE_POINTS
from boundprobe.cli.bounds_diagonal import frontier_document, print_frontier, print_model, reaches
from boundprobe.cli.bounds_model import HF_OPTIONS, judge, judged_model, print_verdict
from boundprobe.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    Option,
    add_options,
    number,
    resolve,
    whole_number,
)
from boundprobe.cli.output import exact, note, print_config, print_json, print_pairs, say
from boundprobe.tasks.custom.source import shown_parameter
from boundprobe.tasks.registry import task_of

if TYPE_CHECKING:
    from boundprobe.bounds.report.task import BoundsReport
    from boundprobe.bounds.table.report import CustomReport
    from boundprobe.tasks.base import AbstractTask

#: What bounds are about where some prefixes of a user's own task have no answer to some query.
ABSENT = {
    "entropy": "; given which of them are defined",
    "fano": "; an absent answer counts as right in this mean error",
}
#: Whose number it is, where a sampler stands for the prefixes of a user's own task.
STATED, AT_LEAST = "stated by you (evidence author)", "at least, from a sample"

HELP = "bits that the state at the cut must hold, and tokens that a window must reach, for one task"

#: The flags of a model; here they have no default, because without any of them there is no model.
_JUDGED_MODEL_OPTIONS = tuple(
    dataclasses.replace(
        option,
        help=option.help.replace(
            "(default ", "(no model is judged unless this or another flag of a model is given; then the default is "
        ),
    )
    if option.flag == "--model"
    else option
    for option in MODEL_OPTIONS
)

OPTIONS = (
    *TASK_OPTIONS,
    Option("--error", ("error",), number, "mean error that is allowed, from 0 to below 1 (default 0)", "P"),
    Option(
        "--curves",
        ("curve_points",),
        whole_number(2, MOST_CURVE_POINTS),
        "add accuracy against bits at N points (21 without N)",
        "N",
        without_value=21,
    ),
    Option(
        "--frontier",
        ("frontier",),
        reaches,
        "add the least recurrent bits for each reach of the windows (default: those where an answer comes into sight)",
        "D[,..]",
        without_value=[],
    ),
    *_JUDGED_MODEL_OPTIONS,
    Option("--entry-bits", ("entry_bits",), whole_number(1), "bits of one state entry, for a model (default 32)", "N"),
    *HF_OPTIONS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=True)
    parser.add_argument("--list", action="store_true", help="list every bound with its reference and stop")
    parser.add_argument("--statements", action="store_true", help="add every bound with its assumptions and evidence")


def run(args: argparse.Namespace) -> int:
    """Compute and print; numpy only."""
    if args.list:
        return print_catalogue(as_json=args.json)
    from boundprobe.bounds.report.task import bounds_report

    config = resolve(OPTIONS, args)
    task = task_of(config.get("task", {}))
    error, curve_points = config.get("error", 0.0), config.get("curve_points")
    report = bounds_report(task, error, curve_points)
    judged = judge(task, config, error)
    resolved = {"task": {"name": task.name, **task.parameters()}, "error": error, "curve_points": curve_points}
    if "frontier" in config:
        resolved["frontier"] = config["frontier"]
    resolved |= judged_model(config, judged)
    if args.print_config:
        return print_config(resolved)
    enumeration = custom_enumeration(task, error)
    frontier = frontier_document(task, config["frontier"], error) if "frontier" in config else None
    if args.json:
        document = report.to_json() | judged
        if enumeration is not None:
            document["enumeration"] = enumeration.to_json()
        if args.statements:
            document["bounds"] = [bound.to_json() for bound in report.bounds]
        if frontier is not None:
            document["frontier"] = frontier
        return print_json(document)
    print_report(task, report)
    if enumeration is not None:
        print_enumeration(task, enumeration, quiet=args.quiet)
    if args.statements:
        print_statements(report)
    if frontier is not None:
        print_frontier(frontier)
    if judged:
        print_verdict(judged["verdict"])
        print_model(judged["model"])
    return 0


def print_enumeration(task: AbstractTask, enumeration: CustomReport, *, quiet: bool) -> None:
    """Print what the answer table of a user's own task gives, and warn if its stated entropy looks too high."""
    from boundprobe.bounds.table.report import headline
    from boundprobe.bounds.table.stated_entropy import entropy_warning

    say(f"\nyour task, {enumeration.source}:")
    print_pairs(headline(enumeration))
    if (warning := entropy_warning(task, enumeration)) is not None:
        note(f"warning: {warning}", quiet=quiet)


def custom_enumeration(task: AbstractTask, error: float) -> CustomReport | None:
    """Bounds of a user's own task, found by enumeration; None for the package's tasks."""
    from boundprobe.bounds.table.report import custom_report
    from boundprobe.tasks.custom.task import CustomTask

    return custom_report(task, error) if isinstance(task, CustomTask) else None


def print_report(task: AbstractTask, report: BoundsReport) -> None:
    """Print the numbers of a task, and its curves if there are any."""
    window = report.window
    parameters = ", ".join(f"{name}={shown_parameter(name, value)}" for name, value in task.parameters().items())
    say(f"{task.name} ({parameters}), mean error {exact(report.error, 'g')}\n")
    rows = []
    absent = ABSENT if _has_absent(task) else {}
    for key, label in (
        ("entropy", "entropy of all answers"),
        ("fano", "state needs, Fano"),
        ("packing", "state needs, ball packing"),
        ("zero_error", "state needs, zero error"),
    ):
        bound = report[key]
        value = "not available" if bound.value is None else f"{exact(bound.number, '.3f')} bits"
        source = f" ({report.state_case.theorem})" if key == "entropy" else ""
        said = "; vacuous: says nothing" if key in ("fano", "packing") and bound.vacuous else ""
        said += absent.get(key, "")
        rows.append((label, value, f"{bound.theorem}{source}; {_known(task, report, key)}{said}"))
    sampled = f"{AT_LEAST}; " if _is_sampled(task) else ""
    rows += [
        ("receptive field needs", f"{window.min_receptive_field} tokens", f"{sampled}{report.window_theorem}"),
        ("sum of (window - 1) needs", f"{window.min_sum_window_minus_one} tokens",
         f"{sampled}window w: itself and w - 1 before"),
        ("blind accuracy", exact(window.blind_accuracy, ".6f"), "best on window-hard without the control token"),
    ]  # fmt: skip
    print_pairs(rows)
    if report.curves is not None:
        say("\n      bits  ceiling S1  ceiling S3  store-some")
        curves = report.curves
        packing = curves.accuracy_ceiling_packing or [float("nan")] * len(curves.bits)
        floor = curves.accuracy_floor_strategy or [float("nan")] * len(curves.bits)
        for row in zip(curves.bits, curves.accuracy_ceiling_fano, packing, floor, strict=True):
            say("{:10.3f}  {:10.6f}  {:10.6f}  {:10.6f}".format(*row))


def _is_sampled(task: AbstractTask) -> bool:
    """Return whether a sampler stands for the prefixes of a user's own task."""
    from boundprobe.tasks.custom.task import CustomTask

    return isinstance(task, CustomTask) and task.enumerated.sampler is not None


def _has_absent(task: AbstractTask) -> bool:
    """Return whether some prefix of a user's own task has no answer to some query."""
    from boundprobe.tasks.custom.task import CustomTask

    return isinstance(task, CustomTask) and task.enumerated.defined_pairs is not None


def _known(task: AbstractTask, report: BoundsReport, key: str) -> str:
    """Evidence of a bound of the headline; where prefixes are sampled, whose number it is."""
    if not _is_sampled(task) or report[key].value is None:
        return report[key].evidence
    # S4 is the larger of the entropy, which is stated, and of what the sample shows.
    of_sample = key == "zero_error" and report[key].number > report.entropy.number
    return AT_LEAST if of_sample else STATED


def print_statements(report: BoundsReport) -> None:
    """Print each bound with its assumptions."""
    say()
    for bound in report.bounds:
        statement = bound.statement
        shown = "not available" if bound.value is None else f"{bound.value:.6g} {statement.unit}"
        sign = "at least" if statement.direction == "lower" else "at most"
        say(f"{bound.theorem}: {statement.of} {sign} {shown}{' (vacuous)' if bound.vacuous else ''}")
        say(f"    {bound.evidence}; if {'; '.join(bound.assumptions)}")


def print_catalogue(*, as_json: bool) -> int:
    """Print every bound of the package with its formula and reference."""
    from boundprobe.bounds.report.catalogue import CATALOGUE, catalogue_to_json

    if as_json:
        return print_json(catalogue_to_json())
    for entry in CATALOGUE:
        say(f"{entry.name} ({entry.family}, {entry.direction} bound; {entry.evidence})")
        say(f"    {entry.formula}")
        say(f"    if        {'; '.join(entry.assumptions)}")
        say(f"    code      {entry.package}: {', '.join(entry.functions)}")
        say(f"    reference {entry.reference}")
        say(f"    it says   {entry.source_says} [{entry.source_known}]\n")
    return 0
