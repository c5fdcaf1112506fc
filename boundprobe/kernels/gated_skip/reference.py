"""Skip connection and gate in plain torch: the oracle of the other backend."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def gated_skip_reference(y: Tensor, u: Tensor, d: Tensor, gate: Tensor) -> Tensor:
    """(y + d u) SiLU(gate).  Shapes as in ``gated_skip``."""
    return (y + u * d) * F.silu(gate)
