"""The protocol of models that answer across a cut: honest ones pass its check, and each kind of fault is named."""

import pytest
import torch

import boundprobe as bp
from boundprobe.bottleneck import Bottleneck, BottleneckedModel
from boundprobe.bounds import Stage
from boundprobe.models import MIXERS, CutState, ModelSpec, SequenceModel, StateTensor
from boundprobe.probes import ProbeConfig, measure
from boundprobe.tasks import SelectiveCopying
from boundprobe.testing import check_cut_model

VOCAB = 7
TOKENS = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(0))


class Recurrent(torch.nn.Module):
    """A GRU of one's own."""

    receptive_field = None

    def __init__(self, vocab=VOCAB, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(vocab, width)
        self.rnn = torch.nn.GRU(width, width, batch_first=True)
        self.readout = torch.nn.Linear(width, vocab)

    def prefill(self, tokens):
        _, h = self.rnn(self.embed(tokens))
        return CutState.of(StateTensor("h", "recurrent", h[0]))

    def answer(self, state, tokens):
        return self.readout(self.rnn(self.embed(tokens), state["h"][None].contiguous())[0])


@pytest.mark.parametrize("architecture", [*MIXERS, "mamba-attn", "mamba|attn"])
def test_our_own_models_pass(architecture):
    model = SequenceModel(ModelSpec(architecture, d_model=8, window=4, d_state=2), VOCAB).eval()
    assert isinstance(model, bp.CutModel)
    check_cut_model(model, TOKENS)


def test_a_model_of_ones_own_passes():
    assert isinstance(Recurrent(), bp.CutModel)
    check_cut_model(Recurrent(), TOKENS)


def test_a_bottlenecked_model_passes_at_its_cut():
    model = SequenceModel(ModelSpec("gru", d_model=8), VOCAB).eval()
    state = model.prefill(TOKENS[:, :6])
    bottleneck = Bottleneck(state.flatten().shape[1], 2, 3, hidden=8)
    torch.nn.init.normal_(bottleneck.codebooks)
    machine = BottleneckedModel(model, bottleneck, state).eval()
    assert isinstance(machine, bp.CutModel)
    assert machine.receptive_field is None
    with pytest.raises(AssertionError, match="not those of the whole pass"):  # what a code loses is lost
        check_cut_model(machine, TOKENS)


class Remembers(Recurrent):
    """Adds the mean of the last prefix that it read, which is in no state."""

    def prefill(self, tokens):
        self.last = self.embed(tokens).mean(1)
        return super().prefill(tokens)

    def answer(self, state, tokens):
        return super().answer(state, tokens) + self.last[: len(tokens), None, :VOCAB]


class Forgets(Recurrent):
    """Ignores the state."""

    def answer(self, state, tokens):
        return self.readout(self.rnn(self.embed(tokens))[0])


class ByPlace(Recurrent):
    """Adds the row number of a sequence in its batch."""

    def answer(self, state, tokens):
        return super().answer(state, tokens) + torch.arange(len(tokens), dtype=torch.float)[:, None, None]


class Averages(Recurrent):
    """Centres the state over the batch."""

    def prefill(self, tokens):
        return super().prefill(tokens).map(lambda value: value - value.mean(0))


class Late(Recurrent):
    """Reads the prefix but its last token."""

    def prefill(self, tokens):
        return super().prefill(tokens[:, :-1]) if tokens.shape[1] > 1 else super().prefill(tokens)


class Positions(Recurrent):
    """Counts positions from 0 in every call."""

    def answer(self, state, tokens):
        return super().answer(state, tokens) + torch.arange(tokens.shape[1], dtype=torch.float)[:, None]


class Grows(Recurrent):
    """Its state is as long as the first token says."""

    def prefill(self, tokens):
        state = super().prefill(tokens)
        extra = torch.zeros(len(tokens), int(tokens[0, 0]))
        return CutState.of(*state.layers[0], StateTensor("more", "cache", extra))


class ShortSighted(Recurrent):
    receptive_field = 3


class NotANumber(Recurrent):
    def prefill(self, tokens):
        return super().prefill(tokens).map(lambda value: value / 0)


class Transposed(Recurrent):
    def prefill(self, tokens):
        return CutState.of(StateTensor("h", "recurrent", super().prefill(tokens)["h"].T))


class Misnamed(Recurrent):
    def prefill(self, tokens):
        return CutState.of(StateTensor("h", "hidden", super().prefill(tokens)["h"]))


class Bare(Recurrent):
    def prefill(self, tokens):
        return super().prefill(tokens)["h"]


class LastOnly(Recurrent):
    def answer(self, state, tokens):
        return super().answer(state, tokens)[:, -1]


class Boasts(Recurrent):
    def prefill(self, tokens):
        return CutState.of(StateTensor("h", "recurrent", super().prefill(tokens)["h"], entry_bits=1))


class Raises(Recurrent):
    def answer(self, state, tokens):
        if len(tokens) == 1:
            raise RuntimeError("no batch\nof one")
        return super().answer(state, tokens)


FAULTS = {
    Remembers: "answers otherwise when it is asked again",
    Forgets: "not those of the whole pass.*give the same logits",
    ByPlace: "does not take its answers along",
    Averages: "read alone has other logits",
    Late: "not those of the whole pass",
    Positions: "read by itself, has other logits",
    Grows: "the size of a state depends on",
    ShortSighted: "depends on tokens before the last 3",
    NotANumber: "h must be finite",
    Transposed: "h must have a row for each of 4 sequences",
    Misnamed: "kinds must be recurrent, conv, cache; got 'hidden'",
    Bare: "prefill must return a CutState; got Tensor",
    LastOnly: r"answer must return logits \(4, 8, 'vocab_size'\)",
    Boasts: "is said to take 1 bits an entry",
    Raises: "alone: it raises RuntimeError: no batch of one",
}


@pytest.mark.parametrize("broken", FAULTS, ids=lambda kind: kind.__name__)
def test_each_fault_is_named(broken):
    with pytest.raises(AssertionError, match=FAULTS[broken]) as caught:
        check_cut_model(broken(), TOKENS)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match=r"`model` must be one with receptive_field, .*; got Linear, which lacks rec"):
        check_cut_model(torch.nn.Linear(2, 2), TOKENS)
    with pytest.raises(ValueError, match="`model` must be one with"):
        measure(torch.nn.Linear(2, 2), SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8), ProbeConfig())
    for tokens in (TOKENS.float(), TOKENS[:2], TOKENS[:, :2], TOKENS[:1].expand(4, -1)):
        with pytest.raises(ValueError, match="`tokens` must be"):
            check_cut_model(Recurrent(), tokens)
    with pytest.raises(ValueError, match="`cut` must be an integer from 1 to 8"):
        check_cut_model(Recurrent(), TOKENS, cuts=[9])


