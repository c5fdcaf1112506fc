"""Deterministic training batches: a pure function of (config, member, step), independent of the other members."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE, Batch
from boundprobe.training.config import ActiveMember

#: Steps whose data are drawn together, from one source; metrics, checkpoints and stops fall on its multiples.
STEPS_PER_DRAW = 50


def draw(members: Sequence[ActiveMember], first: int, n_steps: int) -> tuple[Tensor, Tensor]:
    """Sequences of some steps of each member.

    Members of one run that differ in the learning rate alone have the same data, which are drawn once.

    Parameters
    ----------
    members : sequence of M ActiveMember
        Their batches and lengths of sequences agree.
    first, n_steps : int
        A multiple of ``STEPS_PER_DRAW``, and at most that many.

    Returns
    -------
    tokens, targets : Tensor (M, n_steps, B, T)
    """
    drawn: dict[Hashable, tuple[Tensor, Tensor]] = {}
    rows = []
    for config, member in members:
        schedule = config.schedule
        # Two runs with one seed may differ in what their tasks draw; a learning rate changes nothing.
        source = (
            config.task.name,
            str(config.task.parameters()),
            schedule.distribution,
            schedule.targets,
            config.seed,
            member.key,
        )
        if source not in drawn:
            rng = generator(config.seed, "training-data", *member.key, first)
            batch = config.task.sample(n_steps * schedule.batch, rng, schedule.distribution)
            batch = permute_labels(batch, rng) if schedule.targets == "random" else batch
            tokens, targets = (torch.from_numpy(x) for x in (batch.tokens, batch.targets))
            drawn[source] = (tokens.unflatten(0, (n_steps, -1)), targets.unflatten(0, (n_steps, -1)))
        rows.append(drawn[source])
    if len(drawn) == 1:  # the ensemble reads one memory
        tokens, targets = rows[0]
        return tuple(x.expand(len(rows), *x.shape) for x in (tokens, targets))  # type: ignore[return-value]
    return torch.stack([tokens for tokens, _ in rows]), torch.stack([targets for _, targets in rows])


def permute_labels(batch: Batch, rng: np.random.Generator) -> Batch:
    """Permute the labels over the positions that ask: as frequent as before, and independent of the sequence."""
    targets = batch.targets.copy()
    asked = targets != IGNORE
    targets[asked] = rng.permutation(targets[asked])
    return Batch(batch.tokens, targets)
