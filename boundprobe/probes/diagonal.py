"""D1 beside a ladder: the diagonal cut that binds a measured model, and a model seen along one."""

from __future__ import annotations

from collections.abc import Sequence

from boundprobe.bounds.diagonal.ceiling import DiagonalBound, diagonal_bounds
from boundprobe.bounds.diagonal.cuts import DiagonalCuts
from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.models.cut_model import CutModel
from boundprobe.models.diagonal import DiagonalCut
from boundprobe.models.sizes import model_stages
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel
from boundprobe.probes.certificates.binomial import Proportion
from boundprobe.probes.settings import VERTICAL
from boundprobe.probes.violations import rounding_slack
from boundprobe.tasks.base import KEYS_ONCE, AbstractTask
from boundprobe.tasks.beyond import Beyond


def diagonal_of(
    stages: Sequence[Stage] | None, task: AbstractTask, stream: str, accuracy: Proportion
) -> DiagonalBound | None:
    """The binding diagonal cut, with the bits that the measured accuracy takes.

    None for models that do not say what their layers carry, along a diagonal cut itself, and for prefix distributions
    other than the state-hard one, of whose answers nobody knows where they lie.
    """
    if stages is None or stream != KEYS_ONCE or isinstance(task, Beyond):
        return None
    return diagonal_bounds(task.state_case(), stages, task.prefix_len, 1.0 - accuracy.estimate)[0]


def diagonal_violations(diagonal: DiagonalBound | None, accuracy: Proportion) -> tuple[str, ...]:
    """The violation of a certified accuracy above the ceiling of a diagonal cut; empty if there is none."""
    if diagonal is None or accuracy.lower <= diagonal.accuracy_ceiling + rounding_slack(1.0):
        return ()
    return (
        f"state-hard accuracy {accuracy.lower:.4f} is above the ceiling {diagonal.accuracy_ceiling:.4f} of a diagonal "
        f"cut of lag {diagonal.lag} (D1)",
    )


def lag_of(task: AbstractTask) -> int:
    """Lag, in tokens, of the cut that a task is seen across: 0 if the cut is vertical."""
    return task.lag if isinstance(task, Beyond) else 0


def greatest_lag(spec: ModelSpec, task: AbstractTask) -> int:
    """The greatest lag, in tokens, at which a diagonal cut of a model still has an answer beyond it.

    Raises
    ------
    ValueError
        If nothing crosses that cut.
    """
    places, stages = task.state_case().places, model_stages(spec)
    farthest = 0 if places is None else int(places.distances().max())
    lag = min(farthest, sum(stage.reach for stage in stages), task.prefix_len - 1)
    if not DiagonalCuts(stages, task.prefix_len, lag).total_bits[lag]:
        raise ValueError(
            f"`--cut` must be vertical for {spec.architecture}: no bit crosses its diagonal cut of {lag} tokens, "
            "and answers beyond it can only be guessed (D1); got diagonal"
        )
    return lag


def seen_from(cut: str, model: SequenceModel, task: AbstractTask) -> tuple[CutModel, AbstractTask]:
    """A model and a task as they are, or along the diagonal cut of the greatest lag that an answer lies beyond.

    Raises
    ------
    ValueError
        If the task's answers do not lie at known places, or nothing crosses that cut.
    """
    if cut == VERTICAL:
        return model, task
    lag = greatest_lag(model.spec, task)
    return DiagonalCut.of_lag(model, lag, task.prefix_len), Beyond(task, lag)
