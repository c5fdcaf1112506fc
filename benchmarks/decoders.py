"""The linear decoder beside one logistic regression per answer, same states: ``python benchmarks/decoders.py``.

64 answers of 16 values, each kept with probability 0.9 and else replaced by another value; the state holds the kept
values as signs, 4 bits each, turned at random into 512 entries, and noise of standard deviation 0.3.  20,000
sequences: 10,000 train, 3,000 calibrate, 7,000 are measured.  The peer is scikit-learn's LogisticRegression, with its
default penalty and with C = 0.01, on the answers one after another and on the same standardised states; torch and
scikit-learn have the same number of threads.  Both get the same certificate (T1, its form chosen by calibration, 95 per
cent); its seconds stand by themselves.

The channel of the values itself leaves h(0.1) + 0.1 log2 15 = 0.86 bits of each answer open: no decoder is below.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from boundprobe.probes.certificates import Prior, Sample, Scored, Splits, certify, choose
from boundprobe.probes.decoders import DECODERS, FitSettings, Whitening

#: What the project asks for: at least so many times faster, with no more cross-entropy.
LEAST_RATIO = 10
KEPT, NOISE = 0.9, 0.3


def symmetric_storage(sizes: argparse.Namespace) -> Splits:
    """The three parts of one draw."""
    rng = np.random.default_rng(sizes.seed)
    n_bits = int(math.log2(sizes.values))
    shape = (sizes.sequences, sizes.answers)
    answers = rng.integers(sizes.values, size=shape)
    others = (answers + rng.integers(1, sizes.values, size=shape)) % sizes.values
    stored = np.where(rng.random(shape) < KEPT, answers, others)
    signs = 2.0 * ((stored[:, :, None] >> np.arange(n_bits)) & 1) - 1
    turn, _ = np.linalg.qr(rng.standard_normal((sizes.entries, sizes.entries)))
    states = signs.reshape(sizes.sequences, -1) @ turn[: sizes.answers * n_bits]
    states += NOISE * rng.standard_normal(states.shape)
    sample = Sample(states.astype(np.float32), answers)
    first, second = sizes.sequences // 2, sizes.sequences * 13 // 20
    return Splits(*(sample.rows(slice(*ends)) for ends in ((0, first), (first, second), (second, None))))


def bits_and_errors(log_scores: NDArray[np.float32], answers: NDArray[np.int64]) -> tuple[float, float]:
    """Mean cross-entropy of an answer in bits, and mean error; scores (B, n, K), normalised here."""
    scores = torch.log_softmax(torch.from_numpy(log_scores), 2).numpy()
    right = np.take_along_axis(scores, answers[:, :, None], 2)
    return float(-right.mean() / math.log(2)), float((scores.argmax(2) != answers).mean())


def run_ours(name: str, splits: Splits, n_values: int, device: str) -> tuple[float, list[NDArray[np.float32]]]:
    """Seconds of the fit, and scores of the calibration and the evaluation split."""
    start = time.perf_counter()
    decoder = DECODERS[name](splits.fit, splits.calibration, n_values, FitSettings(device=device))
    seconds = time.perf_counter() - start
    return seconds, [decoder.logits(part.states, part.answers) for part in (splits.calibration, splits.evaluation)]


def run_peer(strength: float, splits: Splits, n_answers: int) -> tuple[float, list[NDArray[np.float32]]]:
    """The same of one LogisticRegression for each of the first answers."""
    start = time.perf_counter()
    whitening = Whitening.fit(splits.fit.states, 0, "cpu")
    x = whitening.standardised(splits.fit.states).numpy()
    fits = [LogisticRegression(C=strength).fit(x, splits.fit.answers[:, i]) for i in range(n_answers)]
    seconds = time.perf_counter() - start
    scores = []
    for part in (splits.calibration, splits.evaluation):
        x = whitening.standardised(part.states).numpy()
        scores.append(np.stack([fit.predict_log_proba(x) for fit in fits], 1).astype(np.float32))
    return seconds, scores


def certified(splits: Splits, scores: list[NDArray[np.float32]], n_answers: int, n_values: int) -> tuple[float, float]:
    """Certified bits by scores of the calibration and the evaluation split, and the seconds that they took."""
    start = time.perf_counter()
    prior = Prior.uniform(n_answers, n_values)
    calibration, evaluation = (
        Scored(score, part.answers[:, :n_answers])
        for score, part in zip(scores, (splits.calibration, splits.evaluation), strict=True)
    )
    plan = choose(prior, {"": calibration}, len(evaluation.answers), 0.05)
    lower = certify(prior, plan, evaluation, 0.05, np.random.default_rng(0)).lower
    return lower, time.perf_counter() - start


def main(arguments: list[str]) -> int:
    """Print one line for each contestant; 1 if the project's targets are missed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"answers": 64, "values": 16, "entries": 512, "sequences": 20_000, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="where our decoders are fitted, such as cuda")
    parser.add_argument("--peer-answers", type=int, help="answers that scikit-learn fits; all if not given")
    parser.add_argument("--decoders", default="linear", help="such as linear,mlp,chain")
    sizes = parser.parse_args(arguments)
    torch.set_num_threads(sizes.threads)
    splits = symmetric_storage(sizes)
    n_peer = sizes.peer_answers or sizes.answers
    rows = {}
    with threadpool_limits(sizes.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that end at their limit of iterations
        for name in sizes.decoders.split(","):
            rows[name] = (*run_ours(name, splits, sizes.values, sizes.device), sizes.answers)
        for strength in (1.0, 0.01):
            seconds, scores = run_peer(strength, splits, n_peer)
            rows[f"LogisticRegression C={strength:g}"] = (seconds * sizes.answers / n_peer, scores, n_peer)
    columns = ("fit, s", "calibration", "evaluation", "error", "certified", "and, s")
    print(f"{'decoder':26} " + " ".join(f"{name:>11}" for name in columns))
    measured = {}
    for name, (seconds, scores, n) in rows.items():
        parts = (splits.calibration, splits.evaluation)
        (calibration, _), (evaluation, error) = (
            bits_and_errors(score, part.answers[:, :n]) for score, part in zip(scores, parts, strict=True)
        )
        lower, more_seconds = certified(splits, scores, n, sizes.values)
        measured[name] = (seconds, lower / n)
        note = "" if n == sizes.answers else f"  extrapolated from {n} answers"
        numbers = (seconds, calibration, evaluation, error, lower, more_seconds)
        print(f"{name:26} " + " ".join(f"{value:11.4g}" for value in numbers) + note)
    first, *_ = measured
    missed = 0
    for name, (seconds, certified_bits) in measured.items():
        if name.startswith("Logistic"):
            ratio = seconds / measured[first][0]
            print(f"{name}: {ratio:.1f} times the seconds of {first}")
            missed += name.endswith("C=1") and (ratio < LEAST_RATIO or measured[first][1] < certified_bits)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
