"""Schedule float layers for the ordinary cores of NVIDIA GPUs.

A thread keeps the sums of a few rows (positions) and of one channel of a few words; the lanes of a
warp have neighbouring channels. Weights are read side by side and serve all rows of a thread, data
is the same for all lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, PADDED
from bnn_tvm.target import CudaTarget, Target

from .choices import Choose
from .cuda_rows import LOCAL, in_rows, merge_lanes, write_in_rows
from .outputs import find_outputs
from .rule import is_layer
from .steps import extent, find_block, spatial_extents, unroll_all

_WARPS = 4
_MOST_UNROLLED = 8


@dataclass(frozen=True)
class ThreadTile:
    """What one thread sums.

    Attributes
    ----------
    rows : int
    words : int
        Channels, one of each of so many words of 32.
    """

    rows: int
    words: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.words}"


def tile_floats(func: tirx.PrimFunc, target: Target, choose: Choose) -> Schedule | None:
    """Keep a tile of rows times channels in the registers of each thread."""
    if not isinstance(target, CudaTarget) or not is_layer(func):
        return None
    sch = Schedule(func)
    outputs, accumulate = find_outputs(sch), find_block(sch, ACCUMULATE)
    if outputs is None or accumulate is None or not _sums_floats(sch, accumulate):
        return None
    if (padded := find_block(sch, PADDED)) is not None:
        sch.compute_inline(padded)
    written = write_in_rows(sch, outputs)
    _sum_in_rows(sch, accumulate)
    row, word, lane = merge_lanes(sch, written)
    tile = choose("tile", rank_thread_tiles(extent(sch, row), extent(sch, word), target))
    block_row, warp, rows = sch.split(row, [None, _WARPS, tile.rows])
    block_word, words = sch.split(word, [None, tile.words])
    sch.reorder(block_row, block_word, warp, lane, rows, words)
    for loop, thread in (
        (block_row, "blockIdx.y"),
        (block_word, "blockIdx.x"),
        (warp, "threadIdx.y"),
        (lane, "threadIdx.x"),
    ):
        sch.bind(loop, thread)
    unroll_all(sch, [rows, words])
    sch.compute_at(accumulate, lane, preserve_unit_loops=True)
    _sum_in_registers(sch, accumulate)
    return sch


def rank_thread_tiles(rows: int, words: int, target: CudaTarget) -> list[ThreadTile]:
    """List the tiles that divide the channels; first the largest that keeps all of a GPU at work.

    Parameters
    ----------
    rows, words : int
        Positions, and words of 32 channels.
    target : CudaTarget
    """
    tiles = [ThreadTile(r, w) for r in (8, 4, 2, 1) for w in (1,) if words % w == 0]

    def idle(tile: ThreadTile) -> tuple[float, int, int]:
        blocks = -(-rows // (_WARPS * tile.rows)) * (words // tile.words)
        missing = max(1.0, target.gpu.multiprocessors / blocks)
        loads = (tile.rows + tile.words) / (tile.rows * tile.words)
        return missing * (1 + loads), -tile.rows, -tile.words

    return sorted(tiles, key=idle)


def _sums_floats(sch: Schedule, accumulate: SBlockRV) -> bool:
    return str(sch.get(accumulate).writes[0].source.dtype) == "float32"


def _sum_in_rows(sch: Schedule, block: SBlockRV) -> None:
    """Let sums have rows, blocks of channels and lanes as axes."""
    *positions, blocks, lanes = spatial_extents(sch, block)
    shape = [*positions, blocks * lanes]
    sch.transform_layout(block, ("write", 0), in_rows(shape, len(positions) + 2))
    sch.transform_block_layout(block, in_rows(shape, len(sch.get(block).iter_vars)))
    sch.set_scope(block, 0, LOCAL)


def _sum_in_registers(sch: Schedule, block: SBlockRV) -> None:
    """Sum all rows and words of a thread at each step of the reduction."""
    axes = len(sch.get(block).iter_vars)
    row, word, lane, *reduction = sch.get_loops(block)[-axes:]
    sch.reorder(*reduction, row, word, lane)
    unroll_all(sch, [row, word])
    if extent(sch, reduction[-1]) <= _MOST_UNROLLED:
        sch.unroll(reduction[-1])
    init = sch.decompose_reduction(block, reduction[0])
    unroll_all(sch, sch.get_loops(init)[-3:])
