"""What every task must do, over all of them, their presets and their distributions."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections import defaultdict

import numpy as np
import pytest

from boundprobe.tasks import DISTRIBUTIONS, IGNORE, TASKS, AbstractTask, build_task

#: Parameters beside the defaults.
GAPS: list[tuple[str, dict[str, object]]] = [
    ("mqar", {"gap": 40}),
    ("ar-decoding", {"gap": 63}),
    ("mkar", {"gap": 30}),
    ("mkar", {"key_length": 1, "gap": 5}),
    ("copying", {"gap": 9}),
]
CONFIGURATIONS: list[tuple[str, dict[str, object], str | None]] = [
    *((name, {}, preset) for name in TASKS for preset in (None, *TASKS[name].presets)),
    *((name, parameters, None) for name, parameters in GAPS),
]
DRAWS = [(*c, distribution) for c in CONFIGURATIONS for distribution in TASKS[c[0]].distributions]

#: Parameters small enough to see every row of the answer table; a new task needs an entry.
TINY: dict[str, dict[str, object]] = {
    "selective-copying": {"n_numbers": 2, "n_letters": 2, "seq_len": 5},
    "ar-decoding": {"word_bits": 2, "seq_len": 7},
    "mkar": {"vocab_size": 4, "seq_len": 14},
    "needle": {"vocab_size": 5, "seq_len": 6},
    "mqar": {"n_pairs": 3, "n_keys": 5, "n_values": 3, "seq_len": 9},
    "copying": {"vocab_size": 3, "n_tokens": 4},
    "ngram-retrieval": {"vocab_size": 5, "n": 3, "seq_len": 8, "query_length": 1},
    "position-retrieval": {"seq_len": 5},
}
TINY_GAPS = [
    ("ar-decoding", {"word_bits": 2, "seq_len": 12, "gap": 6}),
    ("mkar", {"vocab_size": 4, "seq_len": 19, "gap": 5}),
    ("mqar", {"n_pairs": 3, "n_keys": 5, "n_values": 3, "seq_len": 14, "gap": 7}),
    ("copying", {"vocab_size": 3, "n_tokens": 4, "gap": 2}),
]

#: Distributions whose sequences are asked no answer: the definition gives none.
UNANSWERED = ("duplicate-query",)

each_configuration = pytest.mark.parametrize(("name", "parameters", "preset"), CONFIGURATIONS)
each_draw = pytest.mark.parametrize(("name", "parameters", "preset", "distribution"), DRAWS)
each_task = pytest.mark.parametrize("name", list(TASKS))


def oracle(task: AbstractTask, tokens: np.ndarray) -> int:
    answer = task.reference_answer(tokens.tolist())
    return IGNORE if answer is None else answer


@each_draw
def test_a_sample_is_what_it_says(
    name: str, parameters: dict[str, object], preset: str | None, distribution: str
) -> None:
    task = build_task(name, parameters, preset)
    batch = task.sample(64, np.random.default_rng(1), distribution)
    for array in (batch.tokens, batch.targets):
        assert array.shape == (64, task.n_positions)
        assert array.dtype == np.int64
    assert batch.tokens.min() >= 0
    assert batch.tokens.max() < task.n_token_ids
    asked = batch.targets != IGNORE
    assert (batch.targets[asked] == task.answers(batch.tokens)[asked]).all()
    for row in range(4):
        for t in (*range(0, task.n_positions, 7), task.n_positions - 1):
            assert not asked[row, t] or batch.targets[row, t] == oracle(task, batch.tokens[row, : t + 1])
    if distribution in UNANSWERED:
        assert not asked.any()
    elif distribution != "uniform":
        assert asked[:, -1].all()


@each_draw
def test_a_sample_is_a_function_of_the_seed_alone(
    name: str, parameters: dict[str, object], preset: str | None, distribution: str
) -> None:
    task = build_task(name, parameters, preset)
    before = repr(np.random.get_state())
    first, again, other = (task.sample(16, np.random.default_rng(seed), distribution) for seed in (3, 3, 4))
    task.sample_cut(16, np.random.default_rng(3))
    assert repr(np.random.get_state()) == before
    assert (first.tokens == again.tokens).all()
    assert (first.targets == again.targets).all()
    assert (first.tokens != other.tokens).any()


@each_configuration
def test_a_cut_is_what_it_says(name: str, parameters: dict[str, object], preset: str | None) -> None:
    task = build_task(name, parameters, preset)
    case = task.state_case()
    cut, again = (task.sample_cut(6, np.random.default_rng(5)) for _ in range(2))
    assert (cut.prefix == again.prefix).all()
    assert (cut.answers == again.answers).all()
    assert cut.prefix.shape[1] + cut.queries.shape[1] == task.n_positions
    assert cut.answers.shape == (6, case.n_answers)
    assert cut.prefix.dtype == cut.queries.dtype == cut.answers.dtype == np.int64
    if cut.suffixes is None:
        assert len(cut.queries) == case.n_answers
        for prefix, answers in zip(cut.prefix, cut.answers, strict=True):
            for query, answer in zip(cut.queries, answers, strict=True):
                assert answer == oracle(task, np.concatenate([prefix, query]))
        return
    n_suffixes, suffix_len = cut.suffixes.shape[1:]
    told = case.n_answers // n_suffixes
    assert cut.suffixes.dtype == np.int64
    assert cut.queries.shape == (0, suffix_len)
    for i in range(6):
        for a, answer in enumerate(cut.answers[i]):
            suffix = cut.suffixes[i, a // told]
            place = suffix_len - told + a % told
            assert answer == oracle(task, np.concatenate([cut.prefix[i], suffix[: place + 1]]))
            # Of the answers, it has seen only those before it.
            first = a // told * told
            assert (suffix[suffix_len - told + 1 : place + 1] == cut.answers[i, first:a]).all()


@each_configuration
def test_whole_sequences_of_a_cut_ask_what_they_say(
    name: str, parameters: dict[str, object], preset: str | None
) -> None:
    task = build_task(name, parameters, preset)
    cut = task.sample_cut(40, np.random.default_rng(10))
    asked = np.random.default_rng(11).integers(cut.answers.shape[1], size=40)
    tokens = cut.whole(asked)
    assert tokens.shape == (40, task.n_positions)
    place = np.full(40, -1)
    if cut.suffixes is not None:
        told = cut.answers.shape[1] // cut.suffixes.shape[1]
        place = asked % told - told
    assert (task.answers(tokens)[np.arange(40), place] == cut.answers[np.arange(40), asked]).all()


@pytest.mark.parametrize(("name", "parameters"), [*TINY.items(), *TINY_GAPS], ids=str)
def test_the_answer_table_has_as_many_rows_as_the_case_says(name: str, parameters: dict[str, object]) -> None:
    task = build_task(name, parameters)
    case, cut = task.state_case(), task.sample_cut(4000, np.random.default_rng(6))
    assert len(np.unique(cut.answers, axis=0)) == round(2**case.zero_error_bits)
    assert all(len(np.unique(answers)) == case.n_values for answers in cut.answers.T)


@each_configuration
def test_the_window_case_is_that_of_the_sequences(name: str, parameters: dict[str, object], preset: str | None) -> None:
    task = build_task(name, parameters, preset)
    case = task.window_case()
    # A value is missing from 20 n draws with probability n e^-20 at most.
    batch = task.sample(max(2000, 20 * case.n_values), np.random.default_rng(7), "window-hard")
    last = task.n_positions - 1
    candidates = batch.tokens[:, last - np.array(case.candidate_distances)]
    assert case.seq_len == task.n_positions
    assert len(np.unique(batch.targets[:, -1])) == case.n_values
    assert case.sensitivity_distance == max(case.control_distances + case.candidate_distances) <= last
    if name == "position-retrieval":  # the answer is no copy of a token
        return
    assert (candidates == batch.targets[:, -1:]).any(axis=1).all()
    assert len(np.unique(candidates)) == case.n_values
    if not case.control_distances:
        assert len(case.candidate_distances) == 1
        assert case.candidates_if_blind_to == ()
        return
    assert case.sensitivity_distance == last
    control = batch.tokens[:, last - np.array(case.control_distances)]
    for hidden, count in enumerate(case.candidates_if_blind_to, start=1):
        behind: defaultdict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
        for row in control.tolist():
            behind[tuple(row[hidden:])].add(tuple(row[:hidden]))
        assert {len(members) for members in behind.values()} == {count}


@each_configuration
def test_answers_do_not_depend_on_the_rows_beside(name: str, parameters: dict[str, object], preset: str | None) -> None:
    task = build_task(name, parameters, preset)
    tokens = task.sample(3000, np.random.default_rng(8)).tokens  # more than one block of rows
    whole = task.answers(tokens)
    assert (whole[2600:2640] == task.answers(tokens[2600:2640])).all()
    assert (task.answers(tokens[:50].astype(np.int32)) == whole[:50]).all()


@each_draw
def test_sampling_needs_little_more_than_it_returns(
    name: str, parameters: dict[str, object], preset: str | None, distribution: str
) -> None:
    task = build_task(name, parameters, preset)
    n = 1_500_000 // task.n_positions
    tracemalloc.start()
    batch = task.sample(n, np.random.default_rng(9), distribution)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.75 * (batch.tokens.nbytes + batch.targets.nbytes)


@each_task
def test_wrong_arguments_are_named(name: str) -> None:
    task, rng = build_task(name, {}), np.random.default_rng(0)
    with pytest.raises(
        ValueError, match=r"`distribution` must be one of uniform,.*; got 'state_hard'\. Did you mean 'state-hard'"
    ):
        task.sample(2, rng, "state_hard")
    for draw in (task.sample, task.sample_cut):
        with pytest.raises(ValueError, match="`n_sequences` must be an integer of at least 0; got -1"):
            draw(-1, rng)
    with pytest.raises(ValueError, match=rf"`tokens` must lie in \[0, n_token_ids\) with .*; got {task.n_token_ids}"):
        task.answers(np.full((2, 3), task.n_token_ids))
    with pytest.raises(
        ValueError, match=r"`tokens` must be integers of shape \(n, seq_len\); got shape \(3,\) and type int64"
    ):
        task.answers(np.zeros(3, int))
    assert set(DISTRIBUTIONS) <= set(task.distributions)
    assert task.sample(0, rng).tokens.shape == (0, task.n_positions)
    assert task.sample_cut(0, rng).answers.shape == (0, task.state_case().n_answers)
    assert task.answers(np.zeros((2, 0), int)).shape == (2, 0)


def test_tasks_import_numpy_only() -> None:
    code = "import sys, boundprobe.tasks; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
