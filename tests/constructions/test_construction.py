"""Constructed models: right on every input, as large as said, and wrong as soon as they are damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from boundprobe.bounds import model_verdicts, required_bits
from boundprobe.constructions import (
    Construction,
    ar_decoding,
    construct,
    construct_in,
    selective_copying,
    verify,
    verify_small_case,
    witnesses,
)
from boundprobe.constructions.inputs import every_sequence, families
from boundprobe.constructions.score_margins import OTHERS
from boundprobe.constructions.sizes import count_parameters
from boundprobe.constructions.verification import check_sequences
from boundprobe.kernels import SELECTIVE_SCAN
from boundprobe.models import ModelSpec
from boundprobe.tasks import IGNORE, AbstractTask, AssociativeRecallDecoding, Needle, SelectiveCopying

COPYING = SelectiveCopying(n_numbers=4, first_number=2, n_letters=5, seq_len=16)
TEXT = dataclasses.replace(COPYING, offset=1)
PAPER = SelectiveCopying(**SelectiveCopying.presets["paper"])
RECALL = AssociativeRecallDecoding(word_bits=3, seq_len=20)

KINDS: list[tuple[AbstractTask, dict]] = [
    (COPYING, {"position": "learned"}),
    (COPYING, {"position": "rope"}),
    (TEXT, {"position": "learned"}),
    (PAPER, {"position": "learned"}),
    (PAPER, {"position": "rope"}),
    (SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6), {}),
    (SelectiveCopying(n_numbers=17, n_letters=2, seq_len=30), {"position": "rope", "window": 25}),
    (RECALL, {"n_layers": 2}),
    (RECALL, {"n_layers": 3}),
    (RECALL, {"n_layers": 2, "window": 6}),
    (RECALL, {"n_layers": 3, "window": 6}),
    (AssociativeRecallDecoding(word_bits=5, seq_len=40), {}),
]
each_kind = pytest.mark.parametrize(("task", "shape"), KINDS, ids=lambda value: getattr(value, "name", str(value)))


@each_kind
def test_right_on_every_family_of_inputs(task: AbstractTask, shape: dict) -> None:
    found = verify(construct(task, **shape), n_inputs=60 * len(families(task)))
    assert found.n_wrong == 0, found.counterexample
    assert all(check.n_sequences == 60 for check in found.checks)
    assert found.n_answers > found.n_sequences


@pytest.mark.parametrize(
    ("task", "shape", "expected"),
    [
        (SelectiveCopying(n_numbers=2, n_letters=2, seq_len=7), {"position": "learned"}, 4**7),
        (SelectiveCopying(n_numbers=2, n_letters=2, seq_len=7), {"position": "rope"}, 4**7),
        (SelectiveCopying(n_numbers=3, first_number=2, n_letters=2, seq_len=6, offset=1), {}, 5**6),
        (AssociativeRecallDecoding(word_bits=2, seq_len=6), {"n_layers": 2}, 6**6),
        (AssociativeRecallDecoding(word_bits=2, seq_len=6), {"n_layers": 3}, 6**6),
        (AssociativeRecallDecoding(word_bits=2, seq_len=6), {"n_layers": 2, "window": 2}, 6**6),
        (AssociativeRecallDecoding(word_bits=2, seq_len=6), {"n_layers": 3, "window": 3}, 6**6),
    ],
    ids=str,
)
def test_right_on_every_input_of_a_small_case(task: AbstractTask, shape: dict, expected: int) -> None:
    built = construct(task, **shape)
    found = check_sequences(built, "all", every_sequence(task.n_token_ids, task.n_positions))
    assert (found.n_sequences, found.n_wrong) == (expected, 0), found.counterexample
    assert found.n_answers > expected / 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (SelectiveCopying(), {"position": "learned"}),
        (SelectiveCopying(), {"position": "rope"}),
        (PAPER, {"position": "learned"}),
        (PAPER, {"position": "rope"}),
        (AssociativeRecallDecoding(), {"n_layers": 2}),  # the paper's sizes are the defaults
        (AssociativeRecallDecoding(), {"n_layers": 3}),
    ],
    ids=str,
)
def test_right_on_a_million_inputs_of_the_papers_sizes(task: AbstractTask, shape: dict) -> None:
    found = verify(construct(task, **shape), n_inputs=1_000_000)
    assert (found.n_sequences, found.n_wrong) == (1_000_000, 0), found.counterexample


@pytest.mark.slow
@pytest.mark.parametrize("shape", [{"n_layers": 2}, {"n_layers": 3}], ids=str)
def test_right_on_every_recall_of_eight_tokens(shape: dict) -> None:
    task = AssociativeRecallDecoding(word_bits=2, seq_len=8)
    found = check_sequences(construct(task, **shape), "all", every_sequence(6, 8))
    assert (found.n_sequences, found.n_wrong) == (6**8, 0), found.counterexample


# Selective copying: the attention pattern is a function of the held number and the position alone, so all patterns
# together are a proof for every input of the length.


@pytest.mark.parametrize("position", ["learned", "rope"])
@pytest.mark.parametrize("task", [SelectiveCopying(), PAPER, COPYING], ids=str)
@torch.no_grad()
def test_every_attention_pattern_points_at_the_target(task: SelectiveCopying, position: str) -> None:
    model = construct(task, position=position).model
    mixer = model.layers[1].branches[0].mixer
    length, letter = task.seq_len, task.n_numbers
    for number, distance in enumerate(task.distances):
        tokens = torch.full((1, length), letter)
        tokens[0, 0] = number
        x, _ = model.layers[0](model.embedding(tokens))
        q, k, _ = mixer.qkv(x)[0].chunk(3, dim=-1)
        scores = mixer.position(q * q.shape[-1] ** -0.5, k)
        at = torch.arange(length)
        apart = at[:, None] - at
        weights = scores.masked_fill((apart < 0) | (apart >= mixer.window), -torch.inf).softmax(-1)
        chosen = weights[at[distance:], at[distance:] - distance]
        assert chosen.min() > 1 - OTHERS


@pytest.mark.parametrize("backend", SELECTIVE_SCAN.usable("cpu"))
@pytest.mark.parametrize("position", ["learned", "rope"])
@torch.no_grad()
def test_what_is_held_is_held_exactly(backend: str, position: str) -> None:
    """After the Mamba layer the offset register is the last number's, bit by bit, and nothing else has changed."""
    model = construct(COPYING, position=position, backend=backend).model
    offset = selective_copying.selective_copying_program(COPYING, model.spec).registers.channels("offset")
    tokens = torch.as_tensor(COPYING.sample(50, np.random.default_rng(0)).tokens)
    before = model.embedding(tokens)
    after, _ = model.layers[0](before)
    expected = before.clone()
    for row, sequence in enumerate(tokens.tolist()):
        held = torch.zeros(len(offset))
        for t, token in enumerate(sequence):
            if token < COPYING.n_numbers:
                held = before[row, t, offset]
            expected[row, t, offset] = held
    assert torch.equal(after, expected)


