"""The two layers that combine Mamba and attention: their states, and their equations step by step."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.models import AbstractMixer, CutState, Mamba, MambaAttentionStep, MambaChunks
from tests.helpers.models import draw, make

T, D_MODEL, D_STATE, D_CONV, EXPAND, N_HEADS = 11, 8, 3, 2, 2, 2
D_INNER = EXPAND * D_MODEL


def chunks(window: int = 2, chunk: int = 2, d_conv: int = D_CONV, backend: str = "reference") -> MambaChunks:
    return MambaChunks(D_MODEL, D_STATE, d_conv, EXPAND, N_HEADS, window, chunk, backend)


def step(window: int = 5, position: str = "rope", d_conv: int = D_CONV) -> MambaAttentionStep:
    return MambaAttentionStep(D_MODEL, D_STATE, d_conv, EXPAND, N_HEADS, window, position, "reference")


BUILDERS: dict[str, Callable[[], AbstractMixer]] = {
    "chunks of 2": chunks,
    "chunks of 2, the backend of auto": lambda: chunks(backend="auto"),
    "chunks of 1": lambda: chunks(window=3, chunk=1, d_conv=1),
    "chunks of 3, many kept": lambda: chunks(window=9, chunk=3),
    "chunks of 4, one kept": lambda: chunks(window=1, chunk=4, d_conv=4),
    "step, rope": step,
    "step, learned": lambda: step(position="learned"),
    "step, none, window 1": lambda: step(window=1, position="none", d_conv=1),
}


def layer_of(name: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> AbstractMixer:
    return make(BUILDERS[name], seed, dtype, noise=0.2)  # step sizes start small; here they are not


@pytest.mark.parametrize(("window", "chunk"), [(2, 2), (3, 1), (9, 3), (1, 4), (2, 20)])
@torch.no_grad()
def test_the_state_of_chunks(window: int, chunk: int) -> None:
    """D N recurrent entries, D (c - 1) in the buffer, d_model for each summary kept; the phase is a shape alone."""
    layer = chunks(window, chunk)
    for n_read in range(1, T + 1):
        _, state = layer(draw(n_read, dtype=torch.float32))
        entries = {tensor.name: tensor.value[0].numel() for tensor in state}
        kept = min(window, n_read // chunk)
        assert entries == {
            "inputs": D_INNER * (D_CONV - 1),
            "h": D_INNER * D_STATE,
            "summaries": D_MODEL * kept,
            "phase": 0,
        }
        assert [tensor.kind for tensor in state] == ["conv", "recurrent", "cache", "cache"]
        assert state[3].value.shape == (2, n_read % chunk, 0)
        assert state[3].bits == 0


@pytest.mark.parametrize("window", [1, 5, 20])
@torch.no_grad()
def test_the_state_of_an_attention_step(window: int) -> None:
    layer = step(window)
    for n_read in range(1, T + 1):
        _, state = layer(draw(n_read, dtype=torch.float32))
        cached = D_MODEL * min(window - 1, n_read)
        entries = {tensor.name: tensor.value[0].numel() for tensor in state}
        assert entries == {
            "inputs": D_INNER * (D_CONV - 1),
            "h": D_INNER * D_STATE,
            "keys": cached,
            "values": cached,
        }
        assert [tensor.kind for tensor in state] == ["conv", "recurrent", "cache", "cache"]


@torch.no_grad()
def test_a_state_without_entries_survives_being_flattened() -> None:
    layer, x = chunks(chunk=3), draw(T, dtype=torch.float32)
    _, state = layer(x[:, :4])
    assert state[3].value.shape == (2, 1, 0)
    cut = CutState((state,))
    again = cut.unflatten(cut.flatten()).layers[0]
    for found, expected in zip(again, state, strict=True):
        assert (found.name, found.kind) == (expected.name, expected.kind)
        assert torch.equal(found.value, expected.value)
    assert torch.equal(layer(x[:, 4:], again)[0], layer(x[:, 4:], state)[0])


def softmax_over_summaries(layer: MambaChunks, x: Tensor) -> Tensor:
    """What the chunks add, one position and one head at a time, from the state after every token."""
    weight = dict(layer.named_parameters())
    width = D_MODEL // N_HEADS
    summaries = []
    for end in range(layer.chunk, x.shape[1] + 1, layer.chunk):
        h = layer.mamba(x[:, :end])[1][1].value
        summaries.append(h.reshape(len(x), -1) @ weight["compress.weight"].T + weight["compress.bias"])
    query = x @ weight["query.weight"].T + weight["query.bias"]
    rows = []
    for t in range(x.shape[1]):
        n_ended = t // layer.chunk  # chunks that ended before the position's own
        seen = range(max(0, n_ended - layer.window), n_ended)
        # age 0 is the latest, and the last row of the table
        ages = [torch.zeros(D_MODEL), *(weight["ages"][layer.window - n_ended + j] for j in seen)]
        entries = [weight["null"].expand(len(x), -1), *(summaries[j] for j in seen)]
        read = [entry @ weight["key_value.weight"].T + weight["key_value.bias"] for entry in entries]
        mixed = []
        for head in range(N_HEADS):
            place = slice(head * width, (head + 1) * width)
            keys = [(r[:, :D_MODEL] + age)[:, place] for r, age in zip(read, ages, strict=True)]
            values = [r[:, D_MODEL:][:, place] for r in read]
            powers = [torch.exp((query[:, t, place] * key).sum(-1) / math.sqrt(width)) for key in keys]
            mixed.append(sum(p[:, None] * v for p, v in zip(powers, values, strict=True)) / sum(powers)[:, None])
        rows.append(torch.cat(mixed, dim=-1) @ weight["out.weight"].T + weight["out.bias"])
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name.startswith("chunks")])
@torch.no_grad()
def test_chunks_step_by_step(name: str) -> None:
    layer, x = layer_of(name), draw(T)
    added = softmax_over_summaries(layer, x)
    torch.testing.assert_close(layer(x)[0], layer.mamba(x)[0] + added, atol=1e-10, rtol=1e-10)
    # The check is not about the null entry alone: without what was compressed the sum is another.
    layer.compress.weight.zero_()
    assert not torch.allclose(softmax_over_summaries(layer, x), added, atol=1e-3)


@torch.no_grad()
def test_scan_backends_agree_in_chunks() -> None:
    layer, x = layer_of("chunks of 3, many kept"), draw(T)
    other = chunks(window=9, chunk=3, backend="reference").double()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x)[0], other(x)[0], atol=1e-10, rtol=1e-10)


def step_sizes(layer: MambaAttentionStep | Mamba, x: Tensor) -> Tensor:
    """Delta (B, T, D) as the scan gets it."""
    seen = []
    mamba = layer if isinstance(layer, Mamba) else layer.mamba
    recur = mamba.recur
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mamba, "recur", lambda u, dt, *rest: seen.append(dt) or recur(u, dt, *rest))
        layer(x)
    (dt,) = seen
    return dt


@torch.no_grad()
def test_the_step_size_listens_to_the_window() -> None:
    """It depends on the tokens of the window of 5, beyond the convolution's 2, and on no other."""
    layer, x = layer_of("step, rope"), draw(T)
    t = T - 1
    for layer_, reach in ((layer, 5), (layer.mamba, D_CONV)):  # Mamba alone listens to the convolution
        before = step_sizes(layer_, x)[:, t]
        for back in range(7):
            other = x.clone()
            other[:, t - back] += 1.0
            assert torch.equal(step_sizes(layer_, other)[:, t], before) == (back >= reach), back


