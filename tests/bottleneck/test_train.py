"""Training of a bottleneck: what it minimises, what it leaves alone, and that no machine is above the ceiling."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boundprobe.bottleneck import Bottleneck, BottleneckConfig, BottleneckedModel, train_bottleneck, train_bottlenecks
from boundprobe.bottleneck import train as training
from boundprobe.bottleneck.module import MOST_ENTRY_BITS
from boundprobe.bounds import packing_accuracy_ceiling
from boundprobe.models import CutState, ModelSpec, SequenceModel, StateTensor
from boundprobe.probes import states_at_cut, wrong_answers
from boundprobe.tasks import IGNORE, TASKS, AbstractTask, CutBatch, SelectiveCopying, wrap_task

#: Two of four tokens are asked for: 4 bits.  Prefixes are 3 tokens long, so all 64 can be read.
TASK = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=4)
EVERY = np.array(list(itertools.product(range(4), repeat=3)))
ALL = CutBatch(EVERY, np.arange(2)[:, None], EVERY[:, [2, 1]])
QUICK = BottleneckConfig(steps=60, batch=256, n_states=512, hidden=32)
SPEC = ModelSpec("mamba-attn", d_model=4, window=3, d_state=2, d_conv=2, mlp_ratio=1)


class Letters(nn.Module):
    """A perfect base, written down: its state is the tokens that can be asked for, its answers follow from it alone."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def prefill(self, prefix: Tensor) -> CutState:
        kept = nn.functional.one_hot(prefix[:, [-1, -2]], 4).float()
        return CutState(((StateTensor("kept", "cache", kept),),))

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        kept = state.layers[0][0].value
        said = self.sharpness * kept[torch.arange(len(kept)), suffix[:, 0]]
        return said[:, None].expand(-1, suffix.shape[1], -1)


def real(task: AbstractTask = TASK, seed: int = 0) -> SequenceModel:
    torch.manual_seed(seed)
    return SequenceModel(SPEC, task.n_token_ids).eval()


def accuracy(machine: Any) -> float:
    """Mean accuracy over all prefixes and queries: exact, not sampled."""
    return 1 - float(wrong_answers(machine, states_at_cut(machine, EVERY), ALL).mean())


