"""Training of a bottleneck: deterministic annealing of the codebooks, and an encoder that learns to use them.

With straight-through gradients small encoders end below the accuracy of partial storage.  Here every value
of an entry is tried, so nothing has to be estimated through a rounding: for a state with right answers y,

    u_k  = sum_i [ P(y_i | codeword k) + 0.05 max(log P(y_i | codeword k), -8) ]         (utility)
    w_k  = softmax_k(u_k / T)                                                         (soft choice)
    loss = -T log sum_k exp(u_k / T)  -  sum_k w_k log encoder_k(S)

The first term is the free energy of Rose (1998, Proc. IEEE 86:2210, eq. 20) with expected right answers in place of
squared distance; T is lowered geometrically, so that codewords part when the data ask for it.  The second teaches the
encoder the choice.  Counting right answers, not log-likelihood, matters: log-likelihood is indifferent between
keeping half of each answer and keeping half of the answers.  The little log-likelihood that is left gives a gradient
to answers that have no chance yet.

With several entries each is tried in turn against the encoder's present choice for the others.  At first an entry
looks mainly at its own share of the answers, so that entries do not all learn the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boundprobe.bottleneck.module import MOST_ENTRY_BITS, Bottleneck, BottleneckedModel
from boundprobe.checks import check_integer, check_kind, check_number
from boundprobe.models.cut_model import CutModel
from boundprobe.seeds import generator, seed_sequence
from boundprobe.tasks.base import IGNORE, AbstractTask
from boundprobe.tasks.beyond import Beyond
from boundprobe.training.evaluate import CHUNK, model_device
from boundprobe.training.optimizer import AdamW

LOG_WEIGHT, LEAST_LOG = 0.05, -8.0
FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.5, 0.02
#: Share of the steps that the temperature falls in, and that an entry looks at its own answers alone.
ANNEALED, OWN_SHARE = 0.9, 0.5
#: Answers that are read in one step: bounds time and memory of a step.
ROWS_PER_STEP = 4096


@dataclass(frozen=True)
class BottleneckConfig:
    """A bottleneck and how it is trained; the model it is put into stays as it is.

    Attributes
    ----------
    n_entries, entry_bits : int
        m and b: the code has exactly ``n_entries * entry_bits`` bits.
    steps, batch : int
        Optimizer steps, and at most so many states in each.
    n_states : int
        States that are drawn once and trained on.
    hidden : int
        Width of the encoder.
    codebook_rate, encoder_rate : float
        Adam's learning rates, constant in the first half and falling linearly to 0 in the second.
    """

    n_entries: int = 1
    entry_bits: int = 4
    steps: int = 400
    batch: int = 256
    n_states: int = 8192
    hidden: int = 64
    codebook_rate: float = 0.05
    encoder_rate: float = 0.003

    def __post_init__(self) -> None:
        for name in ("n_entries", "entry_bits", "steps", "batch", "hidden"):
            check_integer(name, getattr(self, name), 1, MOST_ENTRY_BITS if name == "entry_bits" else None)
        check_integer("n_states", self.n_states, 2, why=", to have a spread; raise it")
        for name in ("codebook_rate", "encoder_rate"):
            check_number(name, getattr(self, name), above=0)


def train_bottleneck(model: CutModel, task: AbstractTask, config: BottleneckConfig, seed: int) -> BottleneckedModel:
    """Put a bottleneck into a trained model at the task's cut.

    Parameters
    ----------
    model : CutModel
        Frozen: its parameters are not changed.
    task : AbstractTask
    config : BottleneckConfig
    seed : int
        The result is a function of model, task, configuration and seed.

    Returns
    -------
    BottleneckedModel
        With hard codes; in evaluation mode.
    """
    return train_bottlenecks(model, task, [config], seed)[0]


def train_bottlenecks(
    model: CutModel, task: AbstractTask, configs: Sequence[BottleneckConfig], seed: int
) -> list[BottleneckedModel]:
    """Train several bottlenecks of one model side by side; the model answers all of them in one pass.

    Each is what it would be by itself, to rounding.

    Parameters
    ----------
    model, task, seed
        As in ``train_bottleneck``.
    configs : sequence of BottleneckConfig
        They may differ in anything but ``steps``.

    Raises
    ------
    ValueError
        If they differ in ``steps``.
    """
    for config in configs:
        check_kind("config", config, BottleneckConfig)
    if len(steps := {config.steps for config in configs}) > 1:
        raise ValueError(f"`steps` must be one number for all bottlenecks; got {sorted(steps)}. Train them apart.")
    annealers = [_Annealer(model, task, config, seed) for config in configs]
    for step in range(configs[0].steps):
        asked = [annealer.ask() for annealer in annealers]
        answers = iter(_answer_all(annealers[0].machine, [question for own in asked for question in own]))
        losses = [a.loss(step, [next(answers) for _ in own]) for a, own in zip(annealers, asked, strict=True)]
        # Only the bottlenecks' own gradients: the model stays as it is, and may be in use elsewhere.
        parameters = [x for annealer in annealers for x in annealer.machine.bottleneck.parameters()]
        for parameter, gradient in zip(parameters, torch.autograd.grad(sum(losses), parameters), strict=True):  # type: ignore[arg-type]
            parameter.grad = gradient
        for annealer in annealers:
            annealer.update(step)
    return [annealer.machine.eval() for annealer in annealers]


@dataclass(frozen=True)
class _Question:
    """States to answer from, as vectors of entries (R, E), and what is asked of each (R, n_suffixes, Q)."""

    entries: Tensor
    suffixes: Tensor


class _Annealer:
    """One bottleneck in training: its queries in a step, and its loss given the answers."""

    def __init__(self, model: CutModel, task: AbstractTask, config: BottleneckConfig, seed: int) -> None:
        self.config, key = config, (config.n_entries, config.entry_bits)
        rng = generator(seed, "bottleneck", *key)
        cut = (
            task.sample_all(config.n_states, rng) if isinstance(task, Beyond) else task.sample_cut(config.n_states, rng)
        )
        # Near answers pass through what crosses as well: an entry that disturbs them is a bad one.
        self.n_near = cut.answers.shape[1] - task.state_case().n_answers
        device = model_device(model)
        with torch.no_grad():
            states = [model.prefill(piece) for piece in torch.from_numpy(cut.prefix).to(device).split(CHUNK)]
            self.entries = torch.cat([state.flatten() for state in states])
        torch_seed = int(seed_sequence(seed, "bottleneck", *key, 1).generate_state(1)[0])
        with torch.random.fork_rng(devices=[]):  # the caller's global generator is left as it was
            torch.manual_seed(torch_seed)
            bottleneck = Bottleneck(self.entries.shape[1], *key, config.hidden)
            _start(bottleneck, self.entries.cpu())
            self.rng = torch.Generator()  # goes on where the start left off
            self.rng.set_state(torch.get_rng_state())
        self.machine = BottleneckedModel(model, bottleneck, states[0]).to(device)
        self.answers = torch.from_numpy(cut.answers).to(device)
        self.suffixes = torch.from_numpy(cut.queries if cut.suffixes is None else cut.suffixes).to(device)
        self.one_query_set = cut.suffixes is None
        # With one entry and shared queries a codeword's answers are the same for every state: read them once.
        self.shared = self.one_query_set and config.n_entries == 1
        n_rows = 2**config.entry_bits * self.answers.shape[1] * config.n_entries
        self.batch = config.batch if self.shared else max(8, min(config.batch, ROWS_PER_STEP // n_rows))
        self.optimizers = (
            (AdamW([bottleneck.codebooks]), config.codebook_rate),
            (AdamW(bottleneck.encoder.parameters()), config.encoder_rate),
        )

    def ask(self) -> list[_Question]:
        """Draw states; for each entry the alternatives that are to be answered from, or every codeword once."""
        bottleneck = self.machine.bottleneck
        self.rows = torch.randint(len(self.entries), (self.batch,), generator=self.rng).to(self.entries.device)
        self.scores = bottleneck.logits(self.entries[self.rows])
        if self.shared:
            codewords = bottleneck.codebooks[0]
            return [_Question(bottleneck.from_codewords(codewords), self.suffixes.expand(len(codewords), -1, -1))]
        suffixes = self.suffixes.expand(self.batch, -1, -1) if self.one_query_set else self.suffixes[self.rows]
        questions = []
        for entry in range(self.config.n_entries):
            codewords, asked = _alternatives(bottleneck, self.scores, entry, suffixes)
            questions.append(_Question(bottleneck.from_codewords(codewords), asked))
        return questions

    def loss(self, step: int, answered: Sequence[Tensor]) -> Tensor:
        """The loss of the module's head, from the log-probabilities of the answers to what ``ask`` asked."""
        answers, n_entries, done = self.answers[self.rows], self.config.n_entries, step / self.config.steps
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** min(1.0, done / ANNEALED)
        loss = torch.zeros((), device=self.entries.device)
        for entry, log_p in enumerate(answered):
            if self.shared:
                gained = _gained_shared(log_p, answers)
            else:
                gained = _gained(log_p.unflatten(0, (self.batch, -1)), answers)
            weights = _shares(answers.shape[1], entry, n_entries, done, self.n_near).to(self.entries.device)
            utility = (gained * weights).sum(-1)  # (batch, 2^b)
            choice = (utility / temperature).softmax(1).detach()
            loss = loss - temperature * torch.logsumexp(utility / temperature, 1).mean()
            loss = loss - (choice * self.scores[:, entry].log_softmax(-1)).sum(1).mean()
        return loss

    def update(self, step: int) -> None:
        """Update the bottleneck from the gradients that are there; rates fall to 0 in the second half."""
        for optimizer, rate in self.optimizers:
            optimizer.step(rate * min(1.0, 2 * (1 - step / self.config.steps)))


