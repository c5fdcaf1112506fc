"""A causal language model of transformers as a model that answers across a cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from boundprobe.bounds.window import receptive_field
from boundprobe.checks import refuse
from boundprobe.hf.caches import DynamicAdapter
from boundprobe.hf.families import FAMILIES
from boundprobe.hf.family_caches import ADAPTERS
from boundprobe.hf.sizes import layer_windows, state_stages
from boundprobe.models.memory import CutState


class HuggingFaceModel:
    """A transformers model whose state at the cut is an object (``boundprobe.CutModel``).

    Attributes
    ----------
    model : PreTrainedModel
        In evaluation mode.
    family : str
        ``model_type`` of its configuration.
    receptive_field : int or None, in tokens
        Number of last tokens that an output depends on; None: unbounded, as in every family that boundprobe does
        not know.
    stages : tuple of Stage or None
        Bits that cross diagonal cuts (D1), with the model's types; None in a family that boundprobe does not know.

    Notes
    -----
    All sequences of a batch have one length, and no attention mask is given: padding on the left would change states.
    A suffix is read token by token, because some families forget their state when several tokens follow a cache
    (mamba, jamba, recurrent_gemma).  It is read in one call where a single token is computed in another way: rwkv, and
    Mamba-2 layers with limits on their step sizes (zamba2, nemotron_h).  Positions are always given.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.family = str(model.config.model_type)
        self._adapter = ADAPTERS.get(self.family, DynamicAdapter)(model)
        values = model.config.to_dict()
        known = self.family in FAMILIES
        self.receptive_field = receptive_field(layer_windows(values)) if known else None
        dtype = str(model.dtype).removeprefix("torch.")
        self.stages = state_stages(values, dtype=dtype) if known else None

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters; the first says on which device the model is."""
        parameters: Iterator[nn.Parameter] = self.model.parameters()
        return parameters

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of whole sequences (B, T), from one pass without a cache."""
        logits: Tensor = self.model(input_ids=_checked("tokens", tokens), use_cache=False).logits
        return logits

    def prefill(self, tokens: Tensor) -> CutState:
        """State after token ids (B, P), P at least 1, read from the model's own cache."""
        return self._adapter.prefill(_checked("tokens", tokens))

    def answer(self, state: CutState, tokens: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) at token ids (B, Q), Q at least 1, from a new cache with this state."""
        return self._adapter.answer(state, _checked("tokens", tokens))


def _checked(name: str, tokens: Tensor) -> Tensor:
    """Token ids of at least one token of at least one sequence."""
    if tokens.ndim != 2 or tokens.is_floating_point() or not tokens.numel():
        refuse(name, "integers (B, T), both at least 1", f"shape {tuple(tokens.shape)} of {tokens.dtype}")
    return tokens
