"""Caches of transformers, read as states at the cut and made anew from them.

A convolution buffer is kept as the columns that the recurrence reads; the older column that most families store
beside them is put back as zeros (a test gives it other values, and the answers are the same).
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from boundprobe.checks import refuse
from boundprobe.models.memory import CutState, LayerState, StateTensor

#: Name of a tensor without entries, whose shape (batch, n_tokens, 0) says how many tokens were read.
POSITION = "position"


def n_tokens_read(state: CutState) -> int | None:
    """Tokens read, from shapes: they are the same for every sequence, so that they cost nothing."""
    tensors = [tensor for layer in state.layers for tensor in layer]
    said = [tensor.value.shape[1] for tensor in tensors if tensor.name == POSITION]
    return max([*said, *(tensor.value.shape[-2] for tensor in tensors if tensor.name == "keys")], default=None)


def _limits_steps(config: Any) -> bool:
    """True where Mamba-2 layers limit their step sizes in sequences and not in single tokens.

    A token that follows a cache alone is then another computation than the same token in a sequence, and the logits
    differ by far more than rounding does.
    """
    if config.model_type in ("nemotron_h", "zamba2"):
        return bool(config.time_step_min > 0)
    least, most = getattr(config, "time_step_limit", None) or (0.0, math.inf)
    return bool(least > 0 or most < math.inf)


class AbstractAdapter(ABC):
    """Reads and restores the caches of one model.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model of transformers.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        names = inspect.signature(model.forward).parameters
        self.takes = frozenset(names)
        #: Whether a suffix is read in one call, in place of token by token.
        self.at_once = model.config.model_type == "rwkv" or _limits_steps(model.config)
        #: Name by which the model takes its cache: Mamba's takes no notice of ``past_key_values``.
        found = [name for name in ("cache_params", "state", "past_key_values") if name in names]
        if not found:
            refuse("model", "a causal language model of transformers that takes a cache", type(model).__name__)
        self.keyword = found[0]

    @abstractmethod
    def fresh(self, batch: int) -> Any:
        """A cache that has read nothing; None where the model makes its own."""

    @abstractmethod
    def read(self, cache: Any, n_tokens: int) -> CutState:
        """The state that a cache holds after so many tokens."""

    @abstractmethod
    def restore(self, state: CutState) -> Any:
        """A new cache with this state; nothing in it is shared with the state."""

    def forget(self) -> None:  # noqa: B027 (for the one family that overrides it)
        """Drop what the model itself keeps of a cache: nothing, in most families."""

    def prefill(self, tokens: Tensor) -> CutState:
        """State after tokens (B, P)."""
        _, cache = self.run(tokens, self.fresh(len(tokens)), 0, last_only=True)
        state = self.read(cache, tokens.shape[1])
        self.forget()
        return state

    def answer(self, state: CutState, tokens: Tensor) -> Tensor:
        """Logits of tokens (B, Q) after a state; they can be differentiated by its tensors."""
        with self._keeping() if torch.is_grad_enabled() else nullcontext():
            logits = self._answer(state, tokens)
        self.forget()
        return logits

    def _keeping(self) -> AbstractContextManager[object]:
        """Keep copies for the backward pass of whatever a cache may overwrite, which is all but the weights.

        Caches are updated in place, right after their old values were read.
        """
        weights = {each.untyped_storage().data_ptr() for each in self.model.parameters()}

        def keep(value: Tensor) -> Tensor:
            return value if value.untyped_storage().data_ptr() in weights else value.clone()

        return torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept)

    def _answer(self, state: CutState, tokens: Tensor) -> Tensor:
        cache, start = self.restore(state), n_tokens_read(state)
        if self.at_once:
            # One more token follows, as a single one would be read in another way; no logits but its own depend on it.
            return self.run(torch.cat([tokens, tokens[:, -1:]], dim=1), cache, start)[0][:, :-1]
        pieces = []
        for i, token in enumerate(tokens.split(1, dim=1)):
            piece, cache = self.run(token, cache, None if start is None else start + i)
            pieces.append(piece)
        return torch.cat(pieces, dim=1)

    def run(self, tokens: Tensor, cache: Any, start: int | None, *, last_only: bool = False) -> tuple[Tensor, Any]:
        """Logits of tokens (B, T), the first at position ``start``, and the cache after them."""
        options: dict[str, Any] = {self.keyword: cache, "use_cache": True}
        if last_only and "logits_to_keep" in self.takes:
            options["logits_to_keep"] = 1
        if start is not None and "position_ids" in self.takes:
            # Some families count positions from 0 in every call, whatever the cache has read (bamba).
            positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
            options["position_ids"] = positions.expand(len(tokens), -1)
        outputs = self.model(input_ids=tokens, **options)
        returned = outputs.get(self.keyword)
        return outputs.logits, cache if returned is None else returned