def _answer_all(machine: BottleneckedModel, questions: Sequence[_Question]) -> list[Tensor]:
    """Log-probabilities of every answer, (R, n_suffixes, Q, vocab), to each question; the model is run once."""
    suffixes = torch.cat([question.suffixes for question in questions])
    n_suffixes = suffixes.shape[1]
    state = machine.full_state(torch.cat([question.entries for question in questions]))
    copies = state.map(lambda value: value.repeat_interleave(n_suffixes, dim=0))
    logits = machine.model.answer(copies, suffixes.flatten(0, 1))
    log_p = logits.log_softmax(-1).unflatten(0, (-1, n_suffixes))
    return list(log_p.split([len(question.entries) for question in questions]))


def _start(bottleneck: Bottleneck, entries: Tensor) -> None:
    """Frozen mean and scale, and codewords between the mean and the states of random prefixes."""
    with torch.no_grad():
        bottleneck.mean.copy_(entries.mean(0))
        bottleneck.scale.copy_(entries.std(0))
        n_codewords = bottleneck.codebooks.shape[:2].numel()
        chosen = entries[torch.randint(len(entries), (n_codewords,))]
        codewords = bottleneck.standardised(chosen).unflatten(0, bottleneck.codebooks.shape[:2])
        bottleneck.codebooks.copy_(0.5 * codewords / bottleneck.n_entries**0.5)


