"""How often certified limits are wrong: 2,000 repetitions on channels whose information is known.

    python analyses/coverage/count.py [--only NAME;NAME] [--out FOLDER] [--parts FOLDER]

Two processes of one thread.  Writes coverage.csv and two_valued.csv, whole or not at all; README.md says what is
counted.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from counting import two_valued
from counting.cases import CASES, TIGHTNESS
from counting.controls import CONTROLS, control_rows
from counting.jobs import Job, run_all, wanted
from counting.joint import COUNTED, entropy_rows, joint_rows, states_rows
from counting.methods import case_rows, tightness_rows
from counting.rows import COLUMNS, Row, write_rows


def trial_lines(name: str) -> list[two_valued.Line]:
    """Of a trial by its place, as every job is named."""
    return two_valued.trial_lines(int(name.removeprefix("two values ")))


#: Longest first, so that both processes end together.
JOBS: tuple[Job, ...] = (
    *((case_rows, case.name) for case in CASES),
    *((trial_lines, f"two values {i}") for i in reversed(range(len(two_valued.TRIALS)))),
    *((control_rows, name) for name in reversed(CONTROLS)),
    *((joint_rows, CASES[i].name) for i in (1, 5, 13)),
    *((states_rows, case.name) for case, *_ in COUNTED),
    (entropy_rows, "erasure 6x4, lost 0.3"),
    *((tightness_rows, f"storage 16x16, error {error}") for error in TIGHTNESS),
)


def main() -> None:
    """Run every job in two processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="names of channels or controls, separated by semicolons")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--parts", type=Path, help="folder of your own for finished parts, so that a rerun goes on")
    arguments = parser.parse_args()
    rows = run_all(wanted(JOBS, arguments.only), arguments.parts)
    write_rows([row for row in rows if isinstance(row, Row)], COLUMNS, arguments.out / "coverage.csv")
    lines = [row for row in rows if isinstance(row, two_valued.Line)]
    write_rows(lines, two_valued.COLUMNS, arguments.out / "two_valued.csv")


if __name__ == "__main__":
    main()
