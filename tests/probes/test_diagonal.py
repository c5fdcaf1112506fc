"""Models measured along a diagonal cut: what crosses it, and the answers beyond its lag (D1)."""

import dataclasses
import math

import pytest
import torch

from boundprobe.models import CutState, DiagonalCut, ModelSpec, SequenceModel, StateTensor
from boundprobe.probes import Ladder, ProbeConfig, measure
from boundprobe.tasks import Beyond, SelectiveCopying

TASK = SelectiveCopying(n_numbers=4, n_letters=4, seq_len=16)
BITS = math.log2(TASK.vocab_size)
CONFIG = ProbeConfig(n_sequences=2000, n_calibration=400, n_train=800, decoders=("linear",))


class Along:
    """What crosses: some of the letters beyond the lag, one entry each; near letters are read from the tokens since."""

    receptive_field = None

    def __init__(self, lag, kept):
        self.lag, self.kept = lag, kept

    def parameters(self):
        return iter([torch.zeros(1)])

    def prefill(self, prefix):
        places = [prefix.shape[1] - TASK.distances[number] for number in self.kept]
        letters = prefix[:, places].float() if places else torch.zeros(len(prefix), 1)
        return CutState.of(StateTensor("letters", "recurrent", letters))

    def answer(self, state, tokens):
        number, known = tokens[:, -1], state["letters"].round().long()
        said = torch.full_like(number, TASK.vocab_size - 1)
        for column, kept in enumerate(self.kept):
            said = torch.where(number == kept, known[:, column], said)
        return torch.nn.functional.one_hot(said, TASK.n_token_ids).float()[:, None].expand(-1, tokens.shape[1], -1)


def far_numbers(lag):
    return [number for number, distance in enumerate(TASK.distances) if distance > lag]


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_what_is_kept_of_the_answers_beyond_is_certified(lag):
    numbers = far_numbers(lag)
    assert len(numbers) == 4 - lag
    ladder = measure(Along(lag, numbers), Beyond(TASK, lag), CONFIG)
    assert ladder.lag == lag
    assert ladder.entropy_bits == pytest.approx(len(numbers) * BITS)
    assert 0.98 * ladder.entropy_bits < ladder.used.lower <= ladder.entropy_bits
    assert 0.85 * ladder.entropy_bits < ladder.present.lower <= ladder.entropy_bits  # letters are read linearly
    assert ladder.violations == ()
    assert ladder.diagonal is None
    assert [group.group for group in ladder.retention.groups] == list(range(lag + 1, 5))
    assert Ladder.from_json(ladder.to_json()) == ladder


def test_one_of_two_is_half():
    ladder = measure(Along(2, far_numbers(2)[:1]), Beyond(TASK, 2), CONFIG)
    assert 0.98 * BITS < ladder.present.lower <= BITS


def test_near_letters_are_nothing_that_crosses():
    """A state of near letters alone holds nothing of the answers beyond the lag."""
    near = [number for number in range(4) if number not in far_numbers(2)]
    ladder = measure(Along(2, near), Beyond(TASK, 2), CONFIG)
    assert ladder.used.lower == ladder.present.lower == 0.0


class Masked(Along):
    """Its one entry is the farthest letter plus the last one, modulo their number: without the last it says nothing."""

    def prefill(self, prefix):
        far = prefix[:, prefix.shape[1] - TASK.distances[-1]]
        return CutState.of(StateTensor("sum", "recurrent", ((far + prefix[:, -1]) % TASK.vocab_size).float()[:, None]))

    def answer(self, state, tokens):
        said = (state["sum"][:, 0].long() - tokens[:, -2 if tokens.shape[1] > 1 else -1]) % TASK.vocab_size
        return torch.nn.functional.one_hot(said, TASK.n_token_ids).float()[:, None].expand(-1, tokens.shape[1], -1)


def test_what_is_told_only_with_the_tokens_since_is_used_and_not_present():
    """I(U;S | the tokens since) is 3 bits, and I(Y;S) of the far answers is 0: the model is no decoder of S alone."""
    ladder = measure(Masked(3, far_numbers(3)), Beyond(TASK, 3), CONFIG)
    assert 0.98 * BITS < ladder.used.lower <= BITS
    assert ladder.present.lower == 0.0
    assert all(group.bits.lower == 0.0 for group in ladder.retention.groups)
    assert ladder.present.decoder != "model"


def test_a_model_cut_elsewhere_than_the_task_is_refused():
    model = SequenceModel(ModelSpec("attn-gru", d_model=4, window=3), TASK.n_token_ids)
    for cut in (model, DiagonalCut(model, (0, 0), TASK.prefix_len), DiagonalCut(model, (1, 0), TASK.prefix_len)):
        with pytest.raises(ValueError, match=r"`task` must be of the answers beyond the model's own lag of [01]"):
            measure(cut, Beyond(TASK, 2), CONFIG)


class Whispers(Along):
    """Reads the far letters from the last prefixes, by their row, and not from the state."""

    def prefill(self, prefix):
        self.hidden = super().prefill(prefix)
        return CutState.of(StateTensor("blank", "recurrent", torch.zeros(len(prefix), 1)))

    def answer(self, state, tokens):
        rows = torch.arange(len(tokens)) // len(self.kept) % self.hidden.batch
        hidden = self.hidden.map(lambda value: value[rows])
        return super().answer(hidden, tokens)


def test_answers_that_come_from_elsewhere_are_named():
    """With fewer sequences than a piece, all of which the model still has when it is asked."""
    config = dataclasses.replace(CONFIG, n_sequences=200)
    ladder = measure(Whispers(2, far_numbers(2)), Beyond(TASK, 2), config)
    assert any("(A4)" in violation for violation in ladder.violations)
