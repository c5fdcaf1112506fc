"""On a CUDA device: attention and the layers that combine it with Mamba, against the CPU, in float32 and bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from boundprobe.kernels.window import POSITIONS, attend, attend_in_window
from boundprobe.models import AbstractMixer, MambaAttentionStep, MambaChunks, SlidingWindowAttention

pytestmark = pytest.mark.gpu

D_MODEL, N_HEADS, WINDOW, LENGTH = 16, 2, 12, 300  # long enough for blocks
BUILDERS: dict[str, Callable[[], AbstractMixer]] = {
    **{
        f"attention, {position}": lambda position=position: SlidingWindowAttention(D_MODEL, N_HEADS, WINDOW, position)
        for position in POSITIONS
    },
    "chunks": lambda: MambaChunks(D_MODEL, 4, 4, 2, N_HEADS, 5, 8, "reference"),
    "step": lambda: MambaAttentionStep(D_MODEL, 4, 4, 2, N_HEADS, WINDOW, "rope", "reference"),
}
each_layer = pytest.mark.parametrize("name", BUILDERS)


def make(name: str) -> tuple[AbstractMixer, Tensor]:
    torch.manual_seed(0)
    return BUILDERS[name](), torch.randn(2, LENGTH, D_MODEL)


def read(layer: AbstractMixer, x: Tensor) -> tuple[Tensor, ...]:
    """The output and the gradients of a generic function of it."""
    y, _ = layer(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return y, *torch.autograd.grad((y * weights).mean(), list(layer.parameters()))


@each_layer
def test_outputs_and_gradients_agree_with_the_cpu(name: str) -> None:
    layer, x = make(name)
    expected = read(layer, x)
    found = read(copy.deepcopy(layer).cuda(), x.cuda())
    for what, first, second in zip(["output", *dict(layer.named_parameters())], found, expected, strict=True):
        # float32 sums in another order
        torch.testing.assert_close(first.cpu(), second, atol=1e-4, rtol=1e-3, msg=lambda m, w=what: f"{w}: {m}")


@each_layer
def test_the_same_twice(name: str) -> None:
    layer, x = make(name)
    layer, x = layer.cuda(), x.cuda()
    assert all(torch.equal(first, second) for first, second in zip(read(layer, x), read(layer, x), strict=True))


@each_layer
@torch.no_grad()
def test_half_precision(name: str) -> None:
    layer, x = make(name)
    half = layer.bfloat16().cuda()
    found, state = half(x.bfloat16().cuda())
    assert {found.dtype, *(tensor.value.dtype for tensor in state)} == {torch.bfloat16}
    assert {found.device.type, *(tensor.value.device.type for tensor in state)} == {"cuda"}
    expected, _ = copy.deepcopy(half).float()(x.bfloat16().float().cuda())
    # some fifteen roundings, one after the other, of relative size 2^-9 of numbers up to the largest here
    tolerance = 15 * 2**-9 * float(expected.abs().max())
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)


@each_layer
@torch.no_grad()
def test_two_pieces_are_the_whole(name: str) -> None:
    layer, x = make(name)
    layer, x = layer.cuda(), x.cuda()
    whole, _ = layer(x)
    for cut in (5, 150):
        first, state = layer(x[:, :cut])
        torch.testing.assert_close(torch.cat([first, layer(x[:, cut:], state)[0]], dim=1), whole, atol=1e-4, rtol=1e-4)


@each_layer
def test_stacked_models(name: str) -> None:
    layer, x = make(name)
    layer, x = layer.cuda(), x.cuda()
    stacked = {key: torch.stack([p.detach(), 0.5 * p.detach()]) for key, p in layer.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,))[0].square().mean()

    gradients = torch.func.vmap(torch.func.grad(loss))(stacked)
    for i in range(2):
        expected = torch.func.grad(loss)({key: values[i] for key, values in stacked.items()})
        for key, gradient in expected.items():
            torch.testing.assert_close(
                gradients[key][i], gradient, atol=1e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}"
            )


@pytest.mark.parametrize("position", POSITIONS)
def test_memory_grows_with_the_length_and_not_with_its_square(position: str) -> None:
    window, width = 32, 16
    score = POSITIONS[position](width, window).cuda()

    def peak(form: Callable[..., Tensor], length: int) -> int:
        q, k, v = torch.randn(3, 2, 2, length, width, device="cuda", requires_grad=True)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        form(q, k, v, window, score).sum().backward()
        return torch.cuda.max_memory_allocated() - before

    # Twice, and a little for blocks of 512 bytes and workspaces; the dense form shows that the check can fail.
    assert peak(attend_in_window, 8192) < 2.5 * peak(attend_in_window, 4096)
    assert peak(attend, 4096) > 3 * peak(attend, 2048)
