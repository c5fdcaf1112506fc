"""A mixer of one's own from the command line: named by ``--model``, and never executed because a run names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import own_mixers
from tests.helpers.sweeps import sweep_text

TRAIN = ["--d-model", "4", "--window", "3", "--steps", "4", "--batch", "4", "--eval-sequences", "20"]
TASK = ["--task", "selective-copying", "-p", "n_numbers=2", "-p", "n_letters=2", "-p", "seq_len=8"]
PROBE = ["-n", "60", "--calibration", "40", "--train", "40", "--decoders", "linear"]


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """What executing the file of the mixers leaves behind, in the directory to stand in."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "executed"
    source = Path(own_mixers.__file__).read_text(encoding="utf-8")
    (tmp_path / "mixers.py").write_text(f"{source}\n\nfrom pathlib import Path\n\nPath({str(mark)!r}).touch()\n")
    return mark


@pytest.fixture
def run(mark, call, tmp_path):
    """A run with that mixer, as it was sent."""
    assert call("train", *TASK, "--model", "attn-mixers.py:Leaky", *TRAIN, "--out", "runs").code == 0
    assert mark.exists()
    mark.unlink()
    (path,) = (tmp_path / "runs").glob("train-*")
    return path


COMMANDS = {
    "probe": lambda run: ["probe", run, *PROBE],
    "plot": lambda run: ["plot", run, *PROBE, "--out", "figures"],
    "train": lambda run: ["train", "--config", run / "config.toml", "--out", "again"],
}


def test_a_mixer_that_only_a_run_names_is_not_executed(run, mark, call):
    for command in COMMANDS.values():
        outcome = call(*command(run))
        assert outcome.code == 2
        assert "mixer 'mixers.py:Leaky' must be named by you to be executed" in outcome.err
        assert "--trust" in outcome.err
        assert outcome.err.count("\n") == 1
        assert not mark.exists()
    assert call(*COMMANDS["probe"](run), "--trust").code == 0
    assert call(*COMMANDS["train"](run), "--trust").code == 0

    # The command that made the run names the mixer again.
    again = call("train", *TASK, "--model", "attn-mixers.py:Leaky", *TRAIN, "--out", "runs")
    assert again.code == 0
    assert str(run) in again.out + again.err

    # A ladder that was measured is shown without the mixer.
    mark.unlink(missing_ok=True)
    (run.parents[1] / "mixers.py").unlink()
    assert call(*COMMANDS["plot"](run)).code == 0


def test_a_configuration_without_the_hash_is_not_one_of_boundprobe(run, mark, call):
    text = (run / "config.toml").read_text(encoding="utf-8")
    kept, _, rest = text.partition("sources = [")
    (run / "config.toml").write_text(kept + rest.partition("]")[2], encoding="utf-8")
    for argv, code in ((COMMANDS["train"](run), 2), (COMMANDS["probe"](run), 4)):
        outcome = call(*argv)
        assert outcome.code == code
        assert outcome.err.count("\n") == 1
        assert not mark.exists()
    assert "`sources` must have the sha256 of the mixer" in call(*COMMANDS["train"](run)).err


def test_a_sweep_of_ones_own_file_has_named_it(mark, call, here, tmp_path):
    few = {"steps": 4, "batch": 4, "n_seeds": 1, "n_calibration_seeds": 1, "n_eval": 20}
    text = sweep_text(train=few, model={"architecture": "mixers.py:Leaky"}, grid={"train.batch": [4, 8]})
    (tmp_path / "sweep.toml").write_text(text)
    assert call("sweep", "sweep.toml", "--out", "runs").code == 0
    assert mark.exists()
    mark.unlink()
    (sweep,) = (tmp_path / "runs").glob("sweep-*")
    outcome = call("probe", sweep, *PROBE)
    assert outcome.code == 2
    assert "--trust" in outcome.err
    assert not mark.exists()
    assert call("probe", sweep, *PROBE, "--trust").code == 0


def test_bounds_judge_it_by_its_sizes(mark, document, call):
    memory = document("bounds", *TASK, "--model", "mixers.py:Leaky", "--d-model", "4")["model"]["memory"]
    assert memory == {"recurrent_bits": 4 * 32, "conv_bits": 4 * 32, "cache_bits": 0}
    outcome = call("bounds", *TASK, "--model", "mixers.py:Growing", "--d-model", "4")
    assert outcome.code == 2
    assert "the size of the state of mixers.py:Growing must be known" in outcome.err
