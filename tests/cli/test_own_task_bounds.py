"""What ``boundprobe bounds`` prints of a user's own task: each number with what it is about and who says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import run_line

OWN = """
from itertools import product


class Gaps:
    def prefixes(self):
        return list(product(range(4), repeat=3))

    def queries(self):
        return [(4,), (5,), (6,)]

    def answer(self, prefix, query):
        i = query[0] - 4
        return None if i and prefix[i] == prefix[i - 1] else prefix[i]


class Few:
    entropy_bits = 20.0

    def sample(self, rng, n):
        return [(int(a), int(b), 0, 0, 0) for a, b in rng.integers(2, size=(n, 2))]


class Sampled:
    vocab_size = 32

    def prefixes(self):
        return Few()

    def queries(self):
        return [(2,), (3,), (4,), (5,), (6,)]

    def answer(self, prefix, query):
        return prefix[query[0] - 2]


class Plausible(Sampled):
    def prefixes(self):
        few = Few()
        few.entropy_bits = 2.0
        return few
"""


@pytest.fixture
def rows(tmp_path: Path):
    """Rows of the table of a task, by label, and what stderr says."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")

    def run(name: str, *more: str) -> tuple[dict[str, str], str, str]:
        done = run_line(" ".join(["boundprobe bounds --task", f"own.py:{name}", *more]), tmp_path)
        assert done.code == 0
        lines = [line.split("  ", 1) for line in done.out.splitlines() if "  " in line]
        return {line[0]: line[1] for line in lines}, done.out, done.err

    return run


def test_two_numbers_of_one_theorem_say_which_mean_error_they_are_for(rows) -> None:
    said, _, _ = rows("Gaps", "--error 0.1")
    assert "an absent answer counts as right in this mean error" in said["state needs, Fano"]
    assert "the mean error here is over defined answers alone" in said["fano bits"]
    assert "given which of them are defined" in said["entropy of all answers"]


def test_a_sample_and_a_stated_number_are_told_apart(rows) -> None:
    said, _, _ = rows("Sampled")
    assert "stated by you" in said["state needs, zero error"]
    assert "at least the value" in said["zero error bits"]
    assert "stated by you" not in said["zero error bits"]
    for label in ("receptive field needs", "sum of (window - 1) needs"):
        assert "at least, from a sample" in said[label]
    assert "5 answers of 32 values can carry, 25 bits: K = 32" in said["packing bits"]


def test_a_stated_entropy_that_the_draws_do_not_have_is_warned_of(rows) -> None:
    assert "20 bits, looks too high: 4096 draws of your sampler have 4 distinct rows" in rows("Sampled")[2]
    assert rows("Plausible")[2] == ""


def test_the_table_has_a_hash_that_fits_and_the_document_has_it_all(rows, tmp_path: Path) -> None:
    _, out, _ = rows("Gaps")
    assert "your task, enumerated:" in out
    assert max(map(len, out.splitlines()[0].split("=")[-1].split(")")[0].split())) == 12
    done = run_line("boundprobe bounds --task own.py:Gaps --json", tmp_path)
    assert len(done.out.split('"source_sha256": "')[1].split('"')[0]) == 64


def test_a_file_without_a_class_is_told_what_to_add(tmp_path: Path) -> None:
    done = run_line("boundprobe bounds --task bad.py", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "got 'bad.py'. Add :ClassName." in done.err
