"""``boundprobe probe RUN``: how much of its memory a trained model uses, with confidence, beside the bounds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from boundprobe.checks import check_integer
from boundprobe.cli.options import (
    BOTTLENECK_OPTIONS,
    SEED_OPTION,
    Option,
    add_device,
    add_options,
    number,
    resolve,
    whole_number,
)
from boundprobe.cli.output import find_device, note, print_config, print_json, print_pairs, print_table

HELP = "certified lower limit of the memory that a trained model uses, beside what theory requires"

OPTIONS = (
    SEED_OPTION,
    Option("--member", ("member",), whole_number(0), "which reported model of the run (default 0)", "N"),
    Option("-n,--sequences", ("n_sequences",), whole_number(1), "evaluation sequences (default 4000)", "N"),
    Option("--calibration", ("n_calibration",), whole_number(1), "sequences that set the rounding (default 1000)", "N"),
    Option("--confidence", ("confidence",), number, "of the whole report (default 0.95)", "P"),
    Option("--tolerance", ("tolerance",), number, "accuracy that rounding may lose (default 0.01)", "X"),
    *BOTTLENECK_OPTIONS,
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

    given = resolve(OPTIONS, args)
    bottleneck = given.pop("bottleneck", {})
    member = check_integer("member", given.pop("member", 0), 0)

    from boundprobe.probes.bottleneck import curve_config, probe_bottleneck
    from boundprobe.probes.run import probe_member
    from boundprobe.probes.settings import ProbeConfig
    from boundprobe.runs.store import load_run

    settings = ProbeConfig(**given)
    curve = curve_config(bottleneck, settings)
    if args.print_config:
        return print_config({"member": member} | asdict(settings) | ({"bottleneck": bottleneck} if bottleneck else {}))
    trained = load_run(args.run_dir)
    device = find_device(args.device)
    document = probe_member(trained, member, settings, args.out, device=device)
    violations = list(document["violations"])
    if curve is not None:
        document["bottleneck"] = probe_bottleneck(trained, member, curve, args.out, device=device)
        violations += document["bottleneck"]["violations"]
    if args.json:
        print_json(document)
    else:
        names = document["task"]["name"], document["model"]["architecture"]
        print(f"{', '.join(names)}, member {member} of {document['trained']}\n")
        print_pairs(_rows(document))
        if curve is not None:
            _print_curve(document["bottleneck"])
    for violation in violations:
        note(f"boundprobe: VIOLATION, a bug in the theory or in the code: {violation}", quiet=False)
    return 1 if violations else 0


def _print_curve(curve: dict[str, Any]) -> None:
    """The machines of exactly so many bits, beside the ceiling and what anyone can build."""
    print(f"\nthe same model behind a bottleneck at the cut, limits of all rows together at {curve['confidence']:.0%}:")
    rows = [
        [
            f"{point['entries']} x {point['entry_bits']}",
            str(point["bits"]),
            str(point["n_states_seen"]),
            f"{point['accuracy']['estimate']:.4f}",
            f"[{point['accuracy']['lower']:.4f}, {point['accuracy']['upper']:.4f}]",
            f"{point['accuracy_ceiling']:.4f}",
            "-" if point["accuracy_floor_strategy"] is None else f"{point['accuracy_floor_strategy']:.4f}",
            f">= {point['used_bits']['lower']:.2f}",
        ]
        for point in sorted(curve["points"], key=lambda point: int(point["bits"]))
    ]
    print_table(["entries", "bits", "states seen", "accuracy", "limits", "ceiling", "store some", "bits used"], rows)


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
