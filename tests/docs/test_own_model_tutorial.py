"""The tutorial on one's own model runs as it is written, and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

TUTORIAL = (Path(__file__).resolve().parents[2] / "docs/tutorials/your-own-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL, flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def test_the_glue_is_at_most_fifteen_lines() -> None:
    (glue,) = [text for _, text in BLOCKS if "def prefill" in text]
    n_lines = sum(bool(line.strip()) for line in glue.splitlines())
    assert n_lines <= 15
    words = {11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen"}
    assert f"glue between them is {words[n_lines]} lines" in TUTORIAL


def test_it_goes_from_plain_modules_to_the_ladder() -> None:
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        for kind, text in BLOCKS:
            if kind == "python":
                exec(text, names)
    (said,) = [text for kind, text in BLOCKS if kind == "text"]
    assert NUMBER.sub("#", printed.getvalue()) == NUMBER.sub("#", said)
    for found, line in zip(printed.getvalue().splitlines(), said.splitlines(), strict=True):
        # Training on another processor ends a little elsewhere; sizes and what is certified hardly move.
        here, there = ([float(number) for number in NUMBER.findall(text)] for text in (found, line))
        if "needed" not in line:
            assert here == pytest.approx(there, abs=0.35), (found, line)
    ladders = [line for line in printed.getvalue().splitlines() if "used" in line]
    assert len(ladders) == 2
    assert all(float(NUMBER.findall(line)[1]) > 5 for line in ladders)
