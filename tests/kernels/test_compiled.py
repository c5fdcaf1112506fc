"""Vectors of lanes in compiled functions, and machine code that is kept on disk."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from boundprobe.kernels.simd import (
    LANES,
    broadcast,
    compiled,
    exponential,
    horizontal_sum,
    larger,
    load,
    load_from,
    part,
    store,
    store_to,
)


def _exponentials(x: Any) -> None:
    for i in range(x.size // LANES):
        store(x, i, exponential(load(x, i)))


def _totals(x: Any) -> None:
    for i in range(x.size // LANES):
        store(x, i, broadcast(horizontal_sum(load(x, i))))


def compiled_exp(x: np.ndarray) -> np.ndarray:
    scalar = {"float32": numba.float32, "float64": numba.float64}[x.dtype.name]
    padded = np.concatenate([x, np.zeros(-x.size % LANES, x.dtype)])
    compiled(_exponentials, numba.void(scalar[::1]), cached=False)(padded)
    return padded[: x.size]


def units_off(found: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Distance from exp(x) in float32's units in the last place."""
    exact = np.exp(x.astype(np.float64))
    return np.abs(found - exact) / np.spacing(exact.astype(np.float32))


def test_the_exponential_is_right_to_one_unit_in_the_last_place() -> None:
    largest = np.float32(88.722835)  # the last whose exponential is finite
    patterns = [np.arange(0, np.float32(end).view(np.int32), 331, dtype=np.int32) for end in (86.9, largest)]
    x = np.concatenate([-patterns[0].view(np.float32), patterns[1].view(np.float32)])  # 19 million
    worst = units_off(compiled_exp(x), x).max()
    assert worst < 1
    assert units_off(np.exp(x) * np.float32(1 + 2e-7), x).max() > 1  # the negative control: two units off


def test_the_exponential_at_the_ends() -> None:
    x = np.array([0, -0.0, 1e-30, -87, -88, -1e3, -1e38, -np.inf, 88.722835, 88.73, 1e38, np.inf, np.nan], np.float32)
    largest = np.float32(3.4027985e38)
    expected = np.array([1, 1, 1, 0, 0, 0, 0, 0, largest, np.inf, np.inf, np.inf, np.nan], np.float32)
    np.testing.assert_allclose(compiled_exp(x), expected, rtol=2e-7)
    assert (compiled_exp(x[:3]) == 1).all()


def test_the_exponential_in_double_precision_is_the_library_s() -> None:
    x = np.concatenate([np.linspace(-800, 720, 10007), [0, -np.inf, np.inf, np.nan]])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(compiled_exp(x), np.exp(x), rtol=4e-16, atol=5e-324)


def test_the_total_of_lanes() -> None:
    x = np.arange(2.0 * LANES)
    compiled(_totals, numba.void(numba.float64[::1]), cached=False)(x)
    expected = [sum(range(LANES)), sum(range(LANES, 2 * LANES))]
    np.testing.assert_array_equal(x, np.repeat(expected, LANES))


def _scalar_products(x: Any) -> None:
    for i in range(1, x.size):
        x[i] = x[i - 1] * x[i]


def test_the_exponential_is_made_of_vector_instructions() -> None:
    patterns = {"x86_64": r"v?mulps|vfn?madd\d+ps", "AMD64": r"v?mulps|vfn?madd\d+ps", "aarch64": r"fml[as]\s+v\d+\.4s"}
    pattern = patterns.get(platform.machine())
    if pattern is None:
        pytest.skip(f"the names of vector instructions on {platform.machine()} are not known here")

    def count(function: Callable[..., None]) -> int:
        loops = compiled(function, numba.void(numba.float32[::1]), cached=False)
        return len(re.findall(pattern, "".join(loops.inspect_asm().values())))

    assert count(_exponentials) >= 8
    assert count(_scalar_products) == 0  # the negative control: each product waits for the one before


def double(x: Any) -> None:
    for i in range(x.size):
        x[i] = 2 * x[i]


@pytest.mark.parametrize("failing", ["finding a place", "writing"])
def test_machine_code_need_not_be_kept(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Where nothing can be written, the loops are compiled in each process."""

    def fail(*args: object) -> None:
        raise PermissionError("read-only file system")

    if failing == "writing":
        monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", fail)
    else:
        monkeypatch.setattr(numba.core.caching.CompileResultCacheImpl, "_locator_classes", [])
    signature = numba.void(numba.float64[::1])
    with pytest.raises((RuntimeError, OSError), match=r"no locator available|read-only"):
        numba.njit(signature, cache=True)(double)
    x = np.ones(3)
    compiled(double, signature)(x)
    np.testing.assert_array_equal(x, [2, 2, 2])


@part
def _moved(x: Any, i: int) -> Any:
    return load_from(x, i)


def _arithmetic(x: Any, y: Any, z: Any) -> None:
    """z = larger((x - y) / y, x * y), from the lanes that start at number 1."""
    a, b = _moved(x, 1), _moved(y, 1)
    store_to(z, 1, larger((a - b) / b, a * b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_lane_by_lane(dtype: type) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, LANES + 3)).astype(dtype)
    z = np.zeros(LANES + 3, dtype)
    scalar = {np.float32: numba.float32, np.float64: numba.float64}[dtype]
    compiled(_arithmetic, numba.void(*[scalar[::1]] * 3), cached=False)(x, y, z)
    expected = np.maximum((x - y) / y, x * y)
    expected[[0, *range(LANES + 1, LANES + 3)]] = 0  # what lies beside the lanes is left as it was
    np.testing.assert_allclose(z, expected, rtol=4 * np.finfo(dtype).eps)


def _larger(x: Any, y: Any) -> None:
    store(x, 0, larger(load(x, 0), load(y, 0)))


def test_the_larger_with_what_is_not_finite() -> None:
    x = np.array([np.nan, 1, np.inf, -np.inf, 2, 3, -np.inf, 0.0])
    y = np.array([1, np.nan, 5, 7, -np.inf, np.inf, -np.inf, 1.0])
    found = np.resize(x, LANES)
    compiled(_larger, numba.void(*[numba.float64[::1]] * 2), cached=False)(found, np.resize(y, LANES))
    np.testing.assert_array_equal(found[:8], [1, np.nan, np.inf, 7, 2, np.inf, -np.inf, 1])
