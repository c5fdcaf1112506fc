"""Training: it learns, it repeats bit for bit, and it resumes as if nothing had been."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import boundprobe
from boundprobe.errors import RunDirectoryError
from boundprobe.models import ModelSpec
from boundprobe.runs import Run, load_run
from boundprobe.tasks import IGNORE, Batch, SelectiveCopying
from boundprobe.training import (
    Member,
    Schedule,
    TrainConfig,
    build_model,
    data,
    load_models,
    loop,
    results,
    run_writer,
    train,
)
from boundprobe.training.evaluate import count_correct
from boundprobe.training.member_queue import choose_learning_rate
from tests.helpers.runs import StoppedError, assert_same_run, stop_at

TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
MODEL = ModelSpec("mamba-attn", d_model=8, window=4, d_state=2, mlp_ratio=2)
SCHEDULE = Schedule("mixture", steps=24, batch=4, learning_rates=(0.02, 0.001), warmup_steps=4, n_eval=50)
CONFIG = TrainConfig(TASK, MODEL, SCHEDULE)
SINGLE = replace(CONFIG, schedule=replace(SCHEDULE, learning_rates=(0.02,)))
#: Steps of all members: one calibration member per rate, one reported.
TOTAL = 3 * 24
#: Steps per draw and per checkpoint of the package, before this module makes them small.
AS_SHIPPED = [
    (loop, "STEPS_PER_CHECKPOINT", loop.STEPS_PER_CHECKPOINT),
    *((module, "STEPS_PER_DRAW", data.STEPS_PER_DRAW) for module in (data, results, run_writer, loop)),
]


@pytest.fixture(scope="module", autouse=True)
def small_steps() -> Iterator[None]:
    """Checkpoints every 10 steps, so that runs of 24 steps have some."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, _ in AS_SHIPPED:
            patch.setattr(module, name, 10)
        yield


