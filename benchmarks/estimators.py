"""Estimators of mutual information beside a certificate, on states whose information is known: same data, one run.

    python benchmarks/estimators.py [--sequences 10000] [--data storage,lost,null] [--epochs 20]

16 answers of 16 values, in a rotated 64-dimensional state with noise 0.1.  The estimators are small versions of their
own: the neural ones share one critic and are evaluated on the third of the sequences that they were not trained on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_classif
from torch import Tensor, nn

from boundprobe.channels import AbstractChannel, Null, Rotated, SymmetricStorage, WholeStateLoss, signs_of

Floats, Integers = NDArray[np.float32], NDArray[np.int64]

DATA: dict[str, tuple[str, AbstractChannel]] = {
    "storage": ("symmetric storage, kept 0.9", SymmetricStorage(16, 16, 0.9, 64, 0.1)),
    "lost": ("the whole state lost in 2 of 10 sequences", Rotated(WholeStateLoss(16, 16, 0.2), 64, 0.1)),
    "null": ("a state that has nothing to do with the answers", Null(16, 16, 64)),
}

WIDTH, FEATURES, BATCH, NEIGHBOURS, FEW = 512, 128, 1000, 3, 1000
MOST = 20.0  # size of a critic's score, in nats


@dataclass(frozen=True)
class Data:
    """One draw of a channel."""

    channel: AbstractChannel
    states: Floats  # (N, d)
    answers: Integers  # (N, n)
    epochs: int

    @property
    def n_training(self) -> int:
        """Sequences that train; the others are held out."""
        return len(self.answers) * 2 // 3

    def one_hot(self) -> Floats:
        """Answers (N, n K)."""
        return np.eye(self.channel.n_values, dtype=np.float32)[self.answers].reshape(len(self.answers), -1)


def neighbours_per_pair(data: Data) -> float:
    """scikit-learn's I(entry; answer) by nearest neighbours (Ross 2014), summed over all entries and answers."""
    total = 0.0
    for i in range(data.channel.n_answers):
        total += mutual_info_classif(data.states[:FEW], data.answers[:FEW, i], random_state=0).sum()
    return total / math.log(2)


def ksg(data: Data) -> float:
    """Kraskov, Stoegbauer and Grassberger 2004 (cond-mat/0305641), equation 8, on whole vectors.

    Each space has its Euclidean norm, the joint one the larger of the two.  The answers are given as the signs that the
    state was made of, with the noise of the state, so that no two distances are equal: of four
    forms that were tried (numbers, in two norms, one-hot, signs) the one with the highest value.
    """
    signs = signs_of(data.answers, data.channel.n_values)
    noisy = signs + 0.1 * np.random.default_rng(0).standard_normal(signs.shape).astype(np.float32)
    parts = [torch.from_numpy(data.states), torch.from_numpy(noisy)]
    n, total = len(signs), 0.0
    for start in range(0, n, 500):
        apart = [torch.cdist(part[start : start + 500], part) for part in parts]  # (500, N) each
        radius = torch.maximum(*apart).kthvalue(NEIGHBOURS + 1, dim=1, keepdim=True).values  # the point itself first
        total -= sum(float(torch.digamma((d < radius).sum(1).double()).sum()) for d in apart)  # itself is the + 1
    psi = torch.digamma(torch.tensor([NEIGHBOURS, n], dtype=torch.float64)).sum()
    return (float(psi) + total / n) / math.log(2)


def canonical_correlations(data: Data) -> float:
    """-1/2 sum log2(1 - rho^2): the information if states and answers (one-hot) were jointly Gaussian."""
    bases = []
    for block in (data.states.astype(np.float64), data.one_hot().astype(np.float64)):
        u, s, _ = np.linalg.svd(block - block.mean(axis=0), full_matrices=False)
        bases.append(u[:, s > 1e-6 * s[0]])
    rho = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float(-0.5 * np.log2(1 - np.minimum(rho, 1 - 1e-12) ** 2).sum())


class Critic(nn.Module):
    """f(s, y) = <g(s), h(y)> + a: an MLP of the state, one of the answers."""

    def __init__(self, n_entries: int, n_columns: int) -> None:
        super().__init__()

        def mlp(n_in: int) -> nn.Module:
            return nn.Sequential(nn.Linear(n_in, WIDTH), nn.GELU(), nn.Linear(WIDTH, FEATURES))

        self.of_state, self.of_answers = mlp(n_entries), mlp(n_columns)
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, states: Tensor, columns: Tensor) -> Tensor:
        """Scores (B, B): row s, column y; the diagonal are pairs that belong together."""
        scores = self.of_state(states) @ self.of_answers(columns).T / math.sqrt(FEATURES) + self.offset
        return MOST * torch.tanh(scores / MOST)  # so that no exponential overflows


