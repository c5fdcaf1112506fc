"""A training run that takes a second."""

from __future__ import annotations

from boundprobe.models import ModelSpec
from boundprobe.tasks import SelectiveCopying
from boundprobe.training import Schedule, TrainConfig

#: Two layers, one learning rate, one seed; fewer steps than lie between two checkpoints.
TINY_RUN = TrainConfig(
    SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6),
    ModelSpec("mamba-attn", d_model=4, window=3, d_state=2, mlp_ratio=1),
    Schedule("mixture", steps=120, batch=2, learning_rates=(0.01,), n_eval=20),
)
