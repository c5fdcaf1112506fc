"""Kimi Delta Attention against its equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.models import GatedDeltaNet, KimiDeltaAttention
from tests.helpers.models import draw, make

T = 6
#: d_model, n_heads, d_state, d_conv, and d_value, n_groups, beta_max.
SIZES = [(8, 2, 3, 4, 0, 0, 1), (8, 1, 5, 1, 0, 0, 2), (12, 4, 2, 3, 5, 2, 2)]

each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def layer_of(size: tuple[int, ...], backend: str = "auto") -> KimiDeltaAttention:
    *sizes, d_value, n_groups, beta_max = size
    options = {"d_value": d_value, "n_groups": n_groups, "beta_max": beta_max}
    return make(lambda: KimiDeltaAttention(*sizes, backend, **options), noise=0.1)


def sequential(layer: KimiDeltaAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, last inputs and S (B, H, K, V): S_t = (I - beta k k^T) diag(alpha) S_{t-1} + beta k v^T."""
    w, heads = dict(layer.named_parameters()), layer.heads
    (batch, n_tokens), n_conv = x.shape[:2], w["conv1d.weight"].shape[-1]
    u = x @ w["in_proj.weight"].T
    padded = F.pad(u.transpose(1, 2), (n_conv - 1, 0))
    convolved = F.conv1d(padded, w["conv1d.weight"], groups=u.shape[-1]).transpose(1, 2)
    u = convolved * torch.sigmoid(convolved)
    q, k, v = u.split([heads.n_keys, heads.n_keys, heads.n_values], dim=-1)
    v = v.reshape(batch, n_tokens, heads.n_heads, -1)
    q, k = (z.reshape(batch, n_tokens, heads.n_groups, -1) for z in (q, k))
    q, k = (z / (z.square().sum(-1, keepdim=True) + 1e-6).sqrt() for z in (q, k))
    q, k = (z.repeat_interleave(heads.n_heads // heads.n_groups, dim=2) for z in (q, k))
    beta = layer.beta_max * torch.sigmoid(x @ w["beta_proj.weight"].T)
    dt = torch.log1p(torch.exp(x @ w["decay_proj.0.weight"].T @ w["decay_proj.1.weight"].T + w["dt_bias"]))
    alpha = torch.exp(-torch.exp(w["A_log"])[:, None] * dt.reshape(batch, n_tokens, heads.n_heads, -1))
    gate = torch.sigmoid(x @ w["gate_proj.0.weight"].T @ w["gate_proj.1.weight"].T)
    s, rows = x.new_zeros(batch, heads.n_heads, heads.d_key, heads.d_value), []
    for t in range(n_tokens):
        strength = beta[:, t, :, None, None]
        keep = torch.eye(heads.d_key, dtype=x.dtype) - strength * torch.einsum("bhi,bhj->bhij", k[:, t], k[:, t])
        s = keep @ torch.diag_embed(alpha[:, t]) @ s + strength * torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        o = torch.einsum("bhk,bhkv->bhv", q[:, t], s) / heads.d_key**0.5
        o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w["norm.weight"]
        rows.append((o.flatten(-2) * gate[:, t]) @ w["out_proj.weight"].T)
    return torch.stack(rows, dim=1), padded[:, :, n_tokens:].transpose(1, 2), s


@each_size
@pytest.mark.parametrize("backend", ["chunked", "reference"])
@torch.no_grad()
def test_step_by_step(size: tuple[int, ...], backend: str) -> None:
    layer, x = layer_of(size, backend), draw(T, size[0])
    y, (inputs, s) = layer(x)
    for found, expected in zip((y, inputs.value, s.value), sequential(layer, x), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_with_one_decay_in_all_rows_the_state_is_that_of_the_gated_deltanet() -> None:
    layer, x = layer_of(SIZES[0]), draw(T)
    layer.decay_proj[1].weight.zero_()
    layer.dt_bias.fill_(0.3)
    layer.A_log.fill_(-2.0)  # slow enough to show in the state
    plain = GatedDeltaNet(8, 2, 3, 4).double()
    shared = {name: value for name, value in layer.state_dict().items() if name.split(".")[0] in ("in_proj", "conv1d")}
    shared |= {name: layer.state_dict()[name] for name in ("beta_proj.weight", "A_log")}
    plain.load_state_dict(plain.state_dict() | shared)
    plain.dt_proj.weight.zero_()
    plain.dt_bias.fill_(0.3)
    torch.testing.assert_close(layer(x)[1][1].value, plain(x)[1][1].value, atol=1e-10, rtol=1e-10)
    layer.dt_bias[0] += 1  # the control: one row decays otherwise
    assert not torch.allclose(layer(x)[1][1].value, plain(x)[1][1].value)


def test_kernels_that_know_one_decay_a_head_are_not_its_own() -> None:
    """The operation has the backend "fla", which refuses decays for each row where it runs."""
    with pytest.raises(ValueError, match="`backend` must be one of auto,"):
        KimiDeltaAttention(8, 2, 3, 4, "fast")
    assert KimiDeltaAttention(8, 2, 3, 4, "fla").backend == "fla"
