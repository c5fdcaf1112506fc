"""Checkpoints: held against their runs when they are read, and written when the process is told to end."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from boundprobe.cli.main import main
from boundprobe.errors import RunDirectoryError, Terminated
from boundprobe.runs import Run
from boundprobe.termination import deferred, terminable
from boundprobe.training import Stepper, TrainConfig, load_models, loop, train
from boundprobe.training.loop import train_group
from boundprobe.training.run_writer import RunWriter
from tests.helpers.runs import TINY_RUN, StoppedError

SCHEDULE = replace(TINY_RUN.schedule, n_seeds=2)
CONFIG = replace(TINY_RUN, schedule=SCHEDULE)
LEARNED = replace(CONFIG, schedule=replace(SCHEDULE, stop_below=1e9), seed=1)


def interrupted(root: Path, configs: list[TrainConfig], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train until a checkpoint at step 50; return where it is."""

    def stop(done: int, what: str) -> None:
        if (done // (2 * len(configs))) >= 100:
            raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "STEPS_PER_CHECKPOINT", 50)
        with pytest.raises(StoppedError):
            train_group(configs, root, progress=stop)
    (path,) = root.glob("*/train_state.pt")
    return path


def first(matrices: list[torch.Tensor], change: Callable[[torch.Tensor], object]) -> list[Any]:
    return [change(matrices[0]), *matrices[1:]]


