"""Training of a bottleneck: deterministic annealing of the codebooks, and an encoder that learns to use them.

With straight-through gradients small encoders end below the line of storing some answers exactly.  Here every value
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

from dataclasses import dataclass

import torch
from torch import Tensor

from boundprobe.checks import check_integer, check_number
from boundprobe.models.bottleneck import MOST_ENTRY_BITS, Bottleneck, BottleneckedModel
from boundprobe.models.stack import SequenceModel
from boundprobe.seeds import generator, seed_sequence
from boundprobe.tasks.base import IGNORE, AbstractTask, CutBatch
from boundprobe.training.evaluate import CHUNK, model_device

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


def train_bottleneck(
    model: SequenceModel, task: AbstractTask, config: BottleneckConfig, seed: int
) -> BottleneckedModel:
    """Put a bottleneck into a trained model at the task's cut.

    Parameters
    ----------
    model : SequenceModel
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
    cut = task.sample_cut(config.n_states, generator(seed, "bottleneck", config.n_entries, config.entry_bits))
    device = model_device(model)
    with torch.no_grad():
        states = [model.prefill(piece) for piece in torch.from_numpy(cut.prefix).to(device).split(CHUNK)]
        entries = torch.cat([state.flatten() for state in states])
    torch_seed = int(seed_sequence(seed, "bottleneck", config.n_entries, config.entry_bits, 1).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):  # the caller's global generator is left as it was
        torch.manual_seed(torch_seed)
        bottleneck = Bottleneck(entries.shape[1], config.n_entries, config.entry_bits, config.hidden)
        _start(bottleneck, entries.cpu())
        machine = BottleneckedModel(model, bottleneck, states[0]).to(device)
        _anneal(machine, entries, cut, config)
    return machine.eval()


def _start(bottleneck: Bottleneck, entries: Tensor) -> None:
    """Frozen mean and scale, and codewords between the mean and the states of random prefixes."""
    with torch.no_grad():
        bottleneck.mean.copy_(entries.mean(0))
        bottleneck.scale.copy_(entries.std(0))
        n_codewords = bottleneck.codebooks.shape[:2].numel()
        chosen = entries[torch.randint(len(entries), (n_codewords,))]
        codewords = bottleneck.standardised(chosen).unflatten(0, bottleneck.codebooks.shape[:2])
        bottleneck.codebooks.copy_(0.5 * codewords / bottleneck.n_entries**0.5)


def _anneal(machine: BottleneckedModel, entries: Tensor, cut: CutBatch, config: BottleneckConfig) -> None:
    """Minimise the loss of the module's head while the temperature falls."""
    bottleneck = machine.bottleneck
    groups = [
        {"params": [bottleneck.codebooks], "lr": config.codebook_rate},
        {"params": list(bottleneck.encoder.parameters()), "lr": config.encoder_rate},
    ]
    adam = torch.optim.Adam(groups)
    decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1.0, 2 * (1 - step / config.steps)))
    answers = torch.from_numpy(cut.answers).to(entries.device)
    suffixes = torch.from_numpy(cut.queries if cut.suffixes is None else cut.suffixes).to(entries.device)
    # With one entry and shared queries a codeword's answers are the same for every state: read them once.
    shared = cut.suffixes is None and config.n_entries == 1
    n_values = 2**config.entry_bits
    n_rows = n_values * answers.shape[1] * config.n_entries
    batch = config.batch if shared else max(8, min(config.batch, ROWS_PER_STEP // n_rows))
    for step in range(config.steps):
        done = step / config.steps
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** min(1.0, done / ANNEALED)
        rows = torch.randint(len(entries), (batch,)).to(entries.device)
        scores = bottleneck.logits(entries[rows])
        asked = suffixes.expand(len(rows), -1, -1) if cut.suffixes is None else suffixes[rows]
        loss = torch.zeros((), device=entries.device)
        for entry in range(config.n_entries):
            if shared:
                log_p = _log_probabilities(machine, bottleneck.codebooks[0], suffixes.expand(n_values, -1, -1))
                gained = _gained_shared(log_p, answers[rows])
            else:
                log_p = _log_probabilities(machine, *_alternatives(bottleneck, scores, entry, asked))
                gained = _gained(log_p.unflatten(0, (len(rows), n_values)), answers[rows])
            weights = _shares(answers.shape[1], entry, config.n_entries, done).to(entries.device)
            utility = (gained * weights).sum(-1)  # (batch, 2^b)
            choice = (utility / temperature).softmax(1).detach()
            loss = loss - temperature * torch.logsumexp(utility / temperature, 1).mean()
            loss = loss - (choice * scores[:, entry].log_softmax(-1)).sum(1).mean()
        adam.zero_grad(set_to_none=True)
        # Only the bottleneck's own gradients: the model stays as it is, and may be in use elsewhere.
        parameters = list(bottleneck.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        adam.step()
        decay.step()


def _log_probabilities(machine: BottleneckedModel, codewords: Tensor, suffixes: Tensor) -> Tensor:
    """Log-probabilities of every answer, (R, n_suffixes, Q, vocab), from codewords (R, E) and suffixes (R, n, Q)."""
    n_suffixes = suffixes.shape[1]
    state = machine.full_state(machine.bottleneck.from_codewords(codewords))
    copies = state.map(lambda value: value.repeat_interleave(n_suffixes, dim=0))
    logits = machine.model.answer(copies, suffixes.flatten(0, 1))
    log_p: Tensor = logits.log_softmax(-1).unflatten(0, (-1, n_suffixes))
    return log_p


def _alternatives(bottleneck: Bottleneck, scores: Tensor, entry: int, suffixes: Tensor) -> tuple[Tensor, Tensor]:
    """Every value of one entry beside the encoder's choice for the others: codewords and suffixes, (B * 2^b, ...)."""
    places = torch.arange(bottleneck.n_entries, device=scores.device)
    chosen = bottleneck.codebooks[places, scores.argmax(-1)]  # (B, m, E)
    others = chosen.sum(1) - chosen[:, entry]
    codebook = bottleneck.codebooks[entry]
    codewords = (others[:, None] + codebook).flatten(0, 1)
    return codewords, suffixes.repeat_interleave(len(codebook), dim=0)


def _worth(log_p: Tensor, answers: Tensor) -> Tensor:
    """What a right answer is worth where it is defined, 0 elsewhere."""
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


def _shares(n_answers: int, entry: int, n_entries: int, done: float) -> Tensor:
    """How much each answer counts for an entry: its own share first, later all of them."""
    weights = torch.full((n_answers,), max(0.0, (done - OWN_SHARE) / (1 - OWN_SHARE)))
    first = entry * n_answers // n_entries
    weights[first : max((entry + 1) * n_answers // n_entries, first + 1)] = 1.0
    return weights
