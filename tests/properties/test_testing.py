"""The shipped checks see what they are for: each has a task or a machine that must be refused."""

import dataclasses
import sys
from dataclasses import dataclass

import hypothesis
import numpy as np
import pytest

from boundprobe.bounds import best_encoder_error, encoder_errors
from boundprobe.errors import MissingDependencyError
from boundprobe.tasks import IGNORE, TASKS, Batch, SelectiveCopying, build_task
from boundprobe.testing import check_bound, check_task, encoders, tiny_tasks

SMALL = {"n_numbers": 2, "n_letters": 2, "seq_len": 6}


@dataclass(frozen=True)
class Unseeded(SelectiveCopying):
    def sample(self, n_sequences, rng, distribution="uniform"):
        return super().sample(n_sequences, np.random.default_rng(), distribution)


@dataclass(frozen=True)
class Unanswered(SelectiveCopying):
    def sample(self, n_sequences, rng, distribution="uniform"):
        batch = super().sample(n_sequences, rng, distribution)
        return Batch(batch.tokens, np.full_like(batch.targets, IGNORE))


@dataclass(frozen=True)
class WrongTarget(SelectiveCopying):
    def sample(self, n_sequences, rng, distribution="uniform"):
        batch = super().sample(n_sequences, rng, distribution)
        return Batch(batch.tokens, np.where(batch.targets == IGNORE, IGNORE, 1 - batch.targets % 2))


@dataclass(frozen=True)
class WrongOracle(SelectiveCopying):
    def reference_answer(self, tokens):
        return 0


@dataclass(frozen=True)
class TooManyBits(SelectiveCopying):
    def state_case(self):
        case = super().state_case()
        return dataclasses.replace(case, n_values=5, entropy_bits=4.2, independent_uniform=False, zero_error_bits=4.2)


@dataclass(frozen=True)
class TooFewBits(SelectiveCopying):
    def state_case(self):
        case = super().state_case()
        return dataclasses.replace(case, entropy_bits=3.9, independent_uniform=False, zero_error_bits=3.9)


@dataclass(frozen=True)
class TooFar(SelectiveCopying):
    def window_case(self):
        return dataclasses.replace(super().window_case(), control_distances=(6,))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Unseeded(**SMALL), "two samples of one seed differ"),
        (Unanswered(**SMALL), "state-hard: a sequence has no answer at its end"),
        (WrongTarget(**SMALL), "a target is not what answers"),
        (WrongOracle(**SMALL), "reference_answer says 0"),
        (TooManyBits(**SMALL), "the rows of a sample have 3.99"),
        (TooFewBits(**SMALL), "rows were seen, more than"),
        (TooFar(**SMALL), "no token is 6 before the end of 6"),
    ],
)
def test_a_task_that_breaks_its_contract_is_named(task, message):
    with pytest.raises(AssertionError, match=message):
        check_task(task)


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_of_the_package_keeps_the_contract(name):
    check_task(build_task(name, {}))
    for gap in (1, 17) if hasattr(TASKS[name], "gap") else ():
        check_task(build_task(name, {"gap": gap}))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mqar", {"n_pairs": 2, "n_keys": 3, "n_values": 3, "seq_len": 12, "gap": 7}),
        ("ar-decoding", {"word_bits": 2, "seq_len": 10, "gap": 4}),
        ("mkar", {"vocab_size": 4, "key_length": 1, "n_key_tokens": 2, "seq_len": 9, "gap": 4}),
        ("copying", {"vocab_size": 3, "n_tokens": 3, "gap": 4}),
    ],
)
def test_small_tasks_with_a_gap_have_the_entropy_that_they_state(name, parameters):
    check_task(build_task(name, parameters))


def test_a_machine_is_one_of_those_that_the_oracle_tries():
    @hypothesis.settings(max_examples=30, deadline=None)
    @hypothesis.given(tiny_tasks(max_prefixes=5), hypothesis.strategies.data())
    def no_encoder_beats_the_best(table, data):
        labels = data.draw(encoders(len(table), 2))
        assert encoder_errors(table, labels).mean() >= best_encoder_error(table, 2) - 1e-12

    no_encoder_beats_the_best()


def test_tiny_tasks_are_tiny():
    @hypothesis.settings(max_examples=50, deadline=None)
    @hypothesis.given(tiny_tasks(4, 2, 3, undefined=True))
    def tiny(table):
        assert table.dtype == np.int64
        assert 1 <= table.shape[0] <= 4
        assert 1 <= table.shape[1] <= 2
        assert set(table.ravel()) <= {0, 1, 2, IGNORE}
        assert (table != IGNORE).any()

    tiny()


def test_a_bound_that_is_no_number_is_refused():
    with pytest.raises(AssertionError, match="the bound says nan"):
        check_bound(lambda table, machine: float("nan"), [np.eye(2, dtype=np.int64)])


def test_without_hypothesis_strategies_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    for ask in (tiny_tasks, lambda: encoders(2, 2)):
        with pytest.raises(
            MissingDependencyError,
            match=(
                r"`tables` must be given, because hypothesis is not installed\. Run: "
                r"pip install 'boundprobe\[test\]'"
            ),
        ):
            ask()
    check_bound(lambda table, machine: 0.0, [np.eye(2, dtype=np.int64)])
