"""What is particular to the short convolution: torch's own, its buffer, and its width."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels import SHORT_CONVOLUTION, short_convolution
from boundprobe.kernels.conv import numba_cpu
from tests.helpers.kernels import CASES

T, D = 6, 3
each_backend = pytest.mark.parametrize("backend", SHORT_CONVOLUTION.usable("cpu"))
each_width = pytest.mark.parametrize("width", [1, 2, 4, 9])


@each_backend
@each_width
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_a_causal_convolution_and_a_silu(backend: str, width: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(D, D, width, groups=D, bias=bias).double()
    x = torch.randn(2, T, D).double()
    y, buffer = short_convolution(conv, x, None, backend=backend)
    padded = F.pad(x.transpose(1, 2), (width - 1, 0))
    torch.testing.assert_close(y, F.silu(conv(padded)).transpose(1, 2), atol=1e-12, rtol=1e-12)
    assert buffer.shape == (2, width - 1, D)
    assert torch.equal(buffer, padded.transpose(1, 2)[:, T:])


@each_backend
@each_width
def test_the_buffer_is_all_that_later_tokens_need(backend: str, width: int) -> None:
    """Outputs, and gradients, which go through the buffer."""
    torch.manual_seed(1)
    conv, x = nn.Conv1d(D, D, width, groups=D).double(), torch.randn(2, T, D).double()
    leaves = [x.requires_grad_(), conv.weight, conv.bias]
    whole, last = short_convolution(conv, x, None, backend=backend)
    expected = torch.autograd.grad(whole.sin().sum(), leaves)
    for length in (1, 2, 4):
        buffer, pieces = None, []
        for piece in x.split(length, dim=1):
            y, buffer = short_convolution(conv, piece, buffer, backend=backend)
            pieces.append(y)
        assert torch.equal(buffer, last)
        for found, right in zip(
            (torch.cat(pieces, dim=1), *torch.autograd.grad(torch.cat(pieces, dim=1).sin().sum(), leaves)),
            (whole, *expected),
            strict=True,
        ):
            torch.testing.assert_close(found, right, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_half_precision_beside_weights_in_float32_takes_the_reference() -> None:
    """As under mixed precision."""
    x, taps, bias, before = CASES["short convolution"].draw(8, torch.float32)
    mixed = x.bfloat16(), taps, bias, before.bfloat16()
    compiled, plain = (SHORT_CONVOLUTION.function(name, "cpu")(*mixed) for name in ("numba", "reference"))
    assert torch.equal(compiled, plain)


@pytest.mark.parametrize(
    ("x", "buffer", "said"),
    [
        (
            (2, 5, 4),
            None,
            r"^`x` must have shape \(2, 5, 3\), for weights \(D, c\) of shape \(3, 4\); got shape \(2, 5, 4\)",
        ),
        ((2, 5, 3), (2, 2, 3), r"^`buffer` must have shape \(2, 3, 3\), .*; got shape \(2, 2, 3\)\.$"),
        ((2, 5, 3), (1, 3, 3), r"^`buffer` must have shape \(2, 3, 3\), .*; got shape \(1, 3, 3\)\.$"),
    ],
)
def test_shapes_that_disagree_are_refused(x: tuple[int, ...], buffer: tuple[int, ...] | None, said: str) -> None:
    """Compiled loops would read beyond the end of an array."""
    conv = nn.Conv1d(3, 3, 4, groups=3)
    with pytest.raises(ValueError, match=said):
        short_convolution(conv, torch.zeros(x), None if buffer is None else torch.zeros(buffer))


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^short convolution must be one of auto, numba, reference.*; got 'fast'"):
        short_convolution(nn.Conv1d(3, 3, 4, groups=3), torch.zeros(1, 2, 3), None, backend="fast")


def test_nothing_but_the_inputs_is_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    inputs = [x.requires_grad_() for x in CASES["short convolution"].draw(0, D=8, T=9)]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        numba_cpu.short_convolution_numba(*inputs)
    assert {x.data_ptr() for x in kept} == {x.data_ptr() for x in inputs}
