"""Diagonal cuts of stacks: least bits against every cut there is, and what D1 says against what was said before."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import (
    DiagonalCuts,
    Stage,
    Window,
    diagonal_bounds,
    frontier,
    model_verdicts,
    packing_error_floor,
    receptive_field,
)
from boundprobe.models import MIXERS, ModelSpec, model_stages, nominal_bits
from boundprobe.tasks import TASKS, Copying, MultiQueryRecall, Needle, SelectiveCopying

windows = st.builds(
    Window, st.sampled_from(("conv", "cache")), st.integers(0, 5), st.integers(0, 4), st.sampled_from((1, 1, 1, 2, 3))
)
stages = st.lists(
    st.builds(Stage, st.lists(windows, max_size=3).map(tuple), st.integers(0, 9), st.integers(0, 2), st.integers(0, 2)),
    min_size=1,
    max_size=3,
)


def every_cut(stack: list[Stage], prefix_len: int, lag: int) -> int:
    """Least bits over all cuts of a lag, one by one."""
    least = math.inf
    for lags in itertools.product(range(lag + 1), repeat=len(stack)):
        if sum(lags) == lag:
            ends = [prefix_len - lag, *(prefix_len - lag + np.cumsum(lags))]
            bits = sum(sum(stage.by_kind(*times)) for stage, times in zip(stack, itertools.pairwise(ends), strict=True))
            least = min(least, bits)
    return int(least)


@settings(max_examples=300)
@given(stack=stages, prefix_len=st.integers(0, 9))
def test_the_least_bits_are_those_of_the_best_of_all_cuts(stack, prefix_len):
    cuts = DiagonalCuts(stack, prefix_len)
    assert cuts.most_lag == min(prefix_len, sum(stage.reach for stage in stack))
    for lag, bits in enumerate(cuts.total_bits):
        crossing = cuts.crossing(lag)
        assert bits == crossing.total_bits == every_cut(stack, prefix_len, lag)
        assert crossing.lag == lag
        assert len(crossing.lags) == len(stack)


@given(window=windows, before=st.integers(0, 12), lag=st.integers(0, 12))
def test_entries_that_cross_a_window_are_counted_one_by_one(window, before, lag):
    """Entries end at multiples of ``every``; an output after ``after`` needs the last ``reach`` that ended by then."""
    after = before + lag
    ends = [end for end in range(1, after + 1) if end % window.every == 0]
    needed = ends[len(ends) - window.reach :] if window.reach <= len(ends) else ends
    missing = [end for end in (needed if window.reach else []) if end <= before]
    assert int(window.crossing(before, after)) == window.bits * len(missing)


def test_a_stack_of_48_layers_with_windows_of_thousands():
    layer = [Stage((Window("cache", 64, 4095),)), Stage((Window("conv", 3, 3),), 1000)]
    cuts = DiagonalCuts(24 * layer, prefix_len=100_000)
    assert cuts.most_lag == 24 * (4095 + 3)
    # Equal windows: what crosses depends on the sum of lags alone, the dearest first.
    caches = np.maximum(24 * 4095 - np.arange(cuts.most_lag + 1), 0)
    convolutions = np.minimum(24 * 3, cuts.most_lag - np.arange(cuts.most_lag + 1))
    assert (cuts.total_bits == 64 * caches + 3 * convolutions + 24_000).all()


ARCHITECTURES = (*MIXERS, "mamba-attn", "3xattn-gla", "mamba|attn-gru", "mamba+chunks|attn", "attn-attn")
SIZES = st.fixed_dictionaries(
    {
        "architecture": st.sampled_from(ARCHITECTURES),
        "d_model": st.sampled_from((2, 4)),
        "window": st.integers(1, 14),
        "d_state": st.integers(1, 2),
        "d_conv": st.integers(1, 4),
        "expand": st.just(1),
        "d_head": st.just(1),
        "chunk": st.integers(1, 5),
    }
)
SMALL = (
    SelectiveCopying(n_numbers=4, n_letters=8, seq_len=30),
    MultiQueryRecall(n_pairs=6, n_keys=8, n_values=8, seq_len=24),
    MultiQueryRecall(n_pairs=6, n_keys=8, n_values=8, seq_len=24, gap=5),
    Copying(vocab_size=8, n_tokens=9),
    Copying(vocab_size=8, n_tokens=9, gap=4),
    Needle(vocab_size=8, seq_len=12),
    *(task(seq_len=12) for name, task in TASKS.items() if name == "position-retrieval"),
)


@settings(max_examples=150)
@given(sizes=SIZES, task=st.sampled_from(SMALL), entry_bits=st.integers(1, 4), error=st.sampled_from((0.0, 0.01, 0.2)))
def test_verdicts_are_never_weaker_than_those_of_the_vertical_cut(sizes, task, entry_bits, error):
    spec = ModelSpec(**sizes)
    bits = nominal_bits(spec, task.prefix_len, entry_bits).total_bits
    before = model_verdicts(task, spec.windows, bits, 1 - error)
    now = model_verdicts(task, spec.windows, bits, 1 - error, stages=model_stages(spec, entry_bits))
    for old, new in zip(before, now, strict=True):
        assert new.ceiling_accuracy <= old.ceiling_accuracy + 1e-12
        assert (old.verdict, new.verdict) != ("must fail", "undecided")


@settings(max_examples=100)
@given(window=st.integers(1, 12), layers=st.integers(1, 3), task=st.sampled_from(SMALL))
def test_without_recurrence_answers_out_of_sight_can_only_be_guessed(window, layers, task):
    """Corollary 2: nothing crosses a cut of lags w - 1, and W1's reach is where the ceiling leaves 1."""
    spec = ModelSpec("-".join(["attn"] * layers), d_model=2, window=window)
    case, reach = task.state_case(), layers * (window - 1)
    binding = diagonal_bounds(case, model_stages(spec), task.prefix_len)[0]
    far = case.beyond(reach)
    sees = receptive_field(spec.windows)
    if far is None or reach > task.prefix_len:
        assert binding.accuracy_ceiling == 1.0
    elif not case.permutation:
        guessed = 1 - far.n_answers / case.n_answers * (1 - 1 / case.n_values)
        assert binding.accuracy_ceiling == pytest.approx(guessed)
        assert (binding.lag, binding.crossing.total_bits) == (reach, 0)
        assert sees == reach + 1


