"""D1 on every input of random finite stacks, and the frontier of corollary 4 against every encoder."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import encoders, packing_error_floor
from boundprobe.testing import FiniteLayer, FiniteStack, diagonal_lags, finite_stacks

N_QUERY = 1
KINDS = ("recurrence", "window", "attention")


def inputs(n_letters, length):
    return np.array(list(itertools.product(range(n_letters), repeat=length)))


@st.composite
def cut_stacks(draw):
    stack = draw(finite_stacks())
    lags = draw(diagonal_lags([layer.stage for layer in stack.layers], most=3).filter(lambda lags: sum(lags) <= 3))
    return stack, lags, draw(st.integers(1, 3))


def functions(stack, lags, start, *, without=None):
    """Answers by what crosses and by the tokens after the start, over every input; and whether each is one answer."""
    length, n_letters = start + sum(lags) + N_QUERY, stack.layers[0].n_letters
    found = {}
    for tokens in inputs(n_letters, length):
        crossing = stack.crossing(tokens, start, lags)
        if without is not None:
            layer, entry = without
            crossing = tuple(
                part if i != layer else part[:entry] + part[entry + 1 :] for i, part in enumerate(crossing)
            )
        found.setdefault((crossing, tuple(tokens[start:])), set()).add(tuple(stack.read(tokens)[start + sum(lags) :]))
    return found


@settings(max_examples=60)
@given(case=cut_stacks())
def test_answers_are_a_function_of_what_crosses_on_every_input(case):
    stack, lags, start = case
    for answers in functions(stack, lags, start).values():
        assert len(answers) == 1


@settings(max_examples=40)
@given(case=cut_stacks())
def test_they_are_computed_from_what_crosses(case):
    stack, lags, start = case
    start += 2  # so that windows are full before it
    length = start + sum(lags) + N_QUERY
    for tokens in inputs(stack.layers[0].n_letters, length)[:: 7 if length > 5 else 1]:
        crossing = stack.crossing(tokens, start, lags)
        assert stack.answer(crossing, tokens[start:], lags) == stack.read(tokens)[start + sum(lags) :]


@settings(max_examples=40)
@given(case=cut_stacks())
def test_entries_that_cross_are_as_many_as_the_theorem_counts(case):
    stack, lags, start = case
    crossing = stack.crossing(np.zeros(start + sum(lags) + 1, np.int64), start, lags)
    time = start
    for layer, carried, lag in zip(stack.layers, crossing, lags, strict=True):
        assert len(carried) == sum(layer.stage.by_kind(time, time + lag))
        time += lag


def test_an_entry_that_is_left_out_is_missed():
    """Negative control: each crossing entry left out in turn.  Many do not matter to a random table; others must."""
    rng, caught = np.random.default_rng(0), Counter()
    for _ in range(40):
        n_layers = int(rng.integers(1, 3))
        kinds = [KINDS[i] for i in rng.integers(3, size=n_layers)]
        layers = [FiniteLayer(kind, 2, int(rng.integers(2, 4)), int(rng.integers(2**32))) for kind in kinds]
        stack, lags = FiniteStack(tuple(layers)), (int(rng.integers(2)), *(0,) * (n_layers - 1))
        crossing = stack.crossing(np.zeros(4 + sum(lags), np.int64), 3, lags)
        for layer, carried in enumerate(crossing):
            for entry in range(len(carried)):
                found = functions(stack, lags, 3, without=(layer, entry))
                caught[kinds[layer]] += any(len(answers) > 1 for answers in found.values())
    assert min(caught[kind] for kind in KINDS) >= 3, caught


@pytest.mark.parametrize(
    ("n", "q", "reach", "n_states"), [(3, 2, 1, 2), (3, 2, 1, 3), (3, 2, 2, 2), (2, 3, 1, 2), (2, 3, 0, 3)]
)
def test_no_encoder_beats_the_frontier(n, q, reach, n_states):
    """A machine that sees the last ``reach`` of n letters, and holds one of M states of them all."""
    words = inputs(q, n)
    near = [tuple(word[n - reach :]) for word in words]
    best = 0.0
    for labels in encoders(len(words), n_states):
        cells = {}
        for word, state, seen in zip(words, labels, near, strict=True):
            cells.setdefault((state, seen), []).append(word)
        right = sum(np.max([(np.array(cell) == v).sum(0) for v in range(q)], axis=0).sum() for cell in cells.values())
        best = max(best, right / words.size)
    floor = (n - reach) / n * packing_error_floor(float(np.log2(n_states)), n - reach, q)
    assert 1 - best >= floor - 1e-12
    assert 1 - best == pytest.approx(floor, abs=0.05)  # and it is nearly reached
