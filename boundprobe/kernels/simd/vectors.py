"""SIMD vectors of ``LANES`` numbers in compiled functions, each in one hardware vector register or a few.

Loops over single numbers become vector instructions only where the compiler can prove that arrays do not overlap and
finds the loops long enough; with these it has nothing to prove.  ``load``, ``store``, ``load_from``, ``store_to``,
``broadcast``, ``horizontal_sum``, ``larger``, ``exponential``, ``+``, ``-``, ``*`` and ``/`` are for use inside
functions that Numba compiles.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import float32, int64, types, void
from numba.extending import intrinsic, models, overload, register_model

#: Channels that are computed together.  Eight float32 are one AVX register, two of SSE or Neon.
LANES = 8

# a * b + c may be rounded once.  NaN and infinity keep their meaning: a model that diverges must show it.
_FLAGS = ("contract",)


class SIMDVector(types.Type):
    """Type of a vector of ``LANES`` numbers of type ``scalar``."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = scalar
        super().__init__(name=f"SIMDVector({scalar})")


def _model(manager: Any, lanes: SIMDVector) -> Any:
    build: Any = models.PrimitiveModel
    return build(manager, lanes, ir.VectorType(manager.lookup(lanes.scalar).get_value_type(), LANES))


register_model(SIMDVector)(_model)


def _pointer(context: Any, builder: Any, step: int, array_type: Any, array: Any, index: Any) -> Any:
    """Address of the vector that starts ``index * step`` numbers behind the first of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [builder.mul(index, ir.Constant(index.type, step))])
    return builder.bitcast(first, ir.VectorType(context.get_value_type(array_type.dtype), LANES).as_pointer())


def _loading(step: int) -> Callable[..., Any]:
    def typed(_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, step, signature.args[0], *args)
            return builder.load(pointer, align=array.dtype.bitwidth // 8)

        return SIMDVector(array.dtype)(array, int64), generate

    return typed


def _storing(step: int) -> Callable[..., Any]:
    def typed(_context: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, step, signature.args[0], *args[:2])
            builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return void(array, int64, value), generate

    return typed


def _splat(builder: Any, scalar: Any) -> Any:
    vector = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    vector = builder.insert_element(vector, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _broadcast(_context: Any, scalar: Any) -> Any:
    return SIMDVector(scalar)(scalar), lambda _c, builder, _s, args: _splat(builder, args[0])


def _horizontal_sum(_context: Any, lanes: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        vector = args[0]
        width = LANES
        while width > 1:  # halves on halves, so that the sum takes log2(LANES) steps
            width //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width)))
                for first in (0, width)
            ]
            low, high = (builder.shuffle_vector(vector, vector, half) for half in halves)
            vector = builder.fadd(low, high)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return lanes.scalar(lanes), generate


def _larger(_context: Any, x: Any, y: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return x(x, x), generate


def _exponential(_context: Any, lanes: Any) -> Any:
    write = _exp32 if lanes.scalar == float32 else _exp_of_library
    return lanes(lanes), lambda _c, builder, _s, args: write(builder, args[0])


# exp(x) = 2^n exp(r) with n = x / ln 2 rounded and |r| <= ln(2) / 2.
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; n * _LN2_HIGH is exact, it has 9 bits
# A float32 of this size has no fraction, so adding it rounds, and n stands in the lowest bits of the sum.
_ROUNDER, _ROUNDER_BITS = 1.5 * 2.0**23, 0x4B400000
# exp(r) = 1 + r + r^2 q(r), q of degree 4 with the least relative error, 3e-9; found by reweighted least squares.
_Q = (0.0013814541, 0.0083687454, 0.041668389, 0.16666521, 0.49999994)
# Where x is held: 2^(n-1) of _LEAST is not a normal number and comes out as 0; at _MOST the result overflows.
_LEAST, _MOST = -87.3, 89.0


def _exp32(builder: Any, x: Any) -> Any:
    """Exponential within 1 unit in the last place; 0 below -87, the logarithm of 1.6e-38.  NaN stays NaN."""
    integers = ir.VectorType(ir.IntType(32), LANES)

    def real(value: float) -> Any:
        return ir.Constant(x.type, [value] * LANES)

    def whole(value: int) -> Any:
        return ir.Constant(integers, [value] * LANES)

    def times_plus(a: Any, b: Any, c: Any) -> Any:
        return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)

    # In this order of arguments NaN passes: it is neither less nor greater.
    x = builder.select(builder.fcmp_ordered("<", x, real(_LEAST)), real(_LEAST), x)
    x = builder.select(builder.fcmp_ordered(">", x, real(_MOST)), real(_MOST), x)
    shifted = times_plus(x, real(_LOG2_E), real(_ROUNDER))
    n = builder.fsub(shifted, real(_ROUNDER))
    r = times_plus(n, real(-_LN2_LOW), times_plus(n, real(-_LN2_HIGH), x))
    # All coefficients are doubled, and 2^(n-1) stands in for 2^n: the largest float32 needs n = 128, one too many.
    twice = real(2 * _Q[0])
    for coefficient in (*_Q[1:], 1, 1):
        twice = times_plus(twice, r, real(2 * coefficient))
    exponent = builder.sub(builder.bitcast(shifted, integers), whole(_ROUNDER_BITS - 126))
    power = builder.bitcast(builder.shl(exponent, whole(23)), x.type)
    return builder.fmul(twice, power)


def _exp_of_library(builder: Any, x: Any) -> Any:
    """The C library's exponential, lane by lane."""
    function = builder.module.declare_intrinsic("llvm.exp", [x.type.element])
    value = x
    for lane in (ir.Constant(ir.IntType(32), i) for i in range(LANES)):
        value = builder.insert_element(value, builder.call(function, [builder.extract_element(x, lane)]), lane)
    return value


def _binary(name: str) -> Callable[..., Any]:
    def typed(_context: Any, x: Any, y: Any) -> Any:
        return x(x, x), lambda _c, builder, _s, args: getattr(builder, name)(*args, flags=_FLAGS)

    return intrinsic(typed)


def _overload_operator(symbol: Callable[..., Any], function: Callable[..., Any]) -> None:
    def on_lanes(x: Any, y: Any) -> Any:
        return function(x, y)

    def typed(x: Any, y: Any) -> Any:
        return on_lanes if isinstance(x, SIMDVector) and x == y else None

    overload(symbol)(typed)


def _define(typed: Callable[..., Any]) -> Any:
    return intrinsic(typed)


#: Read and write the i-th vector of an array without gaps, or the vector that starts i numbers behind its first.
load, load_from = _define(_loading(LANES)), _define(_loading(1))
store, store_to = _define(_storing(LANES)), _define(_storing(1))
broadcast, horizontal_sum, exponential = _define(_broadcast), _define(_horizontal_sum), _define(_exponential)
#: The larger of two, lane by lane; the second where one of them is not a number.
larger = _define(_larger)
_overload_operator(operator.add, _binary("fadd"))
_overload_operator(operator.sub, _binary("fsub"))
_overload_operator(operator.mul, _binary("fmul"))
_overload_operator(operator.truediv, _binary("fdiv"))
