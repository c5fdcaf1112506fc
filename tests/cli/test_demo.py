"""``boundprobe demo``: everything, end to end."""

import json
from pathlib import Path

import pytest

from boundprobe.cli import demo_settings

SMALL = ["demo", "--steps", "30", "--seeds", "1", "--sequences", "100", "--workers", "2"]


@pytest.fixture(autouse=True)
def few_budgets(monkeypatch):
    """Three bottlenecks of each task instead of eight, and one of each model of the plane."""
    assert all(len(budgets) == 8 for budgets in demo_settings.BUDGETS.values())
    monkeypatch.setattr(
        demo_settings, "BUDGETS", {name: budgets[::3] for name, budgets in demo_settings.BUDGETS.items()}
    )
    monkeypatch.setattr(
        demo_settings, "PLANE_BUDGETS", {n_far: budgets[:1] for n_far, budgets in demo_settings.PLANE_BUDGETS.items()}
    )


def test_the_demo_ends_well_and_is_done_once(call, here, tmp_path):
    code, out, err = call(*SMALL, "--out", tmp_path / "runs", "--json")
    assert code == 0, err
    assert err == ""  # progress only on a terminal
    result = json.loads(out)
    assert set(result) == {"schema", "run_id", "run_dir", "confidence", "tasks", "plane", "violations"}
    assert result["schema"] == "boundprobe.demo/1"
    assert result["violations"] == []
    assert [task["bounds"]["task"]["name"] for task in result["tasks"]] == ["ar-decoding", "selective-copying"]
    models = [model for task in result["tasks"] for model in task["models"]]
    assert [model["model"]["architecture"] for model in models] == ["attn-attn", "mamba-mamba", "mamba-attn"] * 2
    for model in models:
        assert model["schema"] == "boundprobe.probe/1"
        # All limits of all models hold together at the confidence that is stated.
        assert 1 - model["confidence"] <= (1 - result["confidence"]) / len(models) + 1e-12
        assert model["memory"]["recurrent_bits"] == 0 or "mamba" in model["model"]["architecture"]
        curve = model.get("bottleneck")
        assert (curve is not None) == (model["model"]["architecture"] == "mamba-attn")
        for point in curve["points"] if curve else ():
            assert point["bits"] == point["entries"] * point["entry_bits"]
            assert point["n_states_seen"] <= 2 ** point["bits"]
            assert point["accuracy"]["lower"] <= point["accuracy_ceiling"]
        assert curve is None or len(curve["points"]) == 3
    plane = result["plane"]
    assert [(point["architecture"], point["reach"]) for point in plane["points"]] == [
        ("mamba-mamba", 0), ("mamba-attn", 1), ("mamba-attn", 2), ("mamba-attn", 3), ("attn-attn", 4),
    ]  # fmt: skip
    lags = [model["bottleneck"]["lag"] for model in plane["models"][:4]]
    assert lags == [model["lag"] for model in plane["models"][:4]] == [0, 1, 2, 3]
    assert "bottleneck" not in plane["models"][4]
    assert [Path(figure).name for figure in plane["figures"]] == ["plane.png", "plane.svg"]
    figures = [Path(figure) for task in result["tasks"] for figure in task["figures"]]
    assert sorted(figure.name for figure in figures) == sorted(
        f"{stem}.{kind}" for stem in ("bound_vs_empirical", "ladder") for kind in ("png", "svg") for _ in range(2)
    )
    assert all(figure.stat().st_size > 5000 for figure in figures)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    code, again, _ = call(*SMALL, "--out", tmp_path / "runs", "--json")
    assert code == 0
    assert json.loads(again) == result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before

    code, table, _ = call(*SMALL, "--out", tmp_path / "runs")
    assert code == 0
    assert "No measured point violates a bound (11 models, 2 tasks)." in table
    assert "behind bottlenecks of exactly so many bits" in table
    assert all(name in table for name in ("attn-attn", "mamba-mamba", "mamba-attn", "state-hard", "window-hard"))
    other, figure = (path for path in (tmp_path / "runs").iterdir()), "bound_vs_empirical.png"
    assert sum((path / "ar-decoding" / figure).exists() for path in other) == 1
