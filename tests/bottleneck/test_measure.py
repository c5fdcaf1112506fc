"""The curve of bottlenecks: honest machines stand on or below the ceiling, cheats are reported, runs resume."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.bottleneck import (
    BottleneckCurve,
    BottleneckPoint,
    CurveConfig,
    ceiling_and_floor,
    curve_config,
    load_bottleneck,
    measure_bottleneck,
    parse_budgets,
    probe_bottleneck,
)
from boundprobe.bottleneck import measure as probing
from boundprobe.bounds import fano_accuracy_ceiling, packing_accuracy_ceiling, store_some_accuracy
from boundprobe.errors import RunDirectoryError
from boundprobe.models import CutState, ModelSpec, StateTensor
from boundprobe.probes import ProbeConfig
from boundprobe.runs import Run, load_run, open_run
from boundprobe.seeds import generator
from boundprobe.tasks import TASKS, SelectiveCopying, StateCase
from boundprobe.training import Schedule, TrainConfig, load_models, train
from tests.helpers.runs import StoppedError
from tests.helpers.strangers import copied, edit

#: Four of eight tokens are asked for: 12 bits, 3 an answer.
TASK = SelectiveCopying(n_numbers=4, n_letters=4, seq_len=12)
N, ALPHA = 2000, 1e-6


class Coder:
    """Planted: the first ``n_kept`` tokens that can be asked for, three bits each, and no others.

    Asked for what it does not hold, it says token 7, which is right with 1/8: it stores some exactly.
    """

    n_kept = 4

    def __init__(self, n_kept: int = 4) -> None:
        self.n_kept = n_kept
        self.bottleneck = SimpleNamespace(n_entries=n_kept, entry_bits=3)

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def kept(self, prefix: Tensor) -> Tensor:
        """The tokens themselves, (B, n_kept)."""
        return prefix[:, [-distance for distance in TASK.distances[: self.n_kept]]]

    def told(self, kept: Tensor, suffix: Tensor) -> Tensor:
        """Logits from the tokens that are held."""
        padded = F.pad(kept, (0, TASK.n_numbers - kept.shape[1]), value=7)
        said = padded.gather(1, suffix[:, :1])[:, 0]
        return F.one_hot(said, 8).float()[:, None].expand(-1, suffix.shape[1], -1)

    def state(self, codes: Tensor) -> CutState:
        """A state that says it has the bits of the bottleneck."""
        return CutState(((StateTensor("code", "recurrent", codes, self.bottleneck.entry_bits),),))

    def prefill(self, prefix: Tensor) -> CutState:
        return self.state(self.kept(prefix))

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        return self.told(state.layers[0][0].value, suffix)


class Overflow(Coder):
    """A cheat: an int64 that is said to have 3 bits carries all four tokens, 12 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.bottleneck = SimpleNamespace(n_entries=1, entry_bits=3)

    def prefill(self, prefix: Tensor) -> CutState:
        return self.state((self.kept(prefix) * torch.tensor([512, 64, 8, 1])).sum(1, keepdim=True))

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        code = state.layers[0][0].value
        return self.told(code // torch.tensor([512, 64, 8, 1]) % 8, suffix)


class Remembers(Coder):
    """A cheat: it reports an honest code of its first token, and answers from prefixes that it keeps in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.bottleneck = SimpleNamespace(n_entries=1, entry_bits=3)
        self.seen: list[Tensor] = []
        self.n_answered = 0

    def prefill(self, prefix: Tensor) -> CutState:
        self.seen.append(self.kept(prefix))
        return self.state(self.seen[-1][:, :1])

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        kept = self.seen[self.n_answered]
        self.n_answered += 1
        return self.told(kept.repeat_interleave(len(suffix) // len(kept), dim=0), suffix)


class Quiet(Overflow):
    """A cheat that gains nothing: it carries 12 bits and tells no more than chance."""

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        return self.told(torch.full((len(suffix), 4), 7), suffix)


def measured(machine: Any, alpha: float = ALPHA, seed: int = 0) -> BottleneckPoint:
    return measure_bottleneck(machine, TASK, N, alpha, seed)


# Machines whose bits and answers are known


@pytest.mark.parametrize("n_kept", [1, 2, 3, 4])
def test_a_planted_machine_is_measured_as_what_it_is(n_kept: int) -> None:
    """It stores n_kept answers exactly: accuracy n_kept/4 + (4 - n_kept)/32, on the line of storing some."""
    point = measured(Coder(n_kept))
    bits = 3 * n_kept
    assert (point.n_entries, point.entry_bits, point.total_bits) == (n_kept, 3, bits)
    truth = n_kept / 4 + (4 - n_kept) / 32
    assert point.accuracy_floor_strategy == pytest.approx(truth) == float(store_some_accuracy(bits, 4, 8))
    assert point.accuracy_ceiling == float(packing_accuracy_ceiling(bits, 4, 8)) >= truth
    # 2000 sequences: one in a million for each side of the limits.
    assert point.accuracy.lower <= truth <= point.accuracy.upper
    se = math.sqrt((4 - n_kept) / 16 * (1 / 8) * (7 / 8) / N)
    assert point.accuracy.estimate == pytest.approx(truth, abs=5 * se)
    assert point.used.lower <= bits
    assert point.used.estimate == pytest.approx(bits, abs=0.1)
    assert point.used.confidence == pytest.approx(1 - ALPHA)
    assert point.n_states_seen <= 2**bits
    assert point.violations == ()
    document = json.loads(json.dumps(point.to_json(), allow_nan=False))
    assert BottleneckPoint.from_json(document) == point


def test_all_states_are_seen_where_there_are_few() -> None:
    assert measured(Coder(1)).n_states_seen == 8


@pytest.mark.parametrize("cheat", [Overflow, Remembers])
def test_more_than_its_bits_across_the_cut_is_a_violation(cheat: type[Coder]) -> None:
    """Twelve bits of answers from three bits of code; the honest machine with these answers is not accused."""
    point, honest = measured(cheat()), measured(Coder())
    assert point.accuracy == honest.accuracy
    assert honest.violations == ()
    assert point.total_bits == 3
    assert point.accuracy.lower > point.accuracy_ceiling
    assert any("used" in violation and "(S1)" in violation for violation in point.violations)
    assert any("required" in violation and "(S3)" in violation for violation in point.violations)
    assert all("\n" not in violation for violation in point.violations)


def test_more_codes_than_the_bits_can_tell_apart_are_a_violation_of_their_own() -> None:
    """Without a single right answer more than chance, so no theorem is broken: the count alone tells."""
    point = measured(Quiet())
    (violation,) = point.violations
    assert f"{point.n_states_seen} states were seen, more than 3 bits" in violation
    assert point.n_states_seen > 1000
    assert measured(Remembers()).n_states_seen == 8


def test_an_estimate_above_the_ceiling_is_no_violation() -> None:
    """Only what is certified accuses: on three sequences an estimate may be anywhere."""
    few = measure_bottleneck(Remembers(), TASK, 3, 0.05, 0)
    assert few.accuracy.estimate > few.accuracy_ceiling > few.accuracy.lower
    assert few.violations == ()


def test_the_same_seed_measures_the_same() -> None:
    assert measured(Coder(2)) == measured(Coder(2))
    assert measured(Coder(2), seed=1).accuracy != measured(Coder(2)).accuracy


def test_evaluation_sequences_are_those_of_no_other_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder draws its evaluation from streams 2 and 3, training its own from another role (A2, A3)."""
    keys = []

    def listen(seed: int, role: str, *indices: int) -> np.random.Generator:
        keys.append((role, *indices))
        return generator(seed, role, *indices)

    monkeypatch.setattr(probing, "generator", listen)
    measured(Coder())
    assert keys == [("evaluation", 4)]


@pytest.mark.parametrize("bits", [0, 1, 3, 7, 12, 40])
def test_ceiling_and_floor(bits: int) -> None:
    ceiling, floor = ceiling_and_floor(TASK.state_case(), bits)
    assert ceiling == packing_accuracy_ceiling(bits, 4, 8)
    assert floor == store_some_accuracy(bits, 4, 8)
    assert floor <= ceiling
    dependent = StateCase(4, 6, 7.0, False, 7.0, "", "")
    assert ceiling_and_floor(dependent, bits) == (fano_accuracy_ceiling(bits, 7.0, 4, 6), None)


# The configuration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6", ((1, 6),)),
        ("1x2", ((1, 2),)),
        ("2,4x3", ((1, 2), (4, 3))),
        (" 1x2 , 12x10 ", ((1, 2), (12, 10))),
    ],
)
def test_budgets_are_read(text: str, expected: tuple[tuple[int, int], ...]) -> None:
    assert parse_budgets(text) == expected


