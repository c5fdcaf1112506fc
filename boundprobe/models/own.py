"""A user's own mixers: executed with consent, built from the spec, and their states measured or stated."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.checks import refuse
from boundprobe.models.mixer import AbstractMixer
from boundprobe.models.spec import ModelSpec
from boundprobe.tasks.custom.consent import consented
from boundprobe.tasks.custom.source import read_reference

#: Tokens after which the sizes of a state must be what they were after one, for it to be measured.
LENGTHS = (1, 2, 67)


def build_own(spec: ModelSpec, mixer: str) -> AbstractMixer:
    """The user's mixer, built by calling what its reference names with the spec.

    Raises
    ------
    ValueError
        In one line, if the user has not named it, its source has changed, it raises, or it is no mixer.
    """
    make = load_own(spec, mixer)
    try:
        built = make(spec)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"`mixer` must be built by {mixer}(spec); got an error ({reason}).") from error
    if not isinstance(built, AbstractMixer):
        refuse(
            "mixer", "a class of AbstractMixer, or a function that returns one", f"{mixer}, a {type(built).__name__}"
        )
    return built


def load_own(spec: ModelSpec, mixer: str) -> Callable[[ModelSpec], Any]:
    """The object that a reference names, executed only with the user's consent, and only if its source is the spec's.

    Raises
    ------
    ValueError
        In one line, if not.
    """
    sha256 = dict(source.split(" ") for source in spec.sources)[mixer]
    target: Callable[[ModelSpec], Any] = _executed(consented(mixer, sha256, "mixer"), sha256)
    if not callable(target):
        refuse("mixer", "a class of AbstractMixer, or a function that returns one", f"{mixer}, which cannot be called")
    return target


@lru_cache(maxsize=64)
def _executed(place: str, sha256: str) -> Any:
    """One object for one source, so that two models of a process have the same classes."""
    return read_reference(place, sha256, "mixer")[0]


def own_stages(spec: ModelSpec, mixer: str, entry_bits: int) -> tuple[Stage, ...]:
    """Stages of a user's mixer: its own ``stages(spec, entry_bits)``, else measured from the tensors of its state.

    Raises
    ------
    ValueError
        If it has none and its state grows: its sizes are then unknown.
    """
    stated = getattr(load_own(spec, mixer), "stages", None)
    if stated is not None:
        stages = tuple(stated(spec, entry_bits))
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            refuse("stages", f"a tuple of boundprobe.bounds.Stage, for {mixer}", repr(stages))
        return stages
    entries = _measured(spec, mixer)
    return (Stage((), *(entry_bits * n for n in entries)),)


@lru_cache(maxsize=64)
def _measured(spec: ModelSpec, mixer: str) -> tuple[int, int, int]:
    """Entries of a state that does not grow: recurrent, convolution, cache."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = build_own(spec, mixer).eval()
        found = []
        for length in LENGTHS:
            _, state = module(torch.zeros(1, length, spec.d_model))
            of = {"recurrent": 0, "conv": 0, "cache": 0}
            for tensor in state:
                of[tensor.kind] += tensor.value[0].numel()
            found.append((of["recurrent"], of["conv"], of["cache"]))
    if len(set(found)) > 1:
        raise ValueError(
            f"the size of the state of {mixer} must be known; got one that grows, from {sum(found[0])} entries to "
            f"{sum(found[-1])}. Give the class `stages(spec, entry_bits)`, a tuple of boundprobe.bounds.Stage."
        )
    return found[0]


@lru_cache(maxsize=64)
def own_params(spec: ModelSpec, mixer: str) -> int:
    """Number of trainable parameters of a user's mixer, counted in one that is built."""
    with torch.random.fork_rng(devices=[]):
        return sum(p.numel() for p in build_own(spec, mixer).parameters() if p.requires_grad)
