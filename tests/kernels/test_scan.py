"""What is particular to the selective scan: its definition, its pieces, its extremes, and what it keeps."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from boundprobe.kernels import SELECTIVE_SCAN, selective_scan
from boundprobe.kernels.scan.numba_kernels import CHUNK
from boundprobe.kernels.simd import LANES
from tests.helpers.kernels import CASES, TOLERANCE, Inputs, assert_agrees, assert_close

SCAN = CASES["selective scan"]
each_backend = pytest.mark.parametrize("backend", SELECTIVE_SCAN.usable("cpu"))


def by_hand(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> Inputs:
    """Scalar loops, sharing nothing with the package."""
    h, y = h.clone(), torch.zeros_like(u)
    batch, time, channels = u.shape
    for i in range(batch):
        for t in range(time):
            for d in range(channels):
                for n in range(a.shape[1]):
                    decay = torch.exp(dt[i, t, d] * a[d, n])
                    h[i, d, n] = decay * h[i, d, n] + dt[i, t, d] * b[i, t, n] * u[i, t, d]
                    y[i, t, d] += c[i, t, n] * h[i, d, n]
    return y, h


@each_backend
@pytest.mark.parametrize("sizes", [{}, dict.fromkeys("BTDN", 1)], ids=str)
def test_the_recurrence_by_hand(backend: str, sizes: dict[str, int]) -> None:
    inputs = SCAN.draw(0, **sizes)
    for found, expected in zip(selective_scan(*inputs, backend=backend), by_hand(*inputs), strict=True):
        assert_close(found, expected, backend)


@each_backend
def test_no_initial_state_is_zeros(backend: str) -> None:
    inputs = SCAN.draw(2)
    zeros = torch.zeros_like(inputs[-1])
    scan = SCAN.of_backend(backend)
    for found, expected in zip(scan(*inputs[:-1]), scan(*inputs[:-1], zeros), strict=True):
        assert torch.equal(found, expected)


@each_backend
def test_two_pieces_are_one_scan(backend: str) -> None:
    """The final state is all that the rest of the sequence needs."""
    u, dt, a, b, c, initial = SCAN.draw(3, T=9, D=LANES + 1)
    scan = SCAN.of_backend(backend)
    whole, last = scan(u, dt, a, b, c, initial)
    for cut in (1, 4, 8):
        first, middle = scan(u[:, :cut], dt[:, :cut], a, b[:, :cut], c[:, :cut], initial)
        second, end = scan(u[:, cut:], dt[:, cut:], a, b[:, cut:], c[:, cut:], middle)
        assert_close(torch.cat([first, second], dim=1), whole, "y")
        assert_close(end, last, "final state")


@each_backend
def test_the_result_has_the_type_of_u(backend: str) -> None:
    """As under mixed precision, where weights stay in float32."""
    u, *others = SCAN.draw(5, torch.float32)
    for x in selective_scan(u.bfloat16(), *others, backend=backend):
        assert x.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_states_that_are_forgotten_at_once(dtype: torch.dtype) -> None:
    """Decays from 1 to far below the smallest number."""
    u, dt, _, *rest = SCAN.draw(6, dtype, T=6, D=4, N=3)
    a = -torch.tensor([[0, 1e-6, 1.0], [40, 80, 87], [88, 100, 150], [1e3, 1e6, 1e30]], dtype=dtype)
    assert_agrees(SCAN.of_backend("numba"), SCAN.reference, (u, dt, a, *rest), SCAN.names)


@pytest.mark.parametrize("which", range(1, 6), ids=SCAN.names[1:])
def test_shapes_that_disagree_are_refused(which: int) -> None:
    """Compiled loops would read beyond the end of an array."""
    inputs = list(SCAN.draw(0))
    inputs[which] = inputs[which][:-1]
    with pytest.raises(ValueError, match=rf"^`{SCAN.names[which]}` must have shape .*; got shape .*\.$"):
        selective_scan(*inputs)


def test_auto_does_without_numba() -> None:
    code = """
import sys
sys.modules["numba"] = None  # importing it raises ImportError
import torch
from boundprobe.kernels import SELECTIVE_SCAN, find_problem, selective_scan
one = torch.ones(1, 1, 1)
print(SELECTIVE_SCAN.choose("auto", "cpu"), selective_scan(one, one, torch.zeros(1, 1), one, one)[0].item())
print(find_problem(SELECTIVE_SCAN.backends["numba"], "cpu"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "reference 1.0"
    assert "numba" in second
    assert second.endswith("; pip install numba")


def saved_numbers(backend: str, inputs: Inputs) -> int:
    """Numbers in the tensors that are kept for the backward pass, without those that share memory with inputs."""
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x
        return x

    leaves = [x.requires_grad_() for x in inputs]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        selective_scan(*leaves, backend=backend)
    return sum(x.numel() for at, x in kept.items() if at not in [x.data_ptr() for x in leaves])


def test_only_one_state_in_a_chunk_is_kept() -> None:
    inputs = SCAN.draw(0, T=3 * CHUNK, D=LANES, N=16)
    n_states = 2 * LANES * 16
    assert saved_numbers("numba", inputs) == 3 * n_states
    assert saved_numbers("reference", inputs) > 3 * CHUNK * n_states  # the negative control