@pytest.fixture(scope="module")
def undisturbed(small_steps: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(CONFIG, tmp_path_factory.mktemp("undisturbed"))


def test_it_learns(tmp_path: Path) -> None:
    schedule = Schedule("uniform", steps=150, batch=16, learning_rates=(0.02,), warmup_steps=10, n_eval=1000)
    run = train(TrainConfig(TASK, replace(MODEL, architecture="attn"), schedule), tmp_path)
    losses = [line["loss"] for line in run.metrics()]
    assert losses[-1] < losses[0]
    accuracy = run.result()["members"][0]["accuracy"]
    # Tokens are uniform over 4 ids, so guessing is right with 1/4; 5 standard errors of about 990 sequences.
    chance = 1 / TASK.vocab_size
    assert accuracy > chance + 5 * math.sqrt(chance * (1 - chance) / 950)


def test_the_result_says_what_was_trained(undisturbed: Run) -> None:
    result = undisturbed.result()
    assert result["schema"] == "boundprobe.train/1"
    assert result["run_id"] == undisturbed.run_id
    assert result["run_dir"] == str(undisturbed.path)
    assert [m["phase"] for m in result["calibration"]] == ["calibration"] * 2
    assert [m["learning_rate"] for m in result["calibration"]] == [0.02, 0.001]
    (member,) = result["members"]
    assert member["phase"] == "report"
    assert member["learning_rate"] == result["learning_rate"]
    assert member["steps"] == 24
    assert set(member["accuracy_by_distribution"]) == {"mixture", "state-hard", "window-hard"}
    (model,) = load_models(undisturbed)
    assert member["n_params"] == sum(p.numel() for p in model.parameters())
    prefix = TASK.sample_cut(1, np.random.default_rng(0)).prefix
    with torch.no_grad():
        assert member["memory"] == vars(model.prefill(torch.from_numpy(prefix)).bits())
    steps = [(line["member"], line["step"]) for line in undisturbed.metrics()]
    assert steps == [(m, s) for m in range(3) for s in (10, 20, 24)]


def test_saved_weights_are_those_that_were_judged(undisturbed: Run) -> None:
    """The accuracy in the result comes again from the weights on disk and the seeds in the manifest."""
    (model,) = load_models(undisturbed)
    rng = boundprobe.seeds.generator(CONFIG.seed, "evaluation", 0, 0)
    correct, asked = count_correct(model, TASK.sample(SCHEDULE.n_eval, rng, "mixture"))
    assert undisturbed.result()["members"][0]["accuracy"] == correct / asked


def test_the_same_configuration_gives_the_same_run(undisturbed: Run, tmp_path: Path) -> None:
    assert_same_run(train(CONFIG, tmp_path), undisturbed)


def test_another_seed_gives_another_run(undisturbed: Run, tmp_path: Path) -> None:
    other = train(replace(CONFIG, seed=1), tmp_path)
    assert other.run_id != undisturbed.run_id
    assert (other.path / "model.safetensors").read_bytes() != (undisturbed.path / "model.safetensors").read_bytes()


def test_global_generators_do_not_matter(undisturbed: Run, tmp_path: Path) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    before = torch.get_rng_state()
    run = train(CONFIG, tmp_path)
    assert_same_run(run, undisturbed)
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator was moved"


def test_the_reported_member_does_not_see_the_choice(undisturbed: Run, tmp_path: Path) -> None:
    """Alone with the rate that was chosen, it gets the same weights."""
    rate = undisturbed.result()["learning_rate"]
    alone = train(replace(CONFIG, schedule=replace(SCHEDULE, learning_rates=(rate,))), tmp_path)
    assert (alone.path / "model.safetensors").read_bytes() == (undisturbed.path / "model.safetensors").read_bytes()
    assert alone.result()["calibration"] == []


@pytest.mark.parametrize("stop", [20, 40, 48, 58, 68, TOTAL])
def test_an_interrupted_run_resumes_bit_for_bit(stop: int, undisturbed: Run, tmp_path: Path) -> None:
    """Two calibration members go side by side, then one is reported: so the steps that are told."""
    with pytest.raises(StoppedError):
        train(CONFIG, tmp_path, progress=stop_at(stop))
    told: list[int] = []
    run = train(CONFIG, tmp_path, progress=lambda done, what: told.append(done))
    assert_same_run(run, undisturbed)
    # The stop came before the checkpoint at its own step, so that draw is done again, and none before it.
    assert told[0] == stop
    assert len(json.loads((run.path / "manifest.json").read_text())["sessions"]) == 2


def test_a_run_interrupted_again_and_again(undisturbed: Run, tmp_path: Path) -> None:
    for stop in range(15, TOTAL, 10):
        with pytest.raises(StoppedError):
            train(CONFIG, tmp_path, progress=stop_at(stop))
    assert_same_run(train(CONFIG, tmp_path), undisturbed)


def test_work_is_not_done_twice(undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted just before the done mark, a run trains nothing again."""

    def crash(run: Run, *args: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", crash)
        with pytest.raises(StoppedError):
            train(CONFIG, tmp_path)
    told: list[int] = []
    assert_same_run(train(CONFIG, tmp_path, progress=lambda done, what: told.append(done)), undisturbed)
    assert told == []


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run = train(SINGLE, tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.path.iterdir()}
    again = train(SINGLE, tmp_path, progress=stop_at(0))
    assert again.path == run.path
    assert again.result() == run.result()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.path.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == [run.run_id]


def run_cli(root: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "boundprobe", "train", "--task", "selective-copying", "--out", str(root)]
    for parameter in ("n_numbers=2", "n_letters=2", "seq_len=8"):
        command += ["-p", parameter]
    command += ["--model", "attn", "--d-model", "8", "--window", "4", "--steps", "1050", "--batch", "4", "--lr", "0.01"]
    here = str(Path(boundprobe.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, "-q", *more], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_killed_process_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 between two checkpoints, the same command again, and a run that nobody touched."""
    for module, name, steps in AS_SHIPPED:
        monkeypatch.setattr(module, name, steps)
    process = run_cli(tmp_path / "killed")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr.read().decode()
        found = list((tmp_path / "killed").glob("train-*/metrics.jsonl"))
        if found and '"step": 550' in found[0].read_text():
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (path,) = (tmp_path / "killed").glob("train-*")
    assert (path / "train_state.pt").exists()
    assert not (path / "result.json").exists()
    again = run_cli(tmp_path / "killed")
    _, stderr = again.communicate(timeout=60)
    assert again.returncode == 0, stderr.decode()
    killed = load_run(path)
    assert_same_run(killed, train(TrainConfig.from_dict(killed.config), tmp_path / "undisturbed"))
    assert len(json.loads((path / "manifest.json").read_text())["sessions"]) == 2


def interrupted(root: Path) -> Path:
    with pytest.raises(StoppedError):
        train(SINGLE, root, progress=stop_at(20))
    (path,) = root.iterdir()
    return path


def assert_refused(root: Path, path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"}
    with pytest.raises(RunDirectoryError, match=r"train_state\.pt must be as boundprobe wrote it") as caught:
        train(SINGLE, root)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert {f.name: f.read_bytes() for f in path.iterdir() if f.name != "manifest.json"} == before


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_cut_off_checkpoint_is_refused(keep: float, tmp_path: Path) -> None:
    path = interrupted(tmp_path)
    whole = (path / "train_state.pt").read_bytes()
    kept = int(len(whole) * keep) if isinstance(keep, float) else keep
    (path / "train_state.pt").write_bytes(whole[:kept])
    assert_refused(tmp_path, path)


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, victim: str) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.victim,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_no_pickle_is_loaded(how: str, tmp_path: Path) -> None:
    path, victim = interrupted(tmp_path / "runs"), tmp_path / "victim"
    content = {"finished": [], "batch": Malicious(str(victim))}
    if how == "torch":
        torch.save(content, path / "train_state.pt")
    else:
        (path / "train_state.pt").write_bytes(pickle.dumps(content))
    assert_refused(tmp_path / "runs", path)
    assert not victim.exists()


HALF = {"finished": [], "batch": {"ids": [(0, 0)], "step": 10, "training": [0], "losses": [[1.0]], "matrices": []}}


@pytest.mark.parametrize("content", [{"steps": 3}, [1, 2], HALF], ids=str)
def test_a_checkpoint_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    path = interrupted(tmp_path)
    torch.save(content, path / "train_state.pt")
    assert_refused(tmp_path, path)


def without_hashes(manifest: str) -> str:
    """The manifest of a run of an earlier version."""
    return json.dumps({key: value for key, value in json.loads(manifest).items() if key != "files_sha256"})


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    run = train(SINGLE, tmp_path)
    file = run.path / "model.safetensors"
    whole = file.read_bytes()
    manifest = run.path / "manifest.json"
    recorded = manifest.read_text()
    for content in (whole[:-1], whole[:20], b""):
        file.write_bytes(content)
        for hashes, said in (
            (recorded, "has changed since"),
            (without_hashes(recorded), "must be as boundprobe wrote it"),
        ):
            manifest.write_text(hashes)
            with pytest.raises(RunDirectoryError, match=rf"model\.safetensors {said}") as caught:
                load_models(run)
            assert "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(RunDirectoryError, match=r"model\.safetensors"):
        load_models(run)


def outcome(rate: float, accuracy: float, loss: float | None) -> dict[str, Any]:
    return {"learning_rate": rate, "accuracy": accuracy, "loss": loss}


def test_the_learning_rate_is_chosen_by_calibration_accuracy() -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, learning_rates=(0.1, 0.2, 0.3)))
    calibration = [outcome(0.1, 0.5, 0.1), outcome(0.2, 0.9, 3.0), outcome(0.3, 0.8, 0.2)]
    assert choose_learning_rate(config, calibration) == 0.2
    tied = [outcome(0.1, 0.5, 0.4), outcome(0.2, 0.5, 0.3), outcome(0.3, 0.4, 0.1)]
    assert choose_learning_rate(config, tied) == 0.2
    # the mean over seeds, not the best seed
    seeds = [outcome(0.1, 1.0, 0.1), outcome(0.1, 0.0, 9.0), outcome(0.2, 0.6, 1.0), outcome(0.2, 0.6, 1.0)]
    assert choose_learning_rate(config, [*seeds, outcome(0.3, 0.0, 1.0), outcome(0.3, 0.0, 1.0)]) == 0.2
    assert choose_learning_rate(SINGLE, []) == 0.02


