"""Schedules for processors with vectors of what only moves through memory: one pass over it."""

from __future__ import annotations

import math

from tvm import DataType, tirx
from tvm.s_tir import Schedule

from bnn_tvm.kernels.stages import ACCUMULATE, ELEMENTWISE, PADDED

from .choices import Choose
from .outputs import count_channels, find_outputs
from .rule import is_layer, kernel_kind
from .steps import extent, find_block, largest_divisor, spatial_extents, vectorize_innermost
from .vectors import VectorUnit, compute_outputs, pool_at, share_among_threads, tile_output

# Vectors of one pixel that are worth their code, where they are only copied.
_MOST_UNROLLED_COPIES = 128
# The stage of TVM's own concatenations.
_CONCATENATION = "T_concat"


def flatten(func: tirx.PrimFunc, unit: VectorUnit, _: Choose) -> Schedule | None:
    """Pass once over memory by rows of pixels, where the channels of one do not fill vectors."""
    if kernel_kind(func) != ELEMENTWISE:
        return None
    sch, lanes = Schedule(func), unit.lanes
    shapes = {tuple(int(extent) for extent in param.shape) for param in func.params}
    outputs = find_outputs(sch)
    if outputs is None or outputs.packed or outputs.results or len(shapes) > 1:
        return None
    if spatial_extents(sch, outputs.main)[-1] % lanes == 0:
        return None
    *rows, pixels, channels = sch.get_loops(outputs.main)
    sch.fuse(pixels, channels)
    vectorize_innermost(sch, outputs.main, lanes)
    if rows:
        share_among_threads(sch, outputs.main, len(rows))
    return sch


def join(func: tirx.PrimFunc, unit: VectorUnit, _: Choose) -> Schedule | None:
    """Copy the channels of several tensors to one, a pixel after the other.

    Where each vector comes from is known when the code is made.
    """
    sch = Schedule(func)
    block = find_block(sch, _CONCATENATION)
    if kernel_kind(func) or block is None:
        return None
    pieces = [param.shape for param in func.params]
    *rows, channel = sch.get_loops(block)
    bits = DataType(str(func.params[-1].dtype)).bits
    if len({len(shape) for shape in pieces}) > 1 or not rows:
        return None
    whole = math.gcd(*(int(shape[-1]) for shape in pieces))
    lanes = largest_divisor(whole, unit.target.vector_bits // bits)
    if extent(sch, channel) // lanes > _MOST_UNROLLED_COPIES:
        return None
    vectors, lane = sch.split(channel, [None, lanes])
    sch.unroll(vectors)
    sch.vectorize(lane)
    share_among_threads(sch, block, len(rows))
    return sch


def stream(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Pass once over memory: poolings, elementwise chains and the packing of their signs."""
    if not kernel_kind(func) or is_layer(func):
        return None
    sch = Schedule(func)
    outputs = find_outputs(sch)
    if outputs is None:
        return None
    padded = find_block(sch, PADDED)
    if padded is not None:
        # A copy with a border would cost as much as the pooling.
        sch.compute_inline(padded)
    channels = count_channels(sch, outputs)
    here, inside, _ = tile_output(sch, outputs, 1, channels, unit, choose)
    compute_outputs(sch, outputs, inside, unit)
    pool = find_block(sch, ACCUMULATE)
    if pool is not None:
        pool_at(sch, pool, here, unit)
    return sch
