"""The b1 peak of a GPU's tensor cores: products in registers and nothing else."""

from __future__ import annotations

from bnn_tvm.cuda.nvcc import compile_fatbin
from bnn_tvm.target import CudaTarget

from .launch import Launch

_WARPS_OF_A_BLOCK, _BLOCKS_OF_A_MULTIPROCESSOR = 8, 4
_ROUNDS, _CHAINS = 4096, 8
_OPERATIONS = 2 * 16 * 8 * 256
_SOURCE = """
extern "C" __global__ void peak(int* out) {
  int sums[%(chains)d][4] = {};
  unsigned a = threadIdx.x * 0x9E3779B9u, w = a ^ blockIdx.x;
  for (int round = 0; round < %(rounds)d; ++round) {
#pragma unroll
    for (int chain = 0; chain < %(chains)d; ++chain)
      asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
                   "{%%0, %%1, %%2, %%3}, {%%4, %%4, %%4, %%4}, {%%5, %%5}, {%%0, %%1, %%2, %%3};"
                   : "+r"(sums[chain][0]), "+r"(sums[chain][1]), "+r"(sums[chain][2]),
                     "+r"(sums[chain][3])
                   : "r"(a), "r"(w));
  }
  int total = 0;
  for (int chain = 0; chain < %(chains)d; ++chain)
    for (int i = 0; i < 4; ++i) total += sums[chain][i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
"""


def compile_peak(target: CudaTarget) -> bytes:
    """Compile the loop for a target of the ``and`` form."""
    return compile_fatbin(_SOURCE % {"chains": _CHAINS, "rounds": _ROUNDS}, target)


def measure_peak(target: CudaTarget) -> float:
    """Measure operations a second, two for each bit of a product."""
    import torch

    blocks = target.gpu.multiprocessors * _BLOCKS_OF_A_MULTIPROCESSOR
    threads = _WARPS_OF_A_BLOCK * 32
    out = torch.empty(blocks * threads, dtype=torch.int32, device="cuda")
    launch = Launch(compile_peak(target), "peak", blocks, threads, out.data_ptr())
    products = blocks * _WARPS_OF_A_BLOCK * _ROUNDS * _CHAINS
    return products * _OPERATIONS / launch.seconds()
