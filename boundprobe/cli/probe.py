"""``boundprobe probe RUN``: how much of its memory a trained model uses, with confidence, beside the bounds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from boundprobe.checks import check_integer
from boundprobe.cli.options import SEED_OPTION, Option, add_device, add_options, number, resolve, whole_number
from boundprobe.cli.output import find_device, note, print_config, print_json, print_pairs

HELP = "certified lower limit of the memory that a trained model uses, beside what theory requires"

OPTIONS = (
    SEED_OPTION,
    Option("--member", ("member",), whole_number(0), "which reported model of the run (default 0)", "N"),
    Option("-n,--sequences", ("n_sequences",), whole_number(1), "evaluation sequences (default 4000)", "N"),
    Option("--calibration", ("n_calibration",), whole_number(1), "sequences that set the rounding (default 1000)", "N"),
    Option("--confidence", ("confidence",), number, "of the whole report (default 0.95)", "P"),
    Option("--tolerance", ("tolerance",), number, "accuracy that rounding may lose (default 0.01)", "X"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="directory of a finished training run")
    add_options(parser, OPTIONS, task=False)
    add_device(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the result is kept (default: beside RUN)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and exit with 1 if an inequality that must hold does not."""
    from dataclasses import asdict

    config = resolve(OPTIONS, args)
    member = check_integer("member", config.pop("member", 0), 0)

    from boundprobe.probes.ladder import ProbeConfig
    from boundprobe.probes.run import probe_member
    from boundprobe.runs.store import load_run

    settings = ProbeConfig(**config)
    if args.print_config:
        return print_config({"member": member} | asdict(settings))
    trained = load_run(args.run_dir)
    ladder = probe_member(trained, member, settings, args.out, device=find_device(args.device))
    if args.json:
        print_json(ladder)
    else:
        print(f"{ladder['task']['name']}, {ladder['model']['architecture']}, member {member} of {ladder['trained']}\n")
        print_pairs(_rows(ladder))
    for violation in ladder["violations"]:
        note(f"boundprobe: VIOLATION, a bug in the theory or in the code: {violation}", quiet=False)
    return 1 if ladder["violations"] else 0


def _rows(ladder: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The ladder from what theory requires to what the state could hold."""
    used, memory = ladder["used_bits"], ladder["memory"]
    confidence = f"{ladder['confidence']:.0%}"
    needed = "none" if ladder["needed_bits"] is None else f"{ladder['needed_bits']} bits"
    kinds = f"recurrent {memory['recurrent_bits']}, convolution {memory['conv_bits']}, cache {memory['cache_bits']}"
    rows = [
        ("required", f"{ladder['required_bits']:.2f} bits", "of log2 |S| at the measured error (S3 and S1)"),
        ("used, certified", f"{used['lower']:.2f} bits", f"of I(U;S), Fano per answer; all limits: {confidence}"),
        ("used, estimate", f"{used['estimate']:.2f} bits", "the same formula at the observed errors"),
        ("needed", needed, "coarsest rounding of the state that keeps the accuracy, really run"),
        ("nominal", f"{ladder['nominal_bits']} bits", kinds),
    ]  # fmt: skip
    for half, why in (
        ("state-hard", "all queries from one state"),
        ("window-hard", f"ceiling {ladder['window_accuracy_ceiling']:.4f} at its receptive field (W2)"),
    ):
        accuracy = ladder["accuracy"][half]
        limits = f"[{accuracy['lower']:.4f}, {accuracy['upper']:.4f}]"
        rows.append((f"accuracy, {half}", f"{accuracy['estimate']:.4f}", f"{limits} at {confidence}; {why}"))
    return rows
