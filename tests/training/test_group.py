"""Runs of one shape that are trained side by side: each is the run it would be in any other company."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boundprobe.errors import RunDirectoryError, RunInUseError
from boundprobe.models import ModelSpec
from boundprobe.runs import Run, open_run
from boundprobe.tasks import AssociativeRecallDecoding
from boundprobe.training import Schedule, TrainConfig, data, load_models, loop, results, run_writer, train
from boundprobe.training.checkpoint import TrainState
from boundprobe.training.loop import train_group
from tests.helpers.runs import StoppedError, assert_same_run, assert_same_runs, stop_at

TASK = AssociativeRecallDecoding(word_bits=2, seq_len=8)
MODEL = ModelSpec("attn", d_model=8, window=4, d_state=2, mlp_ratio=1)
#: Two calibration members and two reported ones.
SCHEDULE = Schedule("mixture", steps=12, batch=4, learning_rates=(0.02, 0.005), n_seeds=2, warmup_steps=2, n_eval=40)
PLAIN = TrainConfig(TASK, MODEL, SCHEDULE)
#: All that runs of one group may differ in.
RUNS = {
    "plain": PLAIN,
    "weight decay": replace(PLAIN, schedule=replace(SCHEDULE, weight_decay=0.5)),
    "clipping": replace(PLAIN, schedule=replace(SCHEDULE, clip_norm=0.1)),
    "seed": replace(PLAIN, seed=7),
    "distribution": replace(PLAIN, schedule=replace(SCHEDULE, distribution="uniform")),
    "bit probability": replace(
        PLAIN, task=replace(TASK, bit_probability=0.7), schedule=replace(SCHEDULE, distribution="uniform")
    ),
    "rates and seeds": replace(PLAIN, schedule=replace(SCHEDULE, learning_rates=(0.1, 0.03, 0.01), n_seeds=3)),
    "targets": replace(PLAIN, schedule=replace(SCHEDULE, targets="random")),
    "evaluation": replace(PLAIN, schedule=replace(SCHEDULE, n_eval=60)),
}
PAIR = [RUNS["plain"], RUNS["weight decay"]]
#: Steps of all members of the pair: four calibration members side by side, then four reported ones.
TOTAL = 8 * 12
#: Stops after its first draw, for it has learned all that it is asked to.
SATED = replace(PLAIN, schedule=replace(SCHEDULE, stop_below=1e9), seed=5)
#: Its weights are no longer finite after its first steps.
LOST = replace(PLAIN, schedule=replace(SCHEDULE, learning_rates=(1e30, 3e30), clip_norm=1e30), seed=6)
SMALL_STEPS = [
    (loop, "STEPS_PER_CHECKPOINT"),
    *((module, "STEPS_PER_DRAW") for module in (data, results, run_writer, loop)),
]


def must_not_train(done: int, what: str) -> None:
    raise AssertionError(f"it trained: {what}")


def snapshot(path: Path) -> dict[str, tuple[int, bytes]]:
    """All files of a directory, and when each was written."""
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.iterdir()}


def n_sessions(run: Run) -> int:
    return len(json.loads((run.path / "manifest.json").read_text())["sessions"])


def ensembles(root: Path) -> list[Path]:
    return sorted(root.glob("ensemble-*"))


@pytest.fixture(scope="module", autouse=True)
def small_steps() -> Iterator[None]:
    """Draws and checkpoints of 5 steps, so that runs of 12 steps have some."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in SMALL_STEPS:
            patch.setattr(module, name, 5)
        yield