@pytest.mark.parametrize("n_layers", [2, 3])
@torch.no_grad()
def test_registers_are_what_they_are_said_to_be(n_layers: int) -> None:
    """After the SSM layer: the last bits, and in two layers the last two words, as signs, 0 where there is none yet."""
    model = construct(RECALL, n_layers=n_layers).model
    registers = ar_decoding.ar_decoding_program(RECALL, model.spec).registers
    tokens = torch.as_tensor(RECALL.sample(20, np.random.default_rng(0)).tokens)
    x, _ = model.layers[0](model.embedding(tokens))

    def signs(value: int) -> list[float]:
        return [1.0 if value >> i & 1 else -1.0 for i in range(RECALL.word_bits)]

    for row, sequence in enumerate(tokens.tolist()):
        for t in range(len(sequence)):
            bits = [2.0 * token - 1.0 for token in sequence[: t + 1] if token < 2][: -RECALL.word_bits - 1 : -1]
            wanted = bits + [0.0] * (RECALL.word_bits - len(bits))
            assert x[row, t, registers.channels("wanted")].tolist() == wanted
            if n_layers == 2:
                words = [signs(token - 2) for token in sequence[: t + 1] if token >= 2]
                last = [*reversed(words), [0.0] * RECALL.word_bits, [0.0] * RECALL.word_bits]
                assert x[row, t, registers.channels("word")].tolist() == last[0]
                assert x[row, t, registers.channels("before")].tolist() == last[1]


