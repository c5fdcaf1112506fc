"""Hostile inputs of every kind, from seeds; and that what watches them sees what must not be."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import oracle
from tests.fuzz.oracle import KINDS, Accepted, Verdict, judge, kind_of
from tests.fuzz.sandbox import Sandbox
from tests.fuzz.workers import fuzz

N_QUICK, N_SLOW = 200, 3000


def _class(kind):
    return "states" if "states" in kind else kind


def check(seeds, templates):
    """No fault, and some of every kind that are refused and some that are not."""
    verdicts = list(fuzz(seeds, templates=templates))
    faults = [f"python -m tests.fuzz --again {v.seed}: {v.line}: {v.faults}" for v in verdicts if v.faults]
    assert not faults, "\n".join(faults)
    assert sorted(verdict.seed for verdict in verdicts) == list(seeds)
    ends = Counter((_class(verdict.kind), verdict.end) for verdict in verdicts)
    for kind in set(map(_class, KINDS)):
        assert ends[kind, "2"] + ends[kind, "4"] > 0, (kind, ends)
        assert ends[kind, "0"] + ends[kind, "accepted"] > 0, (kind, ends)


def test_a_few_hundred_inputs(tmp_path):
    check(range(50_000, 50_000 + N_QUICK), tmp_path / "templates")


@pytest.mark.slow
def test_thousands_of_inputs(tmp_path):
    check(range(60_000, 60_000 + N_SLOW), tmp_path / "templates")


# What watches them

FAULTS = {
    "a bug": (lambda box: 5, "", "boundprobe: unexpected error\n", "exit code 5"),
    "a violation": (lambda box: 1, "", "", "exit code 1"),
    "a traceback": (lambda box: 2, "", "Traceback (most recent call last):\nboundprobe: x\n", "a traceback"),
    "two lines": (lambda box: 2, "", "boundprobe: x\nx\n", "not one line"),
    "no line": (lambda box: 3, "", "", "not one line"),
    "another start": (lambda box: 4, "", "error: x\n", "not one line"),
    "a warning": (lambda box: 0, "", "file.py:3: RuntimeWarning: overflow\n", "a warning"),
    "a refusal with output": (lambda box: 2, "table\n", "boundprobe: x\n", "on stdout"),
    "an escape": (lambda box: 2, "", "boundprobe: \x1b[2J\n", "control characters"),
    "a bidirectional override on stdout": (lambda box: 0, "a\u202eb\n", "", "control characters"),
    "what is left": (lambda box: (box.work / "runs").mkdir() or 2, "", "boundprobe: x\n", "refused, and changed"),
    "what is lost": (lambda box: (box.work / "binary").unlink() or 2, "", "boundprobe: x\n", "refused, and changed"),
    "what is written elsewhere": (
        lambda box: (box.canary / "precious").write_text("precious") and 0, "", "", "changed outside",
    ),
    "a link that is followed": (lambda box: (box.work / "link").write_text("x") and 0, "", "", "changed outside"),
    "an execution": (lambda box: box.mark.touch() or 0, "", "", "executed"),
    "a document that is none": (lambda box: 0, '{"a": NaN}\n', "", "not one document"),
    "two documents": (lambda box: 0, "{}\n{}\n", "", "not one document"),
    "an error that is not caught": (lambda box: 1 / 0, "", "", "left main"),
}  # fmt: skip


def watched(monkeypatch, tmp_path, act, out, err):
    """The verdict on a command that does this."""
    box = Sandbox(tmp_path / "sandbox")

    def command(argv):
        print(out, end="")
        print(err, end="", file=sys.stderr)
        return act(box)

    monkeypatch.setattr(oracle, "main", command)
    monkeypatch.setattr(oracle, "make_input", lambda *args: box.make() or ["bounds", "--json"])
    return judge(0, box, tmp_path)


@pytest.mark.parametrize("name", FAULTS)
def test_what_must_not_be_is_seen(monkeypatch, tmp_path, name):
    act, out, err, said = FAULTS[name]
    verdict = watched(monkeypatch, tmp_path, act, out, err)
    assert any(said in fault for fault in verdict.faults), verdict


@pytest.mark.parametrize(
    ("code", "out", "err"), [(0, "{}\n", "note\n"), (2, "", "boundprobe: x\n"), (4, "", "boundprobe: x\n")]
)
def test_what_may_be_is_no_fault(monkeypatch, tmp_path, code, out, err):
    verdict = watched(monkeypatch, tmp_path, lambda box: code, out, err)
    assert (verdict.faults, verdict.end) == ([], str(code))


def test_what_would_take_long_is_accepted(monkeypatch, tmp_path):
    def long(box):
        raise Accepted

    assert watched(monkeypatch, tmp_path, long, "", "").end == "accepted"


def stuck(connection, place, templates):
    """A worker that hangs at seed 0, dies at seed 1, and is well at others."""
    connection.send("ready")
    while True:
        seed = connection.recv()
        if seed == 0:
            time.sleep(600)
        if seed == 1:
            sys.exit(3)
        connection.send(Verdict(seed, kind_of(seed), "bounds", "boundprobe bounds", "0"))


def test_a_worker_that_hangs_or_dies_is_a_fault_and_is_replaced(tmp_path):
    verdicts = {verdict.seed: verdict for verdict in fuzz(range(4), 1, tmp_path, work=stuck, time_limit=1)}
    assert {seed: verdict.end for seed, verdict in verdicts.items()} == {0: "lost", 1: "lost", 2: "0", 3: "0"}
    assert verdicts[0].faults == ["no end within 1 s"]
    assert verdicts[1].faults == ["the process died, exit code 3"]


@pytest.mark.parametrize(
    "seed", [next(s for s in range(20) if kind_of(s) == kind) for kind in KINDS if kind != "run directory"]
)
def test_a_seed_is_an_input(tmp_path, seed):
    """The same words and the same files, to be repeated by hand."""
    boxes = [Sandbox(tmp_path / name / "sandbox") for name in "ab"]
    given = [oracle.make_input(seed, box, Path("none")) for box in boxes]
    texts = [json.dumps(words, default=repr) for words in given]
    assert texts[0] == texts[1]
    files = [{path.name: path.read_bytes() for path in box.work.iterdir() if path.is_file()} for box in boxes]
    assert files[0] == files[1]
