"""Instructions of x86 processors that LLVM does not find by itself."""

from __future__ import annotations

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

PACK_INT32 = "bnn.x86.pack_int32"
PACK_FLOAT32 = "bnn.x86.pack_float32"

# One word of packed signs from 32 numbers: a comparison into a mask register (AVX-512) or a byte
# mask (AVX2), and one move. LLVM folds the select and pmovmskb into the comparison's mask.


@T.prim_func(s_tir=True)
def _pack_int32(
    value: T.Buffer((32,), "int32", offset_factor=1),
    word: T.Buffer((1,), "uint32", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(word[0:1], value[0:32])
        T.writes(word[0:1])
        for bit in T.serial(0, 32):
            with T.sblock("pack"):
                v = T.axis.reduce(32, bit)
                word[0] = word[0] + T.Select(
                    value[v] < T.int32(0),
                    T.uint32(0),
                    T.shift_left(T.uint32(1), T.Cast("uint32", v)),
                )


@T.prim_func(s_tir=True)
def _pack_int32_movmsk(
    value: T.Buffer((32,), "int32", offset_factor=1),
    word: T.Buffer((1,), "uint32", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(word[0:1], value[0:32])
        T.writes(word[0:1])
        word[0] = word[0] + T.reinterpret(
            T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id("llvm.x86.avx2.pmovmskb"),
                T.Select(
                    value.vload([0], dtype="int32x32") < T.Broadcast(T.int32(0), 32),
                    T.Broadcast(T.int8(0), 32),
                    T.Broadcast(T.int8(-1), 32),
                ),
                dtype="int32",
            ),
            dtype="uint32",
        )


@T.prim_func(s_tir=True)
def _pack_float32(
    value: T.Buffer((32,), "float32", offset_factor=1),
    word: T.Buffer((1,), "uint32", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(word[0:1], value[0:32])
        T.writes(word[0:1])
        for bit in T.serial(0, 32):
            with T.sblock("pack"):
                v = T.axis.reduce(32, bit)
                word[0] = word[0] + T.Select(
                    value[v] < T.float32(0),
                    T.uint32(0),
                    T.shift_left(T.uint32(1), T.Cast("uint32", v)),
                )


@T.prim_func(s_tir=True)
def _pack_float32_movmsk(
    value: T.Buffer((32,), "float32", offset_factor=1),
    word: T.Buffer((1,), "uint32", offset_factor=1),
) -> None:
    with T.sblock("root"):
        T.reads(word[0:1], value[0:32])
        T.writes(word[0:1])
        word[0] = word[0] + T.reinterpret(
            T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id("llvm.x86.avx2.pmovmskb"),
                T.Select(
                    value.vload([0], dtype="float32x32") < T.Broadcast(T.float32(0), 32),
                    T.Broadcast(T.int8(0), 32),
                    T.Broadcast(T.int8(-1), 32),
                ),
                dtype="int32",
            ),
            dtype="uint32",
        )


TensorIntrin.register(PACK_INT32, _pack_int32, _pack_int32_movmsk)
TensorIntrin.register(PACK_FLOAT32, _pack_float32, _pack_float32_movmsk)

PACK = {"int32": PACK_INT32, "float32": PACK_FLOAT32}
"""The intrinsic that packs 32 numbers of a dtype."""
