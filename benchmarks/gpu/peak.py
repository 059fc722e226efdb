"""The b1 peak of a GPU's tensor cores: products in registers and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .launch import Launch, TorchCall

if TYPE_CHECKING:
    from bnn_tvm.target import CudaTarget

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
    from bnn_tvm.cuda.nvcc import compile_fatbin

    return compile_fatbin(_SOURCE % {"chains": _CHAINS, "rounds": _ROUNDS}, target)


def run_peak(code: bytes, multiprocessors: int) -> tuple[TorchCall, int]:
    """Prepare the loop on all multiprocessors; return it and its operations, two for each bit."""
    import torch

    blocks = multiprocessors * _BLOCKS_OF_A_MULTIPROCESSOR
    threads = _WARPS_OF_A_BLOCK * 32
    out = torch.empty(blocks * threads, dtype=torch.int32, device="cuda")
    products = blocks * _WARPS_OF_A_BLOCK * _ROUNDS * _CHAINS
    return TorchCall(Launch(code, "peak", blocks, threads, out)), products * _OPERATIONS
