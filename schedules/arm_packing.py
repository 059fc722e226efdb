"""Packs rows of floats on 64-bit ARM: 0.4 instructions a float.

One load takes 64 bytes apart by fours: its last register holds the first bytes of 16 floats, sign
and seven bits of exponent. These decide for all but -0.0, which is not below 0, and NaN: their
first bytes are 0x80 or 0xFF, as are those of the smallest and largest negative numbers. The least
signed and the largest unsigned byte of a row tell whether it has such a byte; if so, it is packed
once more by comparisons.
"""

from __future__ import annotations

from functools import cache

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

FLOATS_AT_ONCE = 256
"""Rows that are packed have a multiple of so many floats."""

_GROUPS = 8
# Registers that a function may overwrite; a load needs four neighbours.
_LOADED = (0, 4, 16, 20)
_LEAST, _MOST, _BITS, _HALVES = 24, 25, 26, (27, 28)


def _pack_half(half: int) -> list[str]:
    """Pack 64 floats into the bits of one register, two of its bytes for each four."""
    lines = [
        f"ld4 {{v{r}.16b, v{r + 1}.16b, v{r + 2}.16b, v{r + 3}.16b}}, [$0], #64" for r in _LOADED
    ]
    lines += [f"cmlt v{r}.16b, v{r + 3}.16b, #0" for r in _LOADED]
    lines += [f"bic v{r}.16b, v{_BITS}.16b, v{r}.16b" for r in _LOADED]
    for r in _LOADED:
        lines += [
            f"smin v{_LEAST}.16b, v{_LEAST}.16b, v{r + 3}.16b",
            f"umax v{_MOST}.16b, v{_MOST}.16b, v{r + 3}.16b",
        ]
    first, second, third, fourth = _LOADED
    lines += [_addp(first, first, second), _addp(third, third, fourth)]
    return [*lines, _addp(half, first, third)]


def _addp(to: int, first: int, second: int) -> str:
    return f"addp v{to}.16b, v{first}.16b, v{second}.16b"


def _pack_floats() -> str:
    """Pack rows of floats, until none is left."""
    first, second = _HALVES
    groups = [*_pack_half(first), *_pack_half(second), _addp(first, first, second)]
    block = [*groups, f"st1 {{v{first}.16b}}, [$1], #16"]
    blocks = FLOATS_AT_ONCE // (16 * _GROUPS)
    lines = ["1:", *block * blocks, "subs $2, $2, #1", "b.ne 1b"]
    return r"\0A".join(line if line.endswith(":") else r"\09" + line for line in lines)


_PACK_ROW = "bnn_pack_row"
_BYTES = "<16 x i8>"


def _splat(byte: int) -> str:
    return f"<{', '.join([f'i8 {byte}'] * 16)}>"


_POWERS = f"<{', '.join(f'i8 {1 << place % 8}' for place in range(16))}>"
_OVERWRITTEN = ",".join(
    f"~{{v{r}}}" for r in (*(base + i for base in _LOADED for i in range(4)), *_HALVES)
)

_LLVM = f"""
declare i8 @llvm.vector.reduce.smin.v16i8({_BYTES})
declare {_BYTES} @llvm.smin.v16i8({_BYTES}, {_BYTES})

define linkonce_odr i32 @{_PACK_ROW}(ptr %numbers, ptr %words, i64 %blocks) noinline nounwind {{
fast:
  %packed = call {{ ptr, ptr, i64, {_BYTES}, {_BYTES} }} asm sideeffect "{_pack_floats()}",
    "=r,=r,=r,={{v{_LEAST}}},={{v{_MOST}}},0,1,2,3,4,{{v{_BITS}}},{_OVERWRITTEN},~{{cc}},~{{memory}}"
    (ptr %numbers, ptr %words, i64 %blocks, {_BYTES} zeroinitializer, {_BYTES} zeroinitializer,
     {_BYTES} {_POWERS})
  %least = extractvalue {{ ptr, ptr, i64, {_BYTES}, {_BYTES} }} %packed, 3
  %most = extractvalue {{ ptr, ptr, i64, {_BYTES}, {_BYTES} }} %packed, 4
  %flipped = xor {_BYTES} %most, {_splat(0x7F)}
  %both = call {_BYTES} @llvm.smin.v16i8({_BYTES} %least, {_BYTES} %flipped)
  %worst = call i8 @llvm.vector.reduce.smin.v16i8({_BYTES} %both)
  %unsure = icmp eq i8 %worst, -128
  br i1 %unsure, label %compare, label %done
compare:
  %i = phi i64 [ 0, %fast ], [ %next, %compare ]
  %from = getelementptr [16 x float], ptr %numbers, i64 %i
  %to = getelementptr i16, ptr %words, i64 %i
  %sixteen = load <16 x float>, ptr %from, align 4
  %signs = fcmp uge <16 x float> %sixteen, zeroinitializer
  %bits = bitcast <16 x i1> %signs to i16
  store i16 %bits, ptr %to, align 2
  %next = add nuw i64 %i, 1
  %all = mul nuw i64 %blocks, {FLOATS_AT_ONCE // 16}
  %more = icmp ult i64 %next, %all
  br i1 %more, label %compare, label %done
done:
  ret i32 0
}}
"""


def _describe(pixels: int, words: int) -> tirx.PrimFunc:
    """Say in scalar code what packing a row does, as the kernels write it."""
    bits = 32

    @T.prim_func(s_tir=True)
    def describe(
        numbers: T.Buffer((pixels, words * bits), "float32", offset_factor=1),
        packed: T.Buffer((pixels, words), "uint32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(packed[0:pixels, 0:words], numbers[0:pixels, 0 : words * bits])
            T.writes(packed[0:pixels, 0:words])
            for pixel, word, bit in T.grid(pixels, words, bits):
                with T.sblock("pack"):
                    p, w, v = T.axis.remap("SSR", [pixel, word, bit])
                    packed[p, w] = packed[p, w] + T.Select(
                        numbers[p, w * bits + v] < T.float32(0),
                        T.uint32(0),
                        T.shift_left(T.uint32(1), T.Cast("uint32", v)),
                    )

    return describe


def _call(pixels: int, words: int) -> tirx.PrimFunc:
    blocks = pixels * words * 32 // FLOATS_AT_ONCE

    @T.prim_func(s_tir=True)
    def pack_row(
        numbers: T.Buffer((pixels, words * 32), "float32", offset_factor=1),
        packed: T.Buffer((pixels, words), "uint32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(packed[0:pixels, 0:words], numbers[0:pixels, 0 : words * 32])
            T.writes(packed[0:pixels, 0:words])
            with T.attr(0, "pragma_import_llvm", _LLVM):
                T.evaluate(
                    T.call_extern(
                        "int32",
                        _PACK_ROW,
                        numbers.access_ptr("r"),
                        packed.access_ptr("w"),
                        T.int64(blocks),
                    )
                )

    return pack_row


@cache
def pack_row(pixels: int, words: int) -> str:
    """Name the intrinsic that packs so many neighbouring pixels of so many words of signs."""
    name = f"bnn.aarch64.pack_row_{pixels}x{words}"
    TensorIntrin.register(name, _describe(pixels, words), _call(pixels, words))
    return name
