"""Multiply bits by warpgroups: four warps share one instruction for 64 rows and many columns.

Tensor cores read both operands from shared memory. They lie there as *core matrices*: 8 rows, or
columns, of 16 bytes. Those that follow each other along K are neighbours. A core matrix is 128
neighbouring bytes, which all banks of shared memory give at once: nothing has to be swizzled.
"""

from __future__ import annotations

from tvm import tirx
from tvm.backend.cuda.op import cuda_func_call
from tvm.ir import Expr
from tvm.s_tir import Schedule, TensorIntrin
from tvm.s_tir.schedule import SBlockRV
from tvm.script import tirx as T
from tvm.tirx import IndexMap

from bnn_tvm.kernels.gemm import AND, COLUMNS, combine

from .cuda_intrinsics import MMA, SHARED, without_unit_axes
from .steps import spatial_extents

WARPS = 4
"""Of a warpgroup."""

MOST_COLUMNS = 32
"""Tiles of 8 columns of one instruction, which takes any multiple of 16 columns."""

OVERLAPPED = "software_pipeline_overlapped"
"""Says of a loop over steps that nobody waits for their products yet, and their columns."""

_PREFIX = "bnn.cuda.multiply_by_warpgroup"
_HALVES, _PAIR = 2, 2
# Words of a row of a core matrix, and of the K of one instruction.
_CORE_WORDS, _WORDS = 4, 8
_CORE_BYTES = 128

_HELPERS = """
#ifndef BNN_CORE_MATRICES
#define BNN_CORE_MATRICES
__device__ __forceinline__ unsigned long long bnn_core_matrices(const char* first, int stride) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(first));
  const unsigned long long along_k = 128 >> 4, along_rows = stride >> 4;
  return (address & 0x3FFFF) >> 4 | along_k << 16 | along_rows << 32;
}
__device__ __forceinline__ unsigned bnn_word(const char* at) {
  return *reinterpret_cast<const unsigned*>(at);
}
#endif"""
# Sums are operands of what comes before and after the products, too: the compiler would be free to
# move copies of them in between. Only code for sm_90 itself has these instructions; in that for
# later GPUs each warp multiplies its 16 rows by instructions of its own.
_MULTIPLY = """
__device__ __forceinline__ void {name}(int* c, const void* row, const void* pair) {{
  const int lane = threadIdx.x & 31, group = lane >> 2, quad = lane & 3;
  const char* rows = static_cast<const char*>(row);
  const char* columns = static_cast<const char*>(pair) - quad * 32;
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  rows -= group * 16 + (threadIdx.y & 3) * 2 * {stride};
  const unsigned long long a = bnn_core_matrices(rows, {stride});
  const unsigned long long w = bnn_core_matrices(columns, {stride});
  asm volatile("wgmma.fence.sync.aligned;" : {sums} : : "memory");
#pragma unroll
  for (int k = 0; k < {products}; ++k)
    asm volatile(
        "{{ .reg .pred adds; setp.ne.b32 adds, 1, 0; "
        "wgmma.mma_async.sync.aligned.m64n{width}k256.s32.b1.b1.and.popc "
        "{{{operands}}}, %{a}, %{w}, adds; }}"
        : {sums}
        : "l"(a + k * 16), "l"(w + k * 16));
  asm volatile("wgmma.commit_group.sync.aligned;{wait}" : {sums} : : "memory");
#else
  rows += quad * 4;
  columns += group * 16 + quad * 4;
#pragma unroll
  for (int k = 0; k < {products}; ++k, rows += 256, columns += 256)
#pragma unroll
    for (int j = 0; j < {tiles}; ++j)
      bnn_mma_and(c + j * 4, bnn_word(rows), bnn_word(rows + {stride}), bnn_word(rows + 128),
                  bnn_word(rows + {stride} + 128), bnn_word(columns + j * {stride}),
                  bnn_word(columns + j * {stride} + 128));
#endif
}}"""
_WAIT = "wgmma.wait_group.sync.aligned {running};"
_WAIT_SOURCE = f"""
__device__ __forceinline__ void {{name}}(int* c) {{{{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("{_WAIT}" : {{sums}} : : "memory");
#endif
}}}}
"""
# Tensor cores read shared memory by a way of their own: what was copied must be made known to it.
SHOW_COPIES = "bnn_show_copies_to_tensor_cores"
_SHOW_SOURCE = f"""
__device__ __forceinline__ void {SHOW_COPIES}() {{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}}"""


