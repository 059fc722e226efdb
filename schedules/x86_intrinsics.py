"""Instructions of x86 processors that LLVM does not find by itself."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Call, Expr
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from bnn_tvm.kernels.carry_save import CARRY, carry_of

from .packing import describe_packing

_TERNARY_LOGIC = {
    f"uint32x{lanes}": f"llvm.x86.avx512.pternlog.d.{lanes * 32}" for lanes in (4, 8, 16)
}


def _truth_table() -> int:
    """Evaluate the carry for all its inputs, as VPTERNLOG numbers them: the first is worth 4."""
    rows = [carry_of(row >> 2 & 1, row >> 1 & 1, row & 1) & 1 for row in range(8)]
    return sum(bit << row for row, bit in enumerate(rows))


def _lower_carry(call: Call) -> Expr:
    """Compute three-input logic by one instruction; else LLVM takes it apart and needs four."""
    dtype = str(call.ty.dtype)
    if dtype not in _TERNARY_LOGIC:
        return carry_of(*call.args)
    table = tirx.const(_truth_table(), "int32")
    return tirx.call_llvm_pure_intrin(dtype, _TERNARY_LOGIC[dtype], *call.args, table)


tirx.op.register_intrin_lowering(CARRY, "llvm", f=_lower_carry)

# Each packs one word of signs: a comparison into a mask (a mask register with AVX-512, bytes or
# floats with AVX2) and one move. LLVM folds the select and the movmsk into the comparison.


def _pack_32(dtype: str) -> tirx.PrimFunc:
    @T.prim_func(s_tir=True)
    def pmovmskb(
        value: T.Buffer((32,), dtype, offset_factor=1),
        word: T.Buffer((1,), "uint32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(word[0:1], value[0:32])
            T.writes(word[0:1])
            word[0] = word[0] + T.reinterpret(
                T.call_llvm_pure_intrin(
                    T.llvm_lookup_intrinsic_id("llvm.x86.avx2.pmovmskb"),
                    T.Select(
                        value.vload([0], dtype=dtype + "x32") < T.Broadcast(T.Cast(dtype, 0), 32),
                        T.Broadcast(T.int8(0), 32),
                        T.Broadcast(T.int8(-1), 32),
                    ),
                    dtype="int32",
                ),
                dtype="uint32",
            )

    return pmovmskb


def _pack_8(dtype: str) -> tirx.PrimFunc:
    @T.prim_func(s_tir=True)
    def movmskps(
        value: T.Buffer((8,), dtype, offset_factor=1),
        word: T.Buffer((1,), "uint8", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(word[0:1], value[0:8])
            T.writes(word[0:1])
            word[0] = word[0] + T.Cast(
                "uint8",
                T.call_llvm_pure_intrin(
                    T.llvm_lookup_intrinsic_id("llvm.x86.avx.movmsk.ps.256"),
                    T.reinterpret(
                        T.Select(
                            value.vload([0], dtype=dtype + "x8") < T.Broadcast(T.Cast(dtype, 0), 8),
                            T.Broadcast(T.int32(0), 8),
                            T.Broadcast(T.int32(-1), 8),
                        ),
                        dtype="float32x8",
                    ),
                    dtype="int32",
                ),
            )

    return movmskps


def _register(dtype: str, bits: int, implementation: tirx.PrimFunc) -> str:
    name = f"bnn.x86.pack_{dtype}_{bits}"
    TensorIntrin.register(name, describe_packing(dtype, bits), implementation)
    return name


_PACK = {
    (dtype, bits): _register(dtype, bits, make(dtype))
    for dtype in ("int32", "float32")
    for bits, make in ((8, _pack_8), (32, _pack_32))
}


def pack_intrinsic(dtype: str, bits: int) -> str:
    """Name the intrinsic that packs numbers of a dtype into a word of so many bits."""
    return _PACK[dtype, bits]
