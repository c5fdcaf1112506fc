"""Gates of recurrent layers, with values independent of an entry's position in its tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))`` as ``(1 + tanh(x / 2)) / 2``, entry by entry.

    On a CPU ``torch.sigmoid`` computes the last entries of a tensor, those that do not fill a vector register, with
    another function than the rest, which differs by rounding.  Which entries these are depends on how many models are
    stacked, so a model in an ensemble would differ from the same model trained by itself.  ``torch.tanh`` has one
    function for all entries.

    Examples
    --------
    >>> x = torch.linspace(-4, 4, 100)
    >>> all(torch.equal(sigmoid(x[:n].clone()), sigmoid(x)[:n]) for n in range(1, 100))
    True
    >>> torch.allclose(sigmoid(x), torch.sigmoid(x))
    True
    """
    return 0.5 + 0.5 * torch.tanh(0.5 * x)
