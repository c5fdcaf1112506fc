"""Layers of published models with the weights of transformers': the same outputs, gradients and states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    KimiLinearConfig,
    LlamaConfig,
    Mamba2Config,
    OlmoHybridConfig,
    Qwen3NextConfig,
)
from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearDeltaAttention
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.olmo_hybrid.modeling_olmo_hybrid import OlmoHybridGatedDeltaNet
from transformers.models.qwen3_next.modeling_qwen3_next import (
    Qwen3NextAttention,
    Qwen3NextGatedDeltaNet,
    Qwen3NextRotaryEmbedding,
)

from boundprobe.models import (
    AbstractMixer,
    GatedAttention,
    GatedDeltaNet,
    KimiDeltaAttention,
    Mamba2,
    SlidingWindowAttention,
)

BATCH, T, D_MODEL = 2, 21, 16
# Both sides compute in float32, in another order; keys are brought to length 1 with another small number against zero.
TOLERANCE = 1e-5


class Pair(NamedTuple):
    """A layer of transformers, ours with its weights, and from names of our weights to theirs as ours are laid out."""

    ours: AbstractMixer
    theirs: nn.Module
    weights: dict[str, Tensor]
    config: Any


def spread(module: nn.Module) -> nn.Module:
    """Move every parameter away from the value that initialisation gives it, which could hide an omission."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5 + 0.1)
    return module


def paired(ours: AbstractMixer, theirs: nn.Module, weights: dict[str, Tensor], config: Any) -> Pair:
    """Give ours the weights; all of them, and no others."""
    ours.load_state_dict({name: value.detach().clone() for name, value in weights.items()})
    return Pair(ours, theirs, weights, config)


