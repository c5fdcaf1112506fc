"""A gap before the query moves the memory away, and changes nothing that is asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.tasks import (
    AbstractTask,
    AssociativeRecallDecoding,
    Copying,
    MultiKeyRecall,
    MultiQueryRecall,
    build_task,
)

GAPPED = {"mqar", "ar-decoding", "mkar", "copying"}


@st.composite
def gapped(draw: st.DrawFn) -> AbstractTask:
    """A small task with a gap."""
    gap, room, name = draw(st.integers(1, 9)), draw(st.integers(0, 9)), draw(st.sampled_from(sorted(GAPPED)))
    if name == "mqar":
        pairs = draw(st.integers(1, 4))
        return MultiQueryRecall(pairs, pairs + room, 3, max(3 * pairs, 2 * pairs + gap + 1) + room, gap)
    if name == "ar-decoding":
        b = draw(st.integers(2, 4))
        return AssociativeRecallDecoding(b, 2**b + gap + b + room, gap=gap)
    if name == "mkar":
        q, keys = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        return MultiKeyRecall(keys + 3, q, keys, (q + 1) * keys**q + gap + q + room, gap)
    return Copying(draw(st.integers(2, 4)), draw(st.integers(1, 6)), gap)


def without_gap(task: AbstractTask) -> AbstractTask:
    """The same task, shorter by the gap where that may be."""
    known = task.parameters()
    if "seq_len" not in known:
        return dataclasses.replace(task, gap=0)  # type: ignore[call-arg]
    shortest = 3 * known["n_pairs"] if task.name == "mqar" else 0  # type: ignore[operator]
    return dataclasses.replace(task, gap=0, seq_len=max(shortest, task.seq_len - known["gap"]))  # type: ignore


@settings(max_examples=200, deadline=None)
@given(gapped(), st.sampled_from(["keys-once", "replacement"]), st.integers(0, 2**32 - 1))
def test_answers_are_those_of_the_sequence_with_the_gap_cut_out(task: AbstractTask, stream: str, seed: int) -> None:
    gap, shorter = task.parameters()["gap"], without_gap(task)
    assert isinstance(gap, int)
    cut = task.sample_cut_stream(4, np.random.default_rng(seed), stream if stream in task.cut_streams else "keys-once")
    filler = cut.prefix[:, -gap:]
    assert len(np.unique(filler)) == 1
    assert cut.places is not None
    assert cut.places.max() < cut.prefix.shape[1] - gap
    for a in range(cut.answers.shape[1]):
        whole = cut.whole(np.full(4, a))
        end = cut.prefix.shape[1] - gap
        kept = np.concatenate([whole[:, :end], whole[:, end + gap :]], axis=1)
        told = 1 if cut.suffixes is None else cut.answers.shape[1] // cut.suffixes.shape[1]
        at = a % told - told
        assert (task.answers(whole)[:, at] == cut.answers[:, a]).all()
        assert (shorter.answers(kept)[:, at] == cut.answers[:, a]).all()


@settings(max_examples=100, deadline=None)
@given(gapped())
def test_a_gap_moves_places_and_leaves_the_bits(task: AbstractTask) -> None:
    gap, case, other = task.parameters()["gap"], task.state_case(), without_gap(task).state_case()
    assert case.places is not None
    assert other.places is not None
    assert case.places == dataclasses.replace(other.places, nearest=gap)
    assert dataclasses.replace(case, places=other.places) == other
    assert case.beyond(gap) is case  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(gapped(), st.integers(0, 2**32 - 1))
def test_state_hard_sequences_have_the_gap_of_the_cut(task: AbstractTask, seed: int) -> None:
    gap, end, rng = task.parameters()["gap"], task.prefix_len, np.random.default_rng(seed)
    assert isinstance(gap, int)
    filler = task.sample_cut(1, rng).prefix[0, -1]
    assert (task.sample(8, rng, "state-hard").tokens[:, end - gap : end] == filler).all()


def test_who_sees_the_gap_alone_can_only_guess() -> None:
    # Whatever the last gap + query_len tokens are, each value of the asked key is as likely; one pair more helps.
    task = MultiQueryRecall(2, 2, 2, 9, gap=4)
    batch = task.sample(4000, np.random.default_rng(0), "state-hard")
    tokens, kept = np.unique(batch.tokens, axis=0, return_index=True)
    assert len(tokens) == 16  # two orders, four pairs of values, two queries: all equally likely
    right = []
    for sees in (5, 7):
        seen: dict[tuple[int, ...], list[int]] = {}
        for row, answer in zip(tokens[:, -sees:].tolist(), batch.targets[kept, -1].tolist(), strict=True):
            seen.setdefault(tuple(row), []).append(answer)
        right.append(sum(max(map(answers.count, answers)) for answers in seen.values()) / 16)
    assert right == [0.5, 0.75]


def test_a_gap_is_a_parameter_like_the_others() -> None:
    assert build_task("mqar", {"gap": "8"}) == MultiQueryRecall(gap=8)
    assert build_task("copying", {"gap": 8}, "paper") == Copying(n_tokens=300, gap=8)
    with pytest.raises(ValueError, match="`parameter` of needle must be one of seq_len, vocab_size; got 'gap'"):
        build_task("needle", {"gap": 8})


def test_the_filler_of_copying_is_there_only_with_a_gap() -> None:
    assert [Copying(vocab_size=3, gap=gap).n_token_ids for gap in (0, 1, 5)] == [4, 5, 5]
    assert (Copying(gap=7).n_positions, Copying(gap=7).prefix_len) == (47, 27)
    # Fewer tokens before the marker than the gap: none is copied.
    assert Copying(vocab_size=3, gap=3).answers(np.array([[0, 1, 3, 0, 1]])).max() == -100
