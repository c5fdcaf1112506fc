"""A model that cannot go on from its own cache is refused before anything is measured."""

from __future__ import annotations

import torch
from torch import Tensor

from boundprobe.checks import check_number
from boundprobe.hf.cut_model import HuggingFaceModel

#: Of the greatest logit, for types of at least 32 bits and for shorter ones.
TOLERANCE, SHORT_TOLERANCE = 1e-3, 5e-2


class ContinuationError(ValueError):
    """The installed transformers does not continue a model from its own cache.  Exit code 2."""


@torch.no_grad()
def continuation_error(model: HuggingFaceModel, tokens: Tensor) -> float:
    """Greatest difference between logits of a whole pass and of answers across cuts, over the greatest logit.

    Parameters
    ----------
    model : HuggingFaceModel
    tokens : Tensor (B, T), int64, T at least 3
        The cuts are after one token, in the middle, and before the last token.

    Returns
    -------
    float
        Rounding alone makes it a few thousand times the precision of the model's type, or less.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from boundprobe.hf import wrap
    >>> config = LlamaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    >>> continuation_error(wrap(LlamaForCausalLM(config)), torch.tensor([[1, 2, 3, 4, 5]])) < 1e-5
    True
    """
    whole, length = model(tokens).float(), tokens.shape[1]
    worst = 0.0
    for cut in sorted({1, length // 2, length - 1}):
        logits = model.answer(model.prefill(tokens[:, :cut]), tokens[:, cut:])
        if logits.shape != whole[:, cut:].shape:
            return float("inf")
        worst = max(worst, float((logits.float() - whole[:, cut:]).abs().max()))
    return worst / max(float(whole.abs().max()), 1e-30)


def check_continuation(model: HuggingFaceModel, tolerance: float | None = None) -> None:
    """Raise ``ContinuationError`` unless answers across a cut are those of a whole pass.

    Parameters
    ----------
    model : HuggingFaceModel
    tolerance : float, optional
        For ``continuation_error``; 0.001 if not given, and 0.05 where weights have fewer than 32 bits.

    Raises
    ------
    ContinuationError
    """
    weight = next(model.parameters())
    if tolerance is None:
        tolerance = TOLERANCE if weight.element_size() >= 4 else SHORT_TOLERANCE
    check_number("tolerance", tolerance, above=0)
    vocab_size = model.model.get_input_embeddings().num_embeddings
    tokens = torch.randint(vocab_size, (3, 9), generator=torch.Generator().manual_seed(0)).to(weight.device)
    try:
        error, why = continuation_error(model, tokens), ""
    except Exception as raised:  # the model's own code may raise anything
        error, why = float("inf"), f"; it raises {type(raised).__name__}: {' '.join(str(raised).split())[:160]}"
    if not error <= tolerance:
        import transformers

        raise ContinuationError(
            f"the model must answer from its cache as it does in a whole pass; {model.family} of transformers "
            f"{transformers.__version__} differs by {error:.2g} of the greatest logit, where {tolerance:g} is "
            f"allowed{why}. Its state cannot be measured."
        )
