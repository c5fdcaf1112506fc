"""Softmax regression of all answers at once: one matrix from whitened states to n heads of K values.

Each answer i has its own weights, and its own label-noise rate e_i, the share of sequences whose state says nothing of
it,

    q_i(k | s) = (1 - e_i) softmax(z W_i + b_i)_k + e_i / K,        z the whitened state,

because a memory that was lost leaves a state that looks as sure as ever: without e_i those sequences, which no
weights can get right, dominate the gradient (on symmetric storage with 0.9 kept they double the excess error).
The mixture has the argmax of its softmax, and nothing but weights and e_i is kept.

Fit: weights start at the linear discriminant with a ridge; then accelerated gradient descent (Nesterov 1983) on the
mean of -log q_i plus rho/2 sum_j (mean v / v_j)^gamma |W_ij|^2, v_j the variance of component j of the state.
Whitening makes that the fixed-Hessian method of Boehning (1992, Ann. Inst. Stat. Math. 44:197) with nearly one step
size for all weights; the weights that the mixture gives to sequences only lower the curvature, as in EM.  Rho and
gamma are chosen on a few answers, the iterate, its temperature and e_i for each answer, all by calibration
cross-entropy.  The marginal of the answer is among what can be chosen, so a state that says nothing costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.probes.decoders.base import (
    AbstractDecoder,
    FitSettings,
    Logits,
    as_answers,
    check_samples,
    in_pieces,
    log_marginals,
)
from boundprobe.probes.decoders.whitening import Whitening
from boundprobe.tasks.base import IGNORE

#: Label-noise rates e_i that are tried; 1 would leave nothing to learn from.
LABEL_NOISE_RATES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8)

#: Scales of the discriminant that are tried: the noise of its many weights makes it too sure or too timid.
SCALES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)

#: Inverse temperatures, factors of all scores, that are tried: a penalty makes scores timid, too many weights too sure.
INVERSE_TEMPERATURES = (0.7, 1.0, 1.4, 2.0, 3.0)

#: Ridge of the discriminant over the mean variance of the components.
START_RIDGE = 0.5

#: (rho in components per sequence, gamma) that are tried on a few answers.
PENALTIES = tuple((rho, gamma) for gamma in (0, 1, 2) for rho in (0.05, 0.2))

#: Steps are 1/max(LEAST_CURVATURE, 1/K).  The curvature of softmax is 1/K where nothing is known and falls where much
#: is; its largest value, 1/2 at two values of 1/2 each, is no mean over sequences.  Where a step is too
#: long all the same, calibration keeps an earlier iterate.
LEAST_CURVATURE = 0.1

N_PILOTS, PILOT_STEPS, MOST_STEPS, CHECK_EVERY = 4, 8, 40, 4

#: A check has to lower the calibration cross-entropy by this share, or descent ends.
LEAST_GAIN = 5e-3

#: Scores held at once, 64 MiB; answers are fitted in groups of as many as that allows.
MOST_SCORES = 2**24


@dataclass(frozen=True)
class Heads:
    """Weights of some answers, side by side.

    Attributes
    ----------
    weights : Tensor (r, n, K)
    biases : Tensor (n, K)
    label_noise : Tensor (n,)
        e_i.
    loss : Tensor (n,)
        Calibration cross-entropy, nats.
    """

    weights: Tensor
    biases: Tensor
    label_noise: Tensor
    loss: Tensor

    def best(self, other: Heads) -> Heads:
        """The better of the two for each answer."""
        wins = other.loss < self.loss
        return Heads(
            torch.where(wins[:, None], other.weights, self.weights),
            torch.where(wins[:, None], other.biases, self.biases),
            torch.where(wins, other.label_noise, self.label_noise),
            torch.where(wins, other.loss, self.loss),
        )

    def pick(self, which: Tensor) -> Heads:
        """Those of some answers."""
        return Heads(self.weights[:, which], self.biases[which], self.label_noise[which], self.loss[which])

    def scores(self, z: Tensor) -> Tensor:
        """Logs of the mixture, (B, r) -> (B, n, K)."""
        logs = F.log_softmax(_scores(z, self.weights, self.biases), -1)
        uniform = (self.label_noise / self.biases.shape[1]).log()[:, None]
        return torch.logaddexp(logs + torch.log1p(-self.label_noise)[:, None], uniform)


@dataclass(frozen=True)
class Problem:
    """Whitened states and answers of both splits: z (N, r), y (N, n); variances of the components (r,)."""

    z: Tensor
    y: Tensor
    z_calibration: Tensor
    y_calibration: Tensor
    n_values: int
    variances: Tensor

    def pick(self, which: Tensor) -> Problem:
        """With some of the answers only."""
        y, y_calibration = self.y[:, which], self.y_calibration[:, which]
        return Problem(self.z, y, self.z_calibration, y_calibration, self.n_values, self.variances)

    def calibrated(self, weights: Tensor, biases: Tensor) -> Heads:
        """Weights (r, n, K) at the temperature and e_i with the least calibration cross-entropy, and that."""
        scores = _scores(self.z_calibration, weights, biases)
        inverse, label_noise, loss = _least_cross_entropy(scores, self.y_calibration, INVERSE_TEMPERATURES)
        return Heads(inverse[:, None] * weights, inverse[:, None] * biases, label_noise, loss)


class LinearDecoder(AbstractDecoder):
    """Softmax regression of every answer on the whitened state, with a label-noise rate for each answer.

    Parameters
    ----------
    whitening : Whitening
    heads : Heads
        Of all answers.
    """

    name = "linear"

    def __init__(self, whitening: Whitening, heads: Heads) -> None:
        self.whitening, self.heads = whitening, heads

    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Logs of the mixture; ``answers`` are not looked at."""
        return in_pieces(lambda rows: self.heads.scores(self.whitening(states[rows])), len(states))