def lay_windows(sch: Schedule, windows: SBlockRV, accumulate: SBlockRV) -> None:
    """Lay windows out in core matrices, and sum along K in their words."""
    *_, vector = spatial_extents(sch, windows)

    def place(*index: tirx.Var) -> list[Expr]:
        *outer, row, group, lane = index
        chunk, word = _in_core(group, lane, vector)
        return [*outer, chunk, row, word]

    def along_k(*index: tirx.Var) -> list[Expr]:
        *outer, group, lane = index
        return [*outer, *_in_core(group, lane, vector)]

    _lay_out(sch, windows, IndexMap.from_func(place, ndim=7, index_dtype="int32"))
    sch.transform_block_layout(
        accumulate, IndexMap.from_func(along_k, ndim=10, index_dtype="int32")
    )


def lay_weights(sch: Schedule, weights: SBlockRV) -> None:
    """Lay filters out in core matrices."""
    *_, vector = spatial_extents(sch, weights)

    def place(*index: tirx.Var) -> list[Expr]:
        *outer, pair, odd, group, lane = index
        chunk, word = _in_core(group, lane, vector)
        return [*outer, chunk, pair, odd, word]

    _lay_out(sch, weights, IndexMap.from_func(place, ndim=7, index_dtype="int32"))


def _in_core(group: Expr, lane: Expr, vector: int) -> tuple[Expr, Expr]:
    """Say in which core matrix along K a word lies, and where in its row."""
    word = group * vector + lane
    return word // _CORE_WORDS, word % _CORE_WORDS


def _lay_out(sch: Schedule, block: SBlockRV, place: IndexMap) -> None:
    """Write a buffer in another order, by loops in that order."""
    sch.transform_layout(block, ("write", 0), place)
    sch.transform_block_layout(block, place)


def multiply_by_group(columns: int, chunks: int, word: int, waits: bool) -> str:
    """Name the intrinsic by which a warpgroup multiplies 64 rows by tiles of 8 columns.

    Each of its warps has a tile of 16 rows, in which its threads sum what they do in
    `multiply_tiles`.

    Parameters
    ----------
    columns : int
        Tiles of 8 columns: an even number, `MOST_COLUMNS` or fewer.
    chunks, word : int
        Core matrices along K, and words of their rows: 8 or 16 in all.
    waits : bool
        Whether it ends when they are multiplied; else `wait_for_products` has to follow.
    """
    words = chunks * word
    name = f"{_PREFIX}_{columns}x{words}{'' if waits else '_later'}"
    if TensorIntrin.get(name, allow_missing=True) is None:
        TensorIntrin.register(name, _describe(columns, words), _implement(columns, words, waits))
    return name


