"""Numbers as bfloat16, stored as ``uint16``: the upper half of a float32's bits."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr

_SHIFT = 16
_NAN = 0x7FC0
_INFINITY = 0x7F800000  # the bits of a float32


def to_bf16(x: Expr) -> Expr:
    """Round a float32 to the bits of a bfloat16: to the nearest, halves to the even one."""
    number = tirx.reinterpret("uint32", x)
    # Bound to a name: x may be long, or bind names itself, and is used three times.
    bits = tirx.Var("bits", number.ty)
    shift, half = tirx.const(_SHIFT, "uint32"), tirx.const(0x7FFF, "uint32")
    odd = tirx.shift_right(bits, shift) & tirx.const(1, "uint32")
    rounded = tirx.shift_right(bits + half + odd, shift).astype("uint16")
    is_nan = bits & tirx.const(0x7FFFFFFF, "uint32") > tirx.const(_INFINITY, "uint32")
    nan = tirx.const(_NAN, "uint16")
    return tirx.Let(bits, number, tirx.Select(is_nan, nan, rounded))


def from_bf16(bits: Expr) -> Expr:
    """Turn the bits of a bfloat16 into the float32 of equal value."""
    shift = tirx.const(_SHIFT, "uint32")
    return tirx.reinterpret("float32", tirx.shift_left(bits.astype("uint32"), shift))
