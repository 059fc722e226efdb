"""Instructions of 32-bit ARM processors with NEON that LLVM does not find by itself."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from .packing import describe_packing

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


def _pack_32(dtype: str) -> tirx.PrimFunc:
    def word_of(value: tirx.Buffer) -> tirx.Expr:
        eights = [_masked_bits(value, dtype, first) for first in (0, 8, 16, 24)]
        pairs = [_add_pairs(*eights[:2]), _add_pairs(*eights[2:])]
        fours = _add_pairs(*pairs)
        return T.Shuffle([T.reinterpret(_add_pairs(fours, fours), dtype="uint32x2")], [0])

    @T.prim_func(s_tir=True)
    def vclt_vpadd(
        value: T.Buffer((32,), dtype, offset_factor=1),
        word: T.Buffer((1,), "uint32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(word[0:1], value[0:32])
            T.writes(word[0:1])
            word[0] = word[0] + word_of(value)

    return vclt_vpadd


@cache
def pack_intrinsic(dtype: str, bits: int) -> str:
    """Name the intrinsic that packs the signs of 32 numbers of a dtype."""
    name = f"bnn.arm.pack_{dtype}_{bits}"
    TensorIntrin.register(name, describe_packing(dtype, bits), _pack_32(dtype))
    return name