def rotary(module: Any, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions from 0."""
    cos, sin = module(torch.zeros(1), torch.arange(length)[None])
    return cos, sin


def causal(length: int, window: int) -> Tensor:
    """Mask of a causal window, 0 and -inf."""
    distance = torch.arange(length)[:, None] - torch.arange(length)
    return torch.zeros(length, length).masked_fill((distance < 0) | (distance >= window), -torch.inf)[None, None]


ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0}


def grouped_attention(window: int) -> Pair:
    """Four heads of queries on two of keys and values, with biases."""
    config = LlamaConfig(
        hidden_size=D_MODEL, num_attention_heads=4, num_key_value_heads=2, attention_bias=True,
        attn_implementation="eager",
    )  # fmt: skip
    theirs = spread(LlamaAttention(config, layer_idx=0))
    ours = SlidingWindowAttention(D_MODEL, 4, window, "rope", n_kv_heads=2)
    weights = {
        f"qkv.{kind}": torch.cat([theirs.get_parameter(f"{of}_proj.{kind}") for of in "qkv"])
        for kind in ("weight", "bias")
    }
    weights |= {f"out.{kind}": theirs.get_parameter(f"o_proj.{kind}") for kind in ("weight", "bias")}
    embed = rotary(LlamaRotaryEmbedding(config), T)
    theirs.run = lambda x: theirs(x, embed, causal(T, window))[0]  # type: ignore[assignment]
    return paired(ours, theirs, weights, config)


def gated_attention(window: int) -> Pair:
    """Qwen3-Next's; it keeps the gate of a head behind its queries, and weights of norms as differences from 1."""
    config = Qwen3NextConfig(
        hidden_size=D_MODEL, num_attention_heads=4, num_key_value_heads=2, head_dim=4, rope_parameters=ROPE,
        attn_implementation="eager",
    )  # fmt: skip
    theirs = spread(Qwen3NextAttention(config, layer_idx=0))
    ours = GatedAttention(D_MODEL, 4, window, "rope", n_kv_heads=2)
    q, gate = theirs.q_proj.weight.unflatten(0, (4, 2, 4)).unbind(1)
    weights = {
        "qkv.weight": torch.cat([q.flatten(0, 1), theirs.k_proj.weight, theirs.v_proj.weight]),
        "gate.weight": gate.flatten(0, 1),
        "q_norm.weight": 1 + theirs.q_norm.weight,
        "k_norm.weight": 1 + theirs.k_norm.weight,
        "out.weight": theirs.o_proj.weight,
    }
    embed = rotary(Qwen3NextRotaryEmbedding(config), T)
    theirs.run = lambda x: theirs(x, embed, causal(T, window))[0]  # type: ignore[assignment]
    return paired(ours, theirs, weights, config)


def linear_config(of: type, **more: Any) -> Any:
    """Four heads of values of width 6 on two of keys of width 3."""
    return of(
        hidden_size=D_MODEL, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=3,
        linear_value_head_dim=6, linear_conv_kernel_dim=4, num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"], **more,
    )  # fmt: skip


def qwen_deltanet() -> Pair:
    """Two heads of values share keys; projections lie group by group: q, k, then v and z of its heads."""
    config = linear_config(Qwen3NextConfig, rms_norm_eps=1e-5 / 3)  # their q is divided by sqrt(3), which this undoes
    theirs = spread(Qwen3NextGatedDeltaNet(config, layer_idx=0))
    ours = GatedDeltaNet(D_MODEL, 4, 3, 4, d_value=6, n_groups=2)
    q, k, v, z = theirs.in_proj_qkvz.weight.unflatten(0, (2, -1)).split([3, 3, 12, 12], dim=1)
    b, a = theirs.in_proj_ba.weight.unflatten(0, (2, -1)).split([2, 2], dim=1)
    return paired(
        ours,
        theirs,
        {
            "in_proj.weight": torch.cat([part.flatten(0, 1) for part in (q, k, v)]),
            "conv1d.weight": theirs.conv1d.weight,
            "beta_proj.weight": b.flatten(0, 1),
            "dt_proj.weight": a.flatten(0, 1),
            "dt_bias": theirs.dt_bias,
            "A_log": theirs.A_log,
            "gate_proj.weight": z.flatten(0, 1),
            "norm.weight": theirs.norm.weight,
            "out_proj.weight": theirs.out_proj.weight,
        },
        config,
    )


def olmo_deltanet() -> Pair:
    """Beta up to 2."""
    config = linear_config(OlmoHybridConfig, linear_allow_neg_eigval=True)
    theirs = spread(OlmoHybridGatedDeltaNet(config, layer_idx=0))
    theirs.o_norm.variance_epsilon = 1e-5 / 3  # their q is divided by sqrt(3), which this undoes
    ours = GatedDeltaNet(D_MODEL, 4, 3, 4, d_value=6, n_groups=2, beta_max=2)
    renamed = {
        "beta_proj": "b_proj",
        "dt_proj": "a_proj",
        "gate_proj": "g_proj",
        "norm": "o_norm",
        "out_proj": "o_proj",
    }
    weights = {f"{name}.weight": theirs.get_parameter(f"{other}.weight") for name, other in renamed.items()}
    weights["in_proj.weight"] = torch.cat([theirs.get_parameter(f"{of}_proj.weight") for of in "qkv"])
    weights |= {name: theirs.get_parameter(name) for name in ("conv1d.weight", "dt_bias", "A_log")}
    return paired(ours, theirs, weights, config)


def kda() -> Pair:
    """Kimi Linear's, in which keys are as wide as values."""
    config = KimiLinearConfig(
        hidden_size=D_MODEL, linear_num_heads=2, linear_head_dim=6, linear_conv_kernel_dim=4, rms_norm_eps=1e-5,
        num_hidden_layers=1, layer_types=["linear_attention"],
    )  # fmt: skip
    theirs = spread(KimiLinearDeltaAttention(config, layer_idx=0))
    ours = KimiDeltaAttention(D_MODEL, 2, 6, 4, d_value=6)
    renamed = {
        "beta_proj": "b_proj", "decay_proj.0": "forget_gate.f_a_proj", "decay_proj.1": "forget_gate.f_b_proj",
        "gate_proj.0": "g_a_proj", "gate_proj.1": "g_b_proj", "norm": "o_norm", "out_proj": "o_proj",
    }  # fmt: skip
    weights = {f"{name}.weight": theirs.get_parameter(f"{other}.weight") for name, other in renamed.items()}
    weights["in_proj.weight"] = torch.cat([theirs.get_parameter(f"{of}_proj.weight") for of in "qkv"])
    weights["conv1d.weight"] = theirs.conv1d.weight
    weights["dt_bias"] = theirs.forget_gate.dt_bias
    weights["A_log"] = theirs.forget_gate.A_log.flatten()
    return paired(ours, theirs, weights, config)


def mamba2_of(n_groups: int) -> Pair:
    """Four heads in groups; the names are the same."""
    config = Mamba2Config(
        hidden_size=D_MODEL, state_size=5, num_heads=4, head_dim=8, expand=2, n_groups=n_groups, conv_kernel=4,
        chunk_size=8, num_hidden_layers=1,
    )  # fmt: skip
    theirs = spread(Mamba2Mixer(config, layer_idx=0))
    ours = Mamba2(D_MODEL, 5, 8, 4, 2, n_groups=n_groups)
    return paired(ours, theirs, dict(theirs.named_parameters()), config)


RECURRENT = {
    "Qwen3-Next, gated DeltaNet": qwen_deltanet,
    "OLMo Hybrid, gated DeltaNet": olmo_deltanet,
    "Kimi Linear, KDA": kda,
    "Mamba-2, 2 groups": lambda: mamba2_of(2),
    "Mamba-2, 4 groups": lambda: mamba2_of(4),
}
PAIRS = {
    "Llama, grouped queries": lambda: grouped_attention(T),
    "Llama, grouped queries, window": lambda: grouped_attention(5),
    "Qwen3-Next, gated attention": lambda: gated_attention(T),
    "Qwen3-Next, gated attention, window": lambda: gated_attention(5),
    **RECURRENT,
}


def assert_near(found: Tensor, expected: Tensor, what: str) -> None:
    """To the tolerance, of numbers about as large as the largest."""
    assert expected.abs().max() > 1e-3, f"{what}: numbers of about 0 would compare nothing"
    size = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(
        found, expected, atol=TOLERANCE * size, rtol=TOLERANCE, msg=lambda text: f"{what}: {text}"
    )


def output(theirs: nn.Module, x: Tensor) -> Tensor:
    """Output for whole sequences."""
    y: Tensor = theirs.run(x) if hasattr(theirs, "run") else theirs(x)
    return y


def gradients(y: Tensor, leaves: Iterable[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5))
    return torch.autograd.grad((y * weights).sum() / BATCH, list(leaves))


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients_are_the_published_ones(name: str) -> None:
    torch.manual_seed(0)
    pair = PAIRS[name]()
    x = torch.randn(BATCH, T, D_MODEL, requires_grad=True)
    found, expected = pair.ours(x)[0], output(pair.theirs, x)
    assert_near(found, expected, "output")
    parameters = dict(pair.ours.named_parameters())
    of_ours = gradients(found, [x, *parameters.values()])
    # Through the map from their weights to ours: a gradient of ours, carried back to theirs, is their own.
    their_parameters = list(pair.theirs.parameters())
    carried = torch.autograd.grad([pair.weights[key] for key in parameters], their_parameters, of_ours[1:])
    of_theirs = gradients(expected, [x, *their_parameters])
    names = ["x", *dict(pair.theirs.named_parameters())]
    for key, one, other in zip(names, (of_ours[0], *carried), of_theirs, strict=True):
        assert_near(one, other, f"gradient of {key}")


@pytest.mark.parametrize("name", RECURRENT)
@torch.no_grad()
def test_states_are_the_published_ones(name: str) -> None:
    """A prefix at once, then token by token; their buffers hold one input more than the next token needs."""
    torch.manual_seed(0)
    pair = RECURRENT[name]()
    pair.theirs.eval()
    x = torch.randn(BATCH, 12, D_MODEL)
    cache = DynamicCache(config=pair.config)
    expected, (y, state) = [pair.theirs(x[:, :7], cache_params=cache)], pair.ours(x[:, :7])
    found = [y]
    for t in range(7, 12):
        expected.append(pair.theirs(x[:, t : t + 1], cache_params=cache))
        y, state = pair.ours(x[:, t : t + 1], state)
        found.append(y)
    assert_near(torch.cat(found, dim=1), torch.cat(expected, dim=1), "output")
    inputs, s = (tensor.value for tensor in state)
    recurrent = cache.get_recurrent_state(0)
    assert_near(s, recurrent.mT if isinstance(pair.ours, Mamba2) else recurrent, "recurrent state")
    assert_near(inputs, cache.get_conv_state(0)[:, :, 1:].transpose(1, 2), "inputs")