def diagonal_and_log_mean(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Mean score of pairs, and log of the mean of exp(score) over the B (B - 1) others."""
    n = len(scores)
    others = scores.masked_fill(torch.eye(n, dtype=torch.bool), -math.inf)
    return scores.diagonal().mean(), torch.logsumexp(others.flatten(), 0) - math.log(n * (n - 1))


def info_nce(scores: Tensor) -> Tensor:
    """van den Oord et al. 2018 (arXiv 1807.03748): at most log B."""
    return math.log(len(scores)) - F.cross_entropy(scores, torch.arange(len(scores)))


def nwj(scores: Tensor) -> Tensor:
    """Nguyen, Wainwright and Jordan 2010 (arXiv 0809.0853)."""
    paired, log_mean = diagonal_and_log_mean(scores)
    return paired - torch.exp(log_mean - 1)


def donsker_varadhan(scores: Tensor) -> Tensor:
    """Donsker and Varadhan 1983, the log of the mean over the batch."""
    paired, log_mean = diagonal_and_log_mean(scores)
    return paired - log_mean


class Mine:
    """Belghazi et al. 2018 (arXiv 1801.04062), section 3.2: the gradient of Donsker-Varadhan with a moving mean."""

    def __init__(self) -> None:
        self.log_moving: Tensor | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """An objective whose gradient is that of the corrected estimate."""
        paired, log_mean = diagonal_and_log_mean(scores)
        now = log_mean.detach()
        moving = (
            now if self.log_moving is None else torch.logaddexp(self.log_moving + math.log(0.9), now + math.log(0.1))
        )
        self.log_moving = moving
        return paired - torch.exp(log_mean - moving)


def neural(objective: Callable[[Tensor], Tensor], value: Callable[[Tensor], Tensor], data: Data) -> float:
    """Train a critic on one part of the sequences; the mean value over batches of the others, in bits."""
    torch.manual_seed(0)
    states = torch.from_numpy(data.states)
    columns, n_training = torch.from_numpy(data.one_hot()), data.n_training
    critic = Critic(states.shape[1], columns.shape[1])
    adam = torch.optim.AdamW(critic.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(data.epochs):
        for rows in torch.randperm(n_training)[: n_training // BATCH * BATCH].split(BATCH):
            adam.zero_grad()
            (-objective(critic(states[rows], columns[rows]))).backward()
            nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
            adam.step()
    with torch.no_grad():
        held_out = torch.arange(n_training, len(states)).split(BATCH)
        values = [float(value(critic(states[rows], columns[rows]))) for rows in held_out if len(rows) == BATCH]
    return float(np.mean(values)) / math.log(2)


def certified(data: Data) -> float:
    """boundprobe: decoders see half of the sequences, and the lower bound holds at 95 per cent."""
    from boundprobe.probes import certify_states

    return certify_states(data.states, data.answers, n_values=data.channel.n_values).present.lower


@dataclass(frozen=True)
class Estimator:
    """A row of the table."""

    name: str
    bits: Callable[[Data], float]
    lower_limit: str


ESTIMATORS = [
    Estimator(
        f"mutual_info_classif, summed (first {FEW})", neighbours_per_pair, "no: pairs overlap, and miss what is joint"
    ),
    Estimator(f"KSG, {NEIGHBOURS} neighbours", ksg, "no: an estimate"),
    Estimator("CCA, Gaussian formula", canonical_correlations, "no: the data are not Gaussian"),
    Estimator(
        f"InfoNCE, batches of {BATCH}",
        lambda data: neural(info_nce, info_nce, data),
        f"on average only, and at most log2 {BATCH} = {math.log2(BATCH):.2f}",
    ),
    Estimator("NWJ", lambda data: neural(nwj, nwj, data), "on average only"),
    Estimator(
        "Donsker-Varadhan",
        lambda data: neural(donsker_varadhan, donsker_varadhan, data),
        "no: the log of a mean is biased",
    ),
    Estimator("MINE", lambda data: neural(Mine(), donsker_varadhan, data), "no: the log of a mean is biased"),
    Estimator("boundprobe, certified", certified, "yes: theorem T1, 95 per cent"),
]


def main() -> None:
    """Run every estimator on every data set and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=10_000, help="drawn from each channel")
    parser.add_argument("--data", default=",".join(DATA), help=f"of {', '.join(DATA)}")
    parser.add_argument("--epochs", type=int, default=20, help="of the critics")
    args = parser.parse_args()
    torch.set_num_threads(1)  # tiny products: a second thread gains nothing
    for name in args.data.split(","):
        title, channel = DATA[name]
        data = Data(channel, *channel.draw(args.sequences, np.random.default_rng(0)), args.epochs)
        truth = channel.true_bits
        print(f"\n{title}: {truth:.2f} of {channel.entropy_bits:g} bits, {args.sequences} sequences")
        print(f"{'estimator':42}  {'bits':>7}  {'seconds':>7}  above the truth?  a lower bound?")
        for estimator in ESTIMATORS:
            started = time.perf_counter()
            bits = estimator.bits(data)
            seconds = time.perf_counter() - started
            above = "yes" if bits > truth else "no"
            print(f"{estimator.name:42}  {bits:7.2f}  {seconds:7.1f}  {above:16}  {estimator.lower_limit}", flush=True)


if __name__ == "__main__":
    main()
