"""Jobs in two processes, the finished ones kept where that is asked for."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

#: What is computed, of the name that tells it from others.
Job = tuple[Callable[[str], list[Any]], str]


def run(job: Job, parts: Path | None) -> list[Any]:
    """One job, with a line on stderr when it is done; what ``parts`` has is not done again."""
    function, name = job
    part = None if parts is None else parts / f"{function.__name__} {name}.pickle".replace("/", "_")
    if part is not None and part.exists():
        rows: list[Any] = pickle.loads(part.read_bytes())
        return rows
    start = time.perf_counter()
    rows = function(name)
    seconds = time.perf_counter() - start
    fail = sum(row.verdict == "fails" for row in rows)
    print(f"{function.__name__} {name}: {fail} of {len(rows)} fail, {seconds:.0f} s", file=sys.stderr, flush=True)
    if part is not None:
        part.write_bytes(pickle.dumps(rows))
    return rows


def run_all(jobs: Sequence[Job], parts: Path | None) -> list[Any]:
    """Rows of all jobs, in their order."""
    if parts is not None:
        parts.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        return [row for rows in pool.map(partial(run, parts=parts), jobs) for row in rows]


def wanted(jobs: Sequence[Job], only: str) -> list[Job]:
    """Those of some names, separated by semicolons; all if there is none."""
    names = set(filter(None, only.split(";")))
    return [job for job in jobs if not names or job[1] in names]
