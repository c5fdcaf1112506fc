"""Where a recall construction with a short window is right: the definition, word by word, against the fast pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.constructions import construct
from boundprobe.constructions.ar_decoding import hard_case_window, uniform_error, uniform_window
from boundprobe.constructions.reach import everywhere, pair_in_window
from boundprobe.tasks import IGNORE, AssociativeRecallDecoding


def in_reach(tokens: list[int], word_bits: int, window: int, n_layers: int) -> bool | None:
    """The docstring of ``pair_in_window`` for the last position, slow and obvious; None where nothing is asked."""
    task = AssociativeRecallDecoding(word_bits=word_bits, seq_len=2**word_bits + word_bits)
    if task.reference_answer(tokens) is None:
        return None
    t = len(tokens) - 1
    bits = [token for token in tokens if token < 2][-word_bits:]
    asked = 2 + sum(bit << i for i, bit in enumerate(reversed(bits)))
    places = [i for i, token in enumerate(tokens) if token >= 2]
    o = max(place for place in places if tokens[place] == asked)
    after = [place for place in places if place > o]
    s = after[0]
    r = after[1] - 1 if len(after) > 1 else t
    if n_layers == 2:
        return t - r < window
    return t - s < window and s - o < window


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 0.8), st.sampled_from([2, 3]), st.integers(0, 2**32 - 1))
def test_the_pass_is_the_definition(length: int, window: int, p: float, n_layers: int, seed: int) -> None:
    task, rng = AssociativeRecallDecoding(word_bits=2, seq_len=12), np.random.default_rng(seed)
    tokens = np.where(
        rng.random((4, length)) < p, rng.integers(0, 2, (4, length)), rng.integers(2, 4 + 2 * (seed % 2), (4, length))
    )
    found = pair_in_window(task, tokens, window, n_layers)
    for row, sequence in enumerate(tokens.tolist()):
        for t in range(length):
            expected = in_reach(sequence[: t + 1], 2, window, n_layers)
            assert expected is None or found[row, t] == expected, (sequence, t)


def test_everywhere() -> None:
    assert everywhere(np.zeros((2, 3), int)).tolist() == [[True] * 3] * 2


@pytest.mark.parametrize("n_layers", [2, 3])
@pytest.mark.parametrize("distribution", ["state-hard", "window-hard", "mixture"])
@pytest.mark.parametrize(("extra", "gap"), [(0, 0), (40, 0), (5, 5), (40, 11)])
def test_the_hard_window_reaches_every_hard_answer(n_layers: int, distribution: str, extra: int, gap: int) -> None:
    """Whatever the length: everything that is asked on the hard distributions is in reach."""
    for b in (2, 3, 4):
        task = AssociativeRecallDecoding(word_bits=b, seq_len=2**b + b + extra, gap=gap)
        batch = task.sample(200, np.random.default_rng(0), distribution)
        reach = pair_in_window(task, batch.tokens, hard_case_window(task), n_layers)
        assert reach[batch.targets != IGNORE].all()
        if gap and distribution == "state-hard":  # and no smaller window reaches the oldest pair of the 200
            shorter = pair_in_window(task, batch.tokens, hard_case_window(task) - 1, n_layers)
            assert not shorter[batch.targets != IGNORE].all()


def test_the_uniform_error_is_an_upper_bound() -> None:
    """Share of answers out of reach at the last position; 5 standard errors of a proportion of 20,000."""
    task = AssociativeRecallDecoding(word_bits=3, seq_len=60)
    tokens = task.sample(20_000, np.random.default_rng(0)).tokens
    asked = task.answers(tokens)[:, -1] != IGNORE
    for n_layers in (2, 3):
        for window in (5, 12, 25):
            missed = asked & ~pair_in_window(task, tokens, window, n_layers)[:, -1]
            bound = uniform_error(task, window, n_layers)
            assert missed.mean() <= bound + 5 * (0.25 / len(tokens)) ** 0.5
            assert missed.mean() > bound / 4  # and not a wild one


@pytest.mark.parametrize("error", [0.3, 0.05, 1e-3])
def test_the_uniform_window_is_the_smallest_with_the_error(error: float) -> None:
    task = AssociativeRecallDecoding(word_bits=4, seq_len=400)
    window = uniform_window(task, error)
    assert uniform_error(task, window) <= error < uniform_error(task, window - 1)
    claim = construct(task, window=window).claims[-1]
    assert (
        claim == f"wrong at one position of a uniform input with probability {uniform_error(task, window):.3g} at most"
    )


@pytest.mark.parametrize("n_layers", [2, 3])
def test_out_of_reach_it_is_often_wrong(n_layers: int) -> None:
    """The reach says something: beyond it, answers of a short window are mostly wrong."""
    task = AssociativeRecallDecoding(word_bits=3, seq_len=60)
    built = construct(task, n_layers=n_layers, window=10)
    import torch

    tokens = task.sample(200, np.random.default_rng(0)).tokens
    targets, reach = task.answers(tokens), built.in_reach(tokens)
    wrong = built.model(torch.as_tensor(tokens)).argmax(-1).numpy() != targets
    asked = targets != IGNORE
    assert not wrong[asked & reach].any()
    assert wrong[asked & ~reach].mean() > 0.5