def assert_same_weights(found: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


# What it reaches


def test_the_base_is_perfect() -> None:
    assert accuracy(Letters()) == 1.0


@pytest.mark.parametrize("budget", [(1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 2)])
def test_it_learns_and_is_never_above_the_ceiling(budget: tuple[int, int]) -> None:
    """The accuracy is exact, so S3 must hold without a tolerance (an ulp is that of the ceiling's logarithms).

    A constant code is right with 1/4.  One bit that tells two values of one answer apart gives 3/8 already.
    """
    machine = train_bottleneck(Letters(), TASK, replace(QUICK, n_entries=budget[0], entry_bits=budget[1]), seed=0)
    found = accuracy(machine)
    bits = budget[0] * budget[1]
    assert states_at_cut(machine, EVERY)[0].bits().total_bits == bits
    assert 5 / 16 < found <= float(packing_accuracy_ceiling(float(bits), 2, 4)) + 1e-12


def test_more_bits_are_used() -> None:
    found = [accuracy(train_bottleneck(Letters(), TASK, replace(QUICK, n_entries=m), seed=1)) for m in (1, 2)]
    one_bit = accuracy(train_bottleneck(Letters(), TASK, replace(QUICK, entry_bits=1), seed=1))
    assert one_bit < min(found)


def test_a_model_that_knows_nothing_learns_nothing() -> None:
    """The negative control: behind a model that says one letter, whatever its state, no code is above chance."""
    model = Letters()
    with torch.no_grad():
        model.sharpness.zero_()
    assert accuracy(train_bottleneck(model, TASK, QUICK, seed=0)) == 1 / 4


# What it leaves alone


def test_the_model_is_not_changed() -> None:
    model = real()
    model.embedding.weight.grad = torch.ones_like(model.embedding.weight)
    model.readout.weight.requires_grad_(False)
    before, n_before = copy.deepcopy(model), torch.get_rng_state()
    machine = train_bottleneck(model, TASK, replace(QUICK, steps=5), seed=0)
    assert machine.model is model
    assert_same_weights(model, before)
    for (name, parameter), same in zip(model.named_parameters(), before.parameters(), strict=True):
        assert parameter.requires_grad == same.requires_grad, name
    assert torch.equal(model.embedding.weight.grad, torch.ones_like(model.embedding.weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "embedding.weight")
    assert torch.equal(torch.get_rng_state(), n_before), "the caller's generator was moved"


@pytest.mark.parametrize("budget", [(1, 2), (2, 2)])
def test_annealing_moves_every_parameter_of_the_bottleneck_and_nothing_else(budget: tuple[int, int]) -> None:
    """From its start, which a training of no rate shows, everything is moved but the frozen mean and scale."""
    config = replace(QUICK, n_entries=budget[0], entry_bits=budget[1], steps=3)
    model = real()
    start = train_bottleneck(model, TASK, replace(config, codebook_rate=1e-30, encoder_rate=1e-30), seed=0)
    machine = train_bottleneck(model, TASK, config, seed=0)
    for name, value in machine.bottleneck.named_parameters():
        assert not torch.equal(value, start.bottleneck.get_parameter(name)), name
    for name in ("mean", "scale"):
        assert torch.equal(machine.bottleneck.get_buffer(name), start.bottleneck.get_buffer(name))


def test_the_start_lies_between_the_mean_and_the_states_of_prefixes() -> None:
    machine = train_bottleneck(Letters(), TASK, replace(QUICK, codebook_rate=1e-30, steps=1), seed=0)
    bottleneck = machine.bottleneck
    entries = torch.cat([state.flatten() for state in states_at_cut(Letters(), EVERY)])
    # Entries are 0 or 1, 1 with p = 1/4: mean p, scale sqrt(p (1 - p)), whose slope in p is 1 / sqrt(3); 5 standard
    # errors of 512 states.
    five = 5 * math.sqrt(3 / 16 / 512)
    torch.testing.assert_close(bottleneck.mean, torch.full((8,), 1 / 4), atol=five, rtol=0)
    torch.testing.assert_close(bottleneck.scale, torch.full((8,), math.sqrt(3 / 16)), atol=five / math.sqrt(3), rtol=0)
    for word in bottleneck.codebooks.detach().flatten(0, 1):
        away = (bottleneck.standardised(entries) / 2 - word).abs().amax(1)
        assert float(away.min()) < 1e-5


# Repeatable


def test_the_result_is_a_function_of_the_seed() -> None:
    config = replace(QUICK, n_entries=2, steps=5)
    first = train_bottleneck(real(), TASK, config, seed=3)
    torch.manual_seed(99)
    np.random.seed(99)
    assert_same_weights(train_bottleneck(real(), TASK, config, seed=3), first)
    other = train_bottleneck(real(), TASK, config, seed=4)
    assert not torch.equal(other.bottleneck.codebooks, first.bottleneck.codebooks)
    assert not other.training


def test_budgets_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    class Listening(SelectiveCopying):
        def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
            cut = super().sample_cut(n_sequences, rng)
            seen.append(cut.prefix.tobytes())
            return cut

    task = Listening(n_numbers=2, n_letters=2, seq_len=4)
    for seed, budget in itertools.product((0, 1), ((1, 2), (2, 1), (1, 1))):
        config = replace(QUICK, n_entries=budget[0], entry_bits=budget[1], steps=1)
        train_bottleneck(Letters(), task, config, seed)
    assert len(set(seen)) == len(seen) == 6


# The objective


def machine_of(n_entries: int, entry_bits: int, model: Any = None, task: AbstractTask = TASK) -> BottleneckedModel:
    """A bottleneck with random codebooks, in double precision."""
    model = Letters() if model is None else model
    with torch.no_grad():
        state = model.double().prefill(torch.from_numpy(task.sample_cut(4, np.random.default_rng(0)).prefix))
    state = state.map(Tensor.double)
    torch.manual_seed(0)
    bottleneck = Bottleneck(state.flatten().shape[1], n_entries, entry_bits, hidden=8).double()
    nn.init.normal_(bottleneck.codebooks)
    return BottleneckedModel(model, bottleneck, state)


def worth(p: float) -> float:
    return p + 0.05 * max(math.log(p), -8.0) if p else 0.05 * -8.0


def answered(machine: BottleneckedModel, codewords: torch.Tensor, suffixes: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the answers from codewords."""
    question = training._Question(machine.bottleneck.from_codewords(codewords), suffixes)
    (log_p,) = training._answer_all(machine, [question])
    return log_p


def test_bottlenecks_side_by_side_are_themselves() -> None:
    """To rounding, whoever is beside them, of one entry and of several."""
    configs = [replace(QUICK, n_entries=m, entry_bits=b, steps=40) for m, b in ((1, 1), (1, 3), (2, 2))]
    together = train_bottlenecks(Letters(), TASK, configs, seed=0)
    for config, machine in zip(configs, together, strict=True):
        alone = train_bottleneck(Letters(), TASK, config, seed=0)
        for name, value in alone.bottleneck.state_dict().items():
            torch.testing.assert_close(machine.bottleneck.state_dict()[name], value, rtol=1e-3, atol=1e-3)
    other = train_bottleneck(Letters(), TASK, configs[1], seed=5)  # negative control
    difference = other.bottleneck.codebooks - together[1].bottleneck.codebooks
    assert difference.abs().max() > 0.05


def test_bottlenecks_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`steps` must be one number for all bottlenecks; got \[3, 4\]"):
        train_bottlenecks(Letters(), TASK, [replace(QUICK, steps=3), replace(QUICK, steps=4)], seed=0)


@pytest.mark.parametrize("n_entries", [1, 2, 3])
def test_utilities_are_those_of_the_definition(n_entries: int) -> None:
    """u_k = sum over answers of what the k-th value of an entry is worth beside the encoder's choice of the others."""
    machine, suffixes = machine_of(n_entries, 2), torch.from_numpy(ALL.queries)
    rows = torch.tensor([0, 7, 63])
    answers = torch.from_numpy(ALL.answers)[rows]
    answers[1, 0] = IGNORE
    with torch.no_grad():
        scores = torch.randn(3, n_entries, 4)
        choice = scores.argmax(-1)
        for entry in range(n_entries):
            asked = suffixes.expand(3, -1, -1)
            log_p = answered(machine, *training._alternatives(machine.bottleneck, scores, entry, asked))
            gained = training._gained(log_p.unflatten(0, (3, 4)), answers)
            assert gained.shape == (3, 4, 2)
            for row, value, i in itertools.product(range(3), range(4), range(2)):
                code = choice[row].clone()
                code[entry] = value
                state = machine.full_state(machine.bottleneck.decode(code[None]))
                p = machine.model.answer(state, suffixes[i : i + 1])[0, -1].softmax(-1)
                right = int(answers[row, i])
                expected = 0.0 if right == IGNORE else worth(float(p[right]))
                assert float(gained[row, value, i]) == pytest.approx(expected, abs=1e-9)


def test_shared_queries_are_a_short_cut_and_no_other_objective() -> None:
    machine, suffixes = machine_of(1, 3), torch.from_numpy(ALL.queries)
    answers = torch.from_numpy(ALL.answers)[::7]
    n = len(answers)
    with torch.no_grad():
        shared = answered(machine, machine.bottleneck.codebooks[0], suffixes.expand(8, -1, -1))
        asked = suffixes.expand(n, -1, -1)
        alternatives = training._alternatives(machine.bottleneck, torch.zeros(n, 1, 8), 0, asked)
        general = answered(machine, *alternatives).unflatten(0, (n, 8))
        found, expected = training._gained_shared(shared, answers), training._gained(general, answers)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_gradients_of_hopeless_answers_are_finite() -> None:
    """P = 0 in floats: its logarithm is cut off, so neither value nor gradient is infinite."""
    log_p = torch.tensor([-math.inf, -1e4, -7.0, 0.0], requires_grad=True)
    value = training._worth(log_p, torch.tensor([1, 1, 1, IGNORE]))
    value.sum().backward()
    assert value.isfinite().all()
    assert log_p.grad.isfinite().all()
    assert log_p.grad[3] == 0
    assert log_p.grad[2] > 0


@pytest.mark.parametrize(("n_answers", "n_entries"), [(1, 1), (4, 1), (5, 2), (2, 3), (1, 4), (7, 7)])
def test_an_entry_looks_at_its_own_answers_first_and_at_all_later(n_answers: int, n_entries: int) -> None:
    first = torch.stack([training._shares(n_answers, entry, n_entries, 0.0, 0) for entry in range(n_entries)])
    assert set(first.unique().tolist()) <= {0.0, 1.0}
    assert (first.sum(1) >= 1).all()
    assert (first.sum(0) >= 1).all(), "an answer that no entry looks at"
    if n_entries <= n_answers:
        assert (first.sum(0) == 1).all()
    last = [training._shares(n_answers, entry, n_entries, 0.999, 0).min() for entry in range(n_entries)]
    assert min(last) > 0.99


# Every task


TINY = {
    "selective-copying": {"n_numbers": 2, "n_letters": 2, "seq_len": 6},
    "ar-decoding": {"word_bits": 2, "seq_len": 8},
    "mkar": {"vocab_size": 4, "key_length": 1, "seq_len": 8},
    "needle": {"vocab_size": 4, "seq_len": 6},
    "mqar": {"n_pairs": 2, "n_keys": 4, "n_values": 4, "seq_len": 8},
    "copying": {"vocab_size": 3, "n_tokens": 3},
    "ngram-retrieval": {"vocab_size": 6, "n": 3, "query_length": 1, "seq_len": 8},
    "position-retrieval": {"seq_len": 5},
}


class Partly:
    """A task of one's own, in which not every question has an answer."""

    vocab_size = 5

    def prefixes(self) -> list[tuple[int, ...]]:
        return list(itertools.product(range(2), repeat=3))

    def queries(self) -> list[tuple[int, ...]]:
        return [(2,), (3,), (4,)]

    def answer(self, prefix: tuple[int, ...], query: tuple[int, ...]) -> int | None:
        return prefix[query[0] - 2] if prefix[0] or query == (2,) else None


TASKS_TO_TRAIN = [TASKS[name](**parameters) for name, parameters in TINY.items()]
TASKS_TO_TRAIN += [TASKS[name](**TINY[name], form="prefix") for name in ("ngram-retrieval", "position-retrieval")]
TASKS_TO_TRAIN.append(wrap_task(Partly()))


def test_no_task_is_left_out() -> None:
    assert TINY.keys() == TASKS.keys()
    cuts = [task.sample_cut(20, np.random.default_rng(0)) for task in TASKS_TO_TRAIN]
    assert any(cut.suffixes is not None for cut in cuts)
    assert any((cut.answers == IGNORE).any() for cut in cuts)


@pytest.mark.parametrize("task", TASKS_TO_TRAIN, ids=lambda task: task.name)
@pytest.mark.parametrize("budget", [(1, 2), (2, 1)])
def test_every_task_can_be_squeezed(task: AbstractTask, budget: tuple[int, int]) -> None:
    """Queries of its own for each prefix, several tokens an answer, answers that are not defined."""
    config = BottleneckConfig(*budget, steps=3, batch=16, n_states=32, hidden=8)
    machine = train_bottleneck(real(task), task, config, seed=0)
    assert all(parameter.isfinite().all() for parameter in machine.bottleneck.parameters())
    cut = task.sample_cut(40, np.random.default_rng(1))
    states = states_at_cut(machine, cut.prefix)
    assert {state.bits().total_bits for state in states} == {2}
    wrong = wrong_answers(machine, states, cut)
    assert wrong.shape == cut.answers.shape
    assert not wrong[cut.answers == IGNORE].any()


@pytest.mark.parametrize(
    ("name", "n_suffixes", "query_len", "n_told"),
    [("copying", 1, 3, 3), ("ngram-retrieval", 2, 5, 2), ("ar-decoding", 2, 2, 1)],
)
def test_answers_are_asked_at_the_last_positions_of_each_suffix(
    name: str, n_suffixes: int, query_len: int, n_told: int
) -> None:
    """Answer s * r + j at position query_len - r + j of suffix s, which has seen those of its answers before it."""
    task = TASKS[name](**TINY[name])
    machine, cut = machine_of(1, 1, real(task), task), task.sample_cut(5, np.random.default_rng(0))
    suffixes = (
        torch.from_numpy(cut.queries).expand(5, -1, -1) if cut.suffixes is None else torch.from_numpy(cut.suffixes)
    )
    assert suffixes.shape == (5, n_suffixes, query_len)
    with torch.no_grad():
        codewords = training._alternatives(machine.bottleneck, torch.zeros(5, 1, 2, dtype=torch.float64), 0, suffixes)
        log_p = answered(machine, *codewords).unflatten(0, (5, 2))
        gained = training._gained(log_p, torch.from_numpy(cut.answers))
        for row, value in itertools.product(range(5), range(2)):
            state = machine.full_state(machine.bottleneck.decode(torch.tensor([[value]])))
            expected = []
            for s in range(n_suffixes):
                p = machine.model.answer(state, suffixes[row, s : s + 1])[0].softmax(-1)
                places = range(query_len - n_told, query_len)
                right = cut.answers[row, s * n_told : (s + 1) * n_told]
                expected += [worth(float(p[place, y])) for place, y in zip(places, right, strict=True)]
            assert gained[row, value].tolist() == pytest.approx(expected, abs=1e-9)


# What is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_entries": 0}, "`n_entries` must be an integer of at least 1; got 0"),
        ({"entry_bits": 0}, f"`entry_bits` must be an integer from 1 to {MOST_ENTRY_BITS}; got 0"),
        ({"entry_bits": 13}, f"`entry_bits` must be an integer from 1 to {MOST_ENTRY_BITS}; got 13"),
        ({"entry_bits": 2.5}, "`entry_bits` must be an integer from 1 to 12; got 2.5 (float)"),
        ({"steps": 0}, "`steps` must be an integer of at least 1; got 0"),
        ({"batch": 0}, "`batch` must be an integer of at least 1; got 0"),
        ({"n_states": 1}, "`n_states` must be an integer of at least 2, to have a spread; got 1"),
        ({"hidden": True}, "`hidden` must be an integer of at least 1; got True (bool)"),
        ({"codebook_rate": 0.0}, "`codebook_rate` must be above 0; got 0.0"),
        ({"encoder_rate": math.nan}, "`encoder_rate` must be above 0; got nan"),
    ],
    ids=str,
)
def test_configs_that_cannot_be_are_refused_and_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        BottleneckConfig(**change)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_state_is_refused() -> None:
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("attn", d_model=4, window=1), 4)
    with pytest.raises(ValueError, match="`n_state_entries` must be an integer of at least 1; got 0"):
        train_bottleneck(model, TASK, QUICK, seed=0)
