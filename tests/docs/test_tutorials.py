"""Tutorials run as they are written."""

import re
from pathlib import Path

import pytest

from tests.helpers.commands import run_line

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs/tutorials/own-task.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The directory after the whole tutorial, and what each command printed."""
    directory = tmp_path_factory.mktemp("own-task")
    printed = []
    for kind, text in BLOCKS:
        if kind == "python":
            (name,) = re.findall(r"Save this as `(\w+\.py)`", TUTORIAL)
            (directory / name).write_text(text, encoding="utf-8")
            continue
        for command in text.splitlines():
            done = run_line(command, directory)
            assert done.code == 0, f"{command}: {done.err}"
            printed.append(done.out)
    return directory, printed


def test_own_task_takes_at_most_thirty_lines_of_user_code():
    assert sum(len(text.splitlines()) for _, text in BLOCKS) <= 30


def test_own_task_goes_from_nothing_to_a_plot(walked):
    directory, printed = walked
    assert len(printed) == 4
    assert (directory / "figures/bound_vs_empirical.png").stat().st_size > 10_000


def test_own_task_prints_the_numbers_of_the_text(walked):
    bounds = walked[1][0]
    for said in (r"distinct rows +81 states", r"zero error bits +6\.340 bits", r"packing bits +5\.603 bits"):
        assert re.search(said, bounds), said
    assert re.search(r"sensitivity distance +4 tokens", bounds)
    assert "at least 4 are needed" in bounds
