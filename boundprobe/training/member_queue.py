"""Which members of a group of runs are trained next, and side by side.

First the calibration members of all runs, then, at the rates that these chose, the reported ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from boundprobe.training.config import Member, TrainConfig

#: Members that are trained side by side at most.  Through autograd 16 small models take per member a third of the time
#: of one, and 32 hardly less; the fused step gains less (docs/benchmarks.md).  A GPU takes more to fill; not measured.
LARGEST_ENSEMBLE = {"cpu": 16, "cuda": 128}


class Place(NamedTuple):
    """A member of a group: which run, and which of its members, calibration members first."""

    run: int
    member: int


@dataclass
class Finished:
    """What is kept of a member.

    Attributes
    ----------
    result : dict
        Its entry in the result of its run.
    losses : list of float
        Mean loss (nats) of each of its draws.
    weights : dict of str to Tensor
        Empty for calibration members.
    """

    result: dict[str, Any]
    losses: list[float]
    weights: dict[str, Any] = field(default_factory=dict)


def next_round(
    configs: Sequence[TrainConfig], finished: Mapping[Place, Finished], skip: Collection[int], largest: int
) -> list[Place]:
    """The members that are trained next, at most ``largest``; none when all is done.

    Parameters
    ----------
    configs : sequence of TrainConfig
    finished : mapping of Place to Finished
    skip : collection of int
        Runs that are finished.
    largest : int
    """
    runs = [(run, config) for run, config in enumerate(configs) if run not in skip]
    calibration = [Place(run, i) for run, config in runs for i in range(len(config.calibration_members()))]
    report = [Place(run, i) for run, config in runs for i in range(len(config.calibration_members()), config.n_members)]
    for places in (calibration, report):  # the rates of the second are chosen by the first
        if pending := [place for place in places if place not in finished]:
            return pending[:largest]
    return []


def member_at(config: TrainConfig, place: Place, finished: Mapping[Place, Finished]) -> Member:
    """The member at a place of a run with this configuration; for a reported one, calibration must be finished."""
    members = config.calibration_members()
    if place.member >= len(members):
        calibration = results_of(place.run, config, finished)[0]
        members += config.report_members(choose_learning_rate(config, calibration))
    return members[place.member]


def results_of(
    run: int, config: TrainConfig, finished: Mapping[Place, Finished]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results of the calibration members and of the reported members that are finished."""
    n_calibration = len(config.calibration_members())
    done = {place.member: member.result for place, member in finished.items() if place.run == run}
    return (
        [done[i] for i in range(n_calibration) if i in done],
        [done[i] for i in range(n_calibration, config.n_members) if i in done],
    )


def choose_learning_rate(config: TrainConfig, calibration: Sequence[dict[str, Any]]) -> float:
    """The rate with the best mean accuracy over calibration seeds; among equals the one with the least loss.

    Parameters
    ----------
    config : TrainConfig
    calibration : sequence of dict
        Results of the calibration members.
    """
    rates = config.schedule.learning_rates

    def quality(rate: float) -> tuple[float, float]:
        results = [result for result in calibration if result["learning_rate"] == rate]
        losses = [math.inf if result["loss"] is None else result["loss"] for result in results]  # None: diverged
        return sum(result["accuracy"] for result in results), -sum(losses)

    return max(rates, key=quality) if calibration else rates[0]