@pytest.fixture(scope="module")
def together(small_steps: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All runs in one group."""
    runs = train_group(list(RUNS.values()), tmp_path_factory.mktemp("together"))
    return dict(zip(RUNS, runs, strict=True))


@pytest.fixture(scope="module")
def pair(together: dict[str, Run]) -> list[Run]:
    """The runs of ``PAIR``, undisturbed."""
    return [together["plain"], together["weight decay"]]


@pytest.mark.parametrize("name", RUNS)
def test_company_does_not_matter_bit_for_bit(name: str, together: dict[str, Run], tmp_path: Path) -> None:
    """Result, metrics and weights are those of the run by itself, and of the run beside another."""
    assert_same_run(train(RUNS[name], tmp_path / "alone"), together[name])
    other = next(key for key in reversed(RUNS) if key != name)
    beside = train_group([RUNS[other], RUNS[name]], tmp_path / "beside")
    assert_same_runs(beside, [together[other], together[name]])


@pytest.mark.parametrize("architecture", ["mamba-attn", "gated-deltanet"])
def test_kernels_do_not_see_the_company(architecture: str, tmp_path: Path) -> None:
    """Members are folded into the batch of a compiled scan."""
    configs = [replace(config, model=replace(MODEL, architecture=architecture)) for config in RUNS.values()][:3]
    expected = train_group(configs, tmp_path / "three")
    assert_same_runs(train_group(configs[1::-1], tmp_path / "two"), expected[1::-1])


def test_the_runs_differ(together: dict[str, Run]) -> None:
    """The negative control: what a setting changes, the comparison above would see."""
    weights = {name: (run.path / "model.safetensors").read_bytes() for name, run in together.items()}
    del weights["evaluation"]  # which changes the judging alone
    assert len(set(weights.values())) == len(weights)
    accuracies = [together[name].result()["summary"]["values"] for name in ("plain", "evaluation")]
    assert accuracies[0] != accuracies[1]


def test_each_run_has_its_own_directory(together: dict[str, Run]) -> None:
    root = together["plain"].path.parent
    (workspace,) = ensembles(root)
    assert {path for path in root.iterdir() if path != workspace} == {run.path for run in together.values()}
    files = {"config.toml", "manifest.json", "metrics.jsonl", "model.safetensors", "result.json", ".lock"}
    for name, run in together.items():
        assert {path.name for path in run.path.iterdir()} == files
        result = run.result()
        assert result["run_id"] == run.run_id
        assert TrainConfig.from_dict(run.config) == RUNS[name]
        assert len(load_models(run)) == len(result["members"]) == RUNS[name].schedule.n_seeds
        assert result["learning_rate"] in RUNS[name].schedule.learning_rates
        lines = [(line["member"], line["step"]) for line in run.metrics()]
        assert lines == [(m, s) for m in range(RUNS[name].n_members) for s in (5, 10, 12)]
    document = json.loads((workspace / "result.json").read_text())
    assert document == {"schema": "boundprobe.ensemble/1", "runs": [run.run_id for run in together.values()]}


def test_a_run_by_itself_makes_no_ensemble(tmp_path: Path) -> None:
    (run,) = train_group([PLAIN], tmp_path)
    assert list(tmp_path.iterdir()) == [run.path]


@pytest.mark.parametrize("largest", [1, 2, 3, 100])
def test_rounds_of_any_size(largest: int, pair: list[Run], tmp_path: Path) -> None:
    """Three at a time leave one alone."""
    rounds: list[str] = []
    found = train_group(PAIR, tmp_path, largest=largest, progress=lambda done, what: rounds.append(what))
    in_calibration = [what for what in rounds if "calibration" in what]
    assert len(in_calibration) == 3 * -(-4 // largest)  # three draws in each round
    assert_same_runs(found, pair)


@pytest.mark.parametrize("stop", [1, 40, 48, 68, 88, TOTAL])
def test_an_interrupted_group_resumes_bit_for_bit(stop: int, pair: list[Run], tmp_path: Path) -> None:
    """In the first draw of each phase, between two checkpoints, and at the end of each."""
    with pytest.raises(StoppedError):
        train_group(PAIR, tmp_path, progress=stop_at(stop))
    assert all(open_run(tmp_path, "train", config.to_dict()).result() is None for config in PAIR)
    told: list[int] = []
    found = train_group(PAIR, tmp_path, progress=lambda done, what: told.append(done))
    assert_same_runs(found, pair)
    # The stop came before the checkpoint at its own step, so that draw is done again, and none before it.
    assert told[0] == max(stop, 20)
    assert told[-1] == TOTAL
    assert told == sorted(set(told))
    assert [n_sessions(run) for run in found] == [2, 2]
    assert len(ensembles(tmp_path)) == 1


def test_a_group_interrupted_again_and_again(pair: list[Run], tmp_path: Path) -> None:
    """Each time other numbers of members side by side: a round goes on with those that it was begun with."""
    for stop in range(8, TOTAL, 10):
        with pytest.raises(StoppedError):
            train_group(PAIR, tmp_path, progress=stop_at(stop), largest=(2, 100, 4)[stop // 10 % 3])
    assert_same_runs(train_group(PAIR, tmp_path), pair)


def test_a_run_that_was_finished_is_left_alone(pair: list[Run], tmp_path: Path) -> None:
    first = train(PAIR[0], tmp_path)
    before = snapshot(first.path)
    told: list[int] = []
    found = train_group(PAIR, tmp_path, progress=lambda done, what: told.append(done))
    assert snapshot(first.path) == before
    assert_same_runs(found, pair)
    assert told[-1] == TOTAL // 2, "the finished run was trained again"


def test_a_run_that_another_command_finishes_meanwhile_is_left_alone(pair: list[Run], tmp_path: Path) -> None:
    """The checkpoint of the group still holds its members."""
    with pytest.raises(StoppedError):
        train_group(PAIR, tmp_path, progress=stop_at(88))
    first = train(PAIR[0], tmp_path)
    before = snapshot(first.path)
    assert_same_runs(train_group(PAIR, tmp_path), pair)
    assert snapshot(first.path) == before


def test_a_finished_group_is_left_alone(tmp_path: Path) -> None:
    runs = train_group(PAIR, tmp_path)
    before = {path.name: snapshot(path) for path in tmp_path.iterdir()}
    again = train_group(PAIR, tmp_path, progress=must_not_train)
    assert [run.path for run in again] == [run.path for run in runs]
    assert {path.name: snapshot(path) for path in tmp_path.iterdir()} == before


def crash_at_call(n: int, method: Callable[..., None]) -> Callable[..., None]:
    """``method``, but the ``n``-th call raises, counted from 1."""
    calls: list[object] = []

    def called(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == n:
            raise StoppedError
        method(*arguments)

    return called


@pytest.mark.parametrize("call", [1, 2])
def test_a_crash_between_two_results_trains_nothing_again(
    call: int, pair: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", crash_at_call(call, Run.finish))
        with pytest.raises(StoppedError):
            train_group(PAIR, tmp_path)
    runs = [open_run(tmp_path, "train", config.to_dict()) for config in PAIR]
    assert [run.result() is not None for run in runs] == [call == 2, False]
    before = snapshot(runs[0].path)
    assert_same_runs(train_group(PAIR, tmp_path, progress=must_not_train), pair)
    assert (snapshot(runs[0].path) == before) == (call == 2)


#: Locks a file, says so, and holds it until its standard input is closed.
HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


@pytest.mark.parametrize("which", [0, 1])
def test_a_run_in_use_by_another_process(which: int, pair: list[Run], tmp_path: Path) -> None:
    """Nothing is trained, and the other runs are free again."""
    lock = open_run(tmp_path, "train", PAIR[which].to_dict()).path / ".lock"
    command, pipe = [sys.executable, "-c", HOLD, str(lock)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunInUseError, match=lock.parent.name) as caught:
            train_group(PAIR, tmp_path, progress=must_not_train)
        assert "\n" not in str(caught.value)
        free = open_run(tmp_path, "train", PAIR[1 - which].to_dict())
        with free.session(device="cpu", seeds={}):
            pass
        assert not list(tmp_path.glob("*/train_state.pt"))
        assert not list(tmp_path.glob("*/result.json"))
        process.kill()
    assert_same_runs(train_group(PAIR, tmp_path), pair)


def test_a_damaged_checkpoint_is_refused_or_set_aside(
    pair: list[Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contents = []
    for i in (1, 2):
        with pytest.raises(StoppedError):
            train_group(PAIR, tmp_path, progress=stop_at(TOTAL), set_damaged_aside=True)
        (workspace,) = ensembles(tmp_path)
        state = workspace / "train_state.pt"
        contents.append(state.read_bytes()[: 1000 * i])
        state.write_bytes(contents[-1])
        with pytest.raises(RunDirectoryError, match=r"train_state\.pt must be as boundprobe wrote it"):
            train_group(PAIR, tmp_path, progress=must_not_train)
        assert state.read_bytes() == contents[-1], "refused, and yet changed"
    caplog.clear()
    assert_same_runs(train_group(PAIR, tmp_path, set_damaged_aside=True), pair)
    (record,) = caplog.records
    assert "train_state.pt.damaged-2" in record.getMessage()
    assert str(state) in record.getMessage()
    assert "\n" not in record.getMessage()
    for i, content in enumerate(contents, 1):  # nothing is deleted
        assert (workspace / f"train_state.pt.damaged-{i}").read_bytes() == content


def test_what_is_no_checkpoint_is_set_aside_too(pair: list[Run], tmp_path: Path) -> None:
    workspace = open_run(tmp_path, "ensemble", {"runs": [config.to_dict() for config in PAIR]})
    (workspace.path / "train_state.pt").write_text("not a checkpoint")
    assert_same_runs(train_group(PAIR, tmp_path, set_damaged_aside=True), pair)
    assert (workspace.path / "train_state.pt.damaged-1").read_text() == "not a checkpoint"


OTHER_SHAPES = {
    "model": replace(PLAIN, model=replace(MODEL, d_model=4)),
    "steps": replace(PLAIN, schedule=replace(SCHEDULE, steps=24)),
    "batch": replace(PLAIN, schedule=replace(SCHEDULE, batch=8)),
    "warm-up": replace(PLAIN, schedule=replace(SCHEDULE, warmup_steps=0)),
    "precision": replace(PLAIN, schedule=replace(SCHEDULE, precision="bfloat16")),
    "length": replace(PLAIN, task=replace(TASK, seq_len=9)),
    "backend": replace(PLAIN, backend="reference"),
    "the same run": PLAIN,
}


@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_runs_of_another_shape_are_refused(name: str, tmp_path: Path) -> None:
    """One that was trained at another's schedule would have a result that is not its own."""
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        train_group([PLAIN, OTHER_SHAPES[name]], tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# early stops


def test_what_has_learned_stops_and_the_others_go_on_unchanged(pair: list[Run], tmp_path: Path) -> None:
    told: list[int] = []
    *others, sated = train_group([*PAIR, SATED], tmp_path, progress=lambda done, what: told.append(done))
    assert_same_runs(others, pair)
    result = sated.result()
    for member in (*result["members"], *result["calibration"]):
        assert (member["steps"], member["converged"]) == (5, True)
        assert member["loss"] > 0
        assert member["late_improvement"] is None  # one draw says nothing of its own end
    assert [(line["member"], line["step"]) for line in sated.metrics()] == [(m, 5) for m in range(4)]
    assert result["summary"]["n_converged"] == 2
    assert told[-1] == 12 * 12


def test_a_member_stops_after_a_tenth_of_the_budget_below(tmp_path: Path) -> None:
    """23 draws: two of them, and the second ends at 10 steps."""
    schedule = replace(SATED.schedule, steps=113, learning_rates=(0.02,))
    run = train(replace(SATED, schedule=schedule), tmp_path)
    assert [member["steps"] for member in run.result()["members"]] == [10, 10]


def strict_json(path: Path) -> Any:
    """A document that any JSON reader takes: no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path.name} holds {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_lost_run_leaves_the_others_as_they_were(pair: list[Run], tmp_path: Path) -> None:
    *others, lost = train_group([*PAIR, LOST], tmp_path)
    assert_same_runs(others, pair)
    assert_lost(lost)


def test_a_member_that_is_left_alone_goes_on_unchanged(tmp_path: Path) -> None:
    """All others of its round stop after the first draw."""
    single = replace(PLAIN, schedule=replace(SCHEDULE, learning_rates=(0.02,), n_seeds=1))
    beside = replace(LOST, schedule=replace(LOST.schedule, learning_rates=(1e30,)))
    left = train_group([beside, single], tmp_path / "left")[1]
    together = train_group([single, replace(single, seed=1)], tmp_path / "together")[0]
    assert [member["steps"] for member in left.result()["members"]] == [12]
    assert_same_run(left, together)


def assert_lost(run: Run) -> None:
    result = strict_json(run.path / "result.json")
    assert [member["learning_rate"] for member in result["calibration"]] == [1e30, 3e30]
    for member in (*result["members"], *result["calibration"]):
        assert (member["steps"], member["loss"]) == (5, None)
        assert (member["converged"], member["late_improvement"]) == (False, None)
        assert 0 <= member["accuracy"] <= 1
    assert result["summary"]["n_converged"] == 0
    assert run.metrics() == [{"member": m, "step": 5, "loss": None} for m in range(4)]


def test_all_members_may_be_lost(tmp_path: Path) -> None:
    """A run of hours must then end and say so."""
    told: list[int] = []
    runs = train_group(
        [LOST, replace(LOST, seed=8)], tmp_path, progress=lambda done, what: told.append(done), largest=4
    )
    for run in runs:
        assert_lost(run)
    assert told == [4 * 5, 4 * 12 + 4 * 5]  # one draw of each phase


def test_one_lost_rate_is_not_chosen(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, learning_rates=(1e30, 0.02))
    run = train(replace(PLAIN, schedule=schedule), tmp_path)
    result = run.result()
    assert [member["loss"] is None for member in result["calibration"]] == [True, False]
    lost, kept = (member["accuracy"] for member in result["calibration"])
    assert lost <= kept, "the case is not what it is meant to be"
    assert result["learning_rate"] == 0.02
    assert [member["steps"] for member in result["members"]] == [12, 12]


@pytest.mark.parametrize("stop", [8 * 10, 8 * 12 + 8 * 10, 16 * 12])
def test_checkpoints_after_an_early_stop_resume_bit_for_bit(stop: int, pair: list[Run], tmp_path: Path) -> None:
    """One run learned, one lost, two that go on: stopped when only these are left."""
    configs = [SATED, PAIR[0], LOST, PAIR[1]]
    with pytest.raises(StoppedError):
        train_group(configs, tmp_path / "stopped", progress=stop_at(stop))
    (workspace,) = ensembles(tmp_path / "stopped")
    batch_ = TrainState.load(workspace / "train_state.pt", configs).batch
    assert batch_ is not None
    assert batch_.training == [2, 3, 6, 7]
    assert sorted(batch_.stopped) == [0, 1, 4, 5]
    found = train_group(configs, tmp_path / "stopped")
    assert_same_runs([found[1], found[3]], pair)
    assert_same_runs(found, train_group(configs, tmp_path / "undisturbed"))


def test_a_checkpoint_of_members_that_have_all_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after it and before they were evaluated: nothing is trained again in that phase."""
    configs = [SATED, replace(SATED, seed=9)]

    def crash(*arguments: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_members", crash)
        with pytest.raises(StoppedError):
            train_group(configs, tmp_path / "stopped")
    told: list[str] = []
    found = train_group(configs, tmp_path / "stopped", progress=lambda done, what: told.append(what))
    assert len(told) == 1
    assert "report" in told[0]
    assert_same_runs(found, train_group(configs, tmp_path / "undisturbed"))
