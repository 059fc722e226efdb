"""What each elementwise operator computes of one element, for the epilogues of kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr as Scalar

from .bf16 import to_bf16

# Beyond this, tanh is 1 in float32.
_TANH_CLAMP = 9.02
# (exp(r) - 1 - r) / r^2 for abs(r) <= ln(2) / 2, interpolated at Chebyshev points; highest power
# first. The error of exp(r) - 1 is below 2.3e-8 of its value.
_EXPM1 = (0.00139262, 0.00836318, 0.04166655, 0.16666577, 0.5)
# ln(2) in two parts, the first with so few bits that its product with an exponent is exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = math.log(2) - _LN2_HIGH
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23


def _constant(value: float) -> Scalar:
    return tirx.const(value, "float32")


def _polynomial(x: Scalar, coefficients: tuple[float, ...]) -> Scalar:
    result = _constant(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + _constant(coefficient)
    return result


def _let(value: Scalar, use: Callable[[Scalar], Scalar]) -> Scalar:
    """Compute a value once, however often it is used.

    TVM simplifies a value several times for each level of lets inside it: nest lets in what
    uses a value, not in the value.
    """
    var = tirx.Var("value", value.ty)
    return tirx.Let(var, value, use(var))


def _with_expm1(z: Scalar, use: Callable[[Scalar], Scalar]) -> Scalar:
    """Use exp(z) - 1 for 0 <= z < 88: 2^k (exp(r) - 1) + (2^k - 1), where z = k ln(2) + r."""

    def from_exponent(k: Scalar) -> Scalar:
        rest = z - k * _constant(_LN2_HIGH) - k * _constant(_LN2_LOW)
        biased = k.astype("int32") + tirx.const(_EXPONENT_BIAS, "int32")
        bits = tirx.shift_left(biased, tirx.const(_MANTISSA_BITS, "int32"))
        power = tirx.reinterpret("float32", bits)
        return _let(rest, lambda r: _let(power, lambda p: _let(scaled(r, p), use)))

    def scaled(r: Scalar, power: Scalar) -> Scalar:
        reduced = _polynomial(r, _EXPM1) * (r * r) + r
        return reduced * power + (power - _constant(1.0))

    exponent = tirx.floor(z * _constant(1 / math.log(2)) + _constant(0.5))
    return _let(exponent, from_exponent)


def tanh(x: Scalar) -> Scalar:
    """Approximate tanh of a float32 within 1.2e-7, without a branch.

    With e = exp(2 abs(x)) - 1, tanh(abs(x)) is e / (e + 2): small where x is small, so that no
    digits are lost there, and never above 1.
    """

    def of_value(x: Scalar) -> Scalar:
        magnitude = tirx.min(tirx.abs(x), _constant(_TANH_CLAMP))
        return _let(
            magnitude + magnitude, lambda z: _with_expm1(z, lambda e: signed(x, e / (e + two)))
        )

    def signed(x: Scalar, magnitude: Scalar) -> Scalar:
        return tirx.Select(x < _constant(0.0), -magnitude, magnitude)

    two = _constant(2.0)
    return _let(x, of_value)


def sigmoid(x: Scalar) -> Scalar:
    """Approximate 1 / (1 + exp(-x)) through :func:`tanh`."""
    half = _constant(0.5)
    return half * tanh(half * x) + half


def sign(x: Scalar) -> Scalar:
    """Give -1, 0 or +1."""
    one, zero = _constant(1.0), _constant(0.0)
    return _let(x, lambda x: tirx.Select(x < zero, -one, tirx.Select(x > zero, one, zero)))


def _cast(x: Scalar, dtype: str) -> Scalar:
    return to_bf16(x) if dtype == "bfloat16" else x.astype(dtype)


SCALAR_OPS: dict[str, Callable[..., Scalar]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": tirx.max,
    "minimum": tirx.min,
    "power": tirx.power,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "equal": lambda a, b: tirx.EQ(a, b),
    "not_equal": lambda a, b: tirx.NE(a, b),
    "logical_and": tirx.all,
    "logical_or": tirx.any,
    "logical_not": tirx.Not,
    "where": tirx.Select,
    "abs": tirx.abs,
    "negative": lambda a: -a,
    "sign": sign,
    "floor": tirx.floor,
    "ceil": tirx.ceil,
    "trunc": tirx.trunc,
    "round": tirx.nearbyint,
    "exp": tirx.exp,
    "log": tirx.log,
    "sqrt": tirx.sqrt,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "nn.relu": lambda x: tirx.max(x, _constant(0.0)),
    "clip": lambda x, low, high: tirx.max(tirx.min(x, high), low),
    "astype": _cast,
}
"""Operator name to a function of its operands at one element."""
