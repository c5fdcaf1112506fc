"""Tasks in other token ids: the contract of a task, the map, distances, and refusals."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import bounds_report
from boundprobe.tasks import IGNORE, AbstractTask, Places, Rewritten, build_task, wrap_task
from boundprobe.testing import check_task

SMALL = {
    "selective-copying": {"n_numbers": 3, "n_letters": 3, "seq_len": 9},
    "ar-decoding": {"word_bits": 2, "seq_len": 10, "gap": 1},
    "mkar": {"vocab_size": 4, "key_length": 1, "seq_len": 14},
    "needle": {"vocab_size": 4, "seq_len": 9},
    "mqar": {"n_pairs": 2, "n_keys": 3, "n_values": 3, "seq_len": 9, "gap": 1},
    "copying": {"vocab_size": 3, "n_tokens": 3},
    "ngram-retrieval": {"vocab_size": 14, "n": 3, "query_length": 1, "seq_len": 12},
    "position-retrieval": {"seq_len": 4},
}


class Cells:
    """Three cells hold a digit each."""

    def prefixes(self):
        return [(a, b, c) for a in range(2) for b in range(2) for c in range(2)]

    def queries(self):
        return [(2,), (3,), (4,)]

    def answer(self, prefix, query):
        return prefix[query[0] - 2]


def tasks() -> list[AbstractTask]:
    return [*(build_task(name, parameters) for name, parameters in SMALL.items()), wrap_task(Cells())]


def rewritten(task: AbstractTask, width: int = 1, seed: int = 0, **fixed) -> Rewritten:
    """Random ids, the last of which is a mark that all tokens share where there are several."""
    ids = np.random.default_rng(seed).permutation(4 * task.n_token_ids)[: task.n_token_ids] + 10
    return Rewritten(task, tuple((int(first), *[3] * (width - 1)) for first in ids), **fixed)


TEMPLATE = {"before": (1, 2), "between": (4, 5, 6)}


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
@pytest.mark.parametrize("template", [{}, TEMPLATE], ids=["bare", "template"])
def test_every_task_can_be_rewritten(task, template):
    check_task(rewritten(task, **template))
    if task.answers_per_sequence == 1:
        check_task(rewritten(task, width=2, after=(8, 9), **template))


@settings(max_examples=30)
@given(st.integers(0, len(SMALL)), st.integers(1, 3), st.integers(0, 2**20), st.sampled_from(["", "between", "after"]))
def test_rewriting_keeps_answers_and_knows_them_again(which, width, seed, where):
    task = tasks()[which]
    if task.answers_per_sequence > 1:
        width, where = 1, where.replace("after", "between")
    words = rewritten(task, width, seed, **({where: (7,)} if where else {}), before=(2,))
    rng = np.random.default_rng(seed)
    drawn = task.sample(6, rng, "state-hard")
    answers = words.answers(words.rewrite(drawn.tokens))
    said = task.answers(drawn.tokens)[:, -1]
    assert answers[:, -1].tolist() == [words.ids[answer][0] for answer in said]
    assert words.reference_answer(words.rewrite(drawn.tokens)[0].tolist()) == answers[0, -1]
    if not where:
        assert ((answers != IGNORE).sum(1) == (task.answers(drawn.tokens) != IGNORE).sum(1)).all()
    spoiled = words.rewrite(drawn.tokens)
    spoiled[:, 0] += 1
    assert (words.answers(spoiled) == IGNORE).all()
    assert words.reference_answer(spoiled[0].tolist()) is None


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
def test_bounds_on_states_are_those_of_the_task(task):
    words = rewritten(task, **TEMPLATE)
    for stream in task.cut_streams:
        ours, its = words.stream_case(stream), task.stream_case(stream)
        assert dataclasses.replace(ours, places=None) == dataclasses.replace(its, places=None)
        assert len(words.stream_values(stream)) == len(task.stream_values(stream))
        assert np.isin(words.sample_cut_stream(50, np.random.default_rng(0), stream).answers,
                       [*words.stream_values(stream), IGNORE]).all()  # fmt: skip
    assert bounds_report(words, 0.1).state == bounds_report(task, 0.1).state


def last_ids(words: Rewritten, tokens: np.ndarray) -> np.ndarray:
    """Positions at which any two of the sequences differ, by brute force."""
    return np.flatnonzero((tokens != tokens[:1]).any(axis=0))


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("name", ["mqar", "selective-copying", "needle"])
def test_no_id_nearer_than_the_places_depends_on_the_answers(name, width):
    """The youngest position that differs between prefixes whose other tokens are the same is that of ``nearest``."""
    task = build_task(name, SMALL[name])
    words = rewritten(task, width, **TEMPLATE)
    cut = words.sample_cut(300, np.random.default_rng(0))
    places = words.state_case().places
    assert places is not None
    distances = words.prefix_len - 1 - cut.places
    assert sorted(set(distances.ravel().tolist())) == places.distances().tolist()
    if width == 1:  # one id tells a token, and here the token is the answer
        assert (np.take_along_axis(cut.prefix, cut.places, axis=1) == cut.answers).all()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_tokens_that_matter_are_as_far_as_the_window_case_says(width):
    """Of the sequences that hold one pair and differ in its value alone, ids that tell are at one distance."""
    task = build_task("mqar", {"n_pairs": 1, "n_keys": 1, "n_values": 4, "seq_len": 7})
    words = rewritten(task, width, **TEMPLATE, after=(9,))
    tokens = words.sample(200, np.random.default_rng(0), "window-hard").tokens
    differ = last_ids(words, tokens)
    assert differ.tolist() == [words.n_positions - 1 - words.window_case().sensitivity_distance]
    assert words.window_case().sensitivity_distance > task.window_case().sensitivity_distance
    bare = rewritten(task, 1)
    assert bare.window_case() == task.window_case()
    assert bare.state_case() == task.state_case()


def test_what_differs_in_the_second_id_is_as_near_as_that():
    task = build_task("mqar", {"n_pairs": 1, "n_keys": 1, "n_values": 2, "seq_len": 5})
    first = Rewritten(task, ((1, 9), (2, 9), (3, 9), (4, 9)))
    both = Rewritten(task, ((1, 9), (2, 8), (3, 7), (4, 9)))
    assert first.state_case().places.nearest == 1 + both.state_case().places.nearest == 1
    assert first.window_case().sensitivity_distance == 1 + both.window_case().sensitivity_distance


def test_places_of_tokens_side_by_side_are_left_out_where_others_come_between(monkeypatch):
    task = build_task("mqar", SMALL["mqar"])
    case = dataclasses.replace(task.state_case(), places=Places(0, 2, 4, 2))
    monkeypatch.setattr(type(task), "state_case", lambda self: case)
    assert rewritten(task).state_case() == case
    assert rewritten(task, 2).state_case().places is None


@pytest.mark.parametrize(
    ("ids", "template", "wrong"),
    [
        (((1,), (2,)), {}, "`ids` must be of 4 tokens, those of mqar; got 2"),
        (((1,), (2,), (3,), (4, 5)), {}, "`ids` must be one or more for each token, equally many for all; got from 1"),
        (((), (), (), ()), {}, "equally many for all; got from 0 to 0"),
        (((1,), (2,), (2,), (4,)), {}, r"`ids` must be those of one token alone; got \[2\] for 2 tokens"),
        (((1, 1), (2, 1), (2, 3), (2, 4)), {}, "which can be answers differ in their first id; got two of them"),
        (((1,), (2,), (3,), (-4,)), {}, "`ids` must be an integer from 0 to"),
        (((1,), (2,), (3,), (4,)), {"after": (1.5,)}, "`after` must be an integer from 0 to"),
    ],
)
def test_refused(ids, template, wrong):
    task = build_task("mqar", {"n_pairs": 1, "n_keys": 1, "n_values": 2, "seq_len": 5})
    with pytest.raises(ValueError, match=wrong):
        Rewritten(task, ids, **template)


def test_tasks_that_ask_for_several_tokens_in_a_row_have_one_id_for_each():
    task = build_task("copying", SMALL["copying"])
    for wrong in ({"width": 2}, {"after": (7,)}):
        with pytest.raises(ValueError, match=r"one for each token of copying and none after the last \(it asks for"):
            rewritten(task, **wrong)
