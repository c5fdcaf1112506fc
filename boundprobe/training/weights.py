"""Weights of members: initial, and of a finished run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import load
from torch import Tensor, nn

from boundprobe.checks import check_kind
from boundprobe.models.stack import SequenceModel
from boundprobe.runs.files import parse_or_refuse
from boundprobe.runs.store import Run
from boundprobe.seeds import seed_sequence
from boundprobe.training.config import Member, TrainConfig, config_of_run

#: File of a training run that holds the weights of its reported members.
WEIGHTS = "model.safetensors"


def build_model(config: TrainConfig, member: Member) -> SequenceModel:
    """A member's model with its initial weights, a function of (seed, phase, seed index)."""
    check_kind("config", config, TrainConfig)
    seed = int(seed_sequence(config.seed, "initialisation", *member.key).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):  # the caller's global generator is left as it was
        torch.manual_seed(seed)
        return SequenceModel(config.model, config.task.n_token_ids, config.backend)


def any_model(config: TrainConfig) -> SequenceModel:
    """A model of a configuration's sizes, with weights that nobody uses; no RNG stream is touched."""
    with torch.random.fork_rng(devices=[]):
        return SequenceModel(config.model, config.task.n_token_ids, config.backend)


def load_models(run: Run, device: str = "cpu") -> list[SequenceModel]:
    """The reported models of a finished run, in the order of its members, in evaluation mode.

    Raises
    ------
    RunDirectoryError
        If the weights are missing or damaged, have changed since they were written, are not those of the models, or
        are not finite though the result has a loss: only members that diverged have none.
    """
    config = config_of_run(run.config, run.path)
    path = run.path / WEIGHTS
    data = run.read_tensors(path.name)
    weights = parse_or_refuse(path, lambda: load(data))
    models = [
        SequenceModel(config.model, config.task.n_token_ids, config.backend) for _ in range(config.schedule.n_seeds)
    ]
    own: list[dict[str, Tensor]] = [{} for _ in models]
    members = (run.result() or {}).get("members", [])
    diverged = {i for i, member in enumerate(members) if member["loss"] is None}

    def fill() -> None:
        for name, value in weights.items():
            member, _, parameter = name.removeprefix("member").partition(".")
            if not (name.startswith("member") and member.isdecimal() and int(member) < len(models)):
                raise ValueError(f"tensors must be those of {len(models)} members; got one named {name!r}")
            if int(member) not in diverged and not value.isfinite().all():
                raise ValueError(f"{name} must be finite, as its member has not diverged; got NaN or infinity")
            own[int(member)][parameter] = value
        for model, values in zip(models, own, strict=True):
            load_parameters(model, values)

    parse_or_refuse(path, fill)
    return [model.to(device).eval() for model in models]


def load_parameters(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Load a module's tensors, each of exactly its own name, type and shape: nothing is converted.

    Raises
    ------
    ValueError
        For the first that is not.
    """
    wanted = module.state_dict()
    for name in (*wanted, *values):
        if name not in values or name not in wanted:
            raise ValueError(f"tensors must be the module's {len(wanted)}; {name!r} is only in one of both")
        found, own = values[name], wanted[name]
        if found.dtype != own.dtype or found.shape != own.shape:
            raise ValueError(f"{name} must be {own.dtype} {tuple(own.shape)}; got {found.dtype} {tuple(found.shape)}")
    module.load_state_dict(dict(values))
