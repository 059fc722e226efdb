"""Write the outputs of a kernel for GPUs as a matrix of rows (positions) and channels.

The lanes of a warp have the 32 channels of one word: they read and write side by side, and one vote
packs their signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import IndexMap

from .outputs import Outputs
from .steps import spatial_extents

LANES = 32
LOCAL = "local"
"""Where a thread keeps what it alone uses: registers."""


def write_in_rows(sch: Schedule, outputs: Outputs) -> list[SBlockRV]:
    """Let outputs have two axes, rows and channels, and share their numbers in registers.

    Returns
    -------
    list of SBlockRV
        What computes and writes the outputs, each after what it reads.
    """
    shared = outputs.main_is_numbers and bool(outputs.packed or outputs.results)
    followers = [*outputs.results, *(packed.value for packed in outputs.packed)]
    written = [outputs.main]
    if shared and outputs.main_is_output:
        written.append(sch.cache_write(outputs.main, 0, LOCAL, consumer_blocks=followers))
    elif shared:
        sch.set_scope(outputs.main, 0, LOCAL)
    for packed in outputs.packed:
        sch.compute_inline(packed.value)
    written += outputs.results
    written += [packed.pack for packed in outputs.packed if outputs.main_is_numbers]
    if shared:
        shape = spatial_extents(sch, outputs.main)
        sch.transform_layout(outputs.main, ("write", 0), in_rows(shape, len(shape)))
    for block in written:
        shape = spatial_extents(sch, block)
        sch.transform_block_layout(block, in_rows(shape, len(sch.get(block).iter_vars)))
    return written


def in_rows(shape: Sequence[int], axes: int) -> IndexMap:
    """Join all but the last of some extents into rows; what comes behind them stays.

    Parameters
    ----------
    shape : sequence of int
        Of the positions, and one axis more.
    axes : int
        How many there are in all.
    """
    rows = len(shape) - 1

    def join(*index: tirx.Var) -> list[tirx.Var]:
        strides = [math.prod(shape[axis + 1 : -1]) for axis in range(rows)]
        row = sum(at * stride for at, stride in zip(index, strides, strict=False))
        return [row, *index[rows:]]

    return IndexMap.from_func(join, ndim=axes, index_dtype="int32")


def merge_lanes(sch: Schedule, written: Sequence[SBlockRV]) -> list[LoopRV]:
    """Let all outputs share their loops; return those over rows, words and lanes."""
    lanes = [_lane_loop(sch, block) for block in written]
    if len(lanes) > 1:
        sch.merge(*lanes)
    return list(sch.get_loops(written[0])[-3:])


def _lane_loop(sch: Schedule, block: SBlockRV) -> LoopRV:
    """Return the loop over the 32 channels of a word, or of as many numbers."""
    axes = len(sch.get(block).iter_vars)
    last = sch.get_loops(block)[-1]
    return last if axes == 3 else sch.split(last, [None, LANES])[1]
