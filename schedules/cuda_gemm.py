"""Schedule products of matrices for NVIDIA GPUs: of bits for tensor cores, of numbers for others.

A block of threads computes a tile of rows (windows) and columns (outputs). Its warps divide the
tile, or K. Steps of K are copied to shared memory while others are multiplied. The sums go through
shared memory once more, so that the threads of a warp then have neighbouring channels of one row:
what is read, written and packed behind them lies side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.kernels.gemm import AND, COLUMNS, FORM, ROWS, XOR
from bnn_tvm.kernels.popcount_sums import Planes
from bnn_tvm.kernels.stages import ACCUMULATE, ONES, SUMS, WINDOWS
from bnn_tvm.target import CudaTarget, Target

from .choices import Choose
from .cuda_intrinsics import SHARED, multiply_tiles, per_word
from .cuda_rows import LANES, LOCAL, merge_lanes, write_in_rows
from .cuda_splice import cut_stage, paste_stage
from .cuda_split import GLOBAL, count_ones_of_rows, write_split
from .cuda_tiles import GemmSize, GemmTile, list_stages, rank_gemm_tiles, rank_group_tiles
from .cuda_wgmma import OVERLAPPED, lay_weights, lay_windows, multiply_by_group
from .outputs import find_outputs
from .steps import extent, find_block, spatial_extents, unroll_all

# Words that one thread copies with one instruction.
_MOST_AT_ONCE = 4
_INSIDE, _APART = "inside", "apart"
_SPLITS = (1, 2, 4, 8)
# Steps in shared memory: one that is copied, one that is begun and one that is still multiplied.
_FEWEST_OVERLAPPED = 3
# Who multiplies: a warp out of registers, or four out of shared memory.
_BY_WARP, _BY_GROUP = "mma", "wgmma"


@dataclass(frozen=True)
class _Division:
    """How the work is divided.

    Attributes
    ----------
    tile : GemmTile
        Of a block.
    parts, splits : int
        Parts of K that a block sums, and blocks that share K.
    stages : int
        Steps of K in shared memory.
    """

    tile: GemmTile
    parts: int
    splits: int
    stages: int

    @property
    def overlaps(self) -> bool:
        """Whether a step may be multiplied, by warpgroups, while the next is waited for."""
        return self.tile.in_groups and self.stages >= _FEWEST_OVERLAPPED

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.parts * self.tile.warps


def multiply(func: tirx.PrimFunc, target: Target, choose: Choose) -> Schedule | None:
    """Multiply on tensor cores, or with the same loops where they do not take the numbers."""
    if not isinstance(target, CudaTarget):
        return None
    sch = Schedule(func)
    outputs = find_outputs(sch)
    if find_block(sch, SUMS) is None or outputs is None or not outputs.together:
        return None
    ones = None
    if find_block(sch, ONES) is not None:
        func, ones = cut_stage(func, ONES)
        sch = Schedule(func)
        outputs = find_outputs(sch)
        assert outputs is not None
    written = write_in_rows(sch, outputs)
    division = _divide(sch, target, choose)
    block = _multiply(sch, division, target)
    if division.splits > 1:
        write_split(sch, written)
        return sch if ones is None else count_ones_of_rows(sch, ones)
    _write_behind(sch, written, block, division.warps)
    if ones is None:
        return sch
    return _count_ones(sch, ones, division.warps, choose)


def _divide(sch: Schedule, target: CudaTarget, choose: Choose) -> _Division:
    """Choose who multiplies, how many blocks share K, their tile, and how far they read ahead."""
    _, steps, *_ = spatial_extents(sch, sch.get_sblock(WINDOWS))
    tiles = _choose_instruction(_list_sizes(sch), target, choose)
    splits = choose("splits", [size.splits for size in tiles])
    size = next(size for size in tiles if size.splits == splits)
    tile = choose("tile", tiles[size])
    stages = choose("stages", list_stages(tile, steps, size, target))
    return _Division(tile, size.parts, splits, stages)


def _list_sizes(sch: Schedule) -> list[GemmSize]:
    """Describe the product for each number of blocks that may share K."""
    parts, rows, columns, *_ = spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    *_, vectors, vector = spatial_extents(sch, sch.get_sblock(WINDOWS))
    planes, form = _planes(sch), _form(sch)
    words = vectors * vector // per_word(form)
    return [
        GemmSize(rows, columns, words, parts // splits, splits, planes, form)
        for splits in _SPLITS
        if parts % splits == 0
    ]


def _choose_instruction(
    sizes: Sequence[GemmSize], target: CudaTarget, choose: Choose
) -> dict[GemmSize, list[GemmTile]]:
    """Choose who multiplies, where that is open; list the tiles that fit each size that has any."""
    fitting = {}
    for name, rank in ((_BY_WARP, rank_gemm_tiles), (_BY_GROUP, rank_group_tiles)):
        ranked = {size: rank(size, target) for size in sizes}
        if any(ranked.values()):
            fitting[name] = {size: tiles for size, tiles in ranked.items() if tiles}
    names = list(fitting)
    return fitting[choose("instruction", names) if len(names) > 1 else names[0]]


def _planes(sch: Schedule) -> Planes:
    """Read how many bit planes rows and columns have."""
    *_, p, q = sch.get(sch.get_sblock(SUMS)).iter_vars
    return Planes(int(p.dom.extent), int(q.dom.extent))


def _form(sch: Schedule) -> str:
    """Read what is summed."""
    return str(sch.get(sch.get_sblock(ACCUMULATE)).annotations[FORM])


def _multiply(sch: Schedule, division: _Division, target: CudaTarget) -> LoopRV:
    """Schedule what is summed; return the loop around what one block of threads computes."""
    tile, is_split = division.tile, division.splits > 1
    accumulate, windows = sch.get_sblock(ACCUMULATE), sch.get_sblock(WINDOWS)
    spread = sch.cache_write(accumulate, 0, LOCAL)
    sch.transform_layout(spread, ("write", 0), _as_matrices(_planes(sch)))
    sch.set_scope(spread, 0, GLOBAL if is_split else SHARED)
    sch.set_scope(windows, 0, SHARED)
    vector = spatial_extents(sch, windows)[-1]
    if tile.in_groups:
        lay_windows(sch, windows, accumulate)
    part, i, j, row, pair, half, odd = sch.get_loops(spread)
    split, part = sch.split(part, [division.splits, None])
    block_rows, down, tile_rows = sch.split(i, [None, tile.warps_down, tile.rows])
    block_columns, across, tile_columns = sch.split(j, [None, tile.warps_across, tile.columns])
    inner = [tile_rows, tile_columns, half, odd]
    sch.reorder(split, block_rows, block_columns, part, across, down, row, pair, *inner)
    if is_split:
        sch.bind(split, "blockIdx.z")
    # There may be more rows of blocks than the 65,535 that the second axis takes.
    sch.bind(block_rows, "blockIdx.x")
    sch.bind(block_columns, "blockIdx.y")
    # Warps of a group have neighbouring rows.
    sch.bind(sch.fuse(part, across, down), "threadIdx.y")
    thread = sch.fuse(row, pair)
    sch.bind(thread, "threadIdx.x")
    unroll_all(sch, inner)
    weights = sch.cache_read(accumulate, 1, SHARED)
    if tile.in_groups:
        lay_weights(sch, weights)
    sch.compute_at(accumulate, thread, preserve_unit_loops=True)
    step = _sum_in_steps(sch, accumulate)
    most = _MOST_AT_ONCE * per_word(_form(sch))
    for copied, at_once in ((windows, vector), (weights, most)):
        sch.compute_at(copied, step, preserve_unit_loops=True)
        _copy_together(sch, copied, division.warps, at_once)
    _copy_ahead(sch, step, division, target)
    _multiply_tiles(sch, accumulate, step, division, target)
    return block_columns


def _as_matrices(planes: Planes) -> Callable[..., list[Expr]]:
    """Say in which part, planes, row and column a thread's sums stand."""

    def place(
        part: tirx.Var, i: tirx.Var, j: tirx.Var, row: tirx.Var, pair: tirx.Var, half: tirx.Var,
        odd: tirx.Var,
    ) -> list[Expr]:  # fmt: skip
        in_row = i // planes.data * ROWS + half * 8 + row
        in_column = j // planes.weight * COLUMNS + pair * 2 + odd
        return [part, i % planes.data, j % planes.weight, in_row, in_column]

    return place