class DynamicAdapter(AbstractAdapter):
    """``DynamicCache``, the one class of nearly all families: keys, values, convolution and recurrent states."""

    def fresh(self, batch: int) -> Any:
        """An empty cache with the layers of the model's configuration."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def read(self, cache: Any, n_tokens: int) -> CutState:
        """The state, layer by layer."""
        layers = [read_layer(i, layer) for i, layer in enumerate(cache.layers)]
        return CutState(_with_position(layers, cache.layers, n_tokens))

    def restore(self, state: CutState) -> Any:
        """A cache of the model's layers, filled."""
        cache = self.fresh(state.batch)
        if len(cache.layers) != len(state.layers):
            refuse("state", f"of {len(cache.layers)} layers, as the model", f"{len(state.layers)}")
        n_tokens = n_tokens_read(state)
        for layer, tensors in zip(cache.layers, state.layers, strict=True):
            _fill_layer(layer, {tensor.name: tensor.value for tensor in tensors}, n_tokens)
        return cache


def read_layer(index: int, layer: Any) -> LayerState:
    """Tensors of a layer of a ``DynamicCache``.

    Raises
    ------
    ValueError
        If it is of a class that holds more than is read here.
    """
    from transformers import cache_utils

    known = (
        cache_utils.DynamicLayer,
        cache_utils.DynamicSlidingWindowLayer,
        cache_utils.LinearAttentionLayer,
        cache_utils.LinearAttentionAndFullAttentionLayer,
        cache_utils.LinearAttentionAndSlidingWindowAttentionLayer,
        cache_utils.DummyLayer,
    )
    if type(layer) not in known:
        names = ", ".join(each.__name__ for each in known)
        refuse("cache", f"of layers that boundprobe reads ({names})", f"{type(layer).__name__} in layer {index}")
    found = []
    for kind, name in (("recurrent", "recurrent_states"), ("conv", "conv_states")):
        for i, value in getattr(layer, name, {}).items():
            if value is not None:
                read = value if kind == "recurrent" else value[..., 1:].contiguous()
                found.append(StateTensor(kind if i == 0 else f"{kind}{i}", kind, read))  # type: ignore[arg-type]
    if getattr(layer, "keys", None) is not None:
        found += [StateTensor("keys", "cache", layer.keys), StateTensor("values", "cache", layer.values)]
    return tuple(found)


def _fill_layer(layer: Any, tensors: dict[str, Tensor], n_tokens: int | None) -> None:
    """Give a fresh layer of a ``DynamicCache`` the tensors that were read from another."""
    for i in range(getattr(layer, "number_of_states", 0)):
        suffix = "" if i == 0 else f"{i}"
        if (conv := tensors.get(f"conv{suffix}")) is not None:
            layer.update_conv_state(_as_stored(conv), i)
        if (recurrent := tensors.get(f"recurrent{suffix}")) is not None:
            layer.update_recurrent_state(recurrent, i)
    if "keys" in tensors:
        layer.update(tensors["keys"].clone(), tensors["values"].clone())
        if getattr(layer, "is_sliding", False):
            # A window holds its last tokens only, and positions are counted from the first.
            layer.cumulative_length = n_tokens


def _as_stored(conv: Tensor) -> Tensor:
    """A convolution buffer (batch, channels, width - 1) with the older column that no recurrence reads."""
    return nn.functional.pad(conv, (1, 0))


def _with_position(layers: list[LayerState], cached: Sequence[Any], n_tokens: int) -> tuple[LayerState, ...]:
    """The layers, with the number of tokens where no tensor's shape tells it: if all attention has windows."""
    attends = [i for i, tensors in enumerate(layers) if any(tensor.name == "keys" for tensor in tensors)]
    if attends and all(getattr(cached[i], "is_sliding", False) for i in attends):
        first = attends[0]
        keys = next(tensor.value for tensor in layers[first] if tensor.name == "keys")
        layers[first] = (*layers[first], StateTensor(POSITION, "cache", keys.new_empty(len(keys), n_tokens, 0)))
    return tuple(layers)
