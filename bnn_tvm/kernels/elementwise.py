"""What each elementwise operator computes of one element, for the epilogues of kernels."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr as Scalar

# Rational minimax approximation of tanh on [-9, 9], odd over even, as used by Eigen's and TOPI's
# vector code; it differs from the exact value by a few units in the last place.
_TANH_CLAMP = 9.0
_TANH_ODD = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
    1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
)  # fmt: skip
_TANH_EVEN = (
    1.19825839466702e-06,
    1.18534705686654e-04,
    2.26843463243900e-03,
    4.89352518554385e-03,
)


def _constant(value: float) -> Scalar:
    return tirx.const(value, "float32")


def _polynomial(x: Scalar, coefficients: tuple[float, ...]) -> Scalar:
    result = _constant(coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + _constant(coefficient)
    return result


def tanh(x: Scalar) -> Scalar:
    """Approximate tanh of a float32 within a few units in the last place, without a branch."""
    clamped = tirx.max(tirx.min(x, _constant(_TANH_CLAMP)), _constant(-_TANH_CLAMP))
    square = clamped * clamped
    return clamped * _polynomial(square, _TANH_ODD) / _polynomial(square, _TANH_EVEN)


def sigmoid(x: Scalar) -> Scalar:
    """Approximate 1 / (1 + exp(-x)) through :func:`tanh`."""
    half = _constant(0.5)
    return half * tanh(half * x) + half


def sign(x: Scalar) -> Scalar:
    """Give -1, 0 or +1."""
    one, zero = tirx.const(1, x.dtype), tirx.const(0, x.dtype)
    return tirx.Select(x < zero, -one, tirx.Select(x > zero, one, zero))


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
    "exp": tirx.exp,
    "log": tirx.log,
    "sqrt": tirx.sqrt,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "nn.relu": lambda x: tirx.max(x, tirx.const(0, x.dtype)),
    "clip": lambda x, low, high: tirx.max(tirx.min(x, high), low),
    "astype": lambda x, dtype: x.astype(dtype),
}
"""Operator name to a function of its operands at one element."""
