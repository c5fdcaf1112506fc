"""Queue of the members of a group of runs: the next batch of members to train side by side.

First the calibration members of all runs, then, at the rates that these chose, the reported ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from boundprobe.checks import check_integer, refuse
from boundprobe.training.config import ActiveMember, MemberId, TrainConfig

#: Members that are trained side by side at most.  Through autograd 16 small models take per member a third of the time
#: of one, and 32 hardly less; the fused step gains less (docs/benchmarks.md).  A GPU takes more to fill; not measured.
LARGEST_ENSEMBLE = {"cpu": 16, "cuda": 128}


def device_type(device: object) -> str:
    """ "cpu" or "cuda", of a device such as "cuda:1"; raises ``ValueError`` for another, before torch is asked.

    >>> device_type("cuda:1")
    'cuda'
    """
    if not (isinstance(device, str) and re.fullmatch(r"cpu|cuda(:[0-9]+)?", device)):
        refuse("device", "cpu, cuda, or cuda with a number as in cuda:0", repr(device))
    return device.partition(":")[0]


def ensemble_size(largest: int | None, device: str) -> int:
    """Members that are trained side by side at most: ``largest``, or what suits the device."""
    kind = device_type(device)
    return LARGEST_ENSEMBLE[kind] if largest is None else check_integer("largest", largest, 1)


@dataclass
class Finished:
    """Record of a member whose training has ended.

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


def next_batch(
    configs: Sequence[TrainConfig], finished: Mapping[MemberId, Finished], skip: Collection[int], largest: int
) -> list[MemberId]:
    """The members that are trained next, at most ``largest``; none when all is done.

    Parameters
    ----------
    configs : sequence of TrainConfig
    finished : mapping of MemberId to Finished
    skip : collection of int
        Runs that are finished.
    largest : int
    """
    runs = [(run, config) for run, config in enumerate(configs) if run not in skip]
    calibration = [MemberId(run, i) for run, config in runs for i in range(len(config.calibration_members()))]
    report = [
        MemberId(run, i) for run, config in runs for i in range(len(config.calibration_members()), config.n_members)
    ]
    for ids in (calibration, report):  # the rates of the second are chosen by the first
        if pending := [each for each in ids if each not in finished]:
            return pending[:largest]
    return []


def active_member(config: TrainConfig, member_id: MemberId, finished: Mapping[MemberId, Finished]) -> ActiveMember:
    """The member of that identity, in a run with this configuration.

    For a reported member the calibration of its run must be finished: it chooses the learning rate.
    """
    members = config.calibration_members()
    if member_id.member >= len(members):
        calibration = results_of(member_id.run, config, finished)[0]
        members += config.report_members(choose_learning_rate(config, calibration))
    return ActiveMember(config, members[member_id.member])


def results_of(
    run: int, config: TrainConfig, finished: Mapping[MemberId, Finished]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results of the calibration members and of the reported members that are finished."""
    n_calibration = len(config.calibration_members())
    done = {own.member: member.result for own, member in finished.items() if own.run == run}
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
