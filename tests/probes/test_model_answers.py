"""Every query is asked from the state at the cut, and from nothing else."""

import numpy as np
import pytest
import torch

from boundprobe.models import ModelSpec, SequenceModel
from boundprobe.probes import interchange_check, read_answers, states_at_cut, wrong_answers
from boundprobe.probes import model_answers as states_module
from boundprobe.probes.model_answers import answer_suffixes, unchanged
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying

TASK = SelectiveCopying(n_numbers=3, n_letters=5, seq_len=8)
TASKS = [TASK, AssociativeRecallDecoding(word_bits=2, seq_len=12)]
ARCHITECTURES = ["mamba", "attn", "mamba-attn", "attn-attn"]


def answer(model, state, cut):
    """Every query from each state."""
    suffixes = torch.from_numpy(cut.queries).expand(state.batch, -1, -1)
    return answer_suffixes(model, state, suffixes, 1).argmax(-1).numpy()


def small_model(architecture, task=TASK):
    torch.manual_seed(3)
    spec = ModelSpec(architecture, d_model=8, window=4, d_state=2)
    model = SequenceModel(spec, task.vocab_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # an untrained model says nearly the same always; this one does not
    return model


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_those_of_the_whole_sequences(architecture, task):
    model, cut = small_model(architecture, task), task.sample_cut(7, np.random.default_rng(0))
    (state,) = states_at_cut(model, cut.prefix)
    answers = answer(model, state, cut)
    assert answers.shape == cut.answers.shape
    for j, query in enumerate(cut.queries):
        tokens = np.concatenate([cut.prefix, np.tile(query, (7, 1))], axis=1)
        with torch.no_grad():
            whole = model(torch.from_numpy(tokens))[:, -1].argmax(-1)
        assert answers[:, j].tolist() == whole.tolist()


def test_pieces_do_not_change_the_answers(monkeypatch):
    model, cut = small_model("mamba-attn"), TASK.sample_cut(11, np.random.default_rng(2))
    whole = wrong_answers(model, states_at_cut(model, cut.prefix), cut)
    monkeypatch.setattr(states_module, "CHUNK", 4)
    pieces = states_at_cut(model, cut.prefix)
    assert [piece.batch for piece in pieces] == [4, 4, 3]
    assert (wrong_answers(model, pieces, cut) == whole).all()
    assert whole.shape == (11, 3)


@pytest.mark.parametrize("n_kept", [0, 1, 2, 3])
def test_wrong_answers_are_those_that_the_planted_model_does_not_hold(planted, n_kept):
    cut = TASK.sample_cut(50, np.random.default_rng(4))
    model = planted.Keeper(TASK, max(n_kept, 1))
    states = states_at_cut(model, cut.prefix)
    if n_kept == 0:
        states = [state.map(lambda value: torch.full_like(value, 99)) for state in states]
        model.n_kept = 0
    wrong = wrong_answers(model, states, cut)
    assert not wrong[:, :n_kept].any()
    assert (wrong[:, n_kept:] == (cut.answers[:, n_kept:] != TASK.vocab_size - 1)).all()


def test_the_transform_is_applied_to_the_state(planted):
    cut, model = TASK.sample_cut(30, np.random.default_rng(5)), planted.Keeper(TASK, 3)
    states = states_at_cut(model, cut.prefix)
    assert not wrong_answers(model, states, cut, unchanged).any()
    wrong = wrong_answers(model, states, cut, lambda state: state.map(torch.zeros_like))
    assert (wrong == (cut.answers != 0)).all()


def test_states_are_not_changed_by_being_asked():
    model, cut = small_model("mamba-attn"), TASK.sample_cut(5, np.random.default_rng(6))
    (state,) = states_at_cut(model, cut.prefix)
    before = state.flatten().clone()
    wrong_answers(model, [state], cut)
    assert torch.equal(state.flatten(), before)
    assert not state.flatten().requires_grad


def test_scores_are_the_logits_of_the_values_in_their_order():
    model, cut = small_model("mamba-attn"), TASK.sample_cut(9, np.random.default_rng(7))
    states, values = states_at_cut(model, cut.prefix), TASK.stream_values("keys-once")
    reading = read_answers(model, states, cut, values)
    suffixes = torch.from_numpy(cut.queries).expand(9, -1, -1)
    logits = torch.cat([answer_suffixes(model, state, suffixes, 1) for state in states]).numpy()
    assert reading.scores.dtype == np.float32
    assert (reading.scores == logits[..., values]).all()
    assert (reading.wrong == (logits.argmax(-1) != cut.answers)).all()
    backwards = read_answers(model, states, cut, values[::-1].copy())
    assert (backwards.scores == reading.scores[..., ::-1]).all()
    assert (backwards.wrong == reading.wrong).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_interchange_check_passes_honest_models(architecture):
    model, cut = small_model(architecture), TASK.sample_cut(20, np.random.default_rng(1))
    (state,) = states_at_cut(model, cut.prefix)
    before = state.flatten().clone()
    assert interchange_check(model, state, cut) is None
    assert torch.equal(state.flatten(), before)


def test_the_interchange_check_names_a_model_that_reads_more_than_its_state(planted):
    """A pointer moves with its state, so only its size gives it away (``find_violations``)."""
    cut = TASK.sample_cut(40, np.random.default_rng(1))
    for model, follows in (
        (planted.Keeper(TASK, 3), True),
        (planted.Pointer(TASK), True),
        (planted.Blank(TASK), False),
    ):
        model.prefill(torch.from_numpy(cut.prefix[20:]))  # batches of 20 are known to the cheat, too
        (state,) = states_at_cut(model, cut.prefix)
        found = interchange_check(model, state, cut)
        assert (found is None) is follows
        if found is not None:
            assert "sequences do not follow a state" in found
            assert "(A4)" in found
            assert "\n" not in found


def test_the_interchange_check_names_a_model_that_looks_at_the_whole_batch(planted):
    """Its answers move with the states, as a statistic of the batch has no order: only company shows it."""

    class Mean(planted.Keeper):
        def answer(self, state, suffix):
            shift = (state.flatten().sum() / 7).round()
            return super().answer(state.map(lambda value: (value + shift) % self.task.vocab_size), suffix)

    cut, model = TASK.sample_cut(40, np.random.default_rng(1)), Mean(TASK, 3)
    (state,) = states_at_cut(model, cut.prefix)
    assert "(A4)" in interchange_check(model, state, cut)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_memory_limits_change_no_answer(architecture, monkeypatch):
    """A model's own chunk, and states that are copied a few at a time."""
    model, cut = small_model(architecture), TASK.sample_cut(23, np.random.default_rng(0))
    whole = read_answers(model, states_at_cut(model, cut.prefix), cut, TASK.answer_values)
    batches = []
    answer_of = model.answer
    monkeypatch.setattr(model, "answer", lambda state, tokens: batches.append(len(tokens)) or answer_of(state, tokens))
    model.chunk = 10
    states = states_at_cut(model, cut.prefix)
    assert [state.batch for state in states] == [10, 10, 3]
    monkeypatch.setattr(states_module, "MOST_COPIED", 4 * len(cut.queries) * states[0].bits().total_bits // 8)
    pieces = read_answers(model, states, cut, TASK.answer_values)
    assert max(batches) == 4 * len(cut.queries)
    np.testing.assert_array_equal(pieces.wrong, whole.wrong)
    np.testing.assert_allclose(pieces.scores, whole.scores, atol=1e-5)
