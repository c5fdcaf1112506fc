"""The inputs that constructions are checked on: of the right shape, repeatable, and about what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from boundprobe.constructions import construct, verify
from boundprobe.constructions.inputs import ADVERSARIAL, every_sequence, families
from boundprobe.constructions.verification import check_sequences
from boundprobe.tasks import IGNORE, AssociativeRecallDecoding, SelectiveCopying

TASKS = [
    SelectiveCopying(),
    SelectiveCopying(n_numbers=2, n_letters=2, seq_len=4),
    SelectiveCopying(n_numbers=3, first_number=5, n_letters=30, seq_len=12),
    AssociativeRecallDecoding(word_bits=2, seq_len=6),
    AssociativeRecallDecoding(),
]
CASES = [(task, name) for task in TASKS for name in families(task)]


@pytest.mark.parametrize(("task", "name"), CASES, ids=str)
def test_families_are_sequences_of_the_task(task, name) -> None:
    family = families(task)[name]
    tokens, again = (family(task, 50, np.random.default_rng(1)) for _ in range(2))
    assert tokens.shape == (50, task.n_positions)
    assert tokens.min() >= 0
    assert tokens.max() < task.n_token_ids
    assert (tokens == again).all()
    assert len(np.unique(tokens, axis=0)) > 1
    assert family(task, 0, np.random.default_rng(1)).shape == (0, task.n_positions)


@pytest.mark.parametrize("task", [TASKS[0], TASKS[4]], ids=str)
def test_every_family_asks_something(task) -> None:
    for name, family in families(task).items():
        assert (task.answers(family(task, 200, np.random.default_rng(0))) != IGNORE).sum() > 50, name


def test_every_task_with_a_construction_has_hand_made_inputs() -> None:
    assert set(ADVERSARIAL) == {SelectiveCopying, AssociativeRecallDecoding}


def test_farthest_pairs_are_asked_for_at_the_end() -> None:
    task = TASKS[4]
    tokens = families(task)["farthest-pair"](task, 100, np.random.default_rng(0))
    assert (task.answers(tokens)[:, -1] == tokens[:, 1]).all()
    assert ((tokens == tokens[:, :1]).sum(axis=1) == 1).all()


def test_words_do_follow_themselves() -> None:
    task = TASKS[4]
    tokens = families(task)["words-in-runs"](task, 100, np.random.default_rng(0))
    targets = task.answers(tokens)
    asked = targets != IGNORE
    assert (tokens[:, task.word_bits :] >= 2).all()
    assert (tokens[:, 10:] == tokens[:, 9:-1]).any(axis=1).all()
    assert asked.any()


def test_every_sequence_is_there_once() -> None:
    rows = np.concatenate(list(every_sequence(3, 4, block=7)))
    assert len(np.unique(rows, axis=0)) == len(rows) == 81


def test_the_same_seed_checks_the_same_inputs() -> None:
    built = construct(TASKS[1])
    assert verify(built, 100, seed=3) == verify(built, 100, seed=3)
    answers = {verify(built, 100, seed=seed).n_answers for seed in range(4)}
    assert len(answers) > 1


def test_nothing_checked_is_nothing_wrong() -> None:
    found = check_sequences(construct(TASKS[1]), "none", [])
    assert (found.n_sequences, found.n_answers, found.n_wrong, found.counterexample) == (0, 0, 0, None)


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_the_number_of_inputs_is_checked(n) -> None:
    with pytest.raises(ValueError, match="`n_inputs` must be an integer of at least 1; got "):
        verify(construct(TASKS[1]), n_inputs=n)