@pytest.mark.parametrize(
    "text", ["", ",", "1x2,", "x3", "3x", "1x2x3", "1*2", "-1x2", "1x-2", "1.5", "two", "1x2;1x3", "1 x 2"]
)
def test_budgets_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a budget must be ENTRIESxBITS or BITS, such as ") as caught:
        parse_budgets(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budgets": ()}, "`--budgets` must be one or more, each once, such as 1x2,1x4,2x6; got []"),
        (
            {"budgets": ((1, 2), (1, 2))},
            "`--budgets` must be one or more, each once, such as 1x2,1x4,2x6; got ['1x2', '1x2']",
        ),
        ({"budgets": ((0, 2),)}, "`n_entries` must be an integer of at least 1; got 0"),
        ({"budgets": ((1, 2), (1, 13))}, "`entry_bits` must be an integer from 1 to 12; got 13"),
        ({"steps": 0}, "`steps` must be an integer of at least 1; got 0"),
        ({"n_sequences": 0}, "`n_sequences` must be an integer of at least 1; got 0"),
        ({"confidence": 1.0}, "`confidence` must be above 0 and at most 0.999999999; got 1.0"),
        ({"seed": -1}, "`seed` must be an integer from 0 to 9223372036854775807; got -1"),
    ],
    ids=str,
)
def test_curves_that_cannot_be_are_refused_and_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        CurveConfig(**{"budgets": ((1, 2),)} | change)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_curve_is_measured_like_the_ladder() -> None:
    probe = ProbeConfig(n_sequences=123, confidence=0.9, seed=7)
    assert curve_config({}, probe) is None
    assert curve_config({"budgets": "1x2,3"}, probe) == CurveConfig(((1, 2), (1, 3)), 400, 123, 0.9, 7)
    assert curve_config({"budgets": "2", "steps": 5}, probe) == CurveConfig(((1, 2),), 5, 123, 0.9, 7)
    with pytest.raises(ValueError, match="`--bottleneck-steps` must come with --budgets"):
        curve_config({"steps": 5}, probe)


