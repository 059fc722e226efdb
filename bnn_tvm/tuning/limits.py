"""Measure a machine's limits: multiply-accumulates out of registers and L1."""

from __future__ import annotations

import math

from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from ..errors import ToolchainError
from ..target import CudaTarget, Target
from .gpu_limits import gpu_peak_kernel
from .measuring import Measure

# Words that each sum runs over, vectors of a tile, tiles: what they load fits the smallest L1.
_WORDS, _VECTORS, _TILES = 64, 2, 4
# Each sum runs over them so often that its beginning and end do not count.
_REPEATS = 32
# Registers that are not sums: weights and what they are multiplied with.
_SPARE_REGISTERS = 4
_SAMPLES = 5


def measure_peak(target: Target, binary: bool, measure: Measure) -> float:
    """Measure multiply-accumulates a second, of bits or of float32 numbers.

    Bits are counted with xor, popcount and addition, in words as wide as the target packs. Kernels
    that need fewer instructions for a bit than that can exceed it.

    Raises
    ------
    ToolchainError
        If the kernel cannot be built or run: no other could be.
    """
    if isinstance(target, CudaTarget):
        schedule, macs = gpu_peak_kernel(target, binary)
    else:
        schedule, macs = _peak_kernel(target, binary)
    (outcome,) = measure([schedule], _SAMPLES)
    if outcome.error:
        raise ToolchainError(
            f"cannot measure on {target.id}: {outcome.error}; see bnn-tvm targets for others"
        )
    return macs / min(outcome.seconds)


def _peak_kernel(target: Target, binary: bool) -> tuple[Schedule, int]:
    """Write a product of matrices in one register tile; return it and its MACs."""
    bits = target.word_bits if binary else 32
    dtype = f"uint{bits}" if binary else "float32"
    sum_dtype = "uint8" if bits == 8 else "int32" if binary else "float32"
    rows, lanes = target.vector_registers // _VECTORS - _SPARE_REGISTERS // 2, target.vector_bits
    lanes //= bits
    data = te.placeholder((_TILES, rows, _WORDS), dtype, "data")
    weight = te.placeholder((_WORDS, _VECTORS, lanes), dtype, "weight")
    axes = [te.reduce_axis((0, _REPEATS), "again"), te.reduce_axis((0, _WORDS), "k")]

    def product(tile: tirx.Var, row: tirx.Var, vector: tirx.Var, lane: tirx.Var) -> tirx.PrimExpr:
        a, b = data[tile, row, axes[1]], weight[axes[1], vector, lane]
        return te.sum(tirx.popcount(a ^ b).astype(sum_dtype) if binary else a * b, axis=axes)

    result = te.compute((_TILES, rows, _VECTORS, lanes), product, name="result")
    schedule = Schedule(te.create_prim_func([data, weight, result]))
    _keep_in_registers(schedule)
    words = math.prod(map(int, result.shape)) * _WORDS * _REPEATS
    return schedule, words * (bits if binary else 1)


def _keep_in_registers(schedule: Schedule) -> None:
    block = schedule.get_sblock("result")
    tile, row, vector, lane, again, k = schedule.get_loops(block)
    schedule.reorder(tile, again, k, row, vector, lane)
    sums = schedule.cache_write(block, 0, "global")
    schedule.reverse_compute_at(sums, tile)
    for stage in (block, sums):
        _unroll_tile(schedule, stage)
    _unroll_tile(schedule, schedule.decompose_reduction(block, again))


def _unroll_tile(schedule: Schedule, stage: SBlockRV) -> None:
    *_, row, vector, lane = schedule.get_loops(stage)
    schedule.unroll(row)
    schedule.unroll(vector)
    schedule.vectorize(lane)
