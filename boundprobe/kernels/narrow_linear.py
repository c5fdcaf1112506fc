"""A linear map that may have a single input or output, whose results do not depend on how many models are stacked."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class NarrowLinear(nn.Linear):
    """``nn.Linear``, with products and sums instead of a matrix product where there is one input or one output.

    Libraries of matrix products take another algorithm for a matrix times a vector, and in a batch of one matrix not
    the same one as in a batch of several: a model that is trained by itself would differ by rounding from the same
    model in an ensemble, and training makes rounding grow.

    Examples
    --------
    >>> import torch
    >>> layer = NarrowLinear(1, 2, bias=False)
    >>> x = torch.tensor([[2.0]])
    >>> torch.equal(layer(x), nn.functional.linear(x, layer.weight))
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.in_features == 1:
            y = x * self.weight[:, 0]
        elif self.out_features == 1:
            y = (x * self.weight[0]).sum(-1, keepdim=True)
        else:
            return F.linear(x, self.weight, self.bias)
        return y if self.bias is None else y + self.bias
