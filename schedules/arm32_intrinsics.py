"""Instructions of 32-bit ARM processors with NEON that LLVM does not find by itself."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.script import tirx as T

from .packing import register_packing

# The bytes 1, 2, 4, ... 128, as a number that a signed constant can hold.
_BIT_OF_BYTE = 0x8040201008040201 - (1 << 64)


def _masked_bits(value: tirx.Buffer, dtype: str, first: int) -> tirx.Expr:
    """Give each of 8 numbers that is not below 0 the bit of its place in a byte."""
    bits = T.reinterpret(T.int64(_BIT_OF_BYTE), dtype="uint8x8")
    numbers = value.vload([first], dtype=dtype + "x8")
    is_negative = numbers < T.Broadcast(T.Cast(dtype, 0), 8)
    return T.Select(is_negative, T.Broadcast(T.uint8(0), 8), bits)


def _add_pairs(first: tirx.Expr, second: tirx.Expr) -> tirx.Expr:
    """Add neighbouring bytes of two half registers into one."""
    vpadd = T.llvm_lookup_intrinsic_id("llvm.arm.neon.vpadd")
    return T.call_llvm_pure_intrin(vpadd, first, second, dtype="uint8x8")


def _word(value: tirx.Buffer, dtype: str) -> tirx.Expr:
    eights = [_masked_bits(value, dtype, first) for first in (0, 8, 16, 24)]
    fours = _add_pairs(_add_pairs(*eights[:2]), _add_pairs(*eights[2:]))
    return T.Shuffle([T.reinterpret(_add_pairs(fours, fours), dtype="uint32x2")], [0])


@cache
def pack_intrinsic(dtype: str, bits: int) -> str:
    """Name the intrinsic that packs the signs of 32 numbers of a dtype."""
    return register_packing(
        f"bnn.arm.pack_{dtype}_{bits}", dtype, bits, lambda value: _word(value, dtype)
    )
