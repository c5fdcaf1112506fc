"""A user's own task is executed where the user names it or trusts a run, and never because a run directory says so."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from boundprobe.probes import run_relations
from boundprobe.runs import config_hash
from boundprobe.tasks.custom.consent import consenting
from boundprobe.training import TrainConfig
from tests.helpers.own_tasks import TWO_BITS
from tests.helpers.strangers import edit
from tests.helpers.sweeps import sweep_text

TASK = """
from pathlib import Path

Path({mark!r}).touch()  # what would be the damage


class Cells:
    def __init__(self, n: int = {n}):
        self.n = n
"""
TRAIN = ["--model", "attn", "--d-model", "4", "--window", "3", "--steps", "4", "--batch", "4", "--eval-sequences", "20"]
PROBE = ["-n", "60", "--calibration", "40", "--train", "40", "--decoders", "linear"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A directory to stand in with the task, and the mark that executing it leaves."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "executed"
    (tmp_path / "cells.py").write_text(TASK.format(mark=str(mark), n=2) + TWO_BITS)
    (tmp_path / "cells_module.py").write_text(TASK.format(mark=str(mark), n=3) + TWO_BITS)
    return mark


@pytest.fixture(params=["cells.py:Cells", "cells_module:Cells"])
def reference(request, monkeypatch):
    yield request.param

    sys.modules.pop("cells_module", None)


@pytest.fixture
def run(own, reference, call, tmp_path):
    """A run of that task, as it was sent: nothing of it has been executed since."""
    assert call("train", "--task", reference, *TRAIN, "--out", "runs").code == 0
    (path,) = (tmp_path / "runs").glob("train-*")

    sys.modules.pop("cells_module", None)
    own.unlink()
    return path


COMMANDS = {
    "probe": lambda run: ["probe", run, *PROBE],
    "plot": lambda run: ["plot", run, *PROBE, "--out", "figures"],
    "train": lambda run: ["train", "--config", run / "config.toml", "--out", "again"],
    "print": lambda run: ["train", "--config", run / "config.toml", "--print-config"],
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_task_that_only_a_run_names_is_not_executed(verb, run, own, reference, call, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    outcome = call(*COMMANDS[verb](run))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert f"give --task {reference}, or --trust" in outcome.err
    assert not own.exists()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("consent", ["--task", "--trust"])
@pytest.mark.parametrize("verb", COMMANDS)
def test_it_is_where_the_user_names_it_or_trusts_the_run(verb, consent, run, own, reference, call):
    given = ["--task", reference] if consent == "--task" else ["--trust"]
    assert call(*COMMANDS[verb](run), *given).code == 0
    assert own.exists()


@pytest.mark.parametrize("consent", ["--task", "--trust"])
@pytest.mark.parametrize("verb", COMMANDS)
def test_the_hash_is_compared_before_anything_is_executed(verb, consent, run, own, reference, call):
    file = Path(reference.partition(":")[0].removesuffix(".py") + ".py")
    file.write_text(file.read_text() + "# another file of the same name\n")
    given = ["--task", reference] if consent == "--task" else ["--trust"]
    outcome = call(*COMMANDS[verb](run), *given)
    assert outcome.code == 2
    assert "must be as it was" in outcome.err
    assert not own.exists()


def test_naming_another_task_is_no_consent(run, own, call):
    assert call("probe", run, *PROBE, "--task", "other.py:Cells").code == 2
    assert not own.exists()


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_run_that_leaves_the_hash_out_is_refused(verb, run, own, reference, call, tmp_path):
    """Its name would be that of its configuration all the same."""
    config = tomllib.loads((run / "config.toml").read_text())
    del config["task"]["source_sha256"]
    forged = tmp_path / "forged" / f"train-{config_hash(config)}"
    shutil.copytree(run, forged)
    (forged / "config.toml").write_text(tomli_w.dumps(config))
    result = (forged / "result.json").read_text().replace(run.name, forged.name)
    (forged / "result.json").write_text(result)
    manifest = (forged / "manifest.json").read_text()
    before = hashlib.sha256((run / "result.json").read_bytes()).hexdigest()
    (forged / "manifest.json").write_text(manifest.replace(before, hashlib.sha256(result.encode()).hexdigest()))
    outcome = call(*COMMANDS[verb](forged))
    assert outcome.code in (2, 4)
    assert "source_sha256" in outcome.err
    assert not own.exists()


def test_measured_ladders_are_read_without_executing_anything(run, own, reference, call):
    assert call("probe", run, *PROBE, "--trust").code == 0
    own.unlink()
    assert call("probe", run, *PROBE).code == 0
    assert not own.exists()


LIES = {
    "entropy": lambda document: document.update(entropy_bits=1.7, information_upper_bits=1.7),
    "ceiling": lambda document: document.update(window_accuracy_ceiling=0.5),
    "task without the hash of its source": lambda document: document["task"].pop("source_sha256"),
}


#: A file says as much here as a module.
of_a_file = pytest.mark.parametrize("reference", ["cells.py:Cells"], indirect=True)


@of_a_file
def test_numbers_that_the_task_contradicts_are_refused_with_consent(own, reference, call, tmp_path):
    """Answers of log2 3 bits.  Without consent nothing is executed, and what nothing else contradicts is believed."""
    file = tmp_path / "cells.py"
    file.write_text(file.read_text().replace("for b in (0, 1)]", "for b in (0, 1) if a + b < 2]"))
    assert call("train", "--task", reference, *TRAIN, "--out", "runs").code == 0
    (trained,) = (tmp_path / "runs").glob("train-*")
    assert call("probe", trained, *PROBE, "--trust").code == 0
    (probe,) = trained.parent.glob("probe-*")
    whole = (probe / "result.json").read_text()
    for name, lie in LIES.items():
        (probe / "result.json").write_text(whole)
        edit(probe / "result.json", lie)
        own.unlink(missing_ok=True)
        run_relations._own_task.cache_clear()
        assert call("probe", trained, *PROBE).code == (4 if "hash" in name else 0), name
        assert not own.exists()
        for given in (["--trust"], ["--task", reference]):
            outcome = call("probe", trained, *PROBE, *given)
            assert (outcome.code, outcome.out) == (4, ""), (name, outcome.err)
            assert "result.json must be as boundprobe wrote it" in outcome.err


@of_a_file
def test_a_ladder_is_not_held_against_another_source_than_its_own(run, own, reference, call, tmp_path):
    assert call("probe", run, *PROBE, "--trust").code == 0
    file = tmp_path / "cells.py"
    file.write_text(file.read_text() + "# changed\n")
    own.unlink()
    run_relations._own_task.cache_clear()  # as in another process
    outcome = call("probe", run, *PROBE, "--trust")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (4, "", 1)
    assert "must be as it was" in outcome.err
    assert "Without --task and --trust its ladders are read without it" in outcome.err
    assert call("probe", run, *PROBE).code == 0
    assert not own.exists()


def test_a_task_whose_answers_fail_now_is_no_damage_of_the_ladder(own, call, tmp_path):
    """The same source may import what has changed."""
    (tmp_path / "helper.py").write_text("def right(prefix, query):\n    return prefix[query[0] - 2]\n")
    source = f"from helper import right\n\n\nclass Cells:{TWO_BITS}".replace(
        "prefix[query[0] - 2]", "right(prefix, query)"
    )
    (tmp_path / "cells.py").write_text(source)
    assert call("train", "--task", "cells.py:Cells", *TRAIN, "--out", "runs").code == 0
    (run,) = (tmp_path / "runs").glob("train-*")
    assert call("probe", run, *PROBE, "--trust").code == 0
    run_relations._own_task.cache_clear()
    sys.modules.pop("helper", None)
    (tmp_path / "helper.py").write_text("def right(prefix, query):\n    raise ArithmeticError('no luck')\n")
    outcome = call("probe", run, *PROBE, "--trust")
    sys.modules.pop("helper", None)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (4, "", 1)
    assert "no luck" in outcome.err
    assert "damaged" not in outcome.err
    assert call("probe", run, *PROBE).code == 0


def test_a_refusal_after_the_ladder_was_read_draws_nothing(run, own, reference, call, tmp_path):
    """Bottlenecks need the task, which nobody named; the ladder beside it does not."""
    assert call("probe", run, *PROBE, "--trust").code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    probes = "probe", run, *PROBE, "--budgets", "1x2", "--bottleneck-steps", "2"
    for argv in (probes, ("plot", run, *PROBE, "--out", "figures")):
        outcome = call(*argv)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("code", ["0", "1", "'gone'", ""])
@pytest.mark.parametrize("where", ["{exits}", "class Cells:\n    def __init__(self):\n        {exits}"])
def test_a_task_that_ends_the_program_is_refused(call, tmp_path, monkeypatch, where, code):
    """Otherwise nothing would be said, and 0 would mean that all is well."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exits.py").write_text(f"import sys\n{where.format(exits=f'sys.exit({code})')}\n")
    outcome = call("bounds", "--task", "exits.py:Cells")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert f"sys.exit({code or 'None'})" in outcome.err