def test_tensors_of_a_state_have_names():
    state = CutState(((StateTensor("h", "recurrent", TOKENS),), (StateTensor("h", "recurrent", TOKENS + 1),)))
    assert torch.equal(state["1.h"], TOKENS + 1)
    for name in ("h", "2.h", "keys"):
        with pytest.raises(KeyError, match=r"must be that of one tensor of 0\.h, 1\.h"):
            state[name]


def test_stages_that_carry_less_than_the_state_are_refused():
    task = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
    config = ProbeConfig(n_sequences=400, n_calibration=100, n_train=200, decoders=("linear",))
    model = Recurrent(task.n_token_ids)
    model.stages = (Stage(recurrent_bits=255),)
    with pytest.raises(ValueError, match=r"`stages` must be at least the 256 bits of .* together; got 255 bits"):
        measure(model, task, config)
    model.stages = (Stage(recurrent_bits=256),)
    assert measure(model, task, config).diagonal.crossing.total_bits == 256


def test_a_model_of_ones_own_is_measured_whole():
    task = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
    config = ProbeConfig(n_sequences=400, n_calibration=100, n_train=200, decoders=("linear",))
    ladder = measure(Recurrent(task.n_token_ids), task, config)
    assert ladder.memory.recurrent_bits == ladder.nominal_bits == 8 * 32
    assert ladder.diagonal is None  # it does not say what its layers carry
    assert [(part.layer, part.kind) for part in ladder.parts] == [(0, "recurrent")]
    assert ladder.present.lower <= 4.0
    assert ladder.violations == ()
    with pytest.raises(ValueError, match=r"`cut` must be vertical but for a Seq.*; got diagonal, of a Recurrent"):
        measure(Recurrent(task.n_token_ids), task, ProbeConfig(cut="diagonal"))
