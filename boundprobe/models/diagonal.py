"""A model's state read along a diagonal cut, and answers from it alone (D1; docs/theory/bounds.md).

Layer l leaves its inputs up to token t_{l-1} behind and its outputs up to t_l = t_{l-1} + d_l.  Of its caches and
buffers those entries cross that were made by t_{l-1} and are still needed after t_l; of a recurrence its state after
t_l.  With these and the tokens after t_0 every later output can be computed, the first d_l of each layer left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.bounds.diagonal.cuts import DiagonalCuts
from boundprobe.bounds.diagonal.stages import Window
from boundprobe.checks import check_integer, refuse
from boundprobe.models.layers import Layer
from boundprobe.models.memory import CutState, LayerState, StateTensor
from boundprobe.models.sizes import mixer_stages, model_stages
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel


class DiagonalCut(nn.Module):
    """A diagonal cut of a model before a query.

    Parameters
    ----------
    model : SequenceModel
    lags : sequence of int, in tokens
        One for each stage of ``model_stages(model.spec)``, as ``Crossing.lags`` has them.
    prefix_len : int, in tokens
        P, tokens before the query; the cut starts at token P - sum(lags), which must be at least 1.

    Raises
    ------
    ValueError
        If the lags do not fit the model or the prefix.

    Examples
    --------
    >>> model = SequenceModel(ModelSpec("attn-gru", d_model=4, window=3), vocab_size=5)
    >>> tokens = torch.tensor([[0, 1, 2, 3, 4]])
    >>> cut = DiagonalCut(model, lags=(2, 0), prefix_len=4)
    >>> state = cut.prefill(tokens[:, :4])
    >>> state.bits()
    MemoryBits(recurrent_bits=256, conv_bits=0, cache_bits=0)
    >>> bool(torch.allclose(cut.answer(state, tokens[:, 2:]), model(tokens)[:, 4:], atol=1e-6))
    True
    """

    def __init__(self, model: SequenceModel, lags: Sequence[int], prefix_len: int) -> None:
        super().__init__()
        n_stages = len(model_stages(model.spec))
        if len(lags) != n_stages:
            refuse("lags", f"{n_stages}, one for each stage of {model.spec.architecture}", f"{len(lags)}")
        for lag in lags:
            check_integer("lags", lag, 0)
        self.model, self.lags, self.prefix_len = model, tuple(lags), check_integer("prefix_len", prefix_len, 1)
        self.start = prefix_len - sum(lags)
        if self.start < 1:
            refuse("lags", f"below the {prefix_len} tokens before the query together", f"{sum(lags)}")

    @classmethod
    def of_lag(cls, model: SequenceModel, lag: int, prefix_len: int) -> DiagonalCut:
        """The cut of a lag that fewest bits cross."""
        cuts = DiagonalCuts(model_stages(model.spec), prefix_len)
        return cls(model, cuts.crossing(lag).lags, prefix_len)

    @property
    def lag(self) -> int:
        """Tokens from the start of the cut to the query."""
        return sum(self.lags)

    @property
    def receptive_field(self) -> int | None:
        """That of the model."""
        return self.model.receptive_field

    def prefill(self, prefix: Tensor) -> CutState:
        """The state that crosses the cut after a prefix (B, P)."""
        x = self.model.embedding(prefix)
        crossing = []
        for layer in self._layers():
            x, state = layer.read(x)
            crossing.append(state)
        return CutState(tuple(crossing))

    def answer(self, state: CutState, tokens: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) at every position of the query, from what crosses and the tokens after the cut.

        Parameters
        ----------
        state : CutState
        tokens : Tensor (B, sum(lags) + Q)
            The tokens after the start of the cut: the last ones of the prefix, and the query.
        """
        x = self.model.embedding(tokens)
        for layer, crossing in zip(self._layers(), state.layers, strict=True):
            x = layer.resume(x, crossing)
        logits: Tensor = self.model.readout(self.model.norm(x))
        return logits

    def _layers(self) -> Iterator[_LaggedLayer]:
        lags, time = list(self.lags), self.start
        for layer, mixers in zip(self.model.layers, self.model.spec.layers, strict=True):
            assert isinstance(layer, Layer)
            n_stages = len(mixer_stages(self.model.spec, mixers[0], 1)) if len(mixers) == 1 else 1
            own, lags = lags[:n_stages], lags[n_stages:]
            times = [time]
            for lag in own:
                times.append(times[-1] + lag)
            yield _LaggedLayer(layer, self.model.spec, mixers, tuple(times))
            time = times[-1]


