"""A training step of an ensemble without autograd: losses and gradients in one compiled function on a CPU core.

For stacks of Mamba and attention layers of the sizes of this field a step through torch is memory traffic and fixed
costs; here a sequence stays in the cache from its tokens to its gradients.  The path through autograd is the oracle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from boundprobe.kernels.backends import find_problem
from boundprobe.kernels.scan.operation import SELECTIVE_SCAN
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel
from boundprobe.training.config import TrainConfig

if TYPE_CHECKING:
    from boundprobe.training.fused.layout import Plan

__all__ = ["AUTOGRAD", "FUSED", "OPERATION", "FusedGradients", "chosen_step", "count_kept", "find_obstacle"]

#: The row of a run's backends, and what may stand there.
OPERATION, FUSED, AUTOGRAD = "training step", "fused numba", "autograd"
#: Mixers that there are compiled passes of, each alone in its layer.
MIXERS = ("attn", "mamba")
#: Where autograd's larger matrix products take over, measured on one core with mamba-attn, one member and float32, as
#: times faster than autograd: d_model 12 of 8 sequences of 100 tokens 8, 64 of 32 of 200 1.35, 128 of 16 of 200 1.2,
#: 256 of 8 of 200 0.8; window times width of a head, d_model 64 and 1000 tokens: 4096 1.35, 16384 1.1, 64000 0.6.
LARGEST_WIDTH, LARGEST_WINDOW = 128, 2**14
#: Numbers to keep of one sequence, at most: 64 MB of float32.
MOST_NUMBERS = 2**24


def find_obstacle(config: TrainConfig, dtype: torch.dtype, device_type: str) -> str | None:
    """Reason, in one line, why the fused step cannot train a configuration; None if it can.

    Examples
    --------
    >>> from boundprobe.models.spec import ModelSpec
    >>> from boundprobe.tasks import SelectiveCopying
    >>> from boundprobe.training.config import Schedule
    >>> config = TrainConfig(SelectiveCopying(), ModelSpec("mamba-gru"), Schedule())
    >>> find_obstacle(config, torch.float32, "cpu")
    'layers with gru; the fused step has attn and mamba, one in a layer'
    """
    spec, precision = config.model, config.schedule.precision
    if device_type != "cpu":
        return f"device {device_type}; the fused step runs on a CPU"
    if dtype not in (torch.float32, torch.float64) or precision != "float32":
        return f"activations of {precision} with weights of {dtype}; the fused step has float32 and float64"
    if config.backend not in ("auto", "numba"):
        return f"backend {config.backend!r}; the fused step stands for auto and numba"
    others = sorted({"|".join(layer) for layer in spec.layers if len(layer) > 1 or layer[0] not in MIXERS})
    if others:
        return f"layers with {', '.join(others)}; the fused step has attn and mamba, one in a layer"
    if 0 < spec.n_kv_heads < spec.n_heads and "attn" in spec.mixers:
        return f"n_kv_heads {spec.n_kv_heads}; the fused step has a head of keys and values for each of queries"
    return _find_large(config) or find_problem(SELECTIVE_SCAN.backends["numba"], device_type)


def _find_large(config: TrainConfig) -> str | None:
    """Reason why autograd is faster for these sizes; None if it is not."""
    spec, task = config.model, config.task
    in_window = min(spec.window, task.n_positions) * spec.d_model // spec.n_heads
    if spec.d_model > LARGEST_WIDTH:
        return f"d_model {spec.d_model}; the fused step is the faster one up to {LARGEST_WIDTH}"
    if "attn" in spec.mixers and in_window > LARGEST_WINDOW:
        return f"{in_window} numbers in a head's window; the fused step is the faster one up to {LARGEST_WINDOW}"
    if (n_numbers := count_kept(spec, task.n_token_ids, task.n_positions)) > MOST_NUMBERS:
        return f"{n_numbers} numbers to keep of a sequence; the fused step keeps up to {MOST_NUMBERS}"
    return None


def count_kept(spec: ModelSpec, n_token_ids: int, n_steps: int) -> int:
    """Numbers that are kept of one sequence, to a few per cent."""
    d, inner, window = spec.d_model, spec.expand * spec.d_model, min(spec.window, n_steps)
    of_mixer = {
        "mamba": n_steps * (11 * inner + 2 * spec.d_state),
        "attn": (n_steps + 2 * window) * 3 * d + spec.n_heads * window * (n_steps + window) + n_steps * d,
    }
    n_mlps = len(spec.layers) if spec.mlp_after == "every" else spec.mixers.count("attn")
    of_mlps = n_mlps * n_steps * d * (2 * spec.mlp_ratio + 2)
    return sum(of_mixer[mixer] + 2 * n_steps * d for mixer in spec.mixers) + of_mlps + n_steps * n_token_ids


def chosen_step(config: TrainConfig, device: str) -> dict[str, str]:
    """Name the implementation of gradients on a device, for the record of a run."""
    obstacle = find_obstacle(config, torch.float32, torch.device(device).type)
    return {OPERATION: FUSED if obstacle is None else AUTOGRAD}


class FusedGradients:
    """Losses and gradients of members of one shape, for sequences of any length.

    Parameters
    ----------
    skeleton : SequenceModel
        A model of the shape; its own weights are never read.
    """

    def __init__(self, skeleton: SequenceModel) -> None:
        self.skeleton = skeleton
        self._plans: dict[tuple[int, torch.dtype], Plan] = {}

    def plan(self, n_steps: int, dtype: torch.dtype) -> Plan:
        """Layout for sequences of a given length."""
        from boundprobe.training.fused.layout import make_plan

        key = n_steps, dtype
        if key not in self._plans:
            self._plans[key] = make_plan(self.skeleton, n_steps, dtype)
        return self._plans[key]

    def add_gradients(
        self, values: Tensor, gradients: Tensor, tokens: Tensor, targets: Tensor, n_asked: Tensor
    ) -> Tensor:
        """Add d(sum of cross-entropies / n_asked) / d(values) to ``gradients``.

        Parameters
        ----------
        values, gradients : Tensor (M, P)
            In the order of ``skeleton.named_parameters()``.
        tokens, targets : Tensor (M, B, T)
            Targets are ``IGNORE`` where nothing is asked.
        n_asked : Tensor (M,)
            What the sums over the positions that are asked are divided by.

        Returns
        -------
        Tensor (M,)
            Sums of cross-entropies (nats) over ``n_asked``.

        Raises
        ------
        IndexError
            If a token or a target is not one of the model's.
        """
        from boundprobe.kernels.simd.vectors import LANES
        from boundprobe.training.fused.kernel import kernel

        plan = self.plan(tokens.shape[2], values.dtype)
        _check_ids(tokens, targets, plan.sizes.n_token_ids)
        into = gradients if gradients.is_contiguous() else gradients.contiguous()
        losses = values.new_empty(len(values))
        work, sums = values.new_zeros(plan.n_numbers), values.new_empty(values.shape[1] * LANES)
        kernel(str(values.dtype).removeprefix("torch."))(
            plan.sizes, plan.blocks, plan.tables, values.detach().contiguous().numpy(), into.numpy(),
            tokens.contiguous().numpy(), targets.contiguous().numpy(), n_asked.contiguous().numpy(),
            work.numpy(), sums.numpy(), losses.numpy(),
        )  # fmt: skip
        if into is not gradients:
            gradients.copy_(into)
        return losses


def _check_ids(tokens: Tensor, targets: Tensor, n_token_ids: int) -> None:
    """Raise ``IndexError`` for numbers that compiled loops would read beyond an array with."""
    from boundprobe.tasks.base import IGNORE

    asked = targets[targets != IGNORE]
    for name, ids in (("token", tokens), ("target", asked)):
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < n_token_ids):
            raise IndexError(
                f"`{name}s` must lie in [0, n_token_ids) with n_token_ids={n_token_ids}; got {int(ids.min())} to "
                f"{int(ids.max())}."
            )