def _sum_in_steps(sch: Schedule, block: SBlockRV) -> LoopRV:
    """Sum one thread's share of a warp's tile; return the loop over steps of K around it."""
    part, i, j, row, pair, half, odd, step, group, lane = sch.get_loops(block)[-10:]
    sch.reorder(step, part, row, pair, i, j, half, odd, group, lane)
    return step


def _multiply_tiles(
    sch: Schedule, block: SBlockRV, step: LoopRV, division: _Division, target: CudaTarget
) -> None:
    """Let tensor cores multiply what a warp has of one step."""
    tile = division.tile
    i, *_, group, lane = sch.get_loops(block)[-6:]
    words = extent(sch, group), extent(sch, lane)
    form = _form(sch)
    init = sch.decompose_reduction(block, step)
    unroll_all(sch, sch.get_loops(init)[-7:])
    if tile.in_groups:
        sch.tensorize(i, multiply_by_group(tile.columns, *words, not division.overlaps))
    elif form not in (AND, XOR) or form == target.gpu.b1_mma:
        sch.tensorize(i, multiply_tiles(form, tile.rows, tile.columns, *words))


def _copy_together(sch: Schedule, block: SBlockRV, warps: int, vector: int) -> None:
    """Copy one part of a step after the other to shared memory, by all threads of a block."""
    words = sch.fuse(*sch.get_loops(block)[-5:])
    _, warp, lane, word = sch.split(words, [None, warps, LANES, vector])
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    sch.vectorize(word)


