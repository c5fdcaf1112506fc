"""The short convolution against that of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from boundprobe.models.short_conv import short_convolution

T, D = 6, 3
each_width = pytest.mark.parametrize("width", [1, 2, 4, 9])
each_bias = pytest.mark.parametrize("bias", [True, False])


@each_width
@each_bias
def test_it_is_a_causal_convolution_and_a_silu(width: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(D, D, width, groups=D, bias=bias).double()
    x = torch.randn(2, T, D).double()
    y, buffer = short_convolution(conv, x, None)
    padded = F.pad(x.transpose(1, 2), (width - 1, 0))
    torch.testing.assert_close(y, F.silu(conv(padded)).transpose(1, 2), atol=1e-12, rtol=1e-12)
    assert torch.equal(buffer, padded.transpose(1, 2)[:, T:])


@each_width
@torch.no_grad()
def test_the_buffer_is_all_that_later_tokens_need(width: int) -> None:
    torch.manual_seed(1)
    conv = nn.Conv1d(D, D, width, groups=D)
    x = torch.randn(2, T, D)
    whole, last = short_convolution(conv, x, None)
    buffer, pieces = None, []
    for t in range(T):
        y, buffer = short_convolution(conv, x[:, t : t + 1], buffer)
        assert buffer.shape == (2, width - 1, D)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-6, rtol=1e-6)  # one float32 rounding or so
    assert torch.equal(buffer, last)


@torch.no_grad()
def test_width_one_scales_each_channel() -> None:
    torch.manual_seed(2)
    conv = nn.Conv1d(D, D, 1, groups=D)
    x = torch.randn(2, T, D)
    y, buffer = short_convolution(conv, x, None)
    torch.testing.assert_close(y, F.silu(x * conv.weight.flatten() + conv.bias))
    assert buffer.shape == (2, 0, D)


def test_ensembles_and_gradients() -> None:
    torch.manual_seed(3)
    members = [nn.Conv1d(D, D, 4, groups=D).double() for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(members)
    template = members[0]
    x = torch.randn(2, T, D).double()

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = template

        def forward(self, x):
            return short_convolution(self.conv, x, None)[0].sin().sum()

    holder = Holder()

    def loss(own):
        return torch.func.functional_call(holder, {f"conv.{name}": p for name, p in own.items()}, (x,))

    stacked = torch.func.vmap(torch.func.grad(loss))(parameters)
    for i, member in enumerate(members):
        value = short_convolution(member, x, None)[0].sin().sum()
        for (name, _), expected in zip(
            member.named_parameters(), torch.autograd.grad(value, member.parameters()), strict=True
        ):
            torch.testing.assert_close(stacked[name][i], expected, atol=1e-12, rtol=1e-12)
