"""The catalogue of theorems."""

import importlib
import json

from boundprobe.bounds import CATALOGUE, catalogue_to_json


def test_the_catalogue_is_complete_and_true_to_the_code():
    document = catalogue_to_json()
    assert document["schema"] == "boundprobe.bounds-catalogue/1"
    assert json.loads(json.dumps(document)) == document
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    assert [name[:2] for name in names[:5]] == ["S1", "S2", "S3", "S4", "S5"]
    for entry in CATALOGUE:
        assert entry.family in ("state", "window", "neighbour")
        assert entry.direction in ("lower", "upper")
        assert entry.evidence in ("proved", "enumerated", "author", "unavailable")
        face = importlib.import_module(entry.package)
        assert all(callable(getattr(face, name)) for name in entry.functions)
        assert all((entry.assumptions, entry.reference, entry.source_says, entry.source_known))
        if entry.family == "neighbour":
            assert "arXiv 24" in entry.reference or "arXiv 26" in entry.reference
    assert "T1" in {name[:2] for name in names}
    cited = " ".join(entry.reference for entry in CATALOGUE)
    for paper in ("2402.01032", "2312.04927", "2402.18668", "2406.09347", "2605.05066", "2603.08859"):
        assert paper in cited
