"""Caches of the families that have one of their own, and the adapter of each family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from boundprobe.hf.caches import AbstractAdapter, DynamicAdapter, read_layer
from boundprobe.models.memory import CutState, LayerState, StateTensor


class RecurrentGemmaAdapter(DynamicAdapter):
    """RecurrentGemma, which keeps keys and values in a cache and the rest of its state in its own modules."""

    def _blocks(self) -> dict[int, Any]:
        """The recurrent blocks by layer."""
        blocks = {i: layer.temporal_block for i, layer in enumerate(self.model.model.layers)}
        return {i: block for i, block in blocks.items() if hasattr(block, "rg_lru")}

    def _set(self, index: int, conv: Tensor | None, recurrent: Tensor | None) -> None:
        block = self._blocks()[index]
        block.conv1d_state, block.rg_lru.recurrent_states = conv, recurrent

    def fresh(self, batch: int) -> Any:
        """An empty cache; the modules forget what they have read."""
        for i, block in self._blocks().items():
            bias = block.conv_1d.bias  # the model's own zeros are as many as hidden_size, which may not be lru_width
            conv = bias.new_zeros(batch, len(bias), block.conv1d_width - 1).detach()
            self._set(i, conv, torch.zeros(batch, len(bias), dtype=torch.float32, device=bias.device))
        return super().fresh(batch)

    def read(self, cache: Any, n_tokens: int) -> CutState:
        """The state, of which the modules keep nothing."""
        layers = list(super().read(cache, n_tokens).layers)
        for i, block in self._blocks().items():
            recurrent, conv = block.rg_lru.recurrent_states, block.conv1d_state
            layers[i] = (StateTensor("recurrent", "recurrent", recurrent), StateTensor("conv", "conv", conv))
        return CutState(tuple(layers))

    def forget(self) -> None:
        """Take the states out of the modules."""
        for i in self._blocks():
            self._set(i, None, None)

    def restore(self, state: CutState) -> Any:
        """The cache, and the states in the modules."""
        cached = tuple(() if i in self._blocks() else layer for i, layer in enumerate(state.layers))
        cache = super().restore(CutState(cached))
        for i in self._blocks():
            values = {tensor.name: tensor.value.clone() for tensor in state.layers[i]}
            self._set(i, values["conv"], values["recurrent"])
        return cache


class MiniMaxAdapter(AbstractAdapter):
    """MiniMax, whose cache has a list of recurrent states beside the layers of attention."""

    def fresh(self, batch: int) -> Any:
        """An empty cache."""
        from transformers.models.minimax.modeling_minimax import MiniMaxCache

        make: Any = MiniMaxCache
        return make()

    def read(self, cache: Any, n_tokens: int) -> CutState:
        """The state, layer by layer."""
        layers: list[LayerState] = []
        for i in range(len(cache)):
            recurrent = cache.linear_cache[i] if i < len(cache.linear_cache) else []
            if isinstance(recurrent, Tensor):  # an empty list where the layer has attention
                layers.append((StateTensor("recurrent", "recurrent", recurrent),))
            else:
                layers.append(read_layer(i, cache.layers[i]))
        return CutState(tuple(layers))

    def restore(self, state: CutState) -> Any:
        """A cache with these layers."""
        cache = self.fresh(state.batch)
        for i, tensors in enumerate(state.layers):
            values = {tensor.name: tensor.value.clone() for tensor in tensors}
            if "recurrent" in values:
                cache.set_linear_cache(i, values["recurrent"])
            else:
                cache.set_linear_cache(i, [])
                cache.update(values["keys"], values["values"], i)
        return cache


class RwkvAdapter(AbstractAdapter):
    """RWKV version 4: five tensors (batch, hidden_size, n_layers)."""

    #: In the order of the list; the token before, as the MLP and the attention read it, is a convolution of width 2.
    TENSORS = (
        ("mlp_input", "conv"),
        ("attention_input", "conv"),
        ("numerator", "recurrent"),
        ("denominator", "recurrent"),
        ("maximum", "recurrent"),
    )

    def fresh(self, batch: int) -> Any:
        """None: the model makes its own zeros."""
        return None

    def read(self, cache: Any, n_tokens: int) -> CutState:
        """The state, layer by layer."""
        named = list(zip(self.TENSORS, cache, strict=True))
        layers = [
            tuple(StateTensor(name, kind, value[..., i].contiguous()) for (name, kind), value in named)  # type: ignore[arg-type]
            for i in range(cache[0].shape[-1])
        ]
        return CutState(tuple(layers))

    def prefill(self, tokens: Tensor) -> CutState:
        """State after tokens (B, P)."""
        if tokens.shape[1] > 1:
            return super().prefill(tokens)
        # The model takes the batch for the positions where it reads a single token of several sequences.
        alone = [super(RwkvAdapter, self).prefill(token[None]) for token in tokens]
        return alone[0].unflatten(torch.cat([state.flatten() for state in alone]))

    def restore(self, state: CutState) -> Any:
        """The five tensors."""
        by_name = [{tensor.name: tensor.value for tensor in layer} for layer in state.layers]
        return [torch.stack([layer[name] for layer in by_name], dim=-1) for name, _ in self.TENSORS]


class XLstmAdapter(AbstractAdapter):
    """xLSTM: matrix memory, normaliser and stabiliser of each layer."""

    TENSORS = ("memory", "normaliser", "stabiliser")

    def fresh(self, batch: int) -> Any:
        """A cache of zeros."""
        from transformers.models.xlstm.modeling_xlstm import xLSTMCache

        return xLSTMCache(self.model.config, batch, device=self.model.device, dtype=self.model.dtype)

    def read(self, cache: Any, n_tokens: int) -> CutState:
        """The state, layer by layer."""
        layers = [cache.rnn_state[i] for i in range(len(cache.rnn_state))]
        return CutState(
            tuple(
                tuple(StateTensor(name, "recurrent", each) for name, each in zip(self.TENSORS, values, strict=True))
                for values in layers
            )
        )

    def restore(self, state: CutState) -> Any:
        """A cache with these states."""
        cache = self.fresh(state.batch)
        cache.rnn_state = {
            i: tuple(state[f"{i}.{name}"].clone() for name in self.TENSORS) for i in range(len(state.layers))
        }
        cache.rnn_state_initial = False
        return cache


#: ``model_type`` to the adapter of its cache, where that is no ``DynamicCache``.
ADAPTERS: dict[str, type[AbstractAdapter]] = {
    "minimax": MiniMaxAdapter,
    "recurrent_gemma": RecurrentGemmaAdapter,
    "rwkv": RwkvAdapter,
    "xlstm": XLstmAdapter,
}