# The run


SMALL = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
TRAIN = TrainConfig(
    SMALL,
    ModelSpec("attn", d_model=8, window=4),
    Schedule(steps=150, learning_rates=(0.02,), warmup_steps=10, n_eval=50),
)
CURVE = CurveConfig(((1, 1), (2, 1), (1, 3)), steps=40, n_sequences=1000)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(TRAIN, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def undisturbed(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> BottleneckCurve:
    return probe_bottleneck(trained, 0, CURVE, tmp_path_factory.mktemp("undisturbed"))


def assert_same_document(found: BottleneckCurve, expected: BottleneckCurve) -> None:
    assert dataclasses.replace(found, run_dir=expected.run_dir) == expected
    paths = [document.run_dir for document in (found, expected)]
    names = [sorted(file.name for file in path.iterdir() if file.name != "manifest.json") for path in paths]
    assert names[0] == names[1]
    for name in names[0]:
        if name != "result.json":
            assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes(), name


def test_the_document_says_what_was_measured(trained: Run, undisturbed: BottleneckCurve) -> None:
    assert undisturbed.to_json()["schema"] == "boundprobe.bottleneck/1"
    assert undisturbed.trained == trained.run_id
    assert undisturbed.task == trained.config["task"]
    assert undisturbed.model == trained.config["model"]
    assert (undisturbed.member, undisturbed.confidence) == (0, 0.95)
    assert [(p.n_entries, p.entry_bits, p.total_bits) for p in undisturbed.points] == [
        (1, 1, 1),
        (2, 1, 2),
        (1, 3, 3),
    ]
    run = load_run(undisturbed.run_dir)
    assert run.run_id == undisturbed.run_id
    assert run.run_id.startswith("bottleneck-")
    assert run.metrics() == [point.to_json() for point in undisturbed.points]
    assert run.result() == undisturbed.to_json()
    # Clopper-Pearson at alpha / 3 for each point and half of that for each answer: all limits hold together.
    assert [p.used.confidence for p in undisturbed.points] == pytest.approx([1 - 0.05 / 3] * 3)


def test_trained_machines_are_above_chance_and_not_above_the_ceiling(undisturbed: BottleneckCurve) -> None:
    """Chance is 1/4.  All limits of the curve hold together with probability 0.95; the seed is fixed."""
    assert undisturbed.violations == ()
    for point in undisturbed.points:
        assert point.accuracy.lower > 1 / 4
        assert point.accuracy.lower <= point.accuracy_ceiling
        assert 1 < point.n_states_seen <= 2**point.total_bits


def test_a_finished_curve_is_read_back(
    trained: Run, undisturbed: BottleneckCurve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise StoppedError

    monkeypatch.setattr(probing, "train_bottlenecks", refuse)
    root = undisturbed.run_dir.parent
    assert probe_bottleneck(trained, 0, CURVE, root) == undisturbed


@pytest.mark.parametrize(
    ("where", "when"),
    [("train_bottlenecks", 1), ("save", 2), ("measure_bottleneck", 1), ("measure_bottleneck", 3)],
)
def test_an_interrupted_curve_goes_on(
    where: str, when: int, trained: Run, undisturbed: BottleneckCurve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before bottlenecks are trained, while they are written, or when one is not measured; nothing is done twice."""
    real, n_calls = getattr(probing, where), 0

    def stop(*args: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == when:
            raise StoppedError
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(probing, where, stop)
        with pytest.raises(StoppedError):
            probe_bottleneck(trained, 0, CURVE, tmp_path)
    (path,) = tmp_path.iterdir()
    n_measured = when - 1 if where == "measure_bottleneck" else 0
    assert len(load_run(path).metrics()) == n_measured
    again: list[Any] = []

    def listen(name: str) -> Callable[..., Any]:
        real = getattr(probing, name)

        def call(*args: Any) -> Any:
            again.append(name)
            return real(*args)

        return call

    for name in ("train_bottlenecks", "measure_bottleneck"):
        monkeypatch.setattr(probing, name, listen(name))
    assert_same_document(probe_bottleneck(trained, 0, CURVE, tmp_path), undisturbed)
    assert again.count("train_bottlenecks") == (where != "measure_bottleneck")
    assert again.count("measure_bottleneck") == len(CURVE.budgets) - n_measured


def test_a_line_that_a_crash_cut_off_is_made_again(trained: Run, undisturbed: BottleneckCurve, tmp_path: Path) -> None:
    path = tmp_path / undisturbed.run_id
    source = undisturbed.run_dir
    path.mkdir()
    lines = (source / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "config.toml").write_bytes((source / "config.toml").read_bytes())
    (path / "metrics.jsonl").write_text(lines[0] + lines[1][:40])
    (path / "bottleneck-1x1.safetensors").write_bytes((source / "bottleneck-1x1.safetensors").read_bytes())
    assert_same_document(probe_bottleneck(trained, 0, CURVE, tmp_path), undisturbed)


def test_every_setting_has_a_directory_of_its_own(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(root: Path, verb: str, config: Any) -> Run:
        seen.append(open_run(root, verb, config).run_id)
        raise StoppedError

    seen: list[str] = []
    monkeypatch.setattr(probing, "open_run", opened)
    changes = [
        {}, {"budgets": ((1, 1),)}, {"budgets": ((1, 2),)}, {"steps": 41}, {"n_sequences": 999}, {"confidence": 0.9},
        {"seed": 1},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(StoppedError):
            probe_bottleneck(trained, 0, dataclasses.replace(CURVE, **change), tmp_path)
    assert len(set(seen)) == len(changes)


def test_a_loaded_bottleneck_gives_the_same_answers(trained: Run, undisturbed: BottleneckCurve) -> None:
    run, (model,) = load_run(undisturbed.run_dir), load_models(trained)
    alpha = (1 - CURVE.confidence) / len(CURVE.budgets)
    for budget, point in zip(CURVE.budgets, undisturbed.points, strict=True):
        machine = load_bottleneck(run, model, SMALL, budget)
        assert not machine.training
        again = measure_bottleneck(machine, SMALL, CURVE.n_sequences, alpha, CURVE.seed)
        assert again == point


@pytest.mark.parametrize("budget", [(1, 2), (3, 1)])
def test_a_bottleneck_that_was_not_trained_cannot_be_loaded(
    budget: tuple[int, int], trained: Run, undisturbed: BottleneckCurve
) -> None:
    run, (model,) = load_run(undisturbed.run_dir), load_models(trained)
    with pytest.raises(RunDirectoryError, match=f"bottleneck-{budget[0]}x{budget[1]}") as caught:
        load_bottleneck(run, model, SMALL, budget)
    assert "\n" not in str(caught.value)


def test_another_models_bottleneck_is_refused(trained: Run, undisturbed: BottleneckCurve, tmp_path: Path) -> None:
    other = dataclasses.replace(TRAIN, model=ModelSpec("gru", d_model=8), schedule=Schedule(steps=1, n_eval=10))
    (model,) = load_models(train(other, tmp_path))
    with pytest.raises(RunDirectoryError, match="must be as boundprobe wrote it") as caught:
        load_bottleneck(load_run(undisturbed.run_dir), model, SMALL, (1, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("member", [-1, 1, 7])
def test_a_member_that_there_is_not_is_refused(trained: Run, member: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"`--member` must be from 0 to 0 for {trained.run_id}; got {member}"):
        probe_bottleneck(trained, member, CURVE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_a_finished_training_run_is_probed(undisturbed: BottleneckCurve, tmp_path: Path) -> None:
    unfinished = open_run(tmp_path / "runs", "train", TRAIN.to_dict())
    for run in (unfinished, load_run(undisturbed.run_dir)):
        with pytest.raises(RunDirectoryError, match="must be a finished training run"):
            probe_bottleneck(run, 0, CURVE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["copying", "ngram-retrieval"])
def test_tasks_with_suffixes_of_their_own_have_a_curve(name: str, tmp_path: Path) -> None:
    parameters = {
        "copying": {"vocab_size": 3, "n_tokens": 3},
        "ngram-retrieval": {"vocab_size": 6, "n": 3, "seq_len": 8},
    }
    more = {"query_length": 1} if name == "ngram-retrieval" else {}
    task = TASKS[name](**parameters[name], **more)
    run = train(TrainConfig(task, ModelSpec("gru", d_model=8, mlp_ratio=0), Schedule(steps=20, n_eval=20)), tmp_path)
    document = probe_bottleneck(run, 0, CurveConfig(((1, 1), (2, 1)), steps=3, n_sequences=200))
    assert document.violations == ()
    assert document.run_dir.parent == tmp_path  # beside the trained run
    assert [point.total_bits for point in document.points] == [1, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(member=7), "must be of member 0"),
        (lambda d: d.update(trained="train-0123456789ab"), "must be of member 0"),
        (lambda d: d.update(confidence=0.999), "must be of member 0"),
        (lambda d: d["points"].pop(), "violations|must be of member 0"),
        (lambda d: d["points"][0].update(bits=10**6), "bits"),
        (lambda d: d["points"][0].update(accuracy_ceiling=0.0), "violate"),
        (lambda d: d["points"][0].update(n_states_seen=10**9), "violate"),
        (lambda d: d["points"][0]["used_bits"].update(lower=1e9), "violate"),
        (lambda d: d["points"][0]["accuracy"].update(estimate=7), "accuracy"),
        (lambda d: d.update(violations=["none"]), "violations"),
    ],
)
def test_an_edited_curve_is_refused(
    change: Callable[[dict[str, Any]], object], said: str, trained: Run, undisturbed: BottleneckCurve, tmp_path: Path
) -> None:
    place = copied(undisturbed.run_dir, tmp_path)
    edit(place / "result.json", change)
    with pytest.raises(RunDirectoryError, match=said) as caught:
        probe_bottleneck(trained, 0, CURVE, tmp_path)
    assert str(place) in str(caught.value)


def test_a_bottleneck_along_the_diagonal_is_of_what_crosses_it_and_of_the_answers_beyond(tmp_path):
    """A window of 3 sees the two youngest of four letters; the bottleneck is all that knows the other two."""
    task = {"name": "selective-copying", "n_numbers": 4, "n_letters": 4, "seq_len": 12}
    sizes = {"architecture": "mamba-attn", "d_model": 4, "window": 3, "d_conv": 1, "d_state": 2, "mlp_ratio": 0}
    config = TrainConfig.from_dict({"task": task, "model": sizes, "train": {"steps": 2, "batch": 4, "n_seeds": 1}})
    trained = train(config, tmp_path)
    settings = CurveConfig(((1, 2), (2, 2)), steps=3, n_sequences=300, cut="diagonal")
    curve = probe_bottleneck(trained, 0, settings)
    assert (curve.lag, curve.n_answers) == (2, 2)
    assert [point.total_bits for point in curve.by_bits] == [2, 4]
    assert curve.violations == ()
    far = StateCase.of_uniform_answers(2, 8, theorem="", forces="")
    for point in curve.points:
        assert point.accuracy_ceiling == ceiling_and_floor(far, point.total_bits)[0]
        assert point.n_states_seen <= 2**point.total_bits
        # Four answers of 8 values, of which the far two are also counted by themselves.
        assert point.all_accuracy.lower <= point.all_accuracy.estimate <= (1 + point.accuracy.estimate) / 2
        assert point.all_accuracy != point.accuracy
    assert probe_bottleneck(trained, 0, settings) == curve
    assert BottleneckCurve.from_json(curve.to_json()) == curve
    honest = (curve.run_dir / "result.json").read_text()
    for change in (
        lambda d: d.update(lag=3),
        lambda d: d.update(n_answers=4),
        lambda d: d["points"][0].update(accuracy_ceiling=1.0),
        lambda d: d["points"][0].update(all_accuracy={"estimate": 0.99, "lower": 0.98, "upper": 1.0}),
        lambda d: d["points"][0].update(all_accuracy={"estimate": 0.01, "lower": 0.0, "upper": 0.02}),
    ):
        edit(curve.run_dir / "result.json", change)
        with pytest.raises(RunDirectoryError, match="must have the lag, answers and ceilings of"):
            probe_bottleneck(trained, 0, settings)
        edit(curve.run_dir / "result.json", lambda d: d.update(json.loads(honest)))
    assert probe_bottleneck(trained, 0, settings) == curve
    of_attention = {**sizes, "architecture": "attn"}
    schedule = {"steps": 1, "batch": 4, "n_seeds": 1}
    attention = train(TrainConfig.from_dict({"task": task, "model": of_attention, "train": schedule}), tmp_path)
    with pytest.raises(ValueError, match="no bit crosses its diagonal cut of 2 tokens"):
        probe_bottleneck(attention, 0, settings)
