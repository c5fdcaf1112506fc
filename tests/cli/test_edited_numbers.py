"""Every number of a result that is read back, changed one at a time with hashes that fit: refused, or named as free."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
import shutil

import numpy as np
import pytest

from boundprobe.cli.probe_states import probe_states
from boundprobe.errors import RunDirectoryError
from boundprobe.probes import DecoderConfig, ProbeConfig, StatesConfig, probe_member, read_ladders
from boundprobe.runs import load_run
from tests.helpers.strangers import copied, edit

CONFIG = ProbeConfig(n_sequences=300, n_calibration=100, n_train=200, decoders=("linear",))
DIAGONAL = dataclasses.replace(CONFIG, cut="diagonal")
STATES = StatesConfig(DecoderConfig(("linear", "chain")))


#: Numbers that nothing in a run determines, and why; only these are believed when one is changed, within its range.
FREE = {
    r"(used|present)_bits\.(lower|estimate)": "measured: from 0 to what so many sequences can certify",
    r"present_by_part\.\d+\.present_bits\.(lower|estimate)": "measured, as present_bits",
    r"rounded\.\d+\.used_bits\.(lower|estimate)": "measured: Fano's bits at the errors, of which their mean is there",
    r"rounded_entropy_bits\.(upper|estimate)": "measured: from what this machine uses to its bits",
    r"null_control\.counts_bits": "measured on answers that are not kept; it counts only where it is the excess",
    r"null_control\.(constant|others)\.estimate": "measured; it counts only where it is the excess",
    r"calibration_estimate_bits\.\w+": "measured on the calibration split: a promise, the chosen one's is the largest",
}
#: The same of states with groups, whose certificates are bounds of means, which follow from no count.
FREE_OF_GROUPS = FREE | {r"retention\.groups\.\d+\.lower": "a bound by betting, on shares of each group"}


def numbers(value, path=()):
    """Paths of the numbers of a document."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in numbers(item, (*path, i))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def at(document, path):
    for key in path:
        document = document[key]
    return document


def put(document, path, value):
    at(document, path[:-1])[path[-1]] = value


CHANGES = {
    "up": lambda x: x + 1 if isinstance(x, int) else x * 1.003 + 0.0004,
    "down": lambda x: x - 1 if isinstance(x, int) else x * 0.997 - 0.0003 * (x > 0.001),
    "huge": lambda x: x * 10**6 + 10**6,
    "negative": lambda x: -x - 1,
}


def edits(document):
    """Pairs of a name and a document with one number changed, or with two numbers swapped; beside the paths."""
    paths = numbers(document)
    for path in paths:
        for name, change in CHANGES.items():
            changed = copy.deepcopy(document)
            put(changed, path, change(at(document, path)))
            if at(changed, path) != at(document, path):
                yield name, [path], changed
    for path, other in itertools.pairwise(paths):
        one, two = at(document, path), at(document, other)
        if one != two and type(one) is type(two):
            changed = copy.deepcopy(document)
            put(changed, path, two)
            put(changed, other, one)
            yield "swapped", [path, other], changed


#: All edits, and one in five of them.
EDITS = [pytest.param(1, marks=pytest.mark.slow), 5]


def check_edits(file, read, free, step):
    """Every changed number is refused or free, and a free one is refused outside its range."""
    document = json.loads(file.read_text())
    left = []
    for name, paths, changed in itertools.islice(edits(document), None, None, step):
        edit(file, lambda old, new=changed: old.update(new))
        try:
            read()
        except RunDirectoryError:
            continue
        for path in paths:
            where = ".".join(map(str, path))
            bounded = name != "huge" and (name != "negative" or where == "null_control.counts_bits")
            if not (bounded and any(re.fullmatch(pattern, where) for pattern in free)):
                left.append((where, name))
    assert left == []
    edit(file, lambda old: old.update(document))
    read()  # which is what was written


@pytest.fixture(scope="module")
def ladder(trained, tmp_path_factory):
    """A training run, and the result of the probe of its first model."""
    run = load_run(copied(trained, tmp_path_factory.mktemp("edited")))
    return run, probe_member(run, 0, CONFIG).run_dir / "result.json"


@pytest.fixture(scope="module")
def diagonal_ladder(trained, tmp_path_factory):
    """The same along the diagonal cut."""
    run = load_run(copied(trained, tmp_path_factory.mktemp("edited-diagonal")))
    return run, probe_member(run, 0, DIAGONAL).run_dir / "result.json"


@pytest.mark.parametrize("step", EDITS)
def test_every_number_of_a_ladder_is_determined_or_free(ladder, step):
    run, file = ladder
    check_edits(file, lambda: probe_member(run, 0, CONFIG), FREE, step)


@pytest.mark.parametrize("step", EDITS)
def test_every_number_of_a_ladder_along_a_diagonal_is_determined_or_free(diagonal_ladder, step):
    run, file = diagonal_ladder
    assert json.loads(file.read_text())["lag"] == 1
    check_edits(file, lambda: probe_member(run, 0, DIAGONAL), FREE, step)