def _alternatives(bottleneck: Bottleneck, scores: Tensor, entry: int, suffixes: Tensor) -> tuple[Tensor, Tensor]:
    """Every value of one entry beside the encoder's choice for the others: codewords and suffixes, (B * 2^b, ...)."""
    places = torch.arange(bottleneck.n_entries, device=scores.device)
    chosen = bottleneck.codebooks[places, scores.argmax(-1)]  # (B, m, E)
    others = chosen.sum(1) - chosen[:, entry]
    codebook = bottleneck.codebooks[entry]
    codewords = (others[:, None] + codebook).flatten(0, 1)
    return codewords, suffixes.repeat_interleave(len(codebook), dim=0)


def _worth(log_p: Tensor, answers: Tensor) -> Tensor:
    """Value of each right answer, from its probability and log-probability; 0 where undefined."""
    worth = log_p.exp() + LOG_WEIGHT * log_p.clamp_min(LEAST_LOG)
    return torch.where(answers == IGNORE, 0.0, worth)


def _told(log_p: Tensor, n_answers: int) -> Tensor:
    """(..., n_suffixes, Q, vocab) -> (..., n_answers, vocab): each suffix answers at its last positions."""
    n_told = n_answers // log_p.shape[-3]
    told: Tensor = log_p[..., -n_told:, :].flatten(-3, -2)
    return told


def _gained_shared(log_p: Tensor, answers: Tensor) -> Tensor:
    """(B, 2^b, n) from the codewords' answers (2^b, n, 1.., vocab) and right answers (B, n)."""
    told = _told(log_p, answers.shape[1])  # (2^b, n, vocab)
    columns: list[Tensor] = [told[:, i, answers[:, i].clamp_min(0)].t() for i in range(answers.shape[1])]
    return _worth(torch.stack(columns, dim=-1), answers[:, None])


def _gained(log_p: Tensor, answers: Tensor) -> Tensor:
    """(B, 2^b, n) from every alternative's own answers (B, 2^b, n, 1.., vocab) and right answers (B, n)."""
    told = _told(log_p, answers.shape[1])
    index = answers.clamp_min(0)[:, None, :, None].expand(*told.shape[:-1], 1)
    return _worth(told.gather(-1, index)[..., 0], answers[:, None])


def _shares(n_answers: int, entry: int, n_entries: int, done: float, n_near: int) -> Tensor:
    """Weights of the answers for one entry: its own share of the far ones at first, all later; near ones always."""
    weights = torch.full((n_answers,), max(0.0, (done - OWN_SHARE) / (1 - OWN_SHARE)))
    n_far = n_answers - n_near
    first, last = (n_near + at * n_far // n_entries for at in (entry, entry + 1))
    weights[first : max(last, first + 1)] = 1.0
    weights[:n_near] = 1.0
    return weights
