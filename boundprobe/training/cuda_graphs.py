"""CUDA graphs of a training step: launching the many kernels of a tiny step takes longer than running them.

CUDA graphs: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.  Nothing in a step may wait for the GPU
or depend on values, and every tensor keeps its place: ``Stepper.step`` works in place, and what differs between
steps comes in tensors.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from boundprobe.training.step import Stepper

log = logging.getLogger(__name__)

#: Steps before the recording: libraries choose their kernels in the first.
N_WARM_UP = 3


class Replayer:
    """The steps of a ``Stepper``: recorded and replayed on a GPU, called as they are elsewhere.

    Parameters
    ----------
    stepper : Stepper
        With several processes nothing is recorded: their sums are not part of a graph.
    """

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self._wanted = stepper.ensemble.values.is_cuda and stepper.processes.size == 1
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._losses = torch.empty(0)

    def step(self, tokens: Tensor, targets: Tensor, numbers: Tensor) -> Tensor:
        """As ``Stepper.step``."""
        if self._wanted and self._graph is None:
            self._record(tokens, targets, numbers)
        if self._graph is None:
            return self.stepper.step(tokens, targets, numbers)
        for place, value in zip(self._inputs, (tokens, targets, numbers), strict=True):
            place.copy_(value)
        self._graph.replay()
        return self._losses.clone()  # the next replay writes there again

    def _record(self, *inputs: Tensor) -> None:
        """Record a step on copies of the inputs; weights and moments stay as they are."""
        optimizer = self.stepper.optimizer
        changed = (self.stepper.ensemble.values, optimizer.first_moments, optimizer.second_moments)
        before = [x.clone() for x in changed]
        places = tuple(x.clone() for x in inputs)
        graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(aside):
                for _ in range(N_WARM_UP):
                    self.stepper.step(*places)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(graph):
                self._losses = self.stepper.step(*places)
            self._graph, self._inputs = graph, places
        except RuntimeError as error:  # an operation that cannot be recorded: slower, and the same
            log.warning("steps are not recorded as a CUDA graph (%s)", " ".join(str(error).split())[:200])
            self._wanted = False
        torch.cuda.current_stream().wait_stream(aside)
        self.stepper.ensemble.gradients.zero_()
        for x, value in zip(changed, before, strict=True):
            x.copy_(value)
