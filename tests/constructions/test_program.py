"""The pieces of a construction: codes, registers, score margins, rotations, and what fits where."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.constructions import ar_decoding, rotary, selective_copying
from boundprobe.constructions.codes import bit_codes, code_width, sign_codes
from boundprobe.constructions.program import Agree, AtAngle, Avoid, Earlier, Latest, LookUp, Registers
from boundprobe.constructions.score_margins import (
    MARGIN_NATS,
    MEASURES,
    ROUNDING_NATS,
    check_fit,
    rounding_nats,
    strengths,
)
from boundprobe.kernels.window.positions import ROTARY_BASE
from boundprobe.models import ModelSpec
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying

CRITERIA = (Avoid("flag"), Earlier(), Agree("a", "b"), Latest())
REGISTERS = Registers({"a": 3, "b": 3, "flag": 1})


@given(st.integers(1, 300))
def test_codes_tell_values_apart(n: int) -> None:
    width = code_width(n)
    assert 2 ** (width - 1) < n <= 2**width or (n, width) == (1, 1)
    bits, signs = bit_codes(n), sign_codes(n)
    assert (bits @ 2.0 ** np.arange(width)).tolist() == list(range(n))
    products = signs @ signs.T
    assert (np.diag(products) == width).all()
    assert (products[~np.eye(n, dtype=bool)] <= width - 2).all()


def test_registers_lie_side_by_side() -> None:
    assert REGISTERS.width == 7
    assert REGISTERS.channels("b", "flag") == [3, 4, 5, 6]
    assert sorted(REGISTERS.channels(*REGISTERS.widths)) == list(range(7))


def score(criterion: object, d: int, flag: int, key: np.ndarray, query: np.ndarray) -> float:
    """The score of a position at distance d, from the criterion's words."""
    return {
        Avoid: -flag,
        Earlier: -(d == 0),
        Latest: -d,
        Agree: float(query @ key),
    }[type(criterion)]


@pytest.mark.parametrize("criteria", list(itertools.permutations(CRITERIA, 3)), ids=str)
def test_an_important_criterion_outweighs_all_later_ones(criteria: tuple) -> None:
    """Every pair of positions in a small window: if a criterion prefers one, it is ahead by the margin."""
    window, query = 4, np.array([1.0, -1.0, 1.0])
    nats = strengths(LookUp(criteria, "a", "a", 1.0), REGISTERS, window)
    keys = [*sign_codes(8), np.zeros(3)]
    positions = list(itertools.product(range(window), (0, 1), keys))
    scores = np.array([[score(c, *position, query) for c in criteria] for position in positions])
    totals = scores @ np.array(nats)
    for i, criterion in enumerate(criteria):
        # Of keys, only a full agreement has to win: how the others compare does not matter.
        winners = scores[:, i] == len(query) if isinstance(criterion, Agree) else np.ones(len(scores), bool)
        for winner in np.flatnonzero(winners):
            behind = (scores[:, i] < scores[winner, i]) & (scores[:, :i] == scores[winner, :i]).all(axis=1)
            assert (totals[winner] - totals[behind] >= MARGIN_NATS + math.log(window) - 1e-9).all()


def test_spreads_and_gaps_are_those_of_the_scores() -> None:
    window, query = 5, np.array([1.0, -1.0, 1.0])
    for criterion in CRITERIA:
        found = sorted(
            {
                score(criterion, d, flag, key, query)
                for d in range(window)
                for flag in (0, 1)
                for key in [*sign_codes(8), np.zeros(3)]
            }
        )
        gap, spread, _ = MEASURES[type(criterion)](criterion, REGISTERS, window)
        assert found[-1] - found[0] == spread
        assert found[-1] - found[-2] == gap


def test_scores_beyond_float32_are_refused() -> None:
    look_up = LookUp((Agree("a", "b"), Latest()), "a", "a", 1.0)
    assert rounding_nats(look_up, REGISTERS, 100) < ROUNDING_NATS < rounding_nats(look_up, REGISTERS, 10**6)
    exact, fetched = (rounding_nats(look_up, REGISTERS, 100, names) for names in ((), {"b"}))
    assert exact < fetched < ROUNDING_NATS
    task = AssociativeRecallDecoding(word_bits=5, seq_len=30_000)
    with pytest.raises(
        ValueError,
        match=(
            r"sizes must be such that float32 provably tells the scores in a window apart; "
            r"got a window of .* tokens where it cannot"
        ),
    ):
        check_fit(ar_decoding.ar_decoding_program(task, ar_decoding.smallest_spec(task)))


