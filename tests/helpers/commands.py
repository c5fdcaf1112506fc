"""The command line in this process, with what a shell would have done for it, and jobs without worker processes."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from boundprobe.cli.main import main
from boundprobe.sweep.executors import LocalExecutor, Outcome
from boundprobe.sweep.executors.base import Job, OnNews, attempt


class Done(NamedTuple):
    """What a command ended with, and what it said."""

    code: int
    out: str
    err: str


def run_line(line: str, directory: Path) -> Done:
    """Run ``boundprobe ...`` as it stands in a page, from a directory; a word with ``*`` is one path."""
    program, *words = shlex.split(line)
    assert program == "boundprobe", line
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(next(Path().glob(word))) if "*" in word else word for word in words])
    return Done(code, out.getvalue(), err.getvalue())


def run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the local executor do its jobs one after the other in this process, which has torch already."""

    def run(executor: LocalExecutor, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        return [attempt(job, lambda done, what, i=i: on_news(i, done, what)) for i, job in enumerate(jobs)]

    monkeypatch.setattr(LocalExecutor, "run", run)


def replaced(argv: Sequence[str], flags: dict[str, object]) -> list[str]:
    """A command line with other values of some flags, which may be given once only."""
    words = list(argv)
    for flag, value in flags.items():
        if flag in words:
            words[words.index(flag) + 1] = str(value)
        else:
            words += [flag, str(value)]
    return words
