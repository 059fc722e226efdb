"""Add up, in a second launch, what several blocks of threads summed of K.

Where there are few outputs and K is long, blocks share K and leave their sums in global memory. The
second launch adds integers in any order and numbers in that of K, and writes the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.kernels.stages import ONES, SUMS

from .cuda_rows import LANES, LOCAL, merge_lanes
from .cuda_splice import paste_stage
from .steps import extent

GLOBAL = "global"
"""Memory that all blocks share, between two launches."""

_MOST_WARPS = 8


def write_split(sch: Schedule, written: Sequence[SBlockRV]) -> None:
    """Compute the outputs by a block of threads for each row, a warp for the channels of a word."""
    sums = sch.get_sblock(SUMS)
    row, word, lane = merge_lanes(sch, written)
    _, warp = sch.split(word, [None, min(_MOST_WARPS, extent(sch, word))])
    sch.bind(row, "blockIdx.x")
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    sch.compute_at(sums, lane, preserve_unit_loops=True)
    sch.set_scope(sums, 0, LOCAL)


def count_ones_of_rows(sch: Schedule, ones: tirx.Stmt) -> Schedule:
    """Count the ones of the window of a row by all threads of the block that writes it."""
    (func,) = sch.mod.functions.values()
    sch = Schedule(paste_stage(func, ones))
    block, row = sch.get_sblock(ONES), sch.get_loops(sch.get_sblock(SUMS))[0]
    warps = next(extent(sch, x) for x in sch.get_loops(sch.get_sblock(SUMS)) if _is_warp(sch, x))
    sch.compute_at(block, row, preserve_unit_loops=True)
    sch.set_scope(block, 0, "shared")
    _, warp, lane = sch.split(sch.get_loops(block)[-1], [None, warps, LANES])
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    return sch


def _is_warp(sch: Schedule, loop: LoopRV) -> bool:
    thread = sch.get(loop).thread_binding
    return thread is not None and str(thread.thread_tag) == "threadIdx.y"
