"""RWKV-7 against the equations of its paper, and what its rule can do that a delta rule cannot."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from boundprobe.models import RWKV7
from boundprobe.models.ranks import gate_rank, rate_rank
from tests.helpers.models import draw, make

T = 6
SIZES = [(8, 2, 4), (8, 1, 3), (12, 3, 7)]  # d_model, n_heads, d_state; the first as published, K = V

each_size = pytest.mark.parametrize("size", SIZES, ids=str)
each_backend = pytest.mark.parametrize("backend", ["chunked", "reference"])


def sequential(layer: RWKV7, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output (B, T, d_model) and S (B, H, V, K) as arXiv 2503.14456, section 4, writes them, head by head."""
    w = dict(layer.named_parameters())
    (n_tokens, d_model), n_heads = x.shape[1:], layer.n_heads
    outputs, states = [], []
    for sequence in x:
        before, rows = torch.zeros(d_model, dtype=x.dtype), []
        s = [torch.zeros(d_model // n_heads, w["bonus"].shape[1], dtype=x.dtype) for _ in range(n_heads)]
        for t in range(n_tokens):
            token = sequence[t]
            mixed = [token + (before - token) * mu for mu in w["mix"]]  # lerp
            of_r, of_d, of_k, of_v, of_a, of_g = mixed
            r, k, v = w["r_proj.weight"] @ of_r, w["k_proj.weight"] @ of_k, w["v_proj.weight"] @ of_v
            a = torch.sigmoid(w["rate_bias"] + w["rate.up.weight"] @ (w["rate.down.weight"] @ of_a))
            d = w["decay_bias"] + w["decay.up.weight"] @ torch.tanh(w["decay.down.weight"] @ of_d)
            decay = torch.exp(-math.exp(-0.5) * torch.sigmoid(d))
            g = w["gate.up.weight"] @ torch.sigmoid(w["gate.down.weight"] @ of_g)
            kappa = k * w["remove_scale"]
            written = k * (1 + (a - 1) * w["rate_scale"])
            heads = []
            for h in range(n_heads):
                ks, vs = (slice(h * len(z) // n_heads, (h + 1) * len(z) // n_heads) for z in (k, v))
                unit = kappa[ks] / kappa[ks].norm()
                transition = torch.diag(decay[ks]) - torch.outer(unit, a[ks] * unit)
                s[h] = s[h] @ transition + torch.outer(v[vs], written[ks])
                y = s[h] @ r[ks]
                y = (y - y.mean()) / (y.var(unbiased=False) + 64e-5).sqrt()
                y = y * w["norm.weight"][vs] + w["norm.bias"][vs]
                heads.append(y + (r[ks] * w["bonus"][h] * written[ks]).sum() * v[vs])
            rows.append(w["out_proj.weight"] @ (g * torch.cat(heads)))
            before = token
        outputs.append(torch.stack(rows))
        states.append(torch.stack(s))
    return torch.stack(outputs), torch.stack(states)


@each_size
@each_backend
@torch.no_grad()
def test_step_by_step(size: tuple[int, int, int], backend: str) -> None:
    layer, x = make(lambda: RWKV7(*size, backend), noise=0.3), draw(T, size[0])
    y, (inputs, s) = layer(x)
    expected, state = sequential(layer, x)
    torch.testing.assert_close(y, expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(s.value.mT, state, atol=1e-10, rtol=1e-10)
    assert torch.equal(inputs.value, x[:, -1:])


@each_size
@torch.no_grad()
def test_the_state_is_the_last_input_and_s(size: tuple[int, int, int]) -> None:
    d_model, n_heads, d_state = size
    _, (inputs, s) = RWKV7(*size)(torch.zeros(2, T, d_model))
    assert (inputs.name, inputs.kind, s.name, s.kind) == ("inputs", "conv", "s", "recurrent")
    assert inputs.value.shape == (2, 1, d_model)
    assert s.value.shape == (2, n_heads, d_state, d_model // n_heads)


@torch.no_grad()
def test_decays_begin_between_four_tokens_and_some_hundred() -> None:
    layer = RWKV7(64, 2, 32)
    half_lives = math.log(2) / (math.exp(-0.5) * torch.sigmoid(layer.decay_bias))
    assert 4 < half_lives.min() < 5
    assert 400 < half_lives.max() < 500


@pytest.mark.parametrize(("d_model", "expected"), [(768, (64, 128)), (2048, (96, 256)), (64, (32, 32)), (16, (16, 16))])
def test_ranks_grow_with_the_width(d_model: int, expected: tuple[int, int]) -> None:
    assert (rate_rank(d_model), gate_rank(d_model)) == expected


@torch.no_grad()
def test_a_zero_key_removes_nothing() -> None:
    layer, x = make(lambda: RWKV7(8, 2, 3)), draw(T)
    layer.k_proj.weight.zero_()
    _, (_, s) = layer(x)
    assert (s.value == 0).all()


def test_heads_must_share_the_width() -> None:
    with pytest.raises(ValueError, match="`n_heads` must divide d_model=8; got 3"):
        RWKV7(8, 3, 2)
