"""D1 beside a ladder: the diagonal cut that binds a measured model, from its sizes."""

from __future__ import annotations

from boundprobe.bounds.diagonal.ceiling import DiagonalBound, diagonal_bounds
from boundprobe.models.sizes import FLOAT32_BITS, model_stages
from boundprobe.models.spec import ModelSpec
from boundprobe.probes.certificates.binomial import Proportion
from boundprobe.probes.violations import rounding_slack
from boundprobe.tasks.base import KEYS_ONCE, AbstractTask


def diagonal_of(spec: ModelSpec, task: AbstractTask, stream: str, accuracy: Proportion) -> DiagonalBound | None:
    """The binding diagonal cut, with the bits that the measured accuracy takes.

    None for prefix distributions other than the state-hard one, of whose answers nobody knows where they lie.
    """
    if stream != KEYS_ONCE:
        return None
    stages = model_stages(spec, FLOAT32_BITS)
    return diagonal_bounds(task.state_case(), stages, task.prefix_len, 1.0 - accuracy.estimate)[0]


def diagonal_violations(diagonal: DiagonalBound | None, accuracy: Proportion) -> tuple[str, ...]:
    """The violation of a certified accuracy above the ceiling of a diagonal cut; empty if there is none."""
    if diagonal is None or accuracy.lower <= diagonal.accuracy_ceiling + rounding_slack(1.0):
        return ()
    return (
        f"state-hard accuracy {accuracy.lower:.4f} is above the ceiling {diagonal.accuracy_ceiling:.4f} of a diagonal "
        f"cut of lag {diagonal.lag} (D1)",
    )
