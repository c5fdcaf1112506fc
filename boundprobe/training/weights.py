"""Weights of members: initial, and of a finished run."""

from __future__ import annotations

from functools import partial

import torch
from safetensors.torch import load_file

from boundprobe.models.stack import SequenceModel
from boundprobe.runs.store import Run, read_or_refuse
from boundprobe.seeds import seed_sequence
from boundprobe.training.config import Member, TrainConfig


def build_model(config: TrainConfig, member: Member) -> SequenceModel:
    """A member's model with its initial weights, a function of (seed, phase, seed index)."""
    seed = int(seed_sequence(config.seed, "initialisation", *member.key).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):  # the caller's global generator is left as it was
        torch.manual_seed(seed)
        return SequenceModel(config.model, config.task.n_token_ids, config.backend)


def load_models(run: Run, device: str = "cpu") -> list[SequenceModel]:
    """The reported models of a finished run, in the order of its members, in evaluation mode.

    Raises
    ------
    RunDirectoryError
        If the weights are missing or damaged.
    """
    config = TrainConfig.from_dict(run.config)
    path = run.path / "model.safetensors"
    weights = read_or_refuse(path, lambda: load_file(path))
    models = []
    for i in range(config.schedule.n_seeds):
        model = SequenceModel(config.model, config.task.n_token_ids, config.backend)
        prefix = f"member{i}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        read_or_refuse(path, partial(model.load_state_dict, own))
        models.append(model.to(device).eval())
    return models