def test_a_sweep_from_the_users_own_file_has_named_its_task(own, reference, call, here, tmp_path):
    few = {"steps": 4, "batch": 4, "n_seeds": 1, "n_calibration_seeds": 1, "n_eval": 20}
    grid = {"train.batch": [4, 8]}
    text = sweep_text(train=few, task={"name": reference}, model={"architecture": "attn"}, grid=grid)
    (tmp_path / "sweep.toml").write_text(text)
    assert call("sweep", "sweep.toml", "--out", "runs").code == 0
    assert own.exists()
    own.unlink()
    (sweep,) = (tmp_path / "runs").glob("sweep-*")

    sys.modules.pop("cells_module", None)
    for argv in (["probe", sweep, *PROBE], ["plot", sweep, "--out", "figures"]):
        outcome = call(*argv)
        assert outcome.code == 2
        assert "--trust" in outcome.err
        assert not own.exists()
        assert call(*argv, "--trust").code == 0
        own.unlink(missing_ok=True)
        sys.modules.pop("cells_module", None)


def test_in_python_a_configuration_that_was_named_can_be_read_again(own, reference):
    with consenting():
        config = TrainConfig.from_dict({"task": {"name": reference}, "model": {"architecture": "attn"}})
        assert TrainConfig.from_dict(config.to_dict()) == config
    own.unlink()
    with consenting(), pytest.raises(ValueError, match="must be named by you"):
        TrainConfig.from_dict(config.to_dict())
    with consenting(reference):
        assert TrainConfig.from_dict(config.to_dict()) == config


