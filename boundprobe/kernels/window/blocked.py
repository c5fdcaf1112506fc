"""Softmax attention in a sliding window, at the cost of the window and not of the sequence.

Glossary: B batch, H heads, E width of a head, T queries, S keys (the last T of them at the queries' places),
w window, reach = w - 1 keys before the query's own, c queries of a block.

Three forms of one formula.  ``attend`` is the formula, with T * S scores.  ``_attend_in_pieces`` goes through the
queries in pieces, each against what its window reaches: it skips most hidden scores, and what is left fits a
processor's cache.  ``_attend_in_blocks`` does all pieces at once where each has all keys that its window reaches, so
that they have one shape and one mask: T * (c + w) scores in one operation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Measured on a CPU with heads of width 16 (benchmarks/windowed_attention.py), forward and backward.
#: Queries of a piece; of a block at most.  From 64 to 256 it makes little difference.
LARGEST_BLOCK = 128
#: Queries of a block at least; between the two it is half the window, so that a key is copied some three times.
SMALLEST_BLOCK = 32
#: Fewer blocks than this are not worth an operation of their own beside the first piece.
FEWEST_BLOCKS = 3

Score = Callable[[Tensor, Tensor], Tensor]


def attend_in_window(q: Tensor, k: Tensor, v: Tensor, window: int, score: Score) -> Tensor:
    """Attention of every query to the key at its place and the ``window - 1`` before it, in the cheapest form.

    The first queries, whose window reaches back before the first key, and as many more as fill no block, are
    read in pieces; the others in blocks.

    Parameters
    ----------
    q : Tensor (B, H, T, E)
    k, v : Tensor (B, H, S, E)
        With at most w - 1 keys before the first query.
    window : int
    score : callable
        Scores (..., T, S) of queries (..., T, E) on keys (..., S, E), the last query at the last key's place, that
        depend on distances alone, such as an ``AbstractPosition``.

    Returns
    -------
    Tensor (B, H, T, E)
    """
    n_new, n_before = q.shape[2], k.shape[2] - q.shape[2]
    block = min(max(window // 2, SMALLEST_BLOCK), LARGEST_BLOCK)
    n_blocks = max(n_new + min(n_before - (window - 1), 0), 0) // block
    if n_blocks < FEWEST_BLOCKS:
        return _attend_in_pieces(q, k, v, window, score)
    rest = _attend_in_blocks(q, k, v, window, score, n_blocks, block)
    if (first := n_new - n_blocks * block) == 0:
        return rest
    start = _attend_in_pieces(q[:, :, :first], k[:, :, : n_before + first], v[:, :, : n_before + first], window, score)
    return torch.cat([start, rest], dim=2)


def attend(q: Tensor, k: Tensor, v: Tensor, window: int, score: Score) -> Tensor:
    """``softmax(score(q, k) / sqrt(E)) v`` over the keys 0 to ``window - 1`` before the query; T * S scores.

    Written out, and not as ``scaled_dot_product_attention``: the latter has no batching rule on a CPU, so stacked
    models (``torch.func.vmap``) would run one after the other, and a learned mask takes it to this form anyway.

    Parameters
    ----------
    q : Tensor (..., T, E)
    k, v : Tensor (..., S, E)
    window, score
        As in ``attend_in_window``.

    Returns
    -------
    Tensor (..., T, E)
    """
    n_new, n_keys = q.shape[-2], k.shape[-2]
    keys_at = torch.arange(n_keys, device=q.device)
    distance = keys_at[n_keys - n_new :, None] - keys_at
    hidden = (distance < 0) | (distance >= window)
    # Half-precision scores are exponentiated and added in float32.
    wide = torch.promote_types(q.dtype, torch.float32)
    mask = torch.zeros(n_new, n_keys, device=q.device, dtype=wide).masked_fill(hidden, -torch.inf)
    scores = score(q * q.shape[-1] ** -0.5, k) + mask
    return scores.softmax(dim=-1).to(v.dtype) @ v


def _attend_in_pieces(q: Tensor, k: Tensor, v: Tensor, window: int, score: Score) -> Tensor:
    """Pieces of at most ``LARGEST_BLOCK`` queries, one after the other."""
    n_new, n_before = q.shape[2], k.shape[2] - q.shape[2]
    outputs = []
    for start in range(0, n_new, LARGEST_BLOCK):
        stop = min(start + LARGEST_BLOCK, n_new)
        seen = slice(max(n_before + start - (window - 1), 0), n_before + stop)
        outputs.append(attend(q[:, :, start:stop], k[:, :, seen], v[:, :, seen], window, score))
    return torch.cat(outputs, dim=2)


def _attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, window: int, score: Score, n_blocks: int, block: int) -> Tensor:
    """The last ``n_blocks * block`` queries, all blocks at once; each has w - 1 keys before it."""
    n_read = n_blocks * block

    def read(x: Tensor, moved: int) -> Tensor:
        """The blocks (B, H, n_blocks, c, E) of what lies ``moved`` places before the last ``n_read``."""
        end = x.shape[2] - moved
        blocks: Tensor = x[:, :, end - n_read : end].unflatten(2, (n_blocks, block))
        return blocks

    # A block's keys: the w - 1 before it, in steps of a block's length and the rest, and its own.
    k_blocks, v_blocks = (
        torch.cat([*(read(x, moved)[:, :, :, :moved] for moved in range(window - 1, 0, -block)), read(x, 0)], dim=3)
        for x in (k, v)
    )  # (B, H, n_blocks, w - 1 + c, E)
    return attend(read(q, 0), k_blocks, v_blocks, window, score).flatten(2, 3)
