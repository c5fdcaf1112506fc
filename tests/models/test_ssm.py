"""The general selective SSM against its equations, one step after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boundprobe.models import SelectiveSSM
from boundprobe.models.ssm import DT_MAX, DT_MIN
from tests.helpers.models import draw, make

T = 6
SIZES = [(4, 1, 3), (8, 2, 5), (3, 3, 1), (5, 2, 2)]  # d_model, n_heads, d_state

each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def layer_and_inputs(size: tuple[int, int, int], seed: int = 0) -> tuple[SelectiveSSM, Tensor]:
    return make(lambda: SelectiveSSM(*size), seed, noise=0.3), draw(T, size[0])


def sequential(layer: SelectiveSSM, x: Tensor) -> tuple[Tensor, Tensor]:
    """The equations of Appendix B, one head and one step at a time: output (B, T, d_model), state (B, G, N)."""
    weight = dict(layer.named_parameters())
    n_heads, d_state, _ = weight["A"].shape
    outputs, states = [], []
    for row in x:
        h = [torch.zeros(d_state, dtype=x.dtype) for _ in range(n_heads)]
        for x_t in row:
            y = weight["D"] * x_t
            for g in range(n_heads):
                own = slice(g * d_state, (g + 1) * d_state)
                dt = 1 / (1 + torch.exp(-(weight["step.weight"][g] @ x_t + weight["step.bias"][g])))
                h[g] = (1 - dt) * h[g] + dt * (weight["A"][g] @ h[g] + weight["B.weight"][own] @ x_t)
                y = y + weight["C.weight"][:, own] @ h[g]
            outputs.append(y)
        states.append(torch.stack(h))
    return torch.stack(outputs).view_as(x), torch.stack(states)


@each_size
@torch.no_grad()
def test_step_by_step(size: tuple[int, int, int]) -> None:
    layer, x = layer_and_inputs(size)
    y, (h,) = layer(x)
    expected_y, expected_h = sequential(layer, x)
    torch.testing.assert_close(y, expected_y, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(h.value, expected_h, atol=1e-10, rtol=1e-10)


@each_size
@torch.no_grad()
def test_the_state_is_h(size: tuple[int, int, int]) -> None:
    layer, x = layer_and_inputs(size)
    _, state = layer(x)
    assert tuple(tensor.name for tensor in state) == SelectiveSSM.state_names == ("h",)
    assert state[0].kind == "recurrent"
    assert state[0].value.shape == (2, *size[1:])
    assert state[0].bits == 64 * size[1] * size[2]


@torch.no_grad()
def test_half_precision_adds_up_in_float32() -> None:
    """Small steps toward 1: in bfloat16 a state above 0.5 would stop growing, as 1/256 of the way is lost there."""
    layer = SelectiveSSM(1, 1, 1)
    for parameter in layer.parameters():
        parameter.zero_()
    layer.step.bias.fill_(torch.logit(torch.tensor(2.0**-9)))
    layer.B.weight.fill_(1.0)
    layer.A.fill_(0.0)
    _, (h,) = layer.bfloat16()(torch.ones(1, 2048, 1, dtype=torch.bfloat16))
    assert float(h.value) == pytest.approx(1 - (1 - 2.0**-9) ** 2048, abs=0.01)


@pytest.mark.parametrize("flag", [0.0, 1.0])
@torch.no_grad()
def test_saturated_steps_hold_and_replace_exactly(flag: float) -> None:
    layer = SelectiveSSM(2, 1, 2)
    layer.step.weight.copy_(torch.tensor([[256.0, 0.0]]))
    layer.step.bias.fill_(-128.0)
    before = torch.randn(4, 1, 2)
    x = torch.tensor([flag, 0.7]).expand(4, 1, 2)
    _, (first,) = layer(x)
    _, (after,) = layer(x, (type(first)("h", "recurrent", before),))
    replaced = before[:, 0] @ layer.A[0].T + x[:, 0] @ layer.B.weight.T
    if flag:
        torch.testing.assert_close(after.value[:, 0], replaced)
    else:
        assert torch.equal(after.value, before)


@torch.no_grad()
def test_a_nilpotent_state_matrix_is_a_delay() -> None:
    """What no diagonal state matrix does: the last three inputs, side by side in the state."""
    layer = SelectiveSSM(1, 1, 3)
    for parameter in layer.parameters():
        parameter.zero_()
    layer.step.bias.fill_(128.0)
    layer.A[0] = torch.diag(torch.ones(2), -1)
    layer.B.weight[0] = 1.0
    layer.C.weight[0, 2] = 1.0
    x = torch.randn(1, T, 1)
    y, (h,) = layer(x)
    assert torch.equal(y[:, 2:], x[:, :-2])
    assert torch.equal(h.value[0, 0], x[0, -3:, 0].flip(0))
    eigenvalues, eigenvectors = torch.linalg.eig(layer.A[0])
    assert eigenvalues.abs().max() == 0
    assert torch.linalg.matrix_rank(eigenvectors) < 3


def test_it_starts_stable_with_steps_over_the_decades() -> None:
    torch.manual_seed(0)
    layer = SelectiveSSM(8, 64, 4)
    torch.testing.assert_close(layer.A @ layer.A.transpose(1, 2), torch.eye(4).expand(64, 4, 4), atol=1e-5, rtol=0)
    steps = torch.sigmoid(layer.step.bias)
    assert steps.min() >= DT_MIN * 0.999
    assert steps.max() <= DT_MAX * 1.001
    below = float((steps < (DT_MIN * DT_MAX) ** 0.5).float().mean())
    assert abs(below - 0.5) < 5 * (0.25 / 64) ** 0.5  # 5 standard errors of a proportion of 64


@pytest.mark.parametrize(("size", "said"), [((0, 1, 1), "d_model"), ((4, 0, 1), "n_heads"), ((4, 1, 0), "d_state")])
def test_sizes_are_checked(size: tuple[int, int, int], said: str) -> None:
    with pytest.raises(ValueError, match=f"`{said}` must be an integer of at least 1; got 0"):
        SelectiveSSM(*size)


@pytest.mark.gpu
@torch.no_grad()
def test_the_same_on_a_gpu() -> None:
    layer, x = layer_and_inputs(SIZES[1])
    expected, _ = layer(x)
    torch.testing.assert_close(layer.cuda()(x.cuda())[0].cpu(), expected, atol=1e-10, rtol=1e-10)