# The same task by another path


def test_another_path_to_the_same_source_and_class_is_consent(run, own, reference, call, tmp_path):
    file = tmp_path / (reference.partition(":")[0].removesuffix(".py") + ".py")
    other = tmp_path / "moved" / "renamed.py"
    other.parent.mkdir()
    file.rename(other)
    assert call("probe", run, *PROBE, "--task", f"{other}:Cells").code == 0
    assert own.exists()


def test_a_wrong_task_is_told_what_was_named_and_what_the_run_has(run, own, reference, call, tmp_path):
    (tmp_path / "wrong.py").write_text("class Cells:\n    pass\n")
    said = call("probe", run, *PROBE, "--task", "wrong.py:Cells").err
    assert "you named wrong.py:Cells (source " in said
    assert f"the run has {reference} (source " in said
    file = tmp_path / (reference.partition(":")[0].removesuffix(".py") + ".py")
    said = call("probe", run, *PROBE, "--task", f"{file}:Others").err
    assert f"you named {file}:Others" in said
    assert not own.exists()


def test_a_task_that_was_found_elsewhere_reaches_other_processes(own, reference, tmp_path):
    import pickle

    with consenting():
        task = TrainConfig.from_dict({"task": {"name": reference}}).task
    file = tmp_path / (reference.partition(":")[0].removesuffix(".py") + ".py")
    file.rename(tmp_path / "renamed.py")
    table = {"name": reference, "source_sha256": task.parameters()["source_sha256"]}
    with consenting(f"{tmp_path / 'renamed.py'}:Cells"):
        found = TrainConfig.from_dict({"task": table}).task
    with consenting():
        assert pickle.loads(pickle.dumps(found)) == found == task
