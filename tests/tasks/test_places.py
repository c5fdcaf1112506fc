"""Where the answers of the state-hard cases stand, counted back from the cut, and what is left beyond a lag."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.tasks import (
    TASKS,
    AbstractTask,
    AssociativeRecallDecoding,
    Copying,
    MultiKeyRecall,
    MultiQueryRecall,
    Needle,
    NgramRetrieval,
    Places,
    PositionRetrieval,
    SelectiveCopying,
    StateCase,
    build_task,
)

seeds = st.integers(0, 2**32 - 1)
some_places = st.builds(
    lambda nearest, n_blocks, width, between: Places(nearest, n_blocks, width + between, width),
    st.integers(0, 20),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 4),
)


@st.composite
def any_task(draw: st.DrawFn) -> AbstractTask:
    """A task of any kind, of any parameters that are small."""

    def some(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    name, form = draw(st.sampled_from(list(TASKS))), draw(st.sampled_from(["suffix", "prefix"]))
    if name == "selective-copying":
        n, offset = some(2, 6), some(0, 1)
        first = some(1 + offset, 9)
        return SelectiveCopying(n, first, some(2, 5), first + n + 1 - offset + some(0, 9), offset=offset)
    if name == "ar-decoding":
        b = some(2, 4)
        gap = some(0, 9)
        return AssociativeRecallDecoding(b, 2**b + gap + b + some(0, 9), gap=gap)
    if name == "mkar":
        q, keys = some(1, 3), draw(st.none() | st.integers(1, 2))
        gap = some(0, 9)
        return MultiKeyRecall(
            some(2 + (keys or 1), 6), q, keys, (q + 1) * (keys or 1) ** q + gap + q + some(0, 12), gap
        )
    if name == "mqar":
        pairs, gap = some(1, 5), some(0, 9)
        return MultiQueryRecall(pairs, pairs + some(0, 9), some(2, 4), 3 * pairs + gap + some(0, 9), gap)
    if name == "copying":
        return Copying(some(2, 4), some(1, 9), some(0, 9))
    if name == "needle":
        return Needle(some(2, 4), some(3, 12))
    if name == "ngram-retrieval":
        n = some(2, 5)
        return NgramRetrieval(some(3, 6), n, some(1, n - 1), n + some(0, 15), form)
    return PositionRetrieval(some(3, 9), form)


def held_against_the_cut(task: AbstractTask, seed: int) -> None:
    cut, places = task.sample_cut(6, np.random.default_rng(seed)), task.state_case().places
    assert cut.places is not None
    found = np.sort(cut.prefix.shape[1] - 1 - cut.places, axis=1)
    if places is None:
        return
    assert places.distances().dtype == np.int64
    assert (found == places.distances()).all()


@settings(max_examples=300, deadline=None)
@given(any_task(), seeds)
def test_answers_stand_where_the_case_says(task: AbstractTask, seed: int) -> None:
    held_against_the_cut(task, seed)


@pytest.mark.parametrize("name", list(TASKS))
def test_answers_of_every_preset_stand_where_the_case_says(name: str) -> None:
    for preset in (None, *TASKS[name].presets):
        task = build_task(name, {}, preset)
        held_against_the_cut(task, 0)
        assert task.state_case().places is not None


@pytest.mark.parametrize(
    "task", [NgramRetrieval(form="prefix"), PositionRetrieval(form="prefix")], ids=lambda t: t.name
)
def test_places_are_not_given_where_they_differ(task: AbstractTask) -> None:
    cut, case = task.sample_cut(20, np.random.default_rng(0)), task.state_case()
    assert cut.places is not None
    assert len(np.unique(np.sort(cut.places, axis=1), axis=0)) > 1
    assert (case.places, case.beyond(0)) == (None, None)


@pytest.mark.parametrize("name", [name for name in TASKS if len(TASKS[name].cut_streams) > 1])
def test_keys_that_may_be_absent_have_no_fixed_places(name: str) -> None:
    task = build_task(name, {})
    assert task.stream_case("replacement").places is None
    assert task.stream_case("replacement").beyond(0) is None


@given(some_places)
def test_answers_beyond_a_lag_are_counted(places: Places) -> None:
    distances = places.distances().tolist()
    assert distances == sorted(set(distances))
    assert len(distances) == places.n_blocks * places.width
    assert distances[0] == places.nearest
    for lag in range(distances[-1] + 3):
        assert places.n_beyond(lag) == sum(distance >= lag for distance in distances)


def test_counting_needs_no_list() -> None:
    places = Places(10**12, 10**15, 10**6, 10**5)
    assert places.n_beyond(10**12 + 10**6 * 7 + 40_000) == (10**15 - 8) * 10**5 + 60_000


def entropy_beyond(task: AbstractTask, lag: int) -> float:
    """H(far answers | all that lies after, which answers are far), from so many draws that all there are is seen."""
    cut = task.sample_cut(40_000, np.random.default_rng(5))
    assert cut.places is not None
    distance = cut.prefix.shape[1] - 1 - cut.places
    alike: defaultdict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
    near = cut.prefix[:, cut.prefix.shape[1] - lag :] if lag else cut.prefix[:, :0]
    for after, answers, far in zip(near.tolist(), cut.answers, distance >= lag, strict=True):
        alike[*after, *far.tolist()].add(tuple(answers[far].tolist()))
    # Far answers are uniform on what they can be, so that entropy is the log of a count.
    counts = {len(rows) for rows in alike.values()}
    assert len(counts) == 1, "every draw must be seen: too few were drawn"
    return math.log2(counts.pop())


@pytest.mark.parametrize(
    "task",
    [
        SelectiveCopying(3, 2, 2, 7),
        AssociativeRecallDecoding(2, 6),
        MultiKeyRecall(4, 1, 2, 6),
        MultiQueryRecall(2, 2, 3, 6),
        Copying(3, 3),
        AssociativeRecallDecoding(2, 8, gap=2),
        MultiKeyRecall(4, 1, 2, 8, 2),
        MultiQueryRecall(2, 2, 3, 8, 3),
        Copying(3, 2, 2),
        Needle(3, 4),
        NgramRetrieval(4, 3, 1, 6),
        PositionRetrieval(4),
    ],
    ids=lambda task: f"{task.name}-{getattr(task, 'gap', '')}",
)
def test_the_case_beyond_a_lag_by_drawing_all_there_is(task: AbstractTask) -> None:
    case = task.state_case()
    assert case.places is not None
    for lag in range(int(case.places.distances()[-1]) + 2):
        bits, beyond = entropy_beyond(task, lag), case.beyond(lag)
        assert (0.0 if beyond is None else beyond.entropy_bits) == pytest.approx(bits)
        if beyond is not None:
            assert beyond.zero_error_bits == beyond.entropy_bits
            assert beyond.n_answers == case.places.n_beyond(lag)
            assert beyond.independent_uniform == case.independent_uniform


def test_what_is_left_of_a_case() -> None:
    case = SelectiveCopying().state_case()
    assert case.beyond(0) is case
    far = case.beyond(4)
    assert far is not None
    assert (far.n_answers, far.n_values, far.places) == (6, 36, None)
    assert far.entropy_bits == far.zero_error_bits == 6 * math.log2(36)
    assert far.forces.endswith("; 6 of 10 lie 4 or more tokens before the cut")
    assert case.beyond(10) is None
    places = PositionRetrieval(64).state_case()
    left = places.beyond(60)
    assert left is not None
    assert (left.n_answers, left.n_values, left.permutation, left.independent_uniform) == (4, 4, True, False)
    assert left.entropy_bits == pytest.approx(math.log2(24))
    assert places.beyond(62) is not None
    assert places.beyond(63) is None


def test_nothing_is_said_of_answers_that_depend_on_each_other() -> None:
    assert StateCase(2, 4, 3.0, False, 3.0, "", "", Places(0, 2, 1)).beyond(1) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 1, 1), "^`nearest` must be an integer of at least 0; got -1"),
        ((0, 0, 1), "^`n_blocks` must be an integer of at least 1; got 0"),
        ((0, 1, 1, 0), "^`width` must be an integer of at least 1; got 0"),
        (
            (0, 2, 2, 3),
            r"^`block_len` must be an integer of at least 3 \(width is 3 and blocks do not overlap\); got 2",
        ),
    ],
)
def test_wrong_places_are_named(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Places(*arguments)


@pytest.mark.parametrize("lag", [-1, True, 1.5])
def test_a_wrong_lag_is_named(lag: object) -> None:
    case = Copying(2, 2).state_case()
    assert case.places is not None
    for ask in (case.beyond, case.places.n_beyond):
        with pytest.raises(ValueError, match=r"^`lag` must be an integer of at least 0; got"):
            ask(lag)  # type: ignore[arg-type]
