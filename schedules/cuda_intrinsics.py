"""Instructions of NVIDIA GPUs that the compiler does not find by itself."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize, TensorIntrin
from tvm.script import tirx as T

from bnn_tvm.kernels.dot import FP16, TF32
from bnn_tvm.kernels.gemm import AND, PRODUCT, XOR, combine

_HALVES, _PAIR = 2, 2
_PREFIX = "bnn.cuda.multiply"

SHARED = "shared.dyn"
"""Where blocks keep what their threads share: as much as a kernel asks for."""

MMA = {
    "and": """
__device__ __forceinline__ void bnn_mma_and(
    int* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned w0, unsigned w1) {
  asm volatile(
      "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(w0), "r"(w1));
}""",
    "xor": """
__device__ __forceinline__ void bnn_mma_xor(
    int* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned w0, unsigned w1) {
  const unsigned a[4] = {a0, a1, a2, a3}, w[2] = {w0, w1};
#pragma unroll
  for (int part = 0; part < 4; ++part)
    asm volatile(
        "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc "
        "{%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(c[part % 2 * 2]), "+r"(c[part % 2 * 2 + 1])
        : "r"(a[part]), "r"(w[part / 2]));
}""",
    "fp16": """
__device__ __forceinline__ void bnn_mma_fp16(
    float* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned w0, unsigned w1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(w0), "r"(w1));
#else
  const unsigned a[4] = {a0, a1, a2, a3}, w[2] = {w0, w1};
#pragma unroll
  for (int part = 0; part < 2; ++part)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[part * 2]), "r"(a[part * 2 + 1]), "r"(w[part]));
#endif
}""",
    "tf32": """
__device__ __forceinline__ unsigned bnn_round_to_tf32(unsigned bits) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
  return rounded;
}
__device__ __forceinline__ void bnn_mma_tf32(
    float* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned w0, unsigned w1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(bnn_round_to_tf32(a0)), "r"(bnn_round_to_tf32(a1)), "r"(bnn_round_to_tf32(a2)),
        "r"(bnn_round_to_tf32(a3)), "r"(w0), "r"(w1));
}""",
}
"""CUDA functions that multiply words of rows and columns, by the form: of 8 words of K.