def _describe(columns: int, words: int) -> tirx.PrimFunc:
    """Say in scalar code what one thread sums."""
    chunks, word = words // _CORE_WORDS, _CORE_WORDS

    @T.prim_func(s_tir=True)
    def describe(
        a: T.Buffer((1, _HALVES, chunks, 1, word), "uint32", offset_factor=1, scope=SHARED),
        w: T.Buffer((columns, chunks, 1, _PAIR, word), "uint32", offset_factor=1, scope=SHARED),
        c: T.Buffer((1, columns, 1, 1, _HALVES, _PAIR), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(
                c[0:1, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR],
                a[0:1, 0:_HALVES, 0:chunks, 0:1, 0:word],
                w[0:columns, 0:chunks, 0:1, 0:_PAIR, 0:word],
            )
            T.writes(c[0:1, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR])
            for i, j, half, odd, chunk, at in T.grid(1, columns, _HALVES, _PAIR, chunks, word):
                with T.sblock("dot"):
                    vi, vj, vh, vo, vc, va = T.axis.remap("SSSSRR", [i, j, half, odd, chunk, at])
                    c[vi, vj, 0, 0, vh, vo] = c[vi, vj, 0, 0, vh, vo] + combine(
                        a[vi, vh, vc, 0, va], w[vj, vc, 0, vo, va], AND
                    )

    return without_unit_axes(describe)


def _implement(columns: int, words: int, waits: bool) -> tirx.PrimFunc:
    chunks, word = words // _CORE_WORDS, _CORE_WORDS
    name = f"bnn_multiply_by_warpgroup_{columns}x{words}{'' if waits else '_later'}"
    source = _source(name, columns, words, waits)

    @T.prim_func(s_tir=True)
    def multiply(a_handle: T.handle, w_handle: T.handle, c_handle: T.handle) -> None:
        a0, a1, a2, a3 = T.int32(), T.int32(), T.int32(), T.int32()
        w0, w1, w2, w3 = T.int32(), T.int32(), T.int32(), T.int32()
        c0, c1, c2, c3, c4 = T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
        a = T.match_buffer(
            a_handle, (1, _HALVES, chunks, 1, word), "uint32", offset_factor=1, scope=SHARED,
            strides=[a0, a1, a2, a3, 1],
        )  # fmt: skip
        w = T.match_buffer(
            w_handle, (columns, chunks, 1, _PAIR, word), "uint32", offset_factor=1, scope=SHARED,
            strides=[w0, w1, w2, w3, 1],
        )  # fmt: skip
        c = T.match_buffer(
            c_handle, (1, columns, 1, 1, _HALVES, _PAIR), "int32", offset_factor=1,
            scope="local", strides=[c0, c1, c2, c3, c4, 1],
        )  # fmt: skip
        with T.sblock("root"):
            T.reads(
                c[0:1, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR],
                a[0:1, 0:_HALVES, 0:chunks, 0:1, 0:word],
                w[0:columns, 0:chunks, 0:1, 0:_PAIR, 0:word],
            )
            T.writes(c[0:1, 0:columns, 0:1, 0:1, 0:_HALVES, 0:_PAIR])
            T.evaluate(T.cuda.func_call(SHOW_COPIES, source_code=_SHOW_SOURCE))
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


def wait_for_products(sums: tirx.Var, columns: int, running: int) -> tirx.Stmt:
    """Wait until no more than the products of so many steps are under way.

    Parameters
    ----------
    sums : Var
        The buffer of a thread's sums, as `multiply_by_group` has them.
    columns : int
        Its tiles of 8 columns.
    running : int
    """
    name = f"bnn_wait_for_products_{columns}_{running}"
    source = _WAIT_SOURCE.format(name=name, running=running, sums=_sums_of(columns))
    return tirx.Evaluate(cuda_func_call(name, sums.access_ptr("rw"), source_code=source))


def _sums_of(columns: int) -> str:
    """Write a thread's sums as operands of an instruction."""
    return ", ".join(f'"+r"(c[{i}])' for i in range(columns * COLUMNS // 2))


def _source(name: str, columns: int, words: int, waits: bool) -> str:
    """Write the function of one thread."""
    sums = columns * COLUMNS // 2
    multiply = _MULTIPLY.format(
        name=name,
        stride=words // _CORE_WORDS * _CORE_BYTES,
        products=words // _WORDS,
        tiles=columns,
        width=columns * COLUMNS,
        operands=", ".join(f"%{i}" for i in range(sums)),
        sums=_sums_of(columns),
        wait=f" {_WAIT.format(running=0)}" if waits else "",
        a=sums,
        w=sums + 1,
    )
    return f"#ifndef BNN_MMA_and\n#define BNN_MMA_and{MMA[AND]}\n#endif{_HELPERS}{multiply}\n"
