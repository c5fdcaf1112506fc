"""On a CUDA device: linear recurrences and RNNs agree with the CPU, and kernels with the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.linear import decayed_attention, delta_rule
from boundprobe.models import GRU, LSTM, AbstractMixer, DeltaNet, GatedDeltaNet, GatedLinearAttention, Mamba2

pytestmark = pytest.mark.gpu

#: Relative error of a whole tensor: ten roundings of the type, 2^-11 and 2^-8 at most.
TOLERANCE = {torch.float16: 10 * 2**-11, torch.bfloat16: 10 * 2**-8}
MIXERS: dict[str, Callable[[str], AbstractMixer]] = {
    "mamba2": lambda backend: Mamba2(16, d_state=4, d_head=8, d_conv=4, expand=2, backend=backend),
    "gla": lambda backend: GatedLinearAttention(16, n_heads=2, d_state=4, backend=backend),
    "deltanet": lambda backend: DeltaNet(16, n_heads=2, d_state=4, d_conv=4, backend=backend),
    "gated-deltanet": lambda backend: GatedDeltaNet(16, n_heads=2, d_state=4, d_conv=4, backend=backend),
}
RNNS: dict[str, Callable[[str], AbstractMixer]] = {
    "lstm": lambda backend: LSTM(16, expand=2),
    "gru": lambda backend: GRU(16, expand=2),
}
#: Function, whether it has a beta, whether each row of the state has its own decay.
OPERATIONS = {
    "one decay": (decayed_attention, False, False),
    "decay of each row": (decayed_attention, False, True),
    "delta rule": (delta_rule, True, False),
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


@pytest.fixture
def kernels() -> None:
    pytest.importorskip("fla.ops", reason="flash-linear-attention is not installed")


def make_inputs(
    operation: str, size: tuple[int, int, int, int, int], dtype: torch.dtype, members: tuple[int, ...] = ()
) -> tuple[Tensor, ...]:
    _, with_beta, per_row = OPERATIONS[operation]
    batch, time, heads, rows, columns = size
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*members, *shape, generator=rng).cuda()

    q, k = draw(batch, time, heads, rows), F.normalize(draw(batch, time, heads, rows), dim=-1)
    streams = [q.to(dtype), k.to(dtype), draw(batch, time, heads, columns).to(dtype)]
    if with_beta:
        streams.append(draw(batch, time, heads).sigmoid())
    log_decay = -F.softplus(draw(batch, time, heads, rows if per_row else 1))
    return *streams, log_decay, draw(batch, heads, rows, columns)


def gradients(operation: str, inputs: tuple[Tensor, ...], backend: str) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    o, state = OPERATIONS[operation][0](*leaves, backend=backend)
    return torch.autograd.grad(o.float().sin().sum() + state.float().cos().sum(), leaves)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize("name", [*MIXERS, *RNNS])
def test_outputs_states_and_gradients_agree_with_the_cpu(name: str) -> None:
    torch.manual_seed(0)
    build = (MIXERS | RNNS)[name]
    cpu, cuda = build("auto"), build("auto")
    cuda.load_state_dict(cpu.state_dict())
    cuda.cuda()
    x = torch.randn(4, 37, 16)
    y, state = cpu(x)
    y_cuda, state_cuda = cuda(x.cuda())
    torch.testing.assert_close(y_cuda.cpu(), y, atol=1e-4, rtol=1e-4)
    for found, expected in zip(state_cuda, state, strict=True):
        torch.testing.assert_close(found.value.cpu(), expected.value, atol=1e-4, rtol=1e-4)
    y.square().sum().backward()
    y_cuda.square().sum().backward()
    for (what, expected), found in zip(cpu.named_parameters(), cuda.parameters(), strict=True):
        torch.testing.assert_close(
            found.grad.cpu(), expected.grad, atol=1e-3, rtol=1e-3, msg=lambda text, what=what: f"{what}: {text}"
        )


@pytest.mark.usefixtures("kernels")
@each_operation
@each_dtype
@pytest.mark.parametrize("size", [(2, 1, 2, 5, 3), (2, 100, 2, 16, 16), (3, 130, 1, 64, 32)], ids=str)
def test_kernels_agree_with_the_reference(
    operation: str, dtype: torch.dtype, size: tuple[int, int, int, int, int]
) -> None:
    """Widths that are no multiple of 16, times that are no multiple of a chunk, a state to begin with."""
    inputs = make_inputs(operation, size, dtype)
    function = OPERATIONS[operation][0]
    for found, expected in zip(function(*inputs, backend="fla"), function(*inputs, backend="reference"), strict=True):
        assert found.dtype == dtype
        assert found.shape == expected.shape
        assert relative_error(found, expected) < TOLERANCE[dtype]
    found, expected = (gradients(operation, inputs, backend) for backend in ("fla", "reference"))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert relative_error(a, b) < 2 * TOLERANCE[dtype]  # there and back


@pytest.mark.usefixtures("kernels")
@each_operation
def test_kernels_serve_ensembles(operation: str) -> None:
    dtype = torch.bfloat16
    stacked = make_inputs(operation, (2, 70, 2, 16, 16), dtype, members=(3,))

    def loss(*inputs: Tensor) -> Tensor:
        o, state = OPERATIONS[operation][0](*inputs, backend="fla")
        return o.float().sin().sum() + state.float().cos().sum()

    found = torch.func.vmap(torch.func.grad(loss, argnums=tuple(range(len(stacked)))))(*stacked)
    for i in range(3):
        expected = gradients(operation, tuple(x[i] for x in stacked), "reference")
        for a, b in zip(found, expected, strict=True):
            assert relative_error(a[i], b) < 2 * TOLERANCE[dtype]


@pytest.mark.usefixtures("kernels")
@each_operation
def test_kernels_stand_strong_decay(operation: str) -> None:
    inputs = list(make_inputs(operation, (2, 100, 2, 16, 16), torch.bfloat16))
    inputs[-2] = torch.where(torch.rand_like(inputs[-2]) < 0.5, -50.0, 0.0)
    function = OPERATIONS[operation][0]
    for found, expected in zip(function(*inputs, backend="fla"), function(*inputs, backend="reference"), strict=True):
        assert relative_error(found, expected) < TOLERANCE[torch.bfloat16]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", MIXERS)
@torch.no_grad()
def test_mixers_with_kernels_agree_with_chunks_and_in_pieces(name: str) -> None:
    torch.manual_seed(0)
    with_kernels, with_chunks = (MIXERS[name](backend).bfloat16().cuda() for backend in ("fla", "chunked"))
    with_kernels.load_state_dict(with_chunks.state_dict())
    x = torch.randn(4, 37, 16, device="cuda", dtype=torch.bfloat16)
    whole, _ = with_kernels(x)
    assert relative_error(whole, with_chunks(x)[0]) < TOLERANCE[torch.bfloat16]
    first, state = with_kernels(x[:, :20])
    second, _ = with_kernels(x[:, 20:], state)
    assert relative_error(torch.cat([first, second], dim=1), whole) < TOLERANCE[torch.bfloat16]


@pytest.mark.usefixtures("kernels")
def test_kernels_refuse_float32_in_one_line() -> None:
    inputs = make_inputs("delta rule", (1, 3, 1, 4, 4), torch.float32)
    with pytest.raises(
        ValueError, match=r"must be given torch\.bfloat16 or torch\.float16; got torch\.float32"
    ) as caught:
        delta_rule(*inputs, backend="fla")
    assert "\n" not in str(caught.value)
