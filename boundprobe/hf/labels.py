"""Inputs and labels for the language-model heads of transformers, which shift labels themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from boundprobe.checks import refuse

#: Label of a position that is not asked: the same in boundprobe and in transformers.
IGNORED = -100


def shifted_labels(tokens: Tensor, targets: Tensor, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and labels with which a head of transformers has the loss of our targets.

    A target of boundprobe stands at the position whose logits are to name it.  A head of transformers compares the
    logits at position t with the label at t + 1, so that ``labels=targets`` trains another task without an error.  Here
    every target moves one position on, and one more token makes room for that of the last position.

    Parameters
    ----------
    tokens : Tensor (B, L), int64
    targets : Tensor (B, L), int64
        -100 where nothing is asked.
    fill : int
        Id of the token that follows each sequence; no logits that count depend on it.

    Returns
    -------
    input_ids, labels : Tensor (B, L + 1), int64

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> input_ids, labels = shifted_labels(torch.tensor([[5, 6, 7]]), torch.tensor([[-100, 1, 2]]))
    >>> input_ids.tolist(), labels.tolist()
    ([[5, 6, 7, 0]], [[-100, -100, 1, 2]])
    """
    if tokens.ndim != 2 or tokens.shape != targets.shape:
        refuse("targets", f"of the shape of tokens, {tuple(tokens.shape)}, (B, L)", f"{tuple(targets.shape)}")
    last = tokens.new_full((len(tokens), 1), fill)
    first = targets.new_full((len(targets), 1), IGNORED)
    return torch.cat([tokens, last], dim=1), torch.cat([first, targets], dim=1)
