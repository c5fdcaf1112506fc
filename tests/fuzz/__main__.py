"""``python -m tests.fuzz``: many hostile inputs, once; what was done already is read from the log and left out."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fuzz.oracle import KINDS, judge, kind_of, make_input
from tests.fuzz.sandbox import Sandbox
from tests.fuzz.workers import fuzz, make_once, shorten


def main() -> int:
    """Fuzz, or repeat one input; exit with 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="first seed (default 0)")
    parser.add_argument("-n", type=int, default=10_000, metavar="N", help="seeds (default 10000)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worker processes (default 2)")
    parser.add_argument(
        "--log", type=Path, default=Path("fuzz.jsonl"), help="verdicts, one a line; a run goes on from it"
    )
    parser.add_argument("--templates", type=Path, help="where the run directories are kept that are changed")
    parser.add_argument("--again", type=int, metavar="SEED", help="repeat one input here, and print what happens")
    parser.add_argument(
        "--make",
        type=Path,
        metavar="DIR",
        help="with --again: make its files in DIR, which is emptied, and run nothing",
    )
    parser.add_argument("--table", action="store_true", help="print the counts of the log as a table, and stop")
    args = parser.parse_args()
    if args.again is not None:
        return _again(args.again, args.make, args.templates)
    known = [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []
    if args.table:
        print(table(known))
        return 0
    done = {verdict["seed"] for verdict in known}
    todo = [seed for seed in range(args.first, args.first + args.n) if seed not in done]
    n_faults = 0
    with args.log.open("a") as log:
        for verdict in fuzz(todo, args.workers, args.templates):
            log.write(json.dumps(asdict(verdict)) + "\n")
            log.flush()
            if verdict.faults:
                n_faults += 1
                print(
                    f"seed {verdict.seed}, {verdict.kind}: {verdict.line[:400]}\n    {verdict.end}: {verdict.faults}",
                    flush=True,
                )
    print(f"{len(todo)} inputs, {n_faults} with faults", file=sys.stderr)
    return 1 if n_faults else 0


def _again(seed: int, make: Path | None, templates: Path | None) -> int:
    with tempfile.TemporaryDirectory(prefix="boundprobe-fuzz-") as place:
        base = templates or Path(place) / "templates"
        make_once(base)
        if make is not None:
            given = make_input(seed, Sandbox(make.absolute()), base)
            in_python = kind_of(seed) == "states in Python" or given[0] == "read_ladders"
            what = f"{given}" if in_python else shlex.join(["boundprobe", *given])
            print(f"cd {shlex.quote(str(make.absolute()))}/work; {what}")
            return 0
        shorten()
        verdict = judge(seed, Sandbox(Path(place) / "sandbox"), base)
    print(json.dumps(asdict(verdict), indent=2))
    return 1 if verdict.faults else 0


def table(verdicts: list[dict[str, Any]]) -> str:
    """Counts by kind, verb and end, in Markdown."""
    ends = sorted({verdict["end"] for verdict in verdicts})
    counts = Counter((verdict["kind"], verdict["verb"] or "none", verdict["end"]) for verdict in verdicts)
    rows = sorted({key[:2] for key in counts}, key=lambda key: (KINDS.index(key[0]), key[1]))
    lines = [f"| kind | verb | inputs | {' | '.join(ends)} |", f"|{'---|' * (3 + len(ends))}"]
    for row in [*rows, None]:
        found = [sum(n for key, n in counts.items() if key[2] == end and row in (key[:2], None)) for end in ends]
        name = "all | " if row is None else " | ".join(row)
        lines.append(f"| {name} | {sum(found)} | {' | '.join(map(str, found))} |")
    n_faults = sum(bool(verdict["faults"]) for verdict in verdicts)
    slowest = max(verdict["seconds"] for verdict in verdicts)
    return "\n".join([*lines, "", f"Inputs with faults: {n_faults}. Slowest input: {slowest} s."])


if __name__ == "__main__":
    raise SystemExit(main())
