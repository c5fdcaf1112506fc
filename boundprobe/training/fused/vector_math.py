"""More operations on SIMD vectors of ``LANES`` numbers in compiled functions, for a whole training step.

``spread_from``, ``like``, ``root``, ``above``, ``transpose``, ``softplus``, ``silu`` and ``gelu`` are for use inside
functions that numba compiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import int64, void
from numba.extending import intrinsic

from boundprobe.kernels.simd.compilation import part
from boundprobe.kernels.simd.vectors import LANES, SIMDVector, exponential, larger

_INT = ir.IntType(32)


def _define(typed: Callable[..., Any]) -> Any:
    return intrinsic(typed)


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _shuffled(builder: Any, x: Any, y: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT, LANES), order))


def _splat(builder: Any, number: Any) -> Any:
    empty = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    vector = builder.insert_element(empty, number, ir.Constant(_INT, 0))
    return _shuffled(builder, vector, vector, [0] * LANES)


def _spread_from(_context: Any, array: Any, _index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, builder.load(_place(context, builder, signature.args[0], *args)))

    return SIMDVector(array.dtype)(array, int64), generate


def _like(_context: Any, lanes: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, context.cast(builder, args[1], signature.args[1], lanes.scalar))

    return lanes(lanes, value), generate


def _root(_context: Any, lanes: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind, name = args[0].type, f"llvm.sqrt.v{LANES}f{lanes.scalar.bitwidth}"
        function = builder.module.globals.get(name)
        return builder.call(function or ir.Function(builder.module, ir.FunctionType(kind, [kind]), name), args)

    return lanes(lanes), generate


def _above(_context: Any, x: Any, _y: Any, _yes: Any, _no: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args[:2]), *args[2:])

    return x(x, x, x, x), generate


def _transpose(_context: Any, source: Any, _start: Any, _step: Any, target: Any, _to: Any, _to_step: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, start, step, target, to, to_step = args
        scalar = signature.args[0].dtype
        kind, align = ir.VectorType(context.get_value_type(scalar), LANES).as_pointer(), scalar.bitwidth // 8

        def row_of(array_type: Any, array: Any, first: Any, apart: Any, row: int) -> Any:
            index = builder.add(first, builder.mul(apart, ir.Constant(apart.type, row)))
            return builder.bitcast(_place(context, builder, array_type, array, index), kind)

        types = signature.args
        rows = [builder.load(row_of(types[0], source, start, step, i), align=align) for i in range(LANES)]
        width = 1
        while width < LANES:  # squares of this width change places over the diagonal
            low = [i if not i & width else LANES + i - width for i in range(LANES)]
            high = [i + width if not i & width else LANES + i for i in range(LANES)]
            for i in range(LANES):
                if not i & width:
                    pair = rows[i], rows[i + width]
                    rows[i], rows[i + width] = (_shuffled(builder, *pair, order) for order in (low, high))
            width *= 2
        for i in range(LANES):
            builder.store(rows[i], row_of(types[3], target, to, to_step, i), align=align)
        return context.get_dummy_value()

    return void(source, int64, int64, target, int64, int64), generate


def _library_erfc(_context: Any, lanes: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        double = ir.DoubleType()
        function = builder.module.globals.get("erfc") or ir.Function(
            builder.module, ir.FunctionType(double, [double]), "erfc"
        )
        value = args[0]
        for lane in (ir.Constant(_INT, i) for i in range(LANES)):
            of_lane = builder.call(function, [builder.fpext(builder.extract_element(args[0], lane), double)])
            value = builder.insert_element(value, builder.fptrunc(of_lane, value.type.element), lane)
        return value

    return lanes(lanes), generate


#: The number at a place of a vector, in every lane; the place is not checked.
spread_from = _define(_spread_from)
#: A number in every lane, in the type of the lanes that come first.
like = _define(_like)
#: Square root, lane by lane.
root = _define(_root)
#: Lane by lane, the third where the first is greater than the second, else the fourth.
above = _define(_above)
#: ``LANES`` rows of as many numbers, from a place on and so far apart, become the columns of such rows elsewhere.
transpose = _define(_transpose)
_erfc_of_library = _define(_library_erfc)

#: log(1 + e) = 2 artanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...), s = e / (2 + e) <= 1 / 3: what is left out
#: after so many terms is below 9^-16 / 33 = 2e-17 of it.
N_TERMS = 16
#: Above it softplus is the identity, as torch has it.
THRESHOLD = 20.0


@part
def softplus(x: Any) -> Any:
    """log(1 + exp(x)) and its slope."""
    zero, one = like(x, 0.0), like(x, 1.0)
    e = exponential(zero - larger(x, zero - x))
    s = e / (like(x, 2.0) + e)
    square, series = s * s, like(x, 1 / (2 * N_TERMS - 1))
    for k in range(N_TERMS - 2, -1, -1):
        series = series * square + like(x, 1 / (2 * k + 1))
    y = larger(zero, x) + (s + s) * series
    slope = above(x, zero, one, e) / (one + e)
    limit = like(x, THRESHOLD)
    return above(x, limit, x, y), above(x, limit, one, slope)


@part
def silu(x: Any) -> Any:
    """x sigma(x) and its slope, sigma(x) (1 + x (1 - sigma(x)))."""
    one = like(x, 1.0)
    sigma = one / (one + exponential(like(x, 0.0) - x))
    return x * sigma, sigma * (one + x * (one - sigma))


# erfc(z) = exp(-z^2) t q(t), t = 1 / (1 + _FALL z), z >= 0; q of degree 9 with the least relative error, 7e-9, for z
# up to 9.5, where erfc is no longer a float32; found by reweighted least squares.
_FALL = 0.4
_Q = (
    -0.0305952912, 0.20347496, -0.511722617, 0.564755781, -0.298868525,
    0.279909039, 0.126945298, 0.215510636, 0.22488007, 0.225710655,
)  # fmt: skip
_ROOT_HALF, _DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


@part
def gelu(x: Any, precise: bool) -> Any:
    """x Phi(x) with the normal distribution function Phi, and its slope, Phi(x) + x phi(x)."""
    zero, one = like(x, 0.0), like(x, 1.0)
    size = larger(x, zero - x)
    bell = exponential(like(x, -0.5) * x * x)
    if precise:
        tail = _erfc_of_library(size * like(x, _ROOT_HALF))
    else:
        t, q = one / (one + like(x, _FALL * _ROOT_HALF) * size), zero
        for coefficient in _Q:
            q = q * t + like(x, coefficient)
        tail = bell * t * q
    tail = like(x, 0.5) * tail
    phi = above(x, zero, one - tail, tail)
    return x * phi, phi + like(x, _DENSITY) * x * bell