def _copy_ahead(sch: Schedule, step: LoopRV, division: _Division, target: CudaTarget) -> None:
    """Copy steps while earlier ones are multiplied, past the registers where the GPU can.

    Where one step is still multiplied while the next is waited for, its place is not free either.
    """
    ahead = division.stages - 1
    if ahead < 1:
        return
    if division.overlaps:
        sch.annotate(step, OVERLAPPED, division.tile.columns)
        ahead -= 1
    sch.annotate(step, "software_pipeline_stage", [0, 0, ahead])
    sch.annotate(step, "software_pipeline_order", [0, 1, 2])
    if target.gpu.async_copy:
        sch.annotate(step, "software_pipeline_async_stages", [0])


def _write_behind(sch: Schedule, written: Sequence[SBlockRV], block: LoopRV, warps: int) -> None:
    """Compute the outputs of a block's tile: a warp has 32 channels of one row at a time."""
    sums = sch.get_sblock(SUMS)
    for stage in (sums, *written):
        sch.reverse_compute_at(stage, block, preserve_unit_loops=True)
    row, word, lane = merge_lanes(sch, written)
    _, warp = sch.split(sch.fuse(row, word), [None, warps])
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    sch.compute_at(sums, lane, preserve_unit_loops=True)
    sch.set_scope(sums, 0, LOCAL)


def _count_ones(sch: Schedule, ones: tirx.Stmt, warps: int, choose: Choose) -> Schedule:
    """Count the ones of each window by a warp: in the block that needs them, or before."""
    (func,) = sch.mod.functions.values()
    sch = Schedule(paste_stage(func, ones))
    where = choose("ones", (_INSIDE, _APART) if _move_inside(sch.copy()) else (_APART,))
    block = sch.get_sblock(ONES)
    if where == _INSIDE:
        _move_inside(sch)
        # TVM overlays what is in dynamic shared memory, and loses sight of so small a buffer.
        sch.set_scope(block, 0, "shared")
    row, k = sch.get_loops(block)[-2:]
    outer, warp = sch.split(row, [None, warps])
    if where == _APART:
        sch.bind(outer, "blockIdx.x")
    sch.bind(warp, "threadIdx.y")
    sch.bind(sch.split(k, [None, LANES])[1], "threadIdx.x")
    return sch


def _move_inside(sch: Schedule) -> bool:
    """Count ones in the block that needs them, where TVM sees that it writes all sums it reads."""
    inside = sch.get_loops(sch.get_sblock(f"{ACCUMULATE}_local"))[1]
    try:
        sch.compute_at(sch.get_sblock(ONES), inside, preserve_unit_loops=True)
    except ScheduleError:
        return False
    return True
