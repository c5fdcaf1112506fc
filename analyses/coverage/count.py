"""How often certified limits are wrong: 2,000 repetitions on channels whose information is known.

    python analyses/coverage/count.py [--only NAME;NAME] [--out FOLDER] [--parts FOLDER]

Two processes of one thread.  Writes coverage.csv and two_valued.csv, whole or not at all; README.md says what is
counted.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from counting import two_valued
from counting.cases import CASES, TIGHTNESS
from counting.controls import CONTROLS, control_rows
from counting.joint import COUNTED, entropy_rows, joint_rows, states_rows
from counting.methods import case_rows, tightness_rows
from counting.rows import COLUMNS, Row, write_rows


def trial_lines(name: str) -> list[two_valued.Line]:
    """Of a trial by its place, as every job is named."""
    return two_valued.trial_lines(int(name.removeprefix("two values ")))


#: Longest first, so that both processes end together.
JOBS: tuple[tuple[Callable[[str], list[Any]], str], ...] = (
    *((case_rows, case.name) for case in CASES),
    *((trial_lines, f"two values {i}") for i in reversed(range(len(two_valued.TRIALS)))),
    *((control_rows, name) for name in reversed(CONTROLS)),
    *((joint_rows, CASES[i].name) for i in (1, 5, 13)),
    *((states_rows, case.name) for case, *_ in COUNTED),
    (entropy_rows, "erasure 6x4, lost 0.3"),
    *((tightness_rows, f"storage 16x16, error {error}") for error in TIGHTNESS),
)


def run(job: int, parts: Path | None) -> list[Any]:
    """One job, with a line on stderr when it is done; what ``parts`` has is not done again."""
    function, name = JOBS[job]
    part = None if parts is None else parts / f"{function.__name__} {name}.pickle".replace("/", "_")
    if part is not None and part.exists():
        rows: list[Any] = pickle.loads(part.read_bytes())
        return rows
    start = time.perf_counter()
    rows = function(name)
    fail = sum(row.verdict == "fails" for row in rows)
    print(
        f"{function.__name__} {name}: {fail} of {len(rows)} fail, {time.perf_counter() - start:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    if part is not None:
        part.write_bytes(pickle.dumps(rows))
    return rows


def main() -> None:
    """Run every job in two processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="names of channels or controls, separated by semicolons")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--parts", type=Path, help="folder of your own for finished parts, so that a rerun goes on")
    arguments = parser.parse_args()
    wanted = set(filter(None, arguments.only.split(";")))
    jobs = [i for i, (_, name) in enumerate(JOBS) if not wanted or name in wanted]
    if arguments.parts is not None:
        arguments.parts.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        rows = [row for rows in pool.map(partial(run, parts=arguments.parts), jobs) for row in rows]
    write_rows([row for row in rows if isinstance(row, Row)], COLUMNS, arguments.out / "coverage.csv")
    lines = [row for row in rows if isinstance(row, two_valued.Line)]
    write_rows(lines, two_valued.COLUMNS, arguments.out / "two_valued.csv")


if __name__ == "__main__":
    main()
