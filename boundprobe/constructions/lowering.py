"""From one layer of a program to the weights of its mixer; every weight that is not written here is 0.

Numbers are powers of 2 where they can be, so that a value passes a layer without rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundprobe.constructions.program import (
    Agree,
    AtAngle,
    AtDistance,
    Avoid,
    Earlier,
    Hold,
    Latest,
    LookUp,
    Registers,
    Shift,
)
from boundprobe.constructions.score_margins import strengths
from boundprobe.kernels.window.positions import LearnedPosition
from boundprobe.models.attention import SlidingWindowAttention
from boundprobe.models.mamba import Mamba
from boundprobe.models.ssm import SelectiveSSM

#: SiLU(x) = x exactly from here on: 1 + e^-32 is 1 in float32.
LINEAR = 32.0
#: softplus and sigmoid are saturated exactly: e^-128 is 0 in float32.
SATURATED = 128.0


def write_hold(layer: Hold, registers: Registers, mixer: Mamba) -> None:
    """Hold a register: step size 128 at flagged tokens, where exp(-128) = 0 erases the state, and 0 elsewhere.

    On a held channel, with u = 32 x: ``h = exp(-dt) h + dt B u`` with ``dt B = 1``, so h is 32 times the value held;
    ``y = (h - u) 32 / 1024`` is what has to be added to x (the skip D = -1 takes the token's own value away).
    """
    held, (flag,), (one,) = (registers.channels(name) for name in (layer.register, layer.flag, layer.one))
    gate = mixer.in_proj.out_features // 2  # the first row of the gate
    for channel in (*held, flag, one):
        mixer.in_proj.weight[channel, channel] = LINEAR
    mixer.conv1d.weight[:, :, -1] = 1.0  # the present token alone
    mixer.x_proj.weight[0, flag] = 1.0
    b, c = mixer.dt_rank, mixer.dt_rank + mixer.d_state
    mixer.x_proj.weight[b, one] = 1.0 / (LINEAR * SATURATED)
    mixer.x_proj.weight[c, one] = 1.0 / LINEAR
    mixer.dt_proj.bias.fill_(-SATURATED)
    for channel in held:
        mixer.in_proj.weight[gate + channel, one] = LINEAR
        mixer.dt_proj.weight[channel, 0] = 2.0 * SATURATED / LINEAR
        mixer.D[channel] = -1.0
        mixer.out_proj.weight[channel, channel] = LINEAR**-2


def write_shift(layer: Shift, registers: Registers, mixer: SelectiveSSM) -> None:
    """Shift registers: step size 1 where a head reads, 0 where it holds; A moves each slot to the next.

    ``y = C h + D x`` with D = -1 on the slots' channels, so that x + y is the state alone.
    """
    for head, shift in enumerate(layer.heads):
        (flag,), slots = registers.channels(shift.flag), registers.channels(*shift.registers)
        mixer.step.weight[head, flag] = 2.0 * SATURATED * (1 if shift.reads else -1)
        mixer.step.bias[head] = -SATURATED if shift.reads else SATURATED
        first = head * mixer.d_state
        for i, channel in enumerate(slots):
            mixer.C.weight[channel, first + i] = 1.0
            mixer.D[channel] = -1.0
            if i < shift.width:
                mixer.B.weight[first + i, channel] = 1.0
            else:
                mixer.A[head, i, i - shift.width] = 1.0


class _Head:
    """The first head of an attention layer: rows of queries, keys and values, and the next free channel."""

    def __init__(self, registers: Registers, mixer: SlidingWindowAttention) -> None:
        d_model = mixer.out.in_features
        self.registers, self.width, self.position = registers, d_model // mixer.n_heads, mixer.position
        weights, biases = mixer.qkv.weight.view(3, d_model, d_model), mixer.qkv.bias.view(3, d_model)
        self.query, self.key, self.value = weights
        self.query_bias, self.key_bias, _ = biases
        self.n_used = 0

    def take(self, n_channels: int) -> range:
        """The next free channels."""
        self.n_used += n_channels
        return range(self.n_used - n_channels, self.n_used)

    @property
    def relative(self) -> Tensor:
        """Relative key vectors (w, E) of learned positions."""
        assert isinstance(self.position, LearnedPosition)  # check_fit has seen to it
        return self.position.relative


def _avoid(criterion: Avoid, strength: float, head: _Head) -> None:
    (channel,), (flag,) = head.take(1), head.registers.channels(criterion.flag)
    head.query_bias[channel] = strength
    head.key[channel, flag] = -1.0


def _earlier(criterion: Earlier, strength: float, head: _Head) -> None:
    (channel,) = head.take(1)
    head.query_bias[channel] = strength
    head.relative[0, channel] = -1.0


def _latest(criterion: Latest, strength: float, head: _Head) -> None:
    (channel,) = head.take(1)
    head.query_bias[channel] = strength
    head.relative[:, channel] = -torch.arange(len(head.relative), dtype=head.relative.dtype)


def _agree(criterion: Agree, strength: float, head: _Head) -> None:
    here, there = head.registers.channels(criterion.query), head.registers.channels(criterion.key)
    for channel, i, j in zip(head.take(len(here)), here, there, strict=True):
        head.query[channel, i] = strength
        head.key[channel, j] = 1.0


def _at_distance(criterion: AtDistance, strength: float, head: _Head) -> None:
    """The query turns bits into signs, 2 x - 1; keys are the relative vectors alone."""
    channels = head.registers.channels(criterion.register)
    for j, (channel, i) in enumerate(zip(head.take(len(channels)), channels, strict=True)):
        head.query[channel, i] = 2.0 * strength
        head.query_bias[channel] = -strength
        head.relative[:, channel] = torch.as_tensor(criterion.codes[:, j])


def _at_angle(criterion: AtAngle, strength: float, head: _Head) -> None:
    """Pair i is channels i and i + E/2: the query e^(-j k theta), the key 1, both turned with their positions."""
    channels = head.registers.channels(criterion.register)
    for j, pair in enumerate(criterion.pairs):
        for channel, i in ((pair, channels[2 * j]), (pair + head.width // 2, channels[2 * j + 1])):
            head.query[channel, i] = strength
            head.query_bias[channel] = -strength * criterion.shift
        head.key_bias[pair] = 1.0


#: How each criterion is written into queries and keys.
WRITERS: dict[type, Callable[[Any, float, _Head], None]] = {
    Avoid: _avoid,
    Earlier: _earlier,
    Latest: _latest,
    Agree: _agree,
    AtDistance: _at_distance,
    AtAngle: _at_angle,
}


def write_look_up(layer: LookUp, registers: Registers, mixer: SlidingWindowAttention) -> None:
    """A look-up in the first head; any other head stays at 0 and reaches nothing."""
    head = _Head(registers, mixer)
    scale = math.sqrt(head.width)  # scores are divided by it
    for criterion, strength in zip(layer.criteria, strengths(layer, registers, mixer.window), strict=True):
        WRITERS[type(criterion)](criterion, scale * strength, head)
    for j, (source, target) in enumerate(
        zip(registers.channels(layer.value), registers.channels(layer.into), strict=True)
    ):
        head.value[j, source] = 1.0
        mixer.out.weight[target, j] = layer.gain
