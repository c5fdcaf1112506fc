"""Results of the members of a run, and their summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from boundprobe.models.stack import SequenceModel
from boundprobe.seeds import generator
from boundprobe.training.config import Member, TrainConfig
from boundprobe.training.convergence import has_converged, improvement
from boundprobe.training.data import STEPS_PER_DRAW, permute_labels
from boundprobe.training.ensemble import Ensemble
from boundprobe.training.evaluate import count_correct_of_members


def evaluate_members(
    config: TrainConfig, members: Sequence[Member], ensemble: Ensemble, losses: Sequence[list[float]]
) -> list[dict[str, Any]]:
    """Entries of the result for members of one run and one phase.

    Accuracies are on sequences of the phase; calibration members are evaluated on sequences that are never used again.

    Parameters
    ----------
    config : TrainConfig
    members : sequence of Member
    ensemble : Ensemble
        With their weights, in this order.
    losses : sequence of lists of float
        Mean loss (nats) of each of their draws.
    """
    role = "calibration" if members[0].phase == "calibration" else "evaluation"
    accuracies = _accuracies(config, role, ensemble)
    memory = _memory(config, ensemble.skeleton)
    schedule = config.schedule
    n_draws = -(-schedule.steps // STEPS_PER_DRAW)
    # The step after the last loss may have made weights infinite: such a member has diverged as well.
    is_finite = ensemble.values.isfinite().all(1).tolist()
    ends = [own[-1] if finite_weights else math.nan for own, finite_weights in zip(losses, is_finite, strict=True)]
    return [
        {
            "phase": member.phase,
            "learning_rate": member.learning_rate,
            "seed_index": member.seed_index,
            "accuracy": accuracy[schedule.distribution],
            "accuracy_by_distribution": accuracy,
            "loss": finite(end),
            "steps": min(len(own) * STEPS_PER_DRAW, schedule.steps),
            # One that stopped because it had learned everything has nothing left to improve.
            "converged": math.isfinite(end) and (len(own) < n_draws or has_converged(own, n_draws)),
            "late_improvement": None if (fall := improvement(own, n_draws)) is None else finite(fall),
            "n_params": ensemble.skeleton.n_params,
            "memory": memory,
        }
        for member, accuracy, own, end in zip(members, accuracies, losses, ends, strict=True)
    ]


def _accuracies(config: TrainConfig, role: str, ensemble: Ensemble) -> list[dict[str, float]]:
    """For each member its accuracy on each distribution."""
    distributions = tuple(dict.fromkeys((config.schedule.distribution, "state-hard", "window-hard")))
    columns = []
    for i, distribution in enumerate(distributions):
        rng = generator(config.seed, role, 0, i)
        batch = config.task.sample(config.schedule.n_eval, rng, distribution)
        batch = permute_labels(batch, rng) if config.schedule.targets == "random" else batch
        correct, asked = count_correct_of_members(ensemble, batch, config.task.answers_per_sequence)
        columns.append([n / asked for n in correct])
    return [dict(zip(distributions, row, strict=True)) for row in zip(*columns, strict=True)]


@torch.no_grad()
def _memory(config: TrainConfig, skeleton: SequenceModel) -> dict[str, int]:
    """Nominal bits at the cut by kind; neither weights nor tokens matter."""
    device = next(skeleton.parameters()).device
    bits = skeleton.prefill(torch.zeros((1, config.task.prefix_len), dtype=torch.int64, device=device)).bits()
    return {"recurrent_bits": bits.recurrent_bits, "conv_bits": bits.conv_bits, "cache_bits": bits.cache_bits}


def check_result(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a training run that was read back if its numbers can be of one run.

    Raises
    ------
    ValueError
        If they cannot: a summary that is not that of its members, members of several sizes, out of order.
    """
    members = result["members"]
    if [member["seed_index"] for member in members] != list(range(len(members))):
        raise ValueError("`members` must be in the order of their seeds, each once")
    everyone = [*members, *result["calibration"]]
    for key in ("memory", "n_params"):
        if any(member[key] != members[0][key] for member in everyone):
            raise ValueError(f"`{key}` must be the same for all members")
    for phase, own in (("report", members), ("calibration", result["calibration"])):
        if any(member["phase"] != phase for member in own):
            raise ValueError(f"`phase` must be {phase!r} for each member of that phase")
    if any(member["learning_rate"] != result["learning_rate"] for member in members):
        raise ValueError(f"`learning_rate` of every member must be {result['learning_rate']}, that of the run")
    for key, value in summarise(members).items():
        if not np.allclose(value, result["summary"][key], rtol=1e-9, atol=1e-9):
            raise ValueError(f"`summary.{key}` must be {value}, that of the members; got {result['summary'][key]}")
    return result


def finite(value: float) -> float | None:
    """A number as JSON can say it: None for NaN and infinity, the loss of a member that diverged."""
    return value if math.isfinite(value) else None


def summarise(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy over the reported seeds: mean, median, 10th and 90th percentile, every value; and who converged.

    Percentiles are interpolated linearly between order statistics (numpy's default).

    Examples
    --------
    >>> members = [{"accuracy": a, "converged": True} for a in (0.5, 0.75, 1.0)]
    >>> summary = summarise(members)
    >>> summary["mean"], summary["median"], summary["percentile_10"], summary["n_converged"]
    (0.75, 0.75, 0.55, 3)
    """
    values = [member["accuracy"] for member in members]
    low, median, high = (float(x) for x in np.percentile(values, (10, 50, 90)))
    return {
        "n_seeds": len(values),
        "n_converged": sum(member["converged"] for member in members),
        "mean": float(np.mean(values)),
        "median": median,
        "percentile_10": low,
        "percentile_90": high,
        "values": values,
    }
