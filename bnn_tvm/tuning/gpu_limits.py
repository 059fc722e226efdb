"""A GPU's limits: multiply-accumulates out of registers, by the instructions that kernels use."""

from __future__ import annotations

from tvm import te, tirx
from tvm.backend.cuda.op import cuda_func_call
from tvm.ir import Expr
from tvm.s_tir import Schedule

from ..kernels.gemm import COLUMNS, ROWS
from ..schedules.cuda_intrinsics import MMA
from ..target import CudaTarget

_THREADS, _BLOCKS_OF_A_MULTIPROCESSOR, _WARP = 256, 4, 32
_ROUNDS = 2048
# Independent sums of a thread: enough for each instruction to find one that is done.
_CHAINS, _FLOAT_CHAINS = 8, 32
_WORDS, _WORD_BITS = 8, 32

_COUNT = """
{mma}
__device__ __noinline__ int bnn_peak(int seed) {{
  int sums[{chains}][4] = {{}};
  const unsigned a = seed * 0x9E3779B9u, w = a ^ 0x5BD1E995u;
#pragma unroll 1
  for (int round = 0; round < {rounds}; ++round)
#pragma unroll
    for (int chain = 0; chain < {chains}; ++chain) bnn_mma_{form}(sums[chain], a, a, a, a, w, w);
  int total = 0;
  for (int chain = 0; chain < {chains}; ++chain)
    for (int i = 0; i < 4; ++i) total += sums[chain][i];
  return total;
}}
"""
_MULTIPLY = """
__device__ __noinline__ int bnn_peak(int seed) {{
  float sums[{chains}];
  const float a = seed * 1e-9f, w = 1e-3f;
  for (int chain = 0; chain < {chains}; ++chain) sums[chain] = a + chain;
#pragma unroll 1
  for (int round = 0; round < {rounds}; ++round)
#pragma unroll
    for (int chain = 0; chain < {chains}; ++chain) sums[chain] = fmaf(sums[chain], w, a);
  float total = 0;
  for (int chain = 0; chain < {chains}; ++chain) total += sums[chain];
  return __float_as_int(total);
}}
"""


def gpu_peak_kernel(target: CudaTarget, binary: bool) -> tuple[Schedule, int]:
    """Write a loop of products in registers, on all multiprocessors; return it and its MACs."""
    form, blocks = target.gpu.b1_mma, target.gpu.multiprocessors * _BLOCKS_OF_A_MULTIPROCESSOR
    threads = blocks * _THREADS
    if binary:
        source = _COUNT.format(mma=MMA[form], form=form, chains=_CHAINS, rounds=_ROUNDS)
        tile = ROWS * COLUMNS * _WORDS * _WORD_BITS
        macs = threads // _WARP * _ROUNDS * _CHAINS * tile
    else:
        source = _MULTIPLY.format(chains=_FLOAT_CHAINS, rounds=_ROUNDS)
        macs = threads * _ROUNDS * _FLOAT_CHAINS
    return _schedule(source, threads), macs


def _schedule(source: str, threads: int) -> Schedule:
    """Let each thread run the loop once."""

    def loop(thread: tirx.Var) -> Expr:
        return cuda_func_call("bnn_peak", thread, source_code=source, return_type="int32")

    out = te.compute((threads,), loop, name="peak")
    schedule = Schedule(te.create_prim_func([out]))
    (whole,) = schedule.get_loops(schedule.get_sblock("peak"))
    block, thread = schedule.split(whole, [None, _THREADS])
    schedule.bind(block, "blockIdx.x")
    schedule.bind(thread, "threadIdx.x")
    return schedule