def test_a_diverged_rate_is_not_chosen() -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, learning_rates=(0.1, 0.2)))
    assert choose_learning_rate(config, [outcome(0.1, 0.3, None), outcome(0.2, 0.3, 1.0)]) == 0.2
    assert choose_learning_rate(config, [outcome(0.1, 0.3, 1.0), outcome(0.2, 0.3, None)]) == 0.1


def test_a_run_that_diverges_ends_with_a_result(tmp_path: Path) -> None:
    """All rates may be too high: a run of hours must then say so, not end in an error."""
    schedule = replace(SCHEDULE, learning_rates=(1e30,), clip_norm=1e30)
    run = train(replace(CONFIG, schedule=schedule), tmp_path)
    assert run.result() is not None


def test_initial_weights_of_the_phases_differ() -> None:
    def weights(phase: str, rate: float, index: int, seed: int = 0) -> torch.Tensor:
        return build_model(replace(CONFIG, seed=seed), Member(phase, rate, index)).embedding.weight.detach()

    assert torch.equal(weights("report", 0.1, 0), weights("report", 0.2, 0))
    different = [weights("calibration", 0.1, 0), weights("calibration", 0.1, 1), weights("report", 0.1, 0)]
    different += [weights("report", 0.1, 1), weights("report", 0.1, 0, seed=1)]
    for i, x in enumerate(different):
        assert not any(torch.equal(x, y) for y in different[:i])


