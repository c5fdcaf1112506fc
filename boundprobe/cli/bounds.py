"""``boundprobe bounds``: what a state must hold and how far a window must reach."""

from __future__ import annotations

import argparse

from boundprobe.cli.options import TASK_OPTIONS, Option, add_options, number, resolve, whole_number
from boundprobe.cli.output import print_config, print_json, print_pairs, task_from

HELP = "bits that the state at the cut must hold, and tokens that a window must reach, for one task"

OPTIONS = (
    *TASK_OPTIONS,
    Option("--error", ("error",), number, "mean error that is allowed, from 0 to below 1 (default 0)", "P"),
    Option("--curves", ("curve_points",), whole_number(2), "add accuracy against bits at so many points", "N"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=True)


def run(args: argparse.Namespace) -> int:
    """Compute and print; numpy only."""
    from boundprobe.bounds.report import bounds_report

    config = resolve(OPTIONS, args)
    task = task_from(config)
    error, curve_points = float(config.get("error", 0.0)), config.get("curve_points")
    report = bounds_report(task, error, curve_points)
    if args.print_config:
        return print_config(
            {"task": {"name": task.name, **task.parameters()}, "error": error, "curve_points": curve_points}
        )
    document = report.to_json()
    if args.json:
        return print_json(document)
    state, window = report.state, report.window
    parameters = ", ".join(f"{name}={value}" for name, value in task.parameters().items())
    print(f"{task.name} ({parameters}), mean error {error:g}\n")
    rows = []
    for name, label in (
        ("entropy_bits", "entropy of all answers"),
        ("fano_bits", "state needs, Fano"),
        ("packing_bits", "state needs, ball packing"),
        ("zero_error_bits", "state needs, zero error"),
    ):
        bits = getattr(state, name)
        shown = "not available" if bits is None else f"{bits:.3f} bits"
        said = "; vacuous: says nothing" if name in state.vacuous else ""
        rows.append((label, shown, f"{state.theorem[name]}; {state.evidence[name]}{said}"))
    rows += [
        ("receptive field needs", f"{window.min_receptive_field} tokens", window.theorem),
        ("sum of (window - 1) needs", f"{window.min_sum_window_minus_one} tokens", "window w: itself and w - 1 before"),
        ("blind accuracy", f"{window.blind_accuracy:.6f}", "best on window-hard without the control token"),
    ]  # fmt: skip
    print_pairs(rows)
    if report.curves is not None:
        print("\n      bits  ceiling S1  ceiling S3  store-some")
        curves = report.curves
        packing = curves.accuracy_ceiling_packing or [float("nan")] * len(curves.bits)
        floor = curves.accuracy_floor_strategy or [float("nan")] * len(curves.bits)
        for row in zip(curves.bits, curves.accuracy_ceiling_fano, packing, floor, strict=True):
            print("{:10.3f}  {:10.6f}  {:10.6f}  {:10.6f}".format(*row))
    return 0