def fit_linear(fit: Sample, calibration: Sample, n_values: int, settings: FitSettings) -> LinearDecoder:
    """Fit all answers at once.

    Parameters
    ----------
    fit : Sample
        Weights and whitening are fitted to it.
    calibration : Sample
        Chooses penalty, iterate and e_i.
    n_values : int
        K.
    settings : FitSettings
    """
    check_samples(fit, calibration, n_values)
    whitening = Whitening.fit(fit.states, settings.seed, settings.device)
    problem = Problem(
        whitening(fit.states),
        as_answers(fit.answers, settings.device),
        whitening(calibration.states),
        as_answers(calibration.answers, settings.device),
        n_values,
        whitening.variances,
    )
    size = max(1, MOST_SCORES // (max(fit.n_sequences, calibration.n_sequences) * n_values))
    groups = torch.arange(problem.y.shape[1], device=problem.y.device).split(size)
    starts = [_start(problem.pick(group)) for group in groups]
    if not len(problem.variances):  # a constant state: the marginals are all there is
        return LinearDecoder(whitening, _joined(starts))
    rho, gamma = _choose_penalty(problem, _joined(starts))
    ends = [
        _descend(problem.pick(group), start, rho, gamma, MOST_STEPS)
        for group, start in zip(groups, starts, strict=True)
    ]
    return LinearDecoder(whitening, _joined(ends))


def _start(problem: Problem) -> Heads:
    """The marginals, or the linear discriminant with a ridge at the best of several scales (Fisher 1936)."""
    n_values, (n_components, n_answers) = problem.n_values, (problem.z.shape[1], problem.y.shape[1])
    biases = log_marginals(problem.y, n_values)
    heads = problem.calibrated(biases.new_zeros(n_components, n_answers, n_values), biases)
    if n_components == 0:
        return heads
    shares = biases.exp()
    one_hot = F.one_hot(problem.y.clamp_min(0), n_values).to(problem.z) - shares
    one_hot *= (problem.y != IGNORE)[:, :, None]
    counts = (problem.y != IGNORE).sum(0).clamp_min(1)[:, None]
    # (r, n, K): E[z | y_i = k], with the shrinkage of the ridge; z has covariance 1.
    means = (problem.z.T @ one_hot.flatten(1)).view(n_components, n_answers, n_values) / (counts * shares)
    means *= (problem.variances / (problem.variances + START_RIDGE * problem.variances.mean()))[:, None, None]
    scores = _scores(problem.z_calibration, means, torch.zeros_like(biases))
    for scale in SCALES:
        _, label_noise, loss = _least_cross_entropy(scale * scores + biases, problem.y_calibration, (1.0,))
        heads = heads.best(Heads(scale * means, biases, label_noise, loss))
    return heads


def _choose_penalty(problem: Problem, start: Heads) -> tuple[float, int]:
    """Rho and gamma with the best calibration cross-entropy, summed over answers from the best start to the worst."""
    ranking = start.loss.argsort(stable=True)
    ranks = torch.linspace(0, len(ranking) - 1, min(len(ranking), N_PILOTS)).round().long()
    which = ranking[ranks.to(ranking.device)]
    few, few_start = problem.pick(which), start.pick(which)
    per_sequence = problem.z.shape[1] / problem.z.shape[0]
    tried = [
        (float(_descend(few, few_start, rho * per_sequence, gamma, PILOT_STEPS).loss.sum()), rho * per_sequence, gamma)
        for rho, gamma in PENALTIES
    ]
    _, rho, gamma = min(tried)
    return rho, gamma


def _descend(problem: Problem, start: Heads, rho: float, gamma: int, n_steps: int) -> Heads:
    """Accelerated gradient descent from ``start``; for each answer, the iterate that calibration likes best."""
    z, n_values, best = problem.z, problem.n_values, start
    shape = start.weights.shape
    index, defined = problem.y.clamp_min(0)[:, :, None], (problem.y != IGNORE)[:, :, None]
    counts = defined.sum(0).clamp_min(1).to(z)  # (n, 1)
    penalty = rho * (problem.variances.mean() / problem.variances).clamp_max(1e6) ** gamma
    curvature = max(LEAST_CURVATURE, 1 / n_values)
    steps = (1 / (curvature + penalty))[:, None, None]
    weights, biases, label_noise = start.weights, start.biases, start.label_noise
    ahead, ahead_biases = weights, biases
    for step in range(n_steps):
        errors = torch.softmax(_scores(z, ahead, ahead_biases), -1)  # (N, n, K)
        right = errors.gather(2, index)
        known = (1 - label_noise[:, None]) * right
        # Responsibility of the softmax for each answer: 0 where it is undefined, small where the label is noise.
        share = defined * known / (known + label_noise[:, None] / n_values).clamp_min(1e-30)
        errors.scatter_add_(2, index, right.new_full(right.shape, -1.0))
        errors *= share
        gradient = (z.T @ errors.flatten(1)).view(shape) / counts + penalty[:, None, None] * ahead
        new, new_biases = ahead - steps * gradient, ahead_biases - errors.sum(0) / counts / curvature
        momentum = step / (step + 3)
        ahead, ahead_biases = new + momentum * (new - weights), new_biases + momentum * (new_biases - biases)
        weights, biases = new, new_biases
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            now = problem.calibrated(weights, biases)
            label_noise, before = now.label_noise, float(best.loss.sum())
            best = best.best(now)
            if float(best.loss.sum()) > (1 - LEAST_GAIN) * before:
                break
    return best


def _scores(z: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """(B, r), (r, n, K), (n, K) -> (B, n, K)."""
    return torch.addmm(biases.flatten(), z, weights.flatten(1)).view(len(z), *biases.shape)


def _least_cross_entropy(
    scores: Tensor, answers: Tensor, inverse_temperatures: tuple[float, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Factor of the scores (B, n, K) and e_i with the least cross-entropy, and that, nats; each (n,)."""
    n_values, defined = scores.shape[2], answers != IGNORE
    behind = scores - scores.gather(2, answers.clamp_min(0)[:, :, None])
    losses = []
    for inverse in inverse_temperatures:
        right = 1 / (inverse * behind).exp_().sum(2)  # softmax of the right value; infinity ends as 0
        right = torch.where(defined, right, 1.0).clamp_min_(1e-30)
        losses += [-((1 - e) * right).add_(e / n_values).log_().mul_(defined).sum(0) for e in LABEL_NOISE_RATES]
    loss, chosen = torch.stack(losses).min(0)
    best_inverse = torch.tensor(inverse_temperatures).to(scores)[chosen // len(LABEL_NOISE_RATES)]
    label_noise = torch.tensor(LABEL_NOISE_RATES).to(scores)[chosen % len(LABEL_NOISE_RATES)]
    return best_inverse, label_noise, loss / defined.sum(0).clamp_min(1)


def _joined(parts: list[Heads]) -> Heads:
    """Answers of several groups, in order."""
    return Heads(
        torch.cat([part.weights for part in parts], 1),
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("biases", "label_noise", "loss")),
    )