# Sizes.


@each_kind
@torch.no_grad()
def test_sizes_are_those_of_the_model(task: AbstractTask, shape: dict) -> None:
    built = construct(task, **shape)
    assert count_parameters(built.spec, task.n_token_ids) == built.n_params
    assert 0 < built.n_nonzero < built.n_params
    prefix = torch.as_tensor(task.sample_cut(1, np.random.default_rng(0)).prefix)
    bits = built.model.prefill(prefix).bits()
    assert (bits.recurrent_bits, bits.conv_bits, bits.cache_bits) == built.nominal
    assert built.coded.recurrent_bits <= bits.recurrent_bits
    assert built.coded.cache_bits <= bits.cache_bits


@each_kind
def test_the_cut_bound_holds_for_the_hybrid_too(task: AbstractTask, shape: dict) -> None:
    """Where it is right on state-hard inputs, its state has the bits that no error takes, however coded."""
    built = construct(task, **shape)
    needed = required_bits(task.state_case(), 0.0)
    if built.witnesses():
        assert needed <= built.coded.total_bits <= built.nominal.total_bits
        if task is not RECALL:  # so small that three registers of 3 bits are more than 4 answers of 2
            assert built.coded.recurrent_bits < needed  # what a pure SSM could not do


@pytest.mark.parametrize("length", [1, 5, 300])
@pytest.mark.parametrize("position", ["learned", "rope"])
def test_copying_is_right_at_other_lengths(length: int, position: str) -> None:
    task = dataclasses.replace(COPYING, seq_len=300)
    built = construct(task, position=position)
    tokens = task.sample(20, np.random.default_rng(0)).tokens[:, :length]
    assert check_sequences(built, "cut", [tokens]).n_wrong == 0


# Larger models.


@pytest.mark.parametrize(
    ("task", "change"),
    [
        (COPYING, {"d_model": 24, "window": 9, "d_state": 3, "d_conv": 4, "expand": 2, "mlp_ratio": 4}),
        (COPYING, {"d_model": 40, "n_heads": 2, "position": "rope", "window": 12}),
        (COPYING, {"d_model": 16, "n_heads": 2}),
        (RECALL, {"d_model": 20, "d_state": 8, "n_heads": 2, "mlp_ratio": 2}),
        (RECALL, {"d_model": 24, "n_heads": 3, "window": 30}),
        (RECALL, {"architecture": "ssm-attn-attn", "d_model": 24, "n_heads": 3, "d_state": 4}),
    ],
    ids=str,
)
def test_it_fits_into_larger_models(task: AbstractTask, change: dict) -> None:
    spec = dataclasses.replace(construct(task).spec, **change)
    built = construct_in(task, spec)
    assert built.spec == spec
    assert verify(built, n_inputs=20 * len(families(task))).n_wrong == 0


@each_kind
def test_witnesses_let_models_of_these_sizes_pass(task: AbstractTask, shape: dict) -> None:
    built = construct(task, **shape)
    found = model_verdicts(task, built.spec.windows, built.nominal.total_bits, witnesses=built.witnesses())
    enough = shape.get("window") != 6  # fewer than W + b - 1 tokens
    assert [verdict.verdict for verdict in found] == ["can pass" if enough else "undecided"] * 3
    assert all(built.theorem in verdict.reason for verdict in found if enough)


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("attn-mamba", d_model=32, window=32, norm="none"),
        ModelSpec("mamba-attn", d_model=32, window=32),  # norms: another model
        ModelSpec("mamba-attn", d_model=6, window=32, norm="none"),
        ModelSpec("mamba-attn", d_model=32, window=5, norm="none"),
        ModelSpec("mamba-attn", d_model=32, window=32, n_heads=16, norm="none"),
    ],
    ids=str,
)
def test_sizes_without_a_construction_have_no_witness(spec: ModelSpec) -> None:
    assert witnesses(COPYING, spec) == ()