def test_the_rotary_base_is_that_of_the_attention() -> None:
    assert rotary.ROTARY_BASE == ROTARY_BASE


@pytest.mark.parametrize("farthest", [1, 10, 99])
@pytest.mark.parametrize("pairs", [(0,), (1, 2), (0, 3)])
def test_the_gap_is_the_least_lead_over_the_window(farthest: int, pairs: tuple[int, ...]) -> None:
    theta = [10_000.0 ** (-2 * i / 10) for i in pairs]
    leads = [sum(math.cos(0.0) - math.cos(j * angle) for angle in theta) for j in range(1, farthest + 1)]
    assert rotary.gap(pairs, 10, farthest) == pytest.approx(min(leads), abs=1e-12)


def test_pairs_whose_gap_drowns_in_rounding_are_not_taken() -> None:
    assert rotary.choose_pairs(10, farthest=10, seq_len=100, n_pairs=1) is not None
    assert rotary.choose_pairs(10, farthest=10, seq_len=10**7, n_pairs=1) is None
    chosen = rotary.choose_pairs(10, farthest=10, seq_len=10**7, n_pairs=1, unit=rotary.FLOAT64)
    assert chosen is not None
    assert not chosen.float32


def test_what_is_held_lies_on_the_grid_and_above_the_activation() -> None:
    criterion = AtAngle("offset", rotary.SHIFT, (0, 2), 0.1, float32=True)
    held = rotary.held_angles(criterion, 12, range(1, 11))
    assert held.shape == (10, 4)
    assert (held >= 1.0).all()
    assert (held <= 4.0).all()
    assert (held / rotary.GRID == np.round(held / rotary.GRID)).all()


COPYING = SelectiveCopying()
RECALL = AssociativeRecallDecoding()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "attn-mamba"}, r"the program needs the architecture '.*"),
        ({"norm": "pre"}, r"the program needs the architecture '.*"),
        ({"d_model": 11}, r"`d_model` must be an integer of at least 12 \(the registers side by side\); got 11"),
        ({"n_heads": 3}, r"`d_model / n_heads` must be an integer of at least.*; got 4"),
        ({"window": 10}, r"`window` must be an integer of at least.*; got 10"),
        ({"position": "none"}, "`position` must be one of learned, rope; got 'none'"),
    ],
)
def test_sizes_that_copying_does_not_fit_into(change: dict, said: str) -> None:
    spec = dataclasses.replace(selective_copying.smallest_spec(COPYING), **change)
    with pytest.raises(ValueError, match=said):
        check_fit(selective_copying.selective_copying_program(COPYING, spec))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"architecture": "mamba-attn"},
            "`architecture` of associative recall must be one of ssm-attn, ssm-attn-attn; got 'mamba-attn'",
        ),
        ({"n_heads": 1}, r"`n_heads` must be an integer of at least 2 \(one for each shift register\); got 1"),
        ({"d_state": 9}, r"`d_state` must be an integer of at least 10 \(the slots of a shift register\); got 9"),
        ({"d_model": 14}, r"`d_model` must be an integer of at least 16 \(the registers side by side\); got 14"),
        ({"position": "rope", "d_model": 20}, r"the program needs the architecture '.*"),
    ],
)
def test_sizes_that_recall_does_not_fit_into(change: dict, said: str) -> None:
    spec = dataclasses.replace(ar_decoding.smallest_spec(RECALL), **change)
    with pytest.raises(ValueError, match=said):
        check_fit(ar_decoding.ar_decoding_program(RECALL, spec))


@given(st.integers(2, 40), st.integers(1, 6), st.integers(2, 40), st.sampled_from(["learned", "rope"]))
def test_width_is_a_logarithm_of_the_alphabet(n: int, first: int, letters: int, position: str) -> None:
    task = SelectiveCopying(n_numbers=n, first_number=first, n_letters=letters, seq_len=n + first + 1)
    spec = selective_copying.smallest_spec(task, position)
    check_fit(selective_copying.selective_copying_program(task, spec))
    assert spec.d_model <= 2 * math.ceil(math.log2(task.vocab_size)) + 4
    assert spec.window == task.distances[-1] + 1


@pytest.mark.parametrize("b", [2, 3, 5, 8])
def test_width_is_three_codes_and_a_flag(b: int) -> None:
    task = AssociativeRecallDecoding(word_bits=b, seq_len=2**b + b)
    for n_layers in (2, 3):
        spec: ModelSpec = ar_decoding.smallest_spec(task, n_layers)
        check_fit(ar_decoding.ar_decoding_program(task, spec))
        assert 3 * b + 1 <= spec.d_model <= 3 * b + 2