def test_data_of_the_phases_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What chooses the rate is never seen in training or judging what is reported, and the other way round."""
    drawn: list[np.ndarray] = []
    sample = SelectiveCopying.sample

    def spy(task: SelectiveCopying, n: int, rng: np.random.Generator, distribution: str = "uniform") -> Batch:
        batch = sample(task, n, rng, distribution)
        drawn.append(batch.tokens)
        return batch

    monkeypatch.setattr(SelectiveCopying, "sample", spy)
    schedule = replace(SCHEDULE, steps=12, n_eval=40)
    train(replace(CONFIG, schedule=schedule), tmp_path)
    del drawn[0]  # the look at whether the distribution asks anything
    # Two draws of training data, which the rates of the calibration share, and three distributions; for each phase.
    assert [len(tokens) for tokens in drawn] == [40, 8, 40, 40, 40] * 2
    for i, x in enumerate(drawn):
        assert not any(x.shape == y.shape and np.array_equal(x, y) for y in drawn[:i])


def test_accuracy_counts_the_last_position_where_it_is_asked() -> None:
    model = build_model(SINGLE, Member("report", 0.02, 0)).eval()
    tokens = np.random.default_rng(0).integers(0, 4, (1030, 8))  # more than two chunks
    with torch.no_grad():
        right = model(torch.from_numpy(tokens))[:, -1].argmax(-1).numpy()
    targets = np.full_like(tokens, IGNORE)
    targets[:, -1] = right
    assert count_correct(model, Batch(tokens, targets)) == (1030, 1030)
    targets[:100, -1] = IGNORE
    targets[100:300, -1] = (right[100:300] + 1) % 4
    assert count_correct(model, Batch(tokens, targets)) == (730, 930)
