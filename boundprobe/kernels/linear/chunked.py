"""The recurrences by chunks: matrix products inside a chunk, one small step from chunk to chunk.

Glossary: C tokens of a chunk, n chunks, c_t = g_1 + ... + g_t the log decay since the chunk began, S_0 the state at
its begin, P(a, b) the matrix of ``_decayed_products``.  Then, with one row for each token of the chunk:

    decayed attention (Yang et al. 2023, arXiv 2312.06635, section 4; Dao and Gu 2024, arXiv 2405.21060, section 6)
        O   = (Q e^c) S_0 + P(q, k) V
        S_C = e^{c_C} S_0 + (K e^{c_C - c})^T V

    delta rule (Yang et al. 2024, arXiv 2406.06484, section 3, the WY form; with decay arXiv 2412.06464, section 3)
        (I + tril(diag(beta) P(k, k), -1)) [U, W] = diag(beta) [V, K e^c]
        and the two lines above with U - W S_0 in place of V

    generalised delta rule (Peng et al. 2025, arXiv 2503.14456, section 4): what removal keys bring up, one row a token,
        (I + tril(P(a, b), -1)) U = (A e^c) S_0 + tril(P(a, k), -1) V
        O   = (Q e^c) S_0 + P(q, k) V - P(q, b) U
        S_C = e^{c_C} S_0 + (K e^{c_C - c})^T V - (B e^{c_C - c})^T U

Decays enter as exponentials of sums of log decays over later tokens.  These are at most 0, so nothing overflows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Most tokens of a chunk, a power of two.  Of 4, 8, 16 and 32 the fastest, or within a few percent of it, forward and
#: backward at B=64, T=100, H=1..4, K=V=16 on a CPU.
CHUNK = 16


def decayed_attention_chunked(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """Decayed attention by chunks.  Arguments and result as in ``decayed_attention``."""
    n_tokens = q.shape[1]
    q, k, v, c = _chunks(q, k, v, log_decay)
    end = c[..., -1:, :]  # (n, B, H, 1, K or 1)
    writes = (k * (end - c).exp()).mT @ v  # (n, B, H, K, V)
    keeps = end.exp().mT  # (n, B, H, K or 1, 1)
    state, starts = initial_state, []
    for write, keep in zip(writes.unbind(0), keeps.unbind(0), strict=True):
        starts.append(state)
        state = torch.addcmul(write, keep, state)
    (scores,) = _decayed_products(q, b=k, c=c)
    return _tokens((q * c.exp()) @ torch.stack(starts) + scores @ v, n_tokens), state


def delta_rule_chunked(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """The delta rule by chunks.  Arguments and result as in ``delta_rule``."""
    n_tokens = q.shape[1]
    q, k, v, beta, c = _chunks(q, k, v, beta[..., None], log_decay)
    scores, overlaps = _decayed_products(q, k, b=k, c=c)
    grown = c.exp()
    right = beta * torch.cat([v, k * grown], dim=-1)
    # Unitriangular: the ones of the diagonal are not written down.
    solved = torch.linalg.solve_triangular((beta * overlaps).tril(-1), right, upper=False, unitriangular=True)
    u, w = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
    end = c[..., -1:, :]  # (n, B, H, 1, K or 1)
    late = (k * (end - c).exp()).mT  # (n, B, H, K, C)
    # e^{c_C} S_0 + late (U - W S_0), as one matrix times S_0 and one added: little is left from chunk to chunk.
    writes = late @ u  # (n, B, H, K, V)
    decays = end.squeeze(-2).exp().expand(*w.shape[:-2], w.shape[-1])  # (n, B, H, K)
    keeps = decays.diag_embed() - late @ w  # (n, B, H, K, K)
    state, starts = initial_state, []
    for write, keep in zip(writes.unbind(0), keeps.unbind(0), strict=True):
        starts.append(state)
        state = write + keep @ state
    before = torch.stack(starts)  # (n, B, H, K, V)
    return _tokens((q * grown) @ before + scores @ (u - w @ before), n_tokens), state


def generalised_delta_rule_chunked(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """The generalised delta rule by chunks.  Arguments and result as in ``generalised_delta_rule``."""
    n_tokens = q.shape[1]
    q, k, v, a, b, c = _chunks(q, k, v, a, b, log_decay)
    read_of_writes, found_of_writes = _decayed_products(q, a, b=k, c=c)
    read_of_removals, found_of_removals = _decayed_products(q, a, b=b, c=c)
    grown = c.exp()
    right = torch.cat([found_of_writes.tril(-1) @ v, a * grown], dim=-1)
    # Unitriangular: the ones of the diagonal are not written down.
    solved = torch.linalg.solve_triangular(found_of_removals.tril(-1), right, upper=False, unitriangular=True)
    u, w = solved.split([v.shape[-1], a.shape[-1]], dim=-1)  # U = u + w S_0
    end = c[..., -1:, :]  # (n, B, H, 1, K or 1)
    later = (end - c).exp()
    late_writes, late_removals = (k * later).mT, (b * later).mT  # (n, B, H, K, C)
    # S_C as one matrix times S_0 and one added: little is left from chunk to chunk.
    writes = late_writes @ v - late_removals @ u  # (n, B, H, K, V)
    decays = end.squeeze(-2).exp().expand(*w.shape[:-2], w.shape[-1])  # (n, B, H, K)
    keeps = decays.diag_embed() - late_removals @ w  # (n, B, H, K, K)
    state, starts = initial_state, []
    for write, keep in zip(writes.unbind(0), keeps.unbind(0), strict=True):
        starts.append(state)
        state = write + keep @ state
    before = torch.stack(starts)  # (n, B, H, K, V)
    o = (q * grown) @ before + read_of_writes @ v - read_of_removals @ (u + w @ before)
    return _tokens(o, n_tokens), state


def _chunks(*inputs: Tensor) -> list[Tensor]:
    """Each (B, T, H, X) as (n, B, H, C, X); the last, log decays, summed up within chunks.

    A last chunk that is not full is filled with zeros: tokens that write nothing and let nothing decay.
    """
    n_tokens = inputs[0].shape[1]
    length = min(CHUNK, 1 << (n_tokens - 1).bit_length())
    padded = (F.pad(x, (0, 0, 0, 0, 0, -n_tokens % length)) for x in inputs)
    *chunks, log_decay = (x.unflatten(1, (-1, length)).permute(1, 0, 3, 2, 4).contiguous() for x in padded)
    return [*chunks, log_decay.cumsum(-2)]


def _tokens(chunks: Tensor, n_tokens: int) -> Tensor:
    """(n, B, H, C, V) as (B, T, H, V), without what was filled in: inverse of ``_chunks``."""
    return chunks.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :n_tokens]


def _decayed_products(*rows: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """P_ts = sum_k a_tk b_sk exp(c_tk - c_sk) for s <= t and 0 above, (..., C, C), for each a of ``rows``."""
    if c.shape[-1] > 1:
        return _row_decayed_products(*rows, b=b, c=c)
    later = torch.ones(c.shape[-2], c.shape[-2], dtype=torch.bool, device=c.device).triu(1)
    # Masked before the exponential: above the diagonal it could overflow, and then so would its gradient.
    decays = (c - c.mT).masked_fill(later, -torch.inf).exp()
    return [(a @ b.mT) * decays for a in rows]


def _row_decayed_products(*rows: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """The same with a decay for each row k of the state: blocks on the diagonal, doubled in size until one is left.

    Between a block and the one after it exp(c_t - c_s) = exp(c_t - c_m) exp(c_m - c_s) with m the first one's last
    token: both factors are at most 1, and a product of two matrices does what else takes C * C * K exponentials.
    """
    products = [(a * b).sum(-1)[..., None, None] for a in rows]  # (..., C, 1, 1)
    width = 1
    while width < b.shape[-2]:
        (c_first, c_second), (b_first, _) = (x.unflatten(-2, (-1, 2, width)).unbind(-3) for x in (c, b))
        middle = c_first[..., -1:, :]
        early = (b_first * (middle - c_first).exp()).mT  # (..., C / 2 width, K, width)
        late = (c_second - middle).exp()
        for i, a in enumerate(rows):
            a_second = a.unflatten(-2, (-1, 2, width))[..., 1, :, :]
            first, second = products[i].unflatten(-3, (-1, 2)).unbind(-3)
            below = torch.cat([a_second * late @ early, second], dim=-1)
            products[i] = torch.cat([F.pad(first, (0, width)), below], dim=-2)
        width *= 2
    return [product.squeeze(-3) for product in products]
