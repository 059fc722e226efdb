"""Instructions of x86 processors that LLVM does not find by itself."""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.ir import Call, Expr
from tvm.script import tirx as T

from bnn_tvm.kernels.carry_save import CARRY, carry_of

from .packing import register_packing

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


def _pmovmskb(value: tirx.Buffer, dtype: str) -> tirx.Expr:
    halves = [
        T.Select(
            value.vload([start], dtype=dtype + "x16") < T.Broadcast(T.Cast(dtype, 0), 16),
            T.Broadcast(T.int8(0), 16),
            T.Broadcast(T.int8(-1), 16),
        )
        for start in (0, 16)
    ]
    signs = tirx.Shuffle(halves, list(range(32)))
    pmovmskb = T.llvm_lookup_intrinsic_id("llvm.x86.avx2.pmovmskb")
    return T.reinterpret(T.call_llvm_pure_intrin(pmovmskb, signs, dtype="int32"), dtype="uint32")


def _movmskps(value: tirx.Buffer, dtype: str) -> tirx.Expr:
    signs = T.Select(
        value.vload([0], dtype=dtype + "x8") < T.Broadcast(T.Cast(dtype, 0), 8),
        T.Broadcast(T.int32(0), 8),
        T.Broadcast(T.int32(-1), 8),
    )
    movmsk = T.llvm_lookup_intrinsic_id("llvm.x86.avx.movmsk.ps.256")
    bits = T.call_llvm_pure_intrin(movmsk, T.reinterpret(signs, dtype="float32x8"), dtype="int32")
    return T.Cast("uint8", bits)


_WORD = {8: _movmskps, 32: _pmovmskb}


@cache
def pack_intrinsic(dtype: str, bits: int) -> str:
    """Name the intrinsic that packs numbers of a dtype into a word of so many bits."""
    return register_packing(
        f"bnn.x86.pack_{dtype}_{bits}", dtype, bits, lambda value: _WORD[bits](value, dtype)
    )
