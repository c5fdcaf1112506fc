"""Wrap a model of transformers, and refuse it if it does not continue from its own cache."""

from __future__ import annotations

from typing import Any

from torch import nn

from boundprobe.checks import refuse
from boundprobe.errors import MissingDependencyError
from boundprobe.hf.contract import check_continuation
from boundprobe.hf.cut_model import HuggingFaceModel


def wrap(model: Any, *, check: bool = True) -> HuggingFaceModel:
    """A transformers model, as a model that answers across a cut.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model; it is put into evaluation mode.
    check : bool
        Hold its answers across cuts of three short sequences against whole passes first.

    Returns
    -------
    HuggingFaceModel

    Raises
    ------
    ValueError
        If it is no such model, or keeps a cache that boundprobe does not read.
    MissingDependencyError
        If the installed transformers has another kind of cache, as releases before version 5 have.
    ContinuationError
        If the installed transformers does not continue it from its own cache (``boundprobe.hf.check_continuation``).

    Examples
    --------
    >>> import torch
    >>> from transformers import MambaConfig, MambaForCausalLM
    >>> config = MambaConfig(vocab_size=8, hidden_size=4, state_size=2, num_hidden_layers=1)
    >>> model = wrap(MambaForCausalLM(config))
    >>> state = model.prefill(torch.tensor([[1, 2, 3, 4, 5]]))
    >>> state.bits()
    MemoryBits(recurrent_bits=512, conv_bits=768, cache_bits=0)
    >>> model.answer(state, torch.tensor([[6]])).shape
    torch.Size([1, 1, 8])
    """
    if not isinstance(model, nn.Module) or not hasattr(getattr(model, "config", None), "model_type"):
        refuse("model", "a causal language model of transformers", type(model).__name__)
    _check_version()
    wrapped = HuggingFaceModel(model)
    if check:
        check_continuation(wrapped)
    return wrapped


def _check_version() -> None:
    """Raise ``MissingDependencyError`` unless transformers has one cache for attention and recurrences."""
    import transformers

    if not hasattr(transformers.cache_utils, "LinearAttentionAndSlidingWindowAttentionLayer"):
        raise MissingDependencyError(
            "the states of a transformers model need a release whose caches hold recurrent states, such as 5.23; got "
            f"{transformers.__version__}. Run: pip install --upgrade transformers."
        )