A word is 32 bits, two float16 or one tf32.
"""
_MULTIPLY = """
__device__ __forceinline__ void {name}({sum}* c, const void* rows, const void* columns) {{
  const int lane = threadIdx.x & 31, group = lane >> 2, quad = lane & 3;
  const unsigned* a = static_cast<const unsigned*>(rows) + quad * {each};
  const unsigned* w = static_cast<const unsigned*>(columns) + (group - 2 * quad) * {words};
  w += quad * {each};
  {vector} low[{rows}], high[{rows}];
#pragma unroll
  for (int i = 0; i < {rows}; ++i) {{
    low[i] = *reinterpret_cast<const {vector}*>(a + i * 16 * {words});
    high[i] = *reinterpret_cast<const {vector}*>(a + (i * 16 + 8) * {words});
  }}
#pragma unroll
  for (int j = 0; j < {columns}; ++j) {{
    const {vector} column = *reinterpret_cast<const {vector}*>(w + j * 8 * {words});
#pragma unroll
    for (int i = 0; i < {rows}; ++i) {{
      {sum}* sums = c + (i * {columns} + j) * 4;
{products}
    }}
  }}
}}"""
# One thread's share of a product of numbers, in vectors along K.
_MULTIPLY_NUMBERS = """
__device__ __forceinline__ void {name}(float* c, const float* a, const float* w) {{
#pragma unroll 1
  for (int k = 0; k < {words}; k += 4) {{
    float4 row[{rows} * 2], column[{columns} * 2];
#pragma unroll
    for (int i = 0; i < {rows} * 2; ++i)
      row[i] = *reinterpret_cast<const float4*>(a + i * 8 * {words} + k);
#pragma unroll
    for (int j = 0; j < {columns} * 2; ++j)
      column[j] = *reinterpret_cast<const float4*>(w + (j / 2 * 8 + j % 2) * {words} + k);
#pragma unroll
    for (int i = 0; i < {rows} * 2; ++i)
#pragma unroll
      for (int j = 0; j < {columns} * 2; ++j) {{
        float* sum = c + ((i / 2 * {columns} + j / 2) * 2 + i % 2) * 2 + j % 2;
        *sum += row[i].x * column[j].x;
        *sum += row[i].y * column[j].y;
        *sum += row[i].z * column[j].z;
        *sum += row[i].w * column[j].w;
      }}
  }}
}}
"""
_PRODUCT = (
    "      bnn_mma_{form}(sums, low[i].{0}, high[i].{0}, low[i].{1}, high[i].{1}, "
    "column.{0}, column.{1});"
)
# What is multiplied, and summed; and what sums are in C.
_DTYPES = {
    AND: ("uint32", "int32"),
    XOR: ("uint32", "int32"),
    PRODUCT: ("float32", "float32"),
    FP16.suffix: (FP16.data, FP16.sum),
    TF32.suffix: (TF32.data, TF32.sum),
}
_C_TYPES = {"int32": "int", "float32": "float"}
_SOURCES = {8: ("xy",), 16: ("xy", "zw")}


def per_word(form: str) -> int:
    """Count the elements of 32 bits."""
    return 2 if form == FP16.suffix else 1


def multiply_tiles(form: str, rows: int, columns: int, vectors: int, vector: int) -> str:
    """Name the intrinsic by which a warp multiplies tiles of 16 rows by tiles of 8 columns.

    The thread ``threadIdx.x`` sums two rows, 8 apart, and two neighbouring columns of each tile.
    K may be taken in any order that is the same for rows and columns: a thread
    reads neighbouring words, so that a warp reads shared memory in whole lines, without conflicts.

    Parameters
    ----------
    form : str
        ``and`` (sm_80 and newer) or ``xor`` (sm_75): what is done to the bits before their ones
        are counted; ``fp16`` or ``tf32`` (sm_80 and newer) for numbers; ``product`` for those that
        ordinary cores multiply.
    rows, columns : int
        Tiles of a warp.
    vectors, vector : int
        Vectors of elements along K, and elements of one: 8 or 16 words in all.
    """
    name = f"{_PREFIX}_{form}_{rows}x{columns}x{vectors}x{vector}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        describe = _describe(form, rows, columns, vectors, vector)
        TensorIntrin.register(name, describe, _implement(form, rows, columns, vectors, vector))
    return name


def _describe(form: str, rows: int, columns: int, vectors: int, vector: int) -> tirx.PrimFunc:
    """Say in scalar code what one thread sums, as the kernels write it."""
    data, number = _DTYPES[form]

    @T.prim_func(s_tir=True)
    def describe(
        a: T.Buffer((rows, _HALVES, 1, vectors, vector), data, offset_factor=1, scope=SHARED),
        w: T.Buffer((columns, 1, _PAIR, vectors, vector), data, offset_factor=1, scope=SHARED),
        c: T.Buffer((rows, columns, 1, 1, _HALVES, _PAIR), number, offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(
                c[0:rows, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR],
                a[0:rows, 0:_HALVES, 0:1, 0:vectors, 0:vector],
                w[0:columns, 0:1, 0:_PAIR, 0:vectors, 0:vector],
            )
            T.writes(c[0:rows, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR])
            for i, j, half, odd, group, lane in T.grid(
                rows, columns, _HALVES, _PAIR, vectors, vector
            ):
                with T.sblock("dot"):
                    vi, vj, vh, vo, vg, vl = T.axis.remap("SSSSRR", [i, j, half, odd, group, lane])
                    c[vi, vj, 0, 0, vh, vo] = c[vi, vj, 0, 0, vh, vo] + combine(
                        a[vi, vh, 0, vg, vl], w[vj, 0, vo, vg, vl], form
                    )

    return without_unit_axes(describe)


def without_unit_axes(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Take the axes of extent 1 from the inner block, as schedules do."""

    def drop(realize: SBlockRealize) -> SBlockRealize:
        block = realize.block
        axes = zip(block.iter_vars, realize.iter_values, strict=True)
        kept = [(axis, value) for axis, value in axes if int(axis.dom.extent) > 1]
        dropped = [axis.var for axis in block.iter_vars if int(axis.dom.extent) == 1]

        def at_zero(var: tirx.Var) -> tirx.Expr:
            return tirx.const(0, "int32") if any(map(var.same_as, dropped)) else var

        parts = (block.reads, block.writes, block.body)
        reads, writes, body = (tvm_ffi.structural_map(p, (tirx.Var, at_zero)) for p in parts)
        rest = SBlock([axis for axis, _ in kept], reads, writes, block.name_hint, body)
        return SBlockRealize([value for _, value in kept], realize.predicate, rest)

    root = func.body.block
    body = tvm_ffi.structural_map(root.body, (SBlockRealize, drop))
    rebuilt = SBlock(root.iter_vars, root.reads, root.writes, root.name_hint, body)
    return func.with_body(SBlockRealize(func.body.iter_values, func.body.predicate, rebuilt))


