"""Instructions of ARM processors that LLVM does not find by itself."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from .packing import register_packing

# One step of a layer on bits, for a block of outputs: a run of 1, 2 or 4 words of one pixel fills a
# register, repeated as often as it takes, and each register of weights holds the runs of 4, 2 or 1
# outputs. eor and cnt count bits by bytes; addp adds neighbours until each of eight outputs has two
# bytes, which uadalp adds to its 16-bit sum.

_SUMS_OF_A_REGISTER = 8
_WORDS_OF_A_REGISTER = 4


def _describe_word(outputs: int) -> tirx.PrimFunc:
    """Say what a run of one word adds to the sums of a block: TVM drops the loop over the words."""

    @T.prim_func(s_tir=True)
    def describe(
        pixel: T.Buffer((1,), "uint32", offset_factor=1),
        weight: T.Buffer((outputs, 1), "uint32", offset_factor=1),
        total: T.Buffer((outputs,), "uint16", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:outputs], pixel[0:1], weight[0:outputs, 0:1])
            T.writes(total[0:outputs])
            for output in T.serial(0, outputs):
                with T.sblock("count"):
                    o = T.axis.spatial(outputs, output)
                    total[o] = total[o] + T.Cast(
                        "uint16", T.popcount(T.bitwise_xor(pixel[0], weight[o, 0]))
                    )

    return describe


def _describe_run(outputs: int, depth: int) -> tirx.PrimFunc:
    """Say what a run of several words adds to the sums of a block."""

    @T.prim_func(s_tir=True)
    def describe(
        pixel: T.Buffer((depth,), "uint32", offset_factor=1),
        weight: T.Buffer((outputs, depth), "uint32", offset_factor=1),
        total: T.Buffer((outputs,), "uint16", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:outputs], pixel[0:depth], weight[0:outputs, 0:depth])
            T.writes(total[0:outputs])
            for output, word in T.grid(outputs, depth):
                with T.sblock("count"):
                    o, w = T.axis.remap("SR", [output, word])
                    total[o] = total[o] + T.Cast(
                        "uint16", T.popcount(T.bitwise_xor(pixel[w], weight[o, w]))
                    )

    return describe


def _fill_register(pixel: tirx.Buffer, depth: int) -> tirx.Expr:
    """Repeat a run of words until it fills a register of bytes."""
    if depth == _WORDS_OF_A_REGISTER:
        return T.reinterpret(pixel.vload([0], dtype="uint32x4"), dtype="uint8x16")
    if depth == 1:
        run = pixel.vload([0], dtype="uint32")
    else:
        run = T.reinterpret(pixel.vload([0], dtype="uint32x2"), dtype="uint64")
    repeated = T.Broadcast(run, _WORDS_OF_A_REGISTER // depth)
    return T.reinterpret(repeated, dtype="uint8x16")


def _add_pairs(counts: list[tirx.Expr]) -> list[tirx.Expr]:
    """Add neighbouring bytes of two registers into one."""
    addp = T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.addp")
    return [
        T.call_llvm_pure_intrin(addp, first, second, dtype="uint8x16")
        for first, second in zip(counts[::2], counts[1::2], strict=True)
    ]


def _count_run(outputs: int, depth: int) -> tirx.PrimFunc:
    registers = _SUMS_OF_A_REGISTER * depth // _WORDS_OF_A_REGISTER
    step = _WORDS_OF_A_REGISTER // depth

    def summed(pixel: tirx.Buffer, weight: tirx.Buffer, first: int) -> tirx.Expr:
        bits = _fill_register(pixel, depth)
        words = [weight.vload([first + r * step, 0], dtype="uint32x4") for r in range(registers)]
        counts = [T.popcount(bits ^ T.reinterpret(word, dtype="uint8x16")) for word in words]
        while len(counts) > 1:
            counts = _add_pairs(counts)
        uaddlp = T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.uaddlp")
        return T.call_llvm_pure_intrin(uaddlp, counts[0], dtype="uint16x8")

    @T.prim_func(s_tir=True)
    def cnt_addp_uadalp(
        pixel: T.Buffer((depth,), "uint32", offset_factor=1),
        weight: T.Buffer((outputs, depth), "uint32", offset_factor=1),
        total: T.Buffer((outputs,), "uint16", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(total[0:outputs], pixel[0:depth], weight[0:outputs, 0:depth])
            T.writes(total[0:outputs])
            for part in T.unroll(outputs // _SUMS_OF_A_REGISTER):
                total.vstore(
                    [part * _SUMS_OF_A_REGISTER],
                    total.vload([part * _SUMS_OF_A_REGISTER], dtype="uint16x8")
                    + summed(pixel, weight, part * _SUMS_OF_A_REGISTER),
                )

    return cnt_addp_uadalp


@cache
def count_run(outputs: int, depth: int) -> str:
    """Name the intrinsic that counts a run of so many words for a block of outputs."""
    name = f"bnn.aarch64.count_run_{outputs}x{depth}"
    describe = _describe_word(outputs) if depth == 1 else _describe_run(outputs, depth)
    TensorIntrin.register(name, describe, _count_run(outputs, depth))
    return name


# The bytes 1, 2, 4, ... 128, as a number that a signed constant can hold.
_BIT_OF_BYTE = 0x8040201008040201 - (1 << 64)


def _masked_bits(value: tirx.Buffer, dtype: str, first: int) -> tirx.Expr:
    """Give each of 16 numbers that is not below 0 the bit of its place in a byte."""
    bits = T.reinterpret(T.Broadcast(T.int64(_BIT_OF_BYTE), 2), dtype="uint8x16")
    numbers = value.vload([first], dtype=dtype + "x16")
    is_negative = numbers < T.Broadcast(T.Cast(dtype, 0), 16)
    return T.Select(is_negative, T.Broadcast(T.uint8(0), 16), bits)


def _word(value: tirx.Buffer, dtype: str) -> tirx.Expr:
    (pairs,) = _add_pairs([_masked_bits(value, dtype, first) for first in (0, 16)])
    (fours,) = _add_pairs([pairs, pairs])
    (eights,) = _add_pairs([fours, fours])
    return T.Shuffle([T.reinterpret(eights, dtype="uint32x4")], [0])


@cache
def pack_intrinsic(dtype: str, bits: int) -> str:
    """Name the intrinsic that packs the signs of 32 numbers of a dtype."""
    return register_packing(
        f"bnn.aarch64.pack_{dtype}_{bits}", dtype, bits, lambda value: _word(value, dtype)
    )
