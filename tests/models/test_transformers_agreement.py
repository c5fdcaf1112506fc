"""Our layers with the weights of the published ones give the published outputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, GPTNeoXConfig, MambaConfig
from transformers.models.gpt_neox.modeling_gpt_neox import (
    GPTNeoXAttention,
    GPTNeoXRotaryEmbedding,
    apply_rotary_pos_emb,
)
from transformers.models.mamba.modeling_mamba import MambaMixer

from boundprobe.kernels.window import rotate
from boundprobe.models import Mamba, SlidingWindowAttention

BATCH = 2
# Both sides compute in float32, in another order; errors of single operations, 6e-8 of numbers up to about 10, add up
# along some hundred steps of a recurrence or terms of a sum.
TOLERANCE = 1e-4


def assert_near(found: Tensor, expected: Tensor, what: str) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE, msg=lambda m: f"{what}: {m}")


def gradients(output: Tensor, leaves: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Of one and the same function of an output with generic weights."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(5)).to(output.device)
    return torch.autograd.grad((output * weights).sum() / BATCH, list(leaves))


def spread(module: nn.Module) -> None:
    """Move every parameter away from the value that initialisation gives it, which could hide an omission."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


# --- attention: GPT-NeoX ---------------------------------------------------------------------------------------------


def neox_config(d_model: int, n_heads: int, n_positions: int) -> GPTNeoXConfig:
    """Every pair of a head is rotated (the checkpoints' default rotates a quarter of them)."""
    return GPTNeoXConfig(
        hidden_size=d_model,
        num_attention_heads=n_heads,
        num_hidden_layers=1,
        max_position_embeddings=n_positions,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
        attn_implementation="eager",
    )


@pytest.mark.parametrize("head_width", [2, 8, 64])
@torch.no_grad()
def test_rotary_encoding_is_that_of_gpt_neox(head_width: int) -> None:
    torch.manual_seed(0)
    n_positions = 300
    q, k = torch.randn(2, BATCH, 3, n_positions, head_width)
    places = torch.arange(n_positions)
    cos, sin = GPTNeoXRotaryEmbedding(neox_config(3 * head_width, 3, n_positions))(q, places[None])
    for found, expected in zip(
        (rotate(q, places), rotate(k, places)), apply_rotary_pos_emb(q, k, cos, sin), strict=True
    ):
        assert_near(found, expected, "rotated")


def neox_rows(d_model: int, n_heads: int) -> Tensor:
    """Row of GPT-NeoX's fused projection (heads, q k v, width) for each row of ours (q k v, heads, width)."""
    return torch.arange(3 * d_model).reshape(n_heads, 3, -1).transpose(0, 1).flatten()


def neox_layer(theirs: GPTNeoXAttention, x: Tensor, window: int) -> Tensor:
    """Output under a causal mask of that window."""
    length = x.shape[1]
    places = torch.arange(length)
    distance = places[:, None] - places
    mask = torch.zeros(length, length).masked_fill((distance < 0) | (distance >= window), -torch.inf)
    position_embeddings = GPTNeoXRotaryEmbedding(theirs.config)(x, places[None])
    output: Tensor = theirs(x, attention_mask=mask[None, None], position_embeddings=position_embeddings)[0]
    return output


# A window that covers everything; a window; and one with blocks, where positions are counted within the block.
@pytest.mark.parametrize(("length", "window"), [(20, 20), (20, 50), (20, 6), (300, 300), (300, 40)])
@pytest.mark.parametrize("n_heads", [1, 4])
def test_attention_is_that_of_gpt_neox(length: int, window: int, n_heads: int) -> None:
    torch.manual_seed(0)
    d_model = 32
    theirs = GPTNeoXAttention(neox_config(d_model, n_heads, length), layer_idx=0)
    spread(theirs)
    rows = neox_rows(d_model, n_heads)
    ours = SlidingWindowAttention(d_model, n_heads, window, "rope")
    ours.qkv.load_state_dict({name: value[rows] for name, value in theirs.query_key_value.state_dict().items()})
    ours.out.load_state_dict(theirs.dense.state_dict())
    x = torch.randn(BATCH, length, d_model, requires_grad=True)

    found, expected = ours(x)[0], neox_layer(theirs, x, window)
    assert_near(found, expected, "output")
    of_ours = gradients(found, [x, ours.qkv.weight, ours.qkv.bias, ours.out.weight, ours.out.bias])
    projections = (theirs.query_key_value, theirs.dense)
    of_theirs = gradients(expected, [x, *(p for layer in projections for p in (layer.weight, layer.bias))])
    for name, first, second, fused in zip(
        ("x", "qkv.weight", "qkv.bias", "out.weight", "out.bias"),
        of_ours,
        of_theirs,
        (False, True, True, False, False),
        strict=True,
    ):
        assert_near(first, second[rows] if fused else second, f"gradient of {name}")


@torch.no_grad()
def test_heads_matter_in_the_fused_projection() -> None:
    """The agreement above is no accident: without the order of rows the outputs differ."""
    torch.manual_seed(0)
    theirs = GPTNeoXAttention(neox_config(32, 4, 20), layer_idx=0)
    ours = SlidingWindowAttention(32, 4, 20, "rope")
    ours.qkv.load_state_dict(theirs.query_key_value.state_dict())
    ours.out.load_state_dict(theirs.dense.state_dict())
    x = torch.randn(BATCH, 20, 32)
    assert (ours(x)[0] - neox_layer(theirs, x, 20)).abs().max() > 100 * TOLERANCE


