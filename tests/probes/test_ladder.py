"""The ladder of planted models: what they hold is known, and what cannot be is reported."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.bounds import packing_accuracy_ceiling
from boundprobe.models import ENTRY_BITS, MemoryBits, ModelSpec, SequenceModel
from boundprobe.probes import Ladder, NullControl, ProbeConfig, measure
from boundprobe.probes.certificates import AnswerErrors, CertifiedBound, answer_errors, required_by, used_information
from boundprobe.probes.settings import LADDER_PARTS, certificate_level, premise_level
from boundprobe.seeds import generator
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying, StateCase

TASK = SelectiveCopying(n_numbers=4, n_letters=4, seq_len=12)  # V = 8: 3 bits an answer, 12 in all
CONFIG = ProbeConfig(n_sequences=600, n_calibration=200, n_train=150, decoders=("linear",))


@pytest.mark.parametrize("n_kept", [1, 2, 4])
def test_a_model_that_holds_k_tokens_is_certified_near_k_log_v(planted, n_kept):
    ladder = measure(planted.Keeper(TASK, n_kept), TASK, CONFIG)
    for held in (ladder.used, ladder.present):
        # What is guessed carries nothing; 600 sequences without an error cost less than 0.15 bits a token, and the
        # limit for what is guessed less than 0.1 bits.
        assert 3 * n_kept - 0.15 * n_kept - 0.1 <= held.lower <= held.estimate <= 3 * n_kept + 0.1
    # Each token by itself: no error at alpha / 9 parts / 4 distances, in closed form.
    e = 1 - (certificate_level(CONFIG.confidence, LADDER_PARTS) / 4) ** (1 / CONFIG.n_sequences)
    price = -e * math.log2(e) - (1 - e) * math.log2(1 - e) + e * math.log2(7)
    assert ladder.retention.by == "distance"
    assert [each.group for each in ladder.retention.groups] == [1, 2, 3, 4]
    held = sorted(ladder.retention.lower_bits, reverse=True)
    assert held[:n_kept] == pytest.approx([3 - price] * n_kept, abs=1e-9)
    assert held[n_kept:] == pytest.approx([0] * (4 - n_kept), abs=0.01)
    assert ladder.errors.estimate[:n_kept].tolist() == [0.0] * n_kept
    assert ladder.errors.estimate[n_kept:] == pytest.approx(7 / 8, abs=4 * math.sqrt(7 / 64 / 600))
    assert ladder.memory == MemoryBits(0, 0, 32 * n_kept)
    assert ladder.violations == ()
    # Tokens 0..7 between limits 0 and 7 are exact from 3 bits on, and 2 bits tell four of eight apart.
    assert ladder.needed_bits == 3 * n_kept
    # The rounded state is the tokens: 3 bits each, uniform.
    assert ladder.needed.total_bits == 3 * n_kept
    assert 3 * n_kept - 0.1 <= ladder.rounded_entropy.upper <= 3 * n_kept
    assert ladder.states.lower <= 3 * n_kept + 1e-9
    (part,) = ladder.parts
    assert (part.layer, part.kind, part.nominal_bits) == (0, "cache", 32 * n_kept)
    assert part.present.lower <= 3 * n_kept


def test_the_ladder_has_its_order(planted):
    for n_kept in (1, 3):
        ladder = measure(planted.Keeper(TASK, n_kept), TASK, CONFIG)
        assert ladder.used.lower <= ladder.used.estimate <= ladder.memory.total_bits
        assert ladder.required.lower <= ladder.required.estimate
        assert ladder.required.lower <= ladder.needed_bits <= ladder.memory.total_bits


def test_the_rounded_machines_are_really_run(planted):
    ladder = measure(planted.Keeper(TASK, 4), TASK, CONFIG)
    assert [machine.total_bits for machine in ladder.rounded] == [4 * bits for bits in ENTRY_BITS]
    accuracy = {machine.total_bits: machine.accuracy for machine in ladder.rounded}
    # 1 bit: the levels are 0 and 7, so two of eight tokens come back as they were; 2 bits: 0, 2, 5 and 7.
    for entry_bits, share in ((1, 2 / 8), (2, 4 / 8)):
        se = math.sqrt(share * (1 - share) / (4 * CONFIG.n_sequences))
        assert accuracy[4 * entry_bits] == pytest.approx(share, abs=4 * se)
    assert all(accuracy[4 * bits] == 1.0 for bits in ENTRY_BITS[2:])
    for machine in ladder.rounded:
        assert machine.accuracy_lower <= packing_accuracy_ceiling(float(machine.total_bits), 4, 8)


def test_a_wide_tolerance_needs_fewer_bits(planted):
    model = planted.Keeper(TASK, 4)
    assert measure(model, TASK, dataclasses.replace(CONFIG, tolerance=0.55)).needed_bits == 8
    assert measure(model, TASK, dataclasses.replace(CONFIG, tolerance=0.8)).needed_bits == 4


def test_no_rounding_may_be_enough(planted):
    class Fine(planted.Keeper):
        """Tells its tokens by the 20th bit of its entries."""

        def prefill(self, prefix):
            return super().prefill(prefix).map(lambda value: value * 2.0**-20 + (value > 3))

        def answer(self, state, suffix):
            return super().answer(state.map(lambda v: (v - (v > 0.5).float()) * 2.0**20), suffix)

    ladder = measure(Fine(TASK, 4), TASK, CONFIG)
    assert ladder.errors.mean_estimate == 0.0
    assert ladder.needed_bits is None
    assert ladder.to_json()["needed_bits"] is None
    assert ladder.violations == ()


def test_the_shares_of_a_ladder_add_up_to_its_level(planted):
    """Every certified number says what it took; answers, rounded answers and window-hard accuracy share alpha alike."""
    ladder = measure(planted.Keeper(TASK, 2), TASK, CONFIG)
    held = [
        ladder.errors, ladder.used, ladder.present, ladder.retention, ladder.states, ladder.rounded_entropy,
        *(part.present for part in ladder.parts),
        *(machine.used for machine in ladder.rounded),
    ]  # fmt: skip
    window_hard = certificate_level(CONFIG.confidence, LADDER_PARTS)
    premises = 2 * premise_level(CONFIG.confidence)  # of the null control, and of tests of a stated prior
    held += [ladder.null_control.constant, ladder.null_control.others]
    taken = sum(1 - each.confidence for each in held) + window_hard + premises / 2
    assert taken == pytest.approx(1 - CONFIG.confidence)


def test_evaluation_answers_reach_no_plan(planted, monkeypatch):
    """Other evaluation prefixes and answers: every decoder, code, rounding and threshold stays bit for bit the same."""
    plans = []
    for change in (lambda cut: cut, lambda cut: dataclasses.replace(cut, answers=(cut.answers + 1) % 8)):
        seen = []

        def spy(prior, plan, evaluation, alpha, rng, limit="betting", seen=seen):
            code = plan.code and [np.asarray(value).tolist() for value in vars(plan.code).values()]
            seen.append([plan.decoder, plan.form, code, plan.seen.tolist(), plan.expected_bits, rng.random(), alpha])
            return CertifiedBound(0.0, "lower", 0.0, 1 - alpha, "T1", limit, plan.decoder, plan.form)

        monkeypatch.setattr("boundprobe.probes.present.certify", spy)
        ladder = measure(planted.Keeper(TASK, 2), SplitTask(change), CONFIG)
        plans.append([*seen, ladder.states.threshold, ladder.needed.entry_bits, ladder.needed_bits])
    assert len(plans[0]) == 3 + 3
    assert plans[0] == plans[1]


def test_the_splits_share_no_random_numbers(planted, monkeypatch):
    drawn = []

    def spy(seed, role, *indices):
        drawn.append((seed, role, *indices))
        return generator(seed, role, *indices)

    monkeypatch.setattr("boundprobe.probes.measurement.generator", spy)
    monkeypatch.setattr("boundprobe.probes.present.generator", spy)
    measure(planted.Keeper(TASK, 2), TASK, CONFIG)
    assert len(set(drawn)) == len(drawn) >= 8
    assert {role for _, role, *_ in drawn} == {"probe-training", "calibration", "evaluation", "order"}


STREAM = ProbeConfig(n_sequences=150, n_calibration=100, n_train=150, decoders=("linear",), stream="replacement")


def test_a_stream_with_overwritten_keys_claims_no_more_than_its_prior():
    task = AssociativeRecallDecoding(word_bits=2, seq_len=12)
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("mamba", d_model=8, d_state=2), task.vocab_size).eval()
    ladder = measure(model, task, STREAM)
    assert ladder.retention is None
    assert ladder.states is None
    assert ladder.entropy_bits < task.stream_case("keys-once").entropy_bits
    for held in (ladder.used, ladder.present, *(part.present for part in ladder.parts)):
        assert 0 <= held.lower <= held.estimate <= ladder.entropy_bits
    assert ladder.present.lower > 0.5  # negative control: the same numbers would be 0 if nothing was read
    assert 0 <= ladder.required.lower <= ladder.required.estimate <= ladder.entropy_bits
    assert ladder.violations == ()
    document = ladder.to_json()
    assert document["states_bits"] is None
    assert document["retention"] is None
    assert Ladder.from_json(document).to_json() == document


def test_a_law_that_the_task_has_not_is_refused(planted):
    with pytest.raises(ValueError, match="`stream` of selective-copying must be one of keys-once; got 'replacement'"):
        measure(planted.Keeper(TASK, 2), TASK, STREAM)


def test_a_model_without_any_state_holds_nothing():
    """Attention over one token keeps nothing at the cut."""
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("attn", d_model=8, window=1), TASK.vocab_size).eval()
    ladder = measure(model, TASK, CONFIG)
    assert ladder.memory.total_bits == 0
    assert ladder.used.lower == ladder.present.lower == 0.0
    assert ladder.violations == ()
    document = json.loads(json.dumps(ladder.to_json(), allow_nan=False))
    assert Ladder.from_json(document).to_json() == document


class SplitTask:
    """Selective copying, but with other right answers on the evaluation sequences, told by their number."""

    def __init__(self, change):
        self.change = change

    def __getattr__(self, name):
        return getattr(TASK, name)

    def sample_cut_stream(self, n_sequences, rng, stream="keys-once"):
        cut = TASK.sample_cut_stream(n_sequences, rng, stream)
        return self.change(cut) if n_sequences == CONFIG.n_sequences else cut


def test_needed_is_chosen_on_calibration_sequences_alone(planted):
    """On the evaluation sequences every answer is made wrong: chosen there, one bit would be enough."""
    split = SplitTask(lambda cut: dataclasses.replace(cut, answers=(cut.answers + 1) % 8))
    ladder = measure(planted.Keeper(TASK, 4), split, CONFIG)
    assert ladder.errors.mean_estimate == 1.0
    assert ladder.needed_bits == 12


def test_limits_of_the_rounding_are_those_of_calibration_sequences_alone(planted, monkeypatch):
    """Evaluation prefixes with tokens 2..5 alone: limits from them would make 2 bits exact.

    The prior of the answers is false then, and the null control says so first.
    """
    narrow = np.array([2, 2, 2, 3, 4, 5, 5, 5])

    def change(cut):
        prefix = narrow[cut.prefix]
        return dataclasses.replace(cut, prefix=prefix, answers=narrow[cut.answers])

    with pytest.raises(ValueError, match="null control"):
        measure(planted.Keeper(TASK, 4), SplitTask(change), CONFIG)
    monkeypatch.setattr(NullControl, "lower", 0.0)
    ladder = measure(planted.Keeper(TASK, 4), SplitTask(change), CONFIG)
    assert ladder.rounded[1].total_bits == 8
    # Limits 0 and 7, levels 0, 2, 5, 7: tokens 2 and 5, six of eight, come back, 3 and 4 do not.
    assert ladder.rounded[1].accuracy == pytest.approx(0.75, abs=0.04)


def test_the_same_config_measures_the_same(planted):
    first, again = (measure(planted.Keeper(TASK, 2), TASK, CONFIG).to_json() for _ in range(2))
    assert first == again
    other = measure(planted.Keeper(TASK, 2), TASK, dataclasses.replace(CONFIG, seed=1)).to_json()
    assert other != first


def test_confidence_is_shared_by_the_parts(planted):
    ladder = measure(planted.Keeper(TASK, 2), TASK, CONFIG)
    alpha = certificate_level(CONFIG.confidence, LADDER_PARTS)
    assert ladder.confidence == CONFIG.confidence
    assert ladder.errors.confidence == pytest.approx(1 - alpha)
    for machine in ladder.rounded:
        assert machine.used.confidence == pytest.approx(1 - alpha / len(ENTRY_BITS), abs=1e-12)


def test_the_document_has_the_keys_of_the_contract(planted):
    document = measure(planted.Keeper(TASK, 2), TASK, CONFIG).to_json()
    assert {
        "used_bits", "present_bits", "needed_bits", "nominal_bits", "required_bits", "violations",
    } <= set(document)  # fmt: skip
    for name in ("used_bits", "present_bits"):
        assert set(document[name]) == {"lower", "estimate", "confidence", "decoder", "form", "limit"}
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert Ladder.from_json(document).to_json() == document
    assert document["nominal_bits"] == 64
    assert document["violations"] == []


# Cheats.  A model that holds its answers outside its state must be reported.


def test_a_state_that_points_to_memory_outside_it_is_a_violation(planted):
    """16 letters and 10 numbers: 47 bits of answers, from a state of one float32."""
    task = SelectiveCopying(n_numbers=10, n_letters=16, seq_len=14)
    ladder = measure(planted.Pointer(task), task, CONFIG)
    assert ladder.memory.total_bits == 32
    assert ladder.used.lower > 32
    assert any("used" in violation and "(T1)" in violation for violation in ladder.violations)
    for name in ("present", "required", "states"):
        assert any(v.startswith(name) and "more than nominal 32 bits" in v for v in ladder.violations)
    # Honest models of the same task with the same accuracy hold 320 bits, and are not accused.
    honest = measure(planted.Keeper(task, 10), task, CONFIG)
    assert honest.errors.mean_estimate == ladder.errors.mean_estimate == 0.0
    assert honest.violations == ()


def test_a_model_that_needs_no_state_is_a_violation_of_every_rounded_machine(planted):
    config = dataclasses.replace(CONFIG, n_sequences=200, n_calibration=100)
    ladder = measure(planted.Blank(TASK), TASK, config)
    assert "(A4)" in ladder.violations[0]
    assert [machine.total_bits for machine in ladder.rounded] == [0] * len(ENTRY_BITS)
    for name in ("required", "used"):
        found = [v for v in ladder.violations if v.startswith(name) and "more than the 0 of a rounded state" in v]
        assert len(found) == len(ENTRY_BITS)
    assert any("more than the entropy of a rounded state" in violation for violation in ladder.violations)


@pytest.mark.parametrize("window", [4, 11])
def test_a_model_that_sees_more_than_its_windows_is_a_violation(planted, window):
    spec = ModelSpec("attn", d_model=8, window=window)
    ladder = measure(planted.Telescope(TASK, 4, spec), TASK, CONFIG)
    assert ladder.window_hard.estimate == 1.0
    assert ladder.window_ceiling < 1.0
    # Where it also answers what its windows cannot reach before the cut, nothing crosses the diagonal (D1).
    of_window = [violation for violation in ladder.violations if "(W2)" in violation]
    assert len(of_window) == 1
    beyond = [f"lag {window - 1} (D1)" in violation for violation in ladder.violations if violation not in of_window]
    assert beyond == ([True] if ladder.diagonal.accuracy_ceiling < 1 else [])


def test_a_model_whose_window_covers_the_sequence_may_be_right(planted):
    ladder = measure(planted.Telescope(TASK, 4, ModelSpec("attn", d_model=8, window=12)), TASK, CONFIG)
    assert ladder.window_hard.estimate == ladder.window_ceiling == 1.0
    assert ladder.violations == ()


# No deterministic machine is above the ceiling: random encoders with their best decoders, known exactly.


@settings(max_examples=150)
@given(data=st.data())
def test_no_encoder_with_its_best_decoder_is_above_the_ceiling(data):
    n, q = data.draw(st.sampled_from([(1, 5), (2, 2), (2, 3), (3, 2), (3, 3), (4, 2), (5, 2)]))
    words = np.stack(np.meshgrid(*[np.arange(q)] * n, indexing="ij"), -1).reshape(-1, n)
    n_states = data.draw(st.integers(1, min(len(words), 12)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    codebook = words[rng.choice(len(words), n_states, replace=False)]
    if data.draw(st.booleans()):  # nearest word of a random code: near the ceiling
        state = (words[:, None] != codebook).sum(-1).argmin(1)
    else:
        state = rng.integers(n_states, size=len(words))
    counts = np.zeros((n_states, n, q))
    for i in range(n):
        np.add.at(counts, (state, i, words[:, i]), 1)
    p = 1 - counts.max(-1).sum(0) / len(words)  # error of each answer by the best decoder, exactly
    state_bits = math.log2(len(np.unique(state)))
    assert 1 - p.mean() <= packing_accuracy_ceiling(state_bits, n, q) + 1e-12
    case = StateCase(n, q, n * math.log2(q), True, n * math.log2(q), "", "")
    errors = AnswerErrors(p, p, p, 1.0)
    used, required = used_information(case, errors), required_by(case, errors)
    for certified in (used, required):
        assert not certified.exceeds(state_bits, 1e-9)


def test_a_perfect_code_stands_on_the_ceiling():
    """The ceiling is attained, so a ceiling that was too high would not be caught by random codes alone."""
    words = (np.arange(8)[:, None] >> np.arange(3)) & 1
    wrong = (words != (words.sum(1, keepdims=True) >= 2)).astype(bool)  # repetition code: 2 states, majority
    assert 1 - wrong.mean() == packing_accuracy_ceiling(1.0, 3, 2) == 0.75
    case = StateCase(3, 2, 3.0, True, 3.0, "", "")
    errors = answer_errors(np.tile(wrong, (2000, 1)), 0.05)
    assert required_by(case, errors).lower <= 1.0
    assert required_by(case, errors).estimate == pytest.approx(1.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"n_sequences": 0},
        {"n_calibration": 0},
        {"n_train": 0},
        {"decoders": ()},
        {"decoders": ("linear", "linear")},
        {"part_decoders": ("nope",)},
        {"n_sequences": 1.5},
        {"confidence": 1.0},
        {"confidence": 0.9999999999999},
        {"seed": 2**63},
        {"confidence": 0.0},
        {"tolerance": -0.1},
        {"tolerance": 1.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_configs_that_cannot_be_are_refused_and_named(bad):
    (name,) = bad
    name = name.removeprefix("part_")
    with pytest.raises(ValueError, match=name):
        ProbeConfig(**bad)


def test_ladders_are_equal_by_their_numbers(planted):
    ladders = [measure(planted.Keeper(TASK, n_kept), TASK, CONFIG) for n_kept in (1, 1, 2)]
    one, same, other = ladders
    assert one == same
    assert one != other
    assert one != "a ladder"
    assert len(set(ladders)) == 2
    read = Ladder.from_json(json.loads(json.dumps(one.to_json())))
    assert read == Ladder.from_json(read.to_json())
    errors = one.errors
    assert errors == dataclasses.replace(errors, lower=errors.lower.copy())
    assert errors != dataclasses.replace(errors, lower=errors.lower / 2)
    assert errors != dataclasses.replace(errors, confidence=0.5)