@dataclass(frozen=True)
class _Span:
    """Where a tensor is cut: what was made by ``before`` and is needed after ``after``, or all of it at ``after``."""

    before: int
    after: int
    window: Window | None = None
    whole: bool = False


@dataclass(frozen=True)
class _LaggedLayer:
    """A layer with the tokens at which its stages begin and the last one ends."""

    layer: Layer
    spec: ModelSpec
    mixers: tuple[str, ...]
    times: tuple[int, ...]

    def read(self, x: Tensor) -> tuple[Tensor, LayerState]:
        """Outputs for inputs (B, P, d_model), and what crosses."""
        outputs, at = [], {}
        state: LayerState = ()
        for start, stop in pairwise((0, *self.times, x.shape[1])):
            if stop > start:
                y, state = self.layer(x[:, start:stop], state)
                outputs.append(y)
            at[stop] = state
        crossing = [self._cut(tensor, at) for tensor in at[self.times[0]]]
        return torch.cat(outputs, dim=1), tuple(crossing)

    def resume(self, x: Tensor, crossing: LayerState) -> Tensor:
        """Outputs after its lag, for inputs after its beginning."""
        state, first = crossing, self.times[0]
        for time, until in pairwise((*self.times, first + x.shape[1])):
            state = tuple(self._at(time, tensor, carried) for tensor, carried in zip(state, crossing, strict=True))
            if until > time:
                y, state = self.layer(x[:, time - first : until - first], state)
        out: Tensor = y
        return out

    def _cut(self, tensor: StateTensor, at: dict[int, LayerState]) -> StateTensor:
        """The part of a tensor of the state that crosses."""
        span = self._span(tensor)
        if span.whole:
            return _named(at[span.after], tensor.name)
        made = _named(at[span.before], tensor.name)
        if span.window is None:
            return made
        n_crossing = int(replace(span.window, bits=1).crossing(span.before, span.after))
        n_made = made.value.shape[-2]
        return replace(made, value=made.value[..., max(0, n_made - n_crossing) :, :])

    def _at(self, time: int, tensor: StateTensor, carried: StateTensor) -> StateTensor:
        """A tensor of the state when ``time`` is reached: carried over the cut, made since, or of no matter yet."""
        span = self._span(carried)
        if span.window is None and not span.whole:  # public time
            return replace(carried, value=carried.value.new_zeros(len(carried.value), time % self.spec.chunk, 0))
        if span.whole:
            return carried if time in (self.times[0], span.after) else tensor
        if time < span.before:
            return replace(carried, value=carried.value[..., :0, :])
        if time > span.before:
            return tensor
        if carried.kind == "conv":  # a buffer is always as long; what is missing is not needed after the lag
            assert span.window is not None  # the phase of chunks, the one tensor without a window, is public
            missing = span.window.reach - carried.value.shape[-2]
            return replace(carried, value=F.pad(carried.value, (0, 0, missing, 0)))
        return carried

    def _span(self, tensor: StateTensor) -> _Span:
        branch = int(tensor.name.split(".")[0]) if len(self.mixers) > 1 else 0
        stages = mixer_stages(self.spec, self.mixers[branch], 1)
        # Of a branch of several stages the last one lags; on its own each has its lag.
        times = self.times if len(self.mixers) == 1 else (*(self.times[0],) * len(stages), self.times[1])
        if tensor.name.endswith("phase"):
            return _Span(times[0], times[0])
        windows = [{window.kind: window for window in stage.windows} for stage in stages]
        whole = [{"recurrent": s.recurrent_bits, "conv": s.conv_bits, "cache": s.cache_bits} for s in stages]
        i = next(i for i in range(len(stages)) if tensor.kind in windows[i] or whole[i][tensor.kind])
        window = windows[i].get(tensor.kind)
        return _Span(times[i], times[i + 1], window, whole=window is None)


def _named(state: LayerState, name: str) -> StateTensor:
    return next(tensor for tensor in state if tensor.name == name)