# --- Mamba -----------------------------------------------------------------------------------------------------------

# d_model, d_state, d_conv, expand
MAMBA_SIZES = [(16, 4, 4, 2), (20, 3, 2, 1), (40, 16, 4, 2), (8, 5, 1, 3)]
each_mamba = pytest.mark.parametrize("size", MAMBA_SIZES, ids=str)


def mamba_pair(size: tuple[int, int, int, int], backend: str = "auto") -> tuple[Mamba, MambaMixer]:
    """Theirs with generic weights, and ours with the same."""
    torch.manual_seed(0)
    d_model, d_state, d_conv, expand = size
    config = MambaConfig(
        hidden_size=d_model, state_size=d_state, conv_kernel=d_conv, expand=expand, num_hidden_layers=1
    )
    theirs = MambaMixer(config, layer_idx=0)
    spread(theirs)
    ours = Mamba(*size, backend)
    ours.load_state_dict(theirs.state_dict())  # strict: the same names and shapes
    return ours, theirs


@each_mamba
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_mamba_is_that_of_transformers(size: tuple[int, int, int, int], backend: str) -> None:
    ours, theirs = mamba_pair(size, backend)
    x = torch.randn(BATCH, 50, size[0], requires_grad=True)
    found, expected = ours(x)[0], theirs(x)
    assert_near(found, expected, "output")
    names = ["x", *dict(theirs.named_parameters())]
    of_ours = gradients(found, [x, *(ours.get_parameter(name) for name in names[1:])])
    of_theirs = gradients(expected, [x, *theirs.parameters()])
    for name, first, second in zip(names, of_ours, of_theirs, strict=True):
        assert_near(first, second, f"gradient of {name}")


@pytest.mark.parametrize("size", [size for size in MAMBA_SIZES if size[2] > 1], ids=str)
@torch.no_grad()
def test_mamba_reads_on_from_its_state_as_transformers_does(size: tuple[int, int, int, int]) -> None:
    """A prefix at once, then token by token; their cache holds one input more than the next token needs."""
    ours, theirs = mamba_pair(size)
    theirs.eval()
    x = torch.randn(BATCH, 12, size[0])
    cache = DynamicCache(config=theirs.config)
    expected = [theirs(x[:, :7], cache_params=cache)]
    y, state = ours(x[:, :7])
    found = [y]
    for t in range(7, 12):
        expected.append(theirs(x[:, t : t + 1], cache_params=cache))
        y, state = ours(x[:, t : t + 1], state)
        found.append(y)
    assert_near(torch.cat(found, dim=1), torch.cat(expected, dim=1), "output")
    inputs, h = (tensor.value for tensor in state)
    assert_near(h, cache.get_recurrent_state(0), "h")
    assert_near(inputs, cache.get_conv_state(0)[:, :, 1:].transpose(1, 2), "inputs")


def mamba_ssm_shapes(d_model: int, d_state: int, d_conv: int, expand: int) -> dict[str, tuple[int, ...]]:
    """State dict of ``mamba_ssm.modules.mamba_simple.Mamba`` with its default options.

    Read off ``Mamba.__init__`` in mamba_ssm/modules/mamba_simple.py of github.com/state-spaces/mamba, commit 52f57d6:
    d_inner = expand * d_model, dt_rank = ceil(d_model / 16), conv_bias True, bias False.
    """
    d_inner, dt_rank = expand * d_model, math.ceil(d_model / 16)
    return {
        "A_log": (d_inner, d_state),
        "D": (d_inner,),
        "in_proj.weight": (2 * d_inner, d_model),
        "conv1d.weight": (d_inner, 1, d_conv),
        "conv1d.bias": (d_inner,),
        "x_proj.weight": (dt_rank + 2 * d_state, d_inner),
        "dt_proj.weight": (d_inner, dt_rank),
        "dt_proj.bias": (d_inner,),
        "out_proj.weight": (d_model, d_inner),
    }


@each_mamba
def test_weights_have_the_names_and_shapes_of_mamba_ssm(size: tuple[int, int, int, int]) -> None:
    found = {name: tuple(value.shape) for name, value in Mamba(*size, "reference").state_dict().items()}
    assert found == mamba_ssm_shapes(*size)


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(16, 4, 4, 2), (40, 16, 4, 2)], ids=str)
def test_mamba_is_that_of_mamba_ssm(size: tuple[int, int, int, int]) -> None:
    mamba_ssm = pytest.importorskip("mamba_ssm", reason="mamba-ssm runs on CUDA alone; pip install 'boundprobe[cuda]'")
    torch.manual_seed(0)
    d_model, d_state, d_conv, expand = size
    theirs = mamba_ssm.Mamba(d_model, d_state=d_state, d_conv=d_conv, expand=expand).cuda()
    spread(theirs)
    ours = Mamba(*size, "reference").cuda()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(BATCH, 50, d_model, device="cuda", requires_grad=True)
    found, expected = ours(x)[0], theirs(x)
    # a matrix product or a convolution may use TF32: 2^-11 of numbers up to about 1, some of them added
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    names = ["x", *dict(theirs.named_parameters())]
    of_ours = gradients(found, [x, *(ours.get_parameter(name) for name in names[1:])])
    of_theirs = gradients(expected, [x, *theirs.parameters()])
    for name, first, second in zip(names, of_ours, of_theirs, strict=True):
        torch.testing.assert_close(first, second, atol=1e-2, rtol=1e-2, msg=lambda m, n=name: f"gradient of {n}: {m}")