@pytest.fixture(scope="module", params=[False, True], ids=["", "groups"])
def states(request, tmp_path_factory):
    """A function that measures a file of states or reads the report, the report's file, and what is free in it."""
    root, rng = tmp_path_factory.mktemp("states"), np.random.default_rng(0)
    answers = rng.integers(4, size=(900, 2))
    seen = np.where(rng.random(answers.shape) < 0.05, 0, answers)
    noisy = np.eye(4)[seen].reshape(900, -1) + 0.1 * rng.normal(size=(900, 8))
    groups = {"groups": np.arange(900) // 2} if request.param else {}
    np.savez(root / "states.npz", state=noisy.astype(np.float32), answers=answers, **groups)

    def read():
        return probe_states({"file": str(root / "states.npz"), "n_values": 4}, STATES, root, "cpu")

    return read, read().run_dir / "result.json", FREE_OF_GROUPS if request.param else FREE


@pytest.mark.parametrize("step", EDITS)
def test_every_number_of_a_report_of_states_is_determined_or_free(states, step):
    read, file, free = states
    check_edits(file, read, free, step)


# Several at once, and what is no number


def together(**values):
    """A change of values at paths that are written with double underscores."""

    def change(document):
        for name, value in values.items():
            put(document, [int(key) if key.isdigit() else key for key in name.split("__")], value)

    return change


def twice(document):
    document["retention"]["groups"][1] = document["retention"]["groups"][0]


LADDERS = {
    "another entropy, with all that is said to be in it": together(
        entropy_bits=400.0, information_upper_bits=400.0, present_bits__lower=300.0, present_bits__estimate=301.0,
    ),
    "another K with its entropy": together(n_values=8, entropy_bits=6.0, information_upper_bits=6.0),
    "an invented violation": together(violations=["I made this up"]),
    "an invented violation of A4": together(violations=["answers are read from more than the state (A4)"]),
    "no assumptions": together(assumptions=[]),
    "a group twice": twice,
    "retention of something else": together(retention__of="anything"),
    "no retention": together(retention=None),
    "another decoder": together(present_bits__decoder="oracle"),
    "another form": together(present_bits__form="magic"),
    "another limit": together(present_bits__limit="hoeffding"),
    "no states and no retention": together(retention=None, states_bits=None),
    "another kind": together(present_by_part__0__kind="cache"),
    "accuracy beside its own bounds": together(
        **{"accuracy__window-hard": {"estimate": 0.95, "lower": 0.9, "upper": 0.99}}
    ),
    "parts, kinds and sum of another size": together(
        present_by_part__0__nominal_bits=9999, memory__conv_bits=9999, nominal_bits=99999
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladder_that_contradicts_its_run_is_refused(name, ladder, tmp_path, call):
    run, file = ladder
    theirs = shutil.copytree(run.path.parent, tmp_path / "theirs")
    probe = theirs / file.parent.name
    assert len(read_ladders(load_run(probe))) == len(read_ladders(load_run(theirs / run.run_id))) == 1
    edit(probe / "result.json", LADDERS[name])
    for reads in (probe, theirs / run.run_id):
        with pytest.raises(RunDirectoryError, match=r"result.json must be as boundprobe wrote it; .* must .*; got "):
            read_ladders(load_run(reads))
    flags = ["-n", 300, "--calibration", 100, "--train", 200, "--decoders", "linear"]
    assert call("probe", theirs / run.run_id, *flags).code == 4


@pytest.mark.parametrize("value", [("seed_index", 1), ("n_params", 7), ("member", 1)], ids=str)
def test_a_ladder_beside_its_training_run_is_held_against_it(value, ladder, tmp_path):
    run, file = ladder
    theirs = shutil.copytree(run.path.parent, tmp_path / "theirs")
    edit(theirs / file.parent.name / "result.json", together(**dict([value])))
    for reads in (theirs / file.parent.name, theirs / run.run_id):
        with pytest.raises(RunDirectoryError, match="its task, sizes or seed are others"):
            read_ladders(load_run(reads))


REPORTS = {
    "another prior, with all that is said to be in it": together(
        prior__n_values=1024, prior__entropy_bits=20.0, present_bits__lower=19.99, present_bits__estimate=20.0,
        n_sequences={"train": 1, "calibration": 1, "evaluation": 1}, null_control__excess_bits=15.0,
        confidence=0.999999, retention__groups__0={
            "group": 0, "lower": 9.9, "estimate": 10.0, "error": 0.9, "n_sequences": 1,
        },
    ),
    "another K with its entropy, without retention": together(
        prior__n_values=1024, prior__entropy_bits=20.0, prior__independent_uniform=False,
        prior__undefined_bits=10.0, retention=None,
    ),
    "an entropy that nobody stated": together(
        prior__entropy_bits=3.95, prior__independent_uniform=False, retention=None,
    ),
    "another file": together(states__sha256="0" * 64),
    "groups that there are none of": together(n_groups={"train": 5, "calibration": 5, "evaluation": 5}),
    "more groups than sequences": together(n_groups={"train": 9999, "calibration": 5, "evaluation": 5}),
    "a decoder that was not fitted": together(calibration_estimate_bits={"mlp": 1.0}),
    "no assumptions": together(assumptions=[]),
    "a group twice": twice,
    "retention of something else": together(retention__of="I(Y_i;S | Y_<i), verified"),
    "no retention": together(retention=None),
    "an invented violation": together(violations=["I made this up"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_states_that_contradicts_its_run_is_refused(name, states):
    read, file, _ = states
    whole = file.read_text()
    edit(file, REPORTS[name])
    with pytest.raises(RunDirectoryError, match=r"result.json must be as boundprobe wrote it; .* must .*; got "):
        read()
    file.write_text(whole)