@pytest.mark.parametrize("name", [name for name in BUILDERS if name.startswith("step")])
@torch.no_grad()
def test_attention_steps_one_by_one(name: str) -> None:
    """Delta_t = softplus(dt_proj(x_proj(u_t)_dt) + W attn(x)_t), then the recurrence of Mamba as it is written."""
    layer, x = layer_of(name), draw(T)
    weight = dict(layer.mamba.named_parameters())
    u, gate, _ = layer.mamba.enter(x, None)
    attended, _ = layer.attention(x)
    rank = weight["dt_proj.weight"].shape[1]
    h, rows = torch.zeros(2, D_INNER, D_STATE, dtype=x.dtype), []
    for t in range(T):
        low_rank, b, c = (u[:, t] @ weight["x_proj.weight"].T).split([rank, D_STATE, D_STATE], dim=-1)
        raw = low_rank @ weight["dt_proj.weight"].T + weight["dt_proj.bias"] + attended[:, t] @ layer.step.weight.T
        delta = torch.log1p(torch.exp(raw))[:, :, None]
        h = torch.exp(-delta * weight["A_log"].exp()) * h + delta * b[:, None] * u[:, t, :, None]
        y = (h * c[:, None]).sum(-1) + weight["D"] * u[:, t]
        rows.append((y * F.silu(gate[:, t])) @ weight["out_proj.weight"].T)
    torch.testing.assert_close(layer(x)[0], torch.stack(rows, dim=1), atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_without_its_attention_the_step_layer_is_mamba() -> None:
    layer, x = layer_of("step, rope"), draw(T)
    assert not torch.allclose(layer(x)[0], layer.mamba(x)[0], atol=1e-3)
    layer.step.weight.zero_()
    assert torch.equal(layer(x)[0], layer.mamba(x)[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: chunks(window=0), "`window` must be an integer of at least 1; got 0"),
        (lambda: chunks(chunk=0), "`chunk` must be an integer of at least 1; got 0"),
        (
            lambda: MambaChunks(8, 3, 2, 2, 3, 2, 2, "reference"),
            "`d_model` must be a multiple of n_heads=3, because heads share the width equally; got 8",
        ),
        (lambda: step(position="rpe"), "`position` must be one of rope, learned, none; got 'rpe'"),
    ],
)
def test_sizes_that_are_not_allowed_are_refused_in_one_line(build: Callable[[], AbstractMixer], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