def test_other_tasks_have_no_construction() -> None:
    assert witnesses(Needle(), ModelSpec()) == ()
    with pytest.raises(
        ValueError, match=r"`construction` must be one of selective-copying, ar-decoding.*; got 'needle'"
    ):
        construct(Needle())


@pytest.mark.parametrize(
    ("task", "shape", "said"),
    [
        (
            COPYING,
            {"position": "none"},
            r"`position` of Theorem 4\.3 \(Cooper et al\. 2026\) must be one of learned, rope; got 'none'",
        ),
        (COPYING, {"n_layers": 3}, "`n_layers` must be 2 for selective-copying; got 3"),
        (
            COPYING,
            {"window": 5},
            r"`window` must be an integer of at least 6 \(the largest number asks 5 tokens back\); got 5",
        ),
        (
            RECALL,
            {"position": "rope"},
            r"`position` of Theorem 4\.6 \(Cooper et al\. 2026\) must be one of learned; got 'rope'",
        ),
        (RECALL, {"n_layers": 4}, "`n_layers` must be 2 or 3 for ar-decoding; got 4"),
        (RECALL, {"window": 0}, "`window` must be an integer of at least 1; got 0"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(task: AbstractTask, shape: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        construct(task, **shape)


# Negative controls: each of these is what a wrong construction would look like, and the same check must see it.


def damaged(task: AbstractTask, shape: dict, damage: Callable[[dict[str, Tensor]], None]) -> Construction:
    built = construct(task, **shape)
    with torch.no_grad():
        damage(dict(built.model.named_parameters()))
    return built


def _scale(name: str, factor: float) -> Callable[[dict[str, Tensor]], None]:
    return lambda weights: weights[name].mul_(factor)


def _scale_queries(layer: int, factor: float) -> Callable[[dict[str, Tensor]], None]:
    """A higher temperature: queries, so all scores, times a factor."""

    def damage(weights: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            qkv = weights[f"layers.{layer}.branches.0.mixer.qkv.{kind}"]
            qkv[: len(qkv) // 3] *= factor

    return damage


def _flip(name: str, place: tuple[int, ...]) -> Callable[[dict[str, Tensor]], None]:
    def damage(weights: dict[str, Tensor]) -> None:
        assert weights[name][place] != 0
        weights[name][place] *= -1

    return damage


DAMAGE = {
    "copying, one bit of one code": (COPYING, {}, _flip("embedding.weight", (6, 0))),
    "copying, one bit of one answer": (COPYING, {}, _flip("readout.weight", (6, 0))),
    "copying, hot": (COPYING, {}, _scale_queries(1, 0.05)),
    "copying, warm with rotations": (COPYING, {"position": "rope"}, _scale_queries(1, 0.05)),
    "copying, one bit of one distance": (COPYING, {}, _flip("layers.1.branches.0.mixer.position.relative", (3, 0))),
    "copying, outvoted": (COPYING, {}, _scale("layers.1.branches.0.mixer.out.weight", 0.4)),
    "copying, leaking": (COPYING, {}, lambda w: w["layers.0.branches.0.mixer.dt_proj.bias"].fill_(-1.0)),
    "copying, deaf": (COPYING, {}, _scale("layers.0.branches.0.mixer.x_proj.weight", 0.0)),
    "recall, one bit of one code": (RECALL, {}, _flip("embedding.weight", (4, 0))),
    "recall, hot": (RECALL, {}, _scale_queries(1, 0.01)),
    "recall, no shift": (RECALL, {}, _scale("layers.0.branches.0.mixer.A", 0.0)),
    "recall, late is early": (RECALL, {}, _scale("layers.1.branches.0.mixer.position.relative", -1.0)),
    "recall, outvoted": (RECALL, {}, _scale("layers.1.branches.0.mixer.out.weight", 0.4)),
    "three layers, no predecessor": (RECALL, {"n_layers": 3}, _scale("layers.1.branches.0.mixer.out.weight", 0.0)),
    "three layers, hot": (RECALL, {"n_layers": 3}, _scale_queries(2, 0.01)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_seen(name: str) -> None:
    built = damaged(*DAMAGE[name])
    found = verify(built, n_inputs=40 * len(families(built.task)))
    assert found.n_wrong > 0
    wrong = found.counterexample
    assert wrong is not None
    assert built.task.reference_answer(wrong.tokens) == wrong.expected != wrong.found
    assert built.model(torch.tensor([wrong.tokens]))[0, -1].argmax() == wrong.found


def test_a_window_one_too_short_is_seen() -> None:
    built = construct(COPYING)
    built.model.layers[1].branches[0].mixer.window -= 1
    assert verify(built, n_inputs=600).n_wrong > 0


@pytest.mark.parametrize("n_layers", [2, 3])
def test_the_smallest_window_of_recall_is_the_smallest(n_layers: int) -> None:
    """With one token less, the pair that is farthest away is out of sight on some input, and the answer wrong."""
    task = AssociativeRecallDecoding(word_bits=2, seq_len=7)
    window = ar_decoding.smallest_window(task)
    built = construct(task, n_layers=n_layers, window=window - 1)
    unseen = n_wrong = 0
    for tokens in every_sequence(6, 7):
        targets, reach = task.answers(tokens), built.in_reach(tokens)
        asked = (targets != IGNORE) & ~reach
        unseen += int(asked.sum())
        n_wrong += int((built.model(torch.as_tensor(tokens)).argmax(-1).numpy() != targets)[asked].sum())
        if n_wrong:
            break
    assert unseen >= n_wrong > 0


@pytest.mark.parametrize("gap", [0, 7])
def test_the_hard_window_of_recall_is_the_smallest(gap: int) -> None:
    task = dataclasses.replace(RECALL, seq_len=30, gap=gap)
    window = ar_decoding.hard_case_window(task)
    for shorter, complete in ((0, True), (1, False)):
        built = construct(task, window=window - shorter)
        batch = task.sample(400, np.random.default_rng(0), "state-hard")
        assert bool(built.in_reach(batch.tokens)[:, -1].all()) is complete
        answers = built.model(torch.as_tensor(batch.tokens)).argmax(-1).numpy()
        assert bool((answers == batch.targets)[:, -1].all()) is complete


@pytest.mark.parametrize(("of", "shape"), [(COPYING, {"position": "rope"}), (RECALL, {"n_layers": 3})], ids=str)
def test_the_small_case_is_of_the_same_kind(of: AbstractTask, shape: dict) -> None:
    built = construct(of, **shape)
    task, check = verify_small_case(built)
    assert type(task) is type(built.task)
    assert check.n_sequences == task.n_token_ids**task.n_positions
    assert check.n_wrong == 0


@torch.no_grad()
def test_in_pieces_as_in_one() -> None:
    """The state at the cut is all that the answers need: token by token they are the same."""
    for task in (COPYING, RECALL):
        model = construct(task).model
        tokens = torch.as_tensor(task.sample(10, np.random.default_rng(0)).tokens)
        state, parts = None, []
        for token in tokens.split(1, dim=1):
            logits, state = model.extend(token, state)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("task", [COPYING, RECALL], ids=lambda task: task.name)
@torch.no_grad()
def test_right_on_a_gpu(task: AbstractTask) -> None:
    model = construct(task).model.cuda()
    tokens = task.sample(200, np.random.default_rng(0)).tokens
    targets = task.answers(tokens)
    answers = model(torch.as_tensor(tokens).cuda()).argmax(-1).cpu().numpy()
    assert (answers == targets)[targets != IGNORE].all()