def with_entry(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A copy of a tensor whose last entry is a value."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        return changed

    return change


def of_batch(**changes: Callable[[Any], object]) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        for key, make in changes.items():
            state["batch"][key] = make(state["batch"][key])

    return change


DAMAGE = {
    "wide matrices": of_batch(matrices=lambda m: [torch.cat([x, x], 1) for x in m]),
    "narrow moments": of_batch(matrices=lambda m: [m[0], m[1][:, :-1].contiguous(), m[2]]),
    "short matrices": of_batch(matrices=lambda m: [x[:1].clone() for x in m]),
    "long moments": of_batch(matrices=lambda m: [m[0], m[1], torch.cat([m[2], m[2]])]),
    "no rows": of_batch(matrices=lambda m: [x[:0] for x in m]),
    "a vector": of_batch(matrices=lambda m: first(m, torch.Tensor.flatten)),
    "float64": of_batch(matrices=lambda m: first(m, torch.Tensor.double)),
    "float16": of_batch(matrices=lambda m: first(m, torch.Tensor.half)),
    "integers": of_batch(matrices=lambda m: first(m, torch.Tensor.long)),
    "bools": of_batch(matrices=lambda m: first(m, torch.Tensor.bool)),
    "turned": of_batch(matrices=lambda m: first(m, lambda x: x.t().contiguous().t())),
    "NaN among the weights": of_batch(matrices=lambda m: first(m, with_entry(math.nan))),
    "infinity among the weights": of_batch(matrices=lambda m: first(m, with_entry(math.inf))),
    "NaN among first moments": of_batch(matrices=lambda m: [m[0], with_entry(math.nan)(m[1]), m[2]]),
    "infinity among second moments": of_batch(matrices=lambda m: [*m[:2], with_entry(-math.inf)(m[2])]),
    "a loss of a member that goes on": of_batch(losses=lambda own: [[*own[0][:-1], math.nan], *own[1:]]),
    "a member that has not diverged": of_batch(not_finite=lambda _: [0]),
    "lists": of_batch(matrices=lambda m: first(m, torch.Tensor.tolist)),
    "two matrices": of_batch(matrices=lambda m: m[:2]),
    "step 10**15": of_batch(step=lambda _: 10**15),
    "all steps": of_batch(step=lambda _: 120),
    "a step of another draw": of_batch(step=lambda step: step + 1),
    "a negative step": of_batch(step=lambda _: -50),
    "half a step": of_batch(step=float),
    "losses of more draws": of_batch(losses=lambda own: [row * 2 for row in own]),
    "no losses": of_batch(losses=lambda own: []),
    "losses that are texts": of_batch(losses=lambda own: [["1.0"] for _ in own]),
    "member 7": of_batch(ids=lambda ids: [(0, 7), *ids[1:]]),
    "run 9": of_batch(ids=lambda ids: [(9, 0), *ids[1:]]),
    "a member twice": of_batch(ids=lambda ids: [ids[0], ids[0], *ids[2:]]),
    "fewer in training": of_batch(training=lambda rows: rows[1:]),
    "a row too far": of_batch(training=lambda rows: [*rows[:-1], 40]),
    "rows out of order": of_batch(training=lambda rows: rows[::-1]),
    "weights of one in training": of_batch(stopped=lambda rows: rows | {0: torch.zeros(3)}),
    "another part": lambda state: state.update(more=1),
    "a finished member": lambda state: state["finished"].append((0, 0, {"result": {}, "losses": [1.0], "weights": {}})),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_checkpoint_that_is_not_of_its_runs_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled steps do not look at shapes: the same checkpoint ended in a segmentation fault."""
    path = interrupted(tmp_path, [CONFIG], monkeypatch)
    state = torch.load(path, weights_only=True)
    DAMAGE[name](state)
    torch.save(state, path)
    with pytest.raises(RunDirectoryError, match=r"train_state\.pt must be as boundprobe wrote it") as caught:
        train(CONFIG, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_version_that_did_not_name_who_diverged_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = interrupted(tmp_path, [CONFIG], monkeypatch)
    state = torch.load(path, weights_only=True)
    del state["batch"]["not_finite"]
    torch.save(state, path)
    steps: list[int] = []
    train(CONFIG, tmp_path, resumed=lambda step, n_trained: steps.append(step))
    assert steps == [50]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_what_the_machine_lacks_sets_no_checkpoint_aside(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep sets damaged checkpoints aside, and trains again; this one is as good as it was."""
    path = interrupted(tmp_path, [CONFIG], monkeypatch)
    before, real = path.read_bytes(), os.open

    def lack(name: Any, *args: Any, **kwargs: Any) -> int:
        if str(name).endswith("train_state.pt"):
            raise OSError(number, os.strerror(number), str(name))
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lack)
        with pytest.raises(OSError, match=os.strerror(number)):
            train_group([CONFIG], tmp_path, set_damaged_aside=True)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*/*damaged*"))


def test_weights_of_stopped_members_are_looked_at_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = interrupted(tmp_path, [CONFIG, LEARNED], monkeypatch)
    state = torch.load(path, weights_only=True)
    stopped = state["batch"]["stopped"]
    assert sorted(stopped) == [2, 3], "the case is not what it is meant to be"
    for damaged in (torch.zeros(5), with_entry(math.nan)(stopped[2])):
        state["batch"]["stopped"] = stopped | {2: damaged}
        torch.save(state, path)
        with pytest.raises(RunDirectoryError, match=r"train_state\.pt must be as boundprobe wrote it"):
            train_group([CONFIG, LEARNED], tmp_path)


def test_a_damaged_checkpoint_ends_the_command_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = interrupted(tmp_path, [CONFIG], monkeypatch)
    state = torch.load(path, weights_only=True)
    DAMAGE["infinity among second moments"](state)
    torch.save(state, path)
    assert main(["train", "--config", str(path.parent / "config.toml"), "--out", str(tmp_path)]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "weights and moments must be finite but for members that diverged, []; got NaN or infinity" in captured.err


# Finished members, whose weights are NaN or infinite only if they diverged.

WEIGHT = "embedding.weight"


def finished_states(config: TrainConfig, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train a run until only its result is missing; return where its checkpoint is."""

    def stop(*args: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "finish", stop)
        with pytest.raises(StoppedError):
            train(config, root)
    (path,) = root.glob("*/train_state.pt")
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda member: member["weights"].update({WEIGHT: with_entry(math.nan)(member["weights"][WEIGHT])}),
        lambda member: member["losses"].__setitem__(0, math.inf),
        lambda member: member["result"].update(loss=None),
        lambda member: member["result"].update(loss=member["result"]["loss"] / 2),
    ],
    ids=["weights", "an earlier loss", "no loss", "another loss"],
)
def test_finished_members_are_finite_unless_they_diverged(
    change: Callable[[dict[str, Any]], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished_states(CONFIG, tmp_path, monkeypatch)
    state = torch.load(path, weights_only=True)
    change(state["finished"][0][2])
    torch.save(state, path)
    with pytest.raises(RunDirectoryError, match=r"train_state\.pt must be as boundprobe wrote it"):
        train(CONFIG, tmp_path)


DIVERGES = replace(CONFIG, schedule=replace(SCHEDULE, learning_rates=(1e30,), clip_norm=1e30))


@pytest.mark.parametrize("step", [1, 2, 3, 20, 49, 50])
def test_a_run_that_diverges_goes_on_from_its_checkpoint(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights may be infinite before a loss says so; each step of its first draw may be its last before a stop."""
    whole = train(DIVERGES, tmp_path / "whole")
    with monkeypatch.context() as patch:
        told_at(step, patch)
        with pytest.raises(Terminated), terminable():
            train(DIVERGES, tmp_path / "told")
    (path,) = (tmp_path / "told").glob("*/train_state.pt")
    state = torch.load(path, weights_only=True)["batch"]
    finite = torch.stack(state["matrices"]).isfinite().all(2).all(0).tolist()
    diverged = [i for i, is_finite in zip(state["training"], finite, strict=True) if not is_finite]
    assert state["not_finite"] == diverged + sorted(state["stopped"])
    again = train(DIVERGES, tmp_path / "told")
    assert [member["loss"] for member in (again.result() or {})["members"]] == [None, None]
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert not all(value.isfinite().all() for value in load_models(again)[0].parameters())


def test_a_member_whose_last_step_made_its_weights_infinite_has_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its losses are finite; without this its weights would be taken for damaged ones."""
    real, n_steps = Stepper.step, 0

    def step(stepper: Stepper, *args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        losses = real(stepper, *args)
        if n_steps == SCHEDULE.steps:
            stepper.ensemble.values[0, -1] = math.inf
        return losses

    monkeypatch.setattr(Stepper, "step", step)
    run = train(CONFIG, finished_states(CONFIG, tmp_path, monkeypatch).parents[1])
    first_member, second = (run.result() or {})["members"]
    assert (first_member["loss"], first_member["converged"]) == (None, False)
    assert second["loss"] is not None
    assert len(load_models(run)) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_even_with_their_hash(value: float, tmp_path: Path) -> None:
    run = train(CONFIG, tmp_path)
    path, manifest = run.path / "model.safetensors", run.path / "manifest.json"
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file(weights | {name: with_entry(value)(weights[name])}, path)
    document = json.loads(manifest.read_text())
    document["files_sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(document))
    with pytest.raises(RunDirectoryError, match="must be finite, as its member has not diverged") as caught:
        load_models(run)
    assert "\n" not in str(caught.value)
    assert main(["probe", str(run.path), "--out", str(tmp_path)]) == 4


def test_an_optimizer_takes_moments_of_its_own_shape_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last guard before compiled code."""
    taken: list[Stepper] = []
    real = Stepper.step

    def step(stepper: Stepper, *args: Any) -> Any:
        taken.append(stepper)
        return real(stepper, *args)

    monkeypatch.setattr(Stepper, "step", step)
    train(replace(CONFIG, schedule=replace(SCHEDULE, steps=2)), tmp_path)
    optimizer = taken[0].optimizer
    with pytest.raises(ValueError, match="moments must have the shape"):
        optimizer.load(optimizer.first_moments, optimizer.second_moments[:, :-1])


# Told to end


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(CONFIG, tmp_path_factory.mktemp("undisturbed"))


def told_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process SIGTERM while it does a step, counted from 1."""
    real, n_steps = Stepper.step, 0

    def do(stepper: Stepper, *args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        if n_steps == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(stepper, *args)

    monkeypatch.setattr(Stepper, "step", do)


@pytest.mark.parametrize("step", [1, 7, 49, 50, 51, 100, 119, 120])
def test_a_run_that_is_told_to_end_has_done_every_step(
    step: int, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a draw, at its end, at the last step: it goes on from exactly there, bit for bit."""
    with monkeypatch.context() as patch:
        told_at(step, patch)
        with pytest.raises(Terminated) as caught, terminable():
            train(CONFIG, tmp_path)
    assert caught.value.code == 143
    (path,) = tmp_path.glob("*/train_state.pt")
    assert torch.load(path, weights_only=True)["batch"]["step"] == step
    n_steps, real = 0, Stepper.step

    def count(stepper: Stepper, *args: Any) -> Any:
        nonlocal n_steps
        n_steps += 1
        return real(stepper, *args)

    monkeypatch.setattr(Stepper, "step", count)
    run = train(CONFIG, tmp_path)
    assert n_steps == 120 - step
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (run.path / name).read_bytes() == (undisturbed.path / name).read_bytes()


def test_told_to_end_while_it_evaluates_a_run_trains_nothing_again(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate_members", end)
        with pytest.raises(Terminated), terminable():
            train(CONFIG, tmp_path)
    monkeypatch.setattr(Stepper, "step", end)  # would end it again
    run = train(CONFIG, tmp_path)
    assert (run.path / "model.safetensors").read_bytes() == (undisturbed.path / "model.safetensors").read_bytes()


def test_told_to_end_when_some_have_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [CONFIG, LEARNED]
    whole = train_group(configs, tmp_path / "whole")
    with monkeypatch.context() as patch:
        told_at(77, patch)
        with pytest.raises(Terminated), terminable():
            train_group(configs, tmp_path / "told")
    for run, other in zip(train_group(configs, tmp_path / "told"), whole, strict=True):
        assert (run.path / "model.safetensors").read_bytes() == (other.path / "model.safetensors").read_bytes()


def test_the_first_signal_ends_and_later_ones_do_not_disturb() -> None:
    before, done = signal.getsignal(signal.SIGTERM), []

    def told_twice() -> None:
        with terminable():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("cleaned up")

    def told_while_it_is_deferred() -> None:
        with terminable(), deferred() as told:
            done.append(told())
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(told())

    for act in (told_twice, told_while_it_is_deferred):
        with pytest.raises(Terminated):
            act()
    assert done == ["cleaned up", False, True]
    assert signal.getsignal(signal.SIGTERM) is before