def _implement(form: str, rows: int, columns: int, vectors: int, vector: int) -> tirx.PrimFunc:
    words = vectors * vector // per_word(form)
    name = f"bnn_multiply_{form}_{rows}x{columns}x{words}"
    source = _source(name, form, rows, columns, words)
    data, number = _DTYPES[form]

    @T.prim_func(s_tir=True)
    def multiply(a_handle: T.handle, w_handle: T.handle, c_handle: T.handle) -> None:
        a0, a1, a2, a3 = T.int32(), T.int32(), T.int32(), T.int32()
        w0, w1, w2, w3 = T.int32(), T.int32(), T.int32(), T.int32()
        c0, c1, c2, c3, c4 = T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
        a = T.match_buffer(
            a_handle, (rows, _HALVES, 1, vectors, vector), data, offset_factor=1, scope=SHARED,
            strides=[a0, a1, a2, a3, 1],
        )  # fmt: skip
        w = T.match_buffer(
            w_handle, (columns, 1, _PAIR, vectors, vector), data, offset_factor=1, scope=SHARED,
            strides=[w0, w1, w2, w3, 1],
        )  # fmt: skip
        c = T.match_buffer(
            c_handle, (rows, columns, 1, 1, _HALVES, _PAIR), number, offset_factor=1,
            scope="local", strides=[c0, c1, c2, c3, c4, 1],
        )  # fmt: skip
        with T.sblock("root"):
            T.reads(
                c[0:rows, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR],
                a[0:rows, 0:_HALVES, 0:1, 0:vectors, 0:vector],
                w[0:columns, 0:1, 0:_PAIR, 0:vectors, 0:vector],
            )
            T.writes(c[0:rows, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR])
            T.evaluate(
                T.cuda.func_call(
                    name,
                    c.access_ptr("rw"),
                    a.access_ptr("r"),
                    w.access_ptr("r"),
                    source_code=source,
                )
            )

    return multiply


def _source(name: str, form: str, rows: int, columns: int, words: int) -> str:
    """Write the function of one thread."""
    each = words // 4
    if form == PRODUCT:
        return _MULTIPLY_NUMBERS.format(name=name, rows=rows, columns=columns, words=words)
    products = "\n".join(_PRODUCT.format(*pair, form=form) for pair in _SOURCES[words])
    total = _C_TYPES[_DTYPES[form][1]]
    sizes = {"rows": rows, "columns": columns, "words": words, "each": each, "sum": total}
    multiply = _MULTIPLY.format(name=name, vector=f"uint{each}", products=products, **sizes)
    return f"#ifndef BNN_MMA_{form}\n#define BNN_MMA_{form}{MMA[form]}\n#endif{multiply}\n"
