"""Embedding, readout and loss of one sequence in compiled functions.

With logits l_t = W norm x_t, over the positions that are asked, and n of these in the whole batch:

    loss = sum_t (log sum_v exp(l_tv) - l_{t, target_t}) / n        gl_tv = (softmax(l_t)_v - [v = target_t]) / n
"""

from __future__ import annotations

import math

from boundprobe.kernels.simd.compilation import Array, part
from boundprobe.kernels.simd.vectors import LANES, exponential, larger, load_from, store_to
from boundprobe.tasks.base import IGNORE
from boundprobe.training.fused.compilation import once
from boundprobe.training.fused.layout import (
    EMBEDDING,
    GRAD_NORMED,
    GRAD_X,
    LOGITS,
    NO_NORM,
    NORM,
    NORMED,
    READOUT_WEIGHT,
    SCRATCH,
    Sizes,
    X,
)
from boundprobe.training.fused.products import NONE, add_outer, product
from boundprobe.training.fused.vector_math import above, like


@part
def embed(s: Sizes, first: Array, last: Array, weights: Array, tokens: Array, work: Array) -> None:
    """Write the input of the first block."""
    for i in range(s.d_model):
        for t in range(s.n_steps):
            work[first[X] + i * s.step + t] = weights[last[EMBEDDING] + tokens[t] * s.d_model + i]


@part
def embed_back(s: Sizes, last: Array, tokens: Array, work: Array, gradient: Array) -> None:
    """Add to the gradient of the embedding."""
    for i in range(s.d_model):
        for t in range(s.n_steps):
            gradient[last[EMBEDDING] + tokens[t] * s.d_model + i] += work[last[GRAD_X] + i * s.step + t]


@part
def _weigh(s: Sizes, targets: Array, n_asked: float, first: int, work: Array, scratch: int) -> int:
    """Write 1 / n where something is asked at eight places, else 0; the number of those that are asked."""
    n_here = 0
    for j in range(LANES):
        asked = first + j < s.n_steps and targets[first + j] != IGNORE
        work[scratch + j] = 1 / n_asked if asked else 0.0
        n_here += asked
    return n_here


@once
def read_out(s: Sizes, last: Array, weights: Array, targets: Array, n_asked: float, work: Array, sums: Array) -> float:
    """The sum of cross-entropies; write the gradient of the input after the norm, add to that of the weights."""
    d, n, step, n_ids, logits = s.d_model, s.n_vectors, s.step, s.n_token_ids, last[LOGITS]
    product(n_out=n_ids, n_in=d, n_vectors=n, weights=weights, w=last[READOUT_WEIGHT], w_out=d, w_in=1, bias=NONE,
            x=work, of_x=last[NORMED], x_step=step, start=NONE, y=logits, y_step=step)  # fmt: skip
    loss, scratch = 0.0, last[SCRATCH]
    for t in range(0, step, LANES):
        here, zero = logits + t, like(load_from(work, logits), 0.0)
        n_here = _weigh(s, targets, n_asked, t, work, scratch)
        if n_here == 0:
            for i in range(n_ids):
                store_to(work, here + i * step, zero)
            continue
        most = load_from(work, here)
        for i in range(1, n_ids):
            most = larger(most, load_from(work, here + i * step))
        store_to(work, scratch + LANES, most)
        for j in range(min(LANES, s.n_steps - t)):
            if targets[t + j] != IGNORE:
                loss += work[scratch + LANES + j] - work[here + targets[t + j] * step + j]
        sum_p = zero
        for i in range(n_ids):
            p = exponential(load_from(work, here + i * step) - most)
            store_to(work, here + i * step, p)
            sum_p = sum_p + p
        weight = load_from(work, scratch)
        share = weight / sum_p
        for i in range(n_ids):
            store_to(work, here + i * step, above(weight, zero, load_from(work, here + i * step) * share, zero))
        store_to(work, scratch + LANES, sum_p)
        for j in range(min(LANES, s.n_steps - t)):
            if targets[t + j] != IGNORE:
                loss += math.log(work[scratch + LANES + j])
                work[here + targets[t + j] * step + j] -= work[scratch + j]
    add_outer(n_ids, d, n, work, logits, step, last[NORMED], step, sums, last[READOUT_WEIGHT])
    product(n_out=d, n_in=n_ids, n_vectors=n, weights=weights, w=last[READOUT_WEIGHT], w_out=1, w_in=d, bias=NONE,
            x=work, of_x=logits, x_step=step, start=NONE, y=last[GRAD_NORMED], y_step=step)  # fmt: skip
    if last[NORM] != NO_NORM:  # the norm adds to it
        for k in range(last[GRAD_X], last[GRAD_X] + d * step, LANES):
            store_to(work, k, like(load_from(work, logits), 0.0))
    return loss
