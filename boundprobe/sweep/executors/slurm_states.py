"""States of Slurm jobs, as ``squeue`` says them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

#: The job is over.  Other states mean that it waits, runs, or is on its way into or out of a node.
OVER = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)
#: Somebody, or the deadline that was asked for, ended it: it is not submitted again.
STOPPED = frozenset({"CANCELLED", "DEADLINE", "REVOKED"})
#: The node was taken away or lost: it is submitted again, however often.
TAKEN = frozenset({"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"})
#: Of a job that Slurm has forgotten, some minutes after its end.
FORGOTTEN = "FORGOTTEN"


def read_states(array_ids: Iterable[str]) -> dict[str, tuple[str, str]] | None:
    """State and reason of every task of some job arrays, by "<array>_<task>"; None if Slurm does not answer.

    Jobs that Slurm has forgotten are left out.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={','.join(array_ids)}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return None
    if answer.returncode:
        return {} if "Invalid job id" in answer.stderr else None
    return parse_states(answer.stdout)


def parse_states(text: str) -> dict[str, tuple[str, str]]:
    """States by job, from lines of ``<job>|<state>|<reason>``.

    >>> parse_states("7_0|RUNNING|None\\n7_1|PENDING|Priority\\n")
    {'7_0': ('RUNNING', 'None'), '7_1': ('PENDING', 'Priority')}
    """
    rows = (line.strip().split("|", 2) for line in text.splitlines() if line.count("|") >= 2)
    return {job_id: (state, reason) for job_id, state, reason in rows}