def test_corollary_4_has_its_constants():
    """Selective copying: (n - D) / n e_S3(bits, n - D, q), and log2 q bits of state for a token of window."""
    task = SelectiveCopying(n_numbers=5, n_letters=11, seq_len=30)
    case, q = task.state_case(), 16
    assert [point.required_bits for point in frontier(case)] == pytest.approx(
        [(5 - d) * math.log2(q) for d in range(6)]
    )
    for bits, reach in itertools.product((0, 3, 7, 12), range(5)):
        stack = [Stage((), bits), Stage((Window("cache", 1000, reach),))]
        floors = [
            (5 - d) / 5 * packing_error_floor(float(bits + 1000 * (reach - d)), 5 - d, q) for d in range(reach + 1)
        ]
        assert diagonal_bounds(case, stack, task.prefix_len)[0].accuracy_ceiling == pytest.approx(1 - max(floors))


def test_beyond_its_reach_a_hybrid_is_an_ssm():
    """Corollary 3: caches and buffers count for nothing; today's verdict counts them all."""
    task = MultiQueryRecall(n_pairs=8, n_keys=8, n_values=16, seq_len=64, gap=20)
    spec = ModelSpec("mamba-attn", d_model=2, expand=1, d_state=2, d_conv=3, window=16)
    bits, stack = nominal_bits(spec, task.prefix_len, 4), model_stages(spec, 4)
    vertical = model_verdicts(task, spec.windows, bits.total_bits)[0]
    diagonal = model_verdicts(task, spec.windows, bits.total_bits, stages=stack)[0]
    assert (vertical.verdict, diagonal.verdict) == ("undecided", "must fail")
    recurrent = [Stage(recurrent_bits=bits.recurrent_bits)]
    assert (
        diagonal.ceiling_accuracy == diagonal_bounds(task.state_case(), recurrent, task.prefix_len)[0].accuracy_ceiling
    )
    assert "16 recurrent bits cross" in diagonal.reason
    assert diagonal.theorem.startswith("D1")


def test_the_mean_error_is_spread_over_far_answers():
    """An error of e over n answers is at most e n / m over m of them."""
    case = SelectiveCopying(n_numbers=4, n_letters=4, seq_len=20).state_case()
    assert [p.required_bits for p in frontier(case, [3], 0.25)] == [0.0]
    assert frontier(case, [2], 0.25)[0].required_bits < frontier(case, [2], 0.1)[0].required_bits < 6.0
    with pytest.raises(ValueError, match="must lie"):
        frontier(case, [2], 1.5)
