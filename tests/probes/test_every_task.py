"""Every task can be trained on, measured and drawn, and nothing that is measured breaks a bound."""

import json
from pathlib import Path

import pytest

from boundprobe.bottleneck import MeasuredModel
from boundprobe.models import ModelSpec
from boundprobe.plots.bound_vs_empirical import save
from boundprobe.probes import ModelLadder, ProbeConfig, probe_member, read_ladders
from boundprobe.tasks import TASKS
from boundprobe.training import Schedule, TrainConfig, train

TINY = {
    "selective-copying": {"n_numbers": 2, "n_letters": 2, "seq_len": 8},
    "ar-decoding": {"word_bits": 2, "seq_len": 8},
    "mkar": {"vocab_size": 4, "key_length": 1, "seq_len": 10},
    "needle": {"vocab_size": 4, "seq_len": 8},
    "mqar": {"n_pairs": 2, "n_keys": 4, "n_values": 4, "seq_len": 10},
    "copying": {"vocab_size": 3, "n_tokens": 4},
    "ngram-retrieval": {"vocab_size": 6, "n": 3, "query_length": 1, "seq_len": 8},
    "position-retrieval": {"seq_len": 5},
}


CASES = list(TINY.items())
CASES += [(name, TINY[name] | {"form": "prefix"}) for name in ("ngram-retrieval", "position-retrieval")]


def test_no_task_is_left_out() -> None:
    assert TINY.keys() == TASKS.keys()


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=str)
def test_a_task_goes_from_training_to_the_figure(tmp_path: Path, name: str, parameters: dict[str, object]) -> None:
    task = TASKS[name](**parameters)
    spec = ModelSpec("mamba-attn", d_model=8, window=4, d_state=2)
    run = train(TrainConfig(task, spec, Schedule(steps=60, batch=16, n_eval=64)), tmp_path)
    model = probe_member(run, 0, ProbeConfig(n_sequences=200, n_calibration=50, n_train=200))
    ladder = model.ladder
    assert ladder.violations == ()
    entropy = task.state_case().entropy_bits
    assert 0 <= ladder.used.lower <= ladder.used.estimate <= entropy + 1e-9
    assert ladder.required.estimate <= entropy + 1e-9
    document = json.loads((model.run_dir / "result.json").read_text())
    assert ModelLadder.from_json(document).to_json() == model.to_json() == document
    assert [kept.to_json() for kept in read_ladders(run)] == [document]
    for path in save(task, [MeasuredModel(model)], tmp_path / "figure"):
        assert path.stat().st_size > 1000


def test_a_distribution_that_asks_nothing_is_refused(tmp_path: Path) -> None:
    task = TASKS["ngram-retrieval"]()
    schedule = Schedule(distribution="duplicate-query", steps=10, n_eval=10)
    with pytest.raises(ValueError, match=r"`distribution` must be one that asks for an.*; got 'duplicate-query'"):
        train(TrainConfig(task, ModelSpec("attn", d_model=8, window=4), schedule), tmp_path)
    assert list(tmp_path.iterdir()) == []
