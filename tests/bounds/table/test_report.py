"""Reports of a user's task: nothing is claimed that was not checked."""

import json
import math

import numpy as np
import pytest

from boundprobe.bounds import custom_report
from boundprobe.bounds.table.report import headline
from boundprobe.cli.main import main
from boundprobe.tasks import wrap_task


class Words:
    """Words of bits; queries name a place, and one more asks for their parity."""

    def __init__(self, n=3, parity=False, sampled=False, lossy=False):
        self.n, self.parity, self.lossy = n, parity, lossy
        if sampled:
            self.vocab_size = n + 3
            self.entropy_bits = n
        self.sampled = sampled

    def prefixes(self):
        return self if self.sampled else np.ndindex(*[2] * self.n)

    def sample(self, rng, n):
        return map(tuple, rng.integers(0, 2, (n, self.n)).tolist())

    def queries(self):
        return [(2 + i,) for i in range(self.n + self.parity)]

    def answer(self, prefix, query):
        i = query[0] - 2
        return sum(prefix) % 2 if i == self.n else prefix[0 if self.lossy else i]


def test_a_product_has_every_curve():
    report = custom_report(wrap_task(Words()), error=0.25)
    assert report.source == "enumerated"
    values = {b.key: b.value for b in report.bounds}
    assert (values["distinct_rows"], values["injective"], values["vc_dimension"]) == (8, True, 3)
    assert values["separating_set"] == [0, 1, 2]
    assert values["sensitivity_distance"] == 3
    assert values["packing"] == pytest.approx(1.0)
    assert values["vc"] == pytest.approx(1.0)
    h = -0.25 * math.log2(0.25) - 0.75 * math.log2(0.75)
    assert values["fano"] == values["rate_distortion"] == pytest.approx(3 * (1 - h))
    assert {b.evidence for b in report.bounds} == {"enumerated"}


def test_parity_takes_the_conditions_away():
    report = custom_report(wrap_task(Words(parity=True)))
    assert (report["independent"].value, report["uniform_product"].value) == (False, False)
    for name in ("rate_distortion", "packing"):
        assert report[name].value is None
        assert report[name].evidence == "unavailable"
    assert report["fano"].value == 3.0
    assert len(report["separating_set"].value) == 3


def test_a_query_set_that_forgets_is_not_injective():
    report = custom_report(wrap_task(Words(lossy=True)))
    assert report["injective"].value is False
    assert report["distinct_rows"].value == 2
    assert len(report["separating_set"].value) == 1


def test_a_sample_never_counts_as_an_enumeration():
    report = custom_report(wrap_task(Words(n=6, sampled=True)), error=0.1)
    assert report.source == "available from a sample only"
    assert {b.evidence for b in report.bounds} <= {"author", "unavailable"}
    assert report["injective"].value is None
    assert report["packing"].evidence == "unavailable"  # nine token ids may be answers: not all bits are claimed
    for name in ("distinct_rows", "sensitivity_distance", "vc_dimension", "separating_set"):
        assert "available from a sample only" in report[name].note
    assert custom_report(wrap_task(Words(sampled=True, lossy=True)))["injective"].value is False


def test_the_json_is_plain():
    report = custom_report(wrap_task(Words()))
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["schema"] == "boundprobe.enumeration/1"
    assert document["distinct_rows"]["value"] == 8
    assert set(document["vc_dimension"]) == {"value", "unit", "theorem", "evidence", "note"}
    assert len(headline(report)) == len(report.bounds)


def test_the_command_line_shows_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_words.py").write_text(
        "class Words:\n"
        "    def prefixes(self): return [(0,), (1,)]\n"
        "    def queries(self): return [(2,)]\n"
        "    def answer(self, prefix, query): return prefix[0]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["bounds", "--task", "own_words.py:Words", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["enumeration"]["distinct_rows"] == {
        "value": 2, "unit": "states", "theorem": "S4 zero error (Assumption 3.2, distinct rows of the answer table)",
        "evidence": "enumerated", "note": "rows of the answer table",
    }  # fmt: skip
    assert main(["bounds", "--task", "own_words.py:Words"]) == 0
    assert "your task, enumerated:" in capsys.readouterr().out
    assert main(["bounds", "--task", "selective-copying", "--json"]) == 0
    assert "enumeration" not in json.loads(capsys.readouterr().out)


def test_errors_are_named():
    with pytest.raises(ValueError, match="`error` must be at least 0 and below 1; got 1"):
        custom_report(wrap_task(Words()), error=1)
