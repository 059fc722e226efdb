"""Schedules for processors with vectors: register tiles for layers, and steps of other rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, PADDED, PARTIAL, SKIPPED
from bnn_tvm.target import Target

from .choices import Choose
from .outputs import Averaged, Outputs, Packed, find_outputs
from .prefetch import prefetch_weights
from .rule import Apply, is_layer, kernel_kind
from .skip_border import skip_border, take_conditions
from .steps import (
    axis_loops,
    count_iterations,
    extent,
    find_block,
    has_constant_border,
    is_conditional,
    keep_in_registers,
    largest_divisor,
    loops_to,
    spatial_extents,
    unroll_all,
    vectorize_innermost,
)
from .tiles import ENOUGH_SUMS, Tile, rank_small_tiles, rank_tiles

# Steps of a pooling window, and vectors of one pixel, that are worth their code.
_MOST_UNROLLED_STEPS = 16
# Words of one pixel that are worth their code; a register tile never has more.
_MOST_UNROLLED_WORDS = 16
# The last axes of a reduction: columns of a filter, planes of data and of weights, words.
_AXES_OF_A_ROW = 4
# Words of a pixel that LLVM leaves a loop.
_ENOUGH_WORDS = 8
# Elements that a kernel reads or sums before a second thread is worth waking: 3 us, but what one
# thread alone writes, the other has to fetch. LeNet takes 0.81 of its time with 2^17, two threads.
_LEAST_PARALLEL_WORK = 1 << 15
# Elements of a padded copy that are: its border and its inside wake the other thread each.
_LEAST_PARALLEL_COPY = 1 << 17


@dataclass(frozen=True)
class VectorUnit:
    """What a processor with vectors is for these schedules.

    Attributes
    ----------
    target : Target
    pack : callable
        Names the intrinsic that packs numbers of a dtype into a word of so many bits.
    """

    target: Target
    pack: Callable[[str, int], str]

    @property
    def lanes(self) -> int:
        """Count the 32-bit numbers of one vector."""
        return self.target.vector_bits // 32


Arrange = Callable[[Schedule, list[LoopRV]], list[LoopRV]]
"""Orders and joins loops of a reduction; returns those that there are then, outermost first."""

ApplyToVectors = Callable[[tirx.PrimFunc, VectorUnit, Choose], Schedule | None]


def rule_for(find_unit: Callable[[Target], VectorUnit | None], schedule: ApplyToVectors) -> Apply:
    """Make what a rule applies of a schedule for vectors: nothing on processors that lack them."""

    def apply(func: tirx.PrimFunc, target: Target, choose: Choose) -> Schedule | None:
        unit = find_unit(target)
        return None if unit is None else schedule(func, unit, choose)

    return apply


class TileLoops(NamedTuple):
    """Loops around the tiles of an output.

    Attributes
    ----------
    tiles, groups : LoopRV
        Around one tile, and over its groups of channels.
    passes : int
        How often all channel tiles are passed through.
    """

    tiles: LoopRV
    groups: LoopRV
    passes: int


def tile_layer(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Keep a tile of pixels times channel vectors in registers over the whole reduction.

    The weights of one channel tile stay in L1 while all pixels pass.
    """
    if not is_layer(func):
        return None
    func, conditions = take_conditions(func)
    sch = Schedule(func)
    outputs = find_outputs(sch)
    if outputs is None:
        return None
    *_, blocks, lanes = spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    step = max(outputs.group // lanes, 1)
    tile = choose("tile", _rank_tiles(sch, step, unit))
    is_dense = kernel_kind(func) == "dense"
    sums = _split_sum(sch, tile) if is_dense else None
    vectors = max(tile.vectors, step)
    together = None if outputs.averaged is None else outputs.averaged.height
    here, inside, passes = tile_output(
        sch, outputs, tile.pixels, vectors * lanes, unit, choose, together
    )
    around = loops_to(sch, outputs.main, here)
    compute_outputs(sch, outputs, inside, unit)
    if outputs.averaged is not None:
        _average_rows(sch, outputs.averaged, around, unit)
    _accumulate_in_registers(sch, here, tile.vectors, _find_arrangement(func, unit))
    if sums is not None:
        _keep_sums_apart(sch, sums, here)
    fill_padded(sch, unit)
    sch = prefetch_weights(sch, around, blocks // vectors, passes)
    return skip_border(sch, conditions)


def _average_rows(
    sch: Schedule, averaged: Averaged, around: list[LoopRV], unit: VectorUnit
) -> None:
    """Average as many rows as a window has when they are computed, one channel tile at a time."""
    *_, rows, _, _ = around
    sch.reverse_compute_at(averaged.sums, rows, preserve_unit_loops=True)
    sch.reverse_compute_at(averaged.result, rows, preserve_unit_loops=True)
    vectorize_innermost(sch, averaged.result, unit.lanes)
    *_, pixel, _, _ = sch.get_loops(averaged.result)
    pool_at(sch, averaged.sums, pixel, unit)


def _rank_tiles(sch: Schedule, step: int, unit: VectorUnit) -> list[Tile]:
    """List tiles of a layer, the best first, by what its sums take of the processor."""
    block = sch.get_sblock(ACCUMULATE)
    *_, x, blocks, _ = spatial_extents(sch, block)
    is_float = str(sch.get(block).writes[0].source.dtype) == "float32"
    if is_float or (unit.target.counts_words and x > 1):
        return rank_small_tiles(x, blocks, step, unit.target)
    return rank_tiles(x, blocks, step, _registers_per_sum(sch), unit.target)


def _registers_per_sum(sch: Schedule) -> int:
    """Count what one sum takes, beside that of a partial sum if there is one."""
    blocks = (sch.get_sblock(ACCUMULATE), find_block(sch, PARTIAL))
    return max(len(sch.get(block).writes) for block in blocks if block is not None)


def fill_padded(sch: Schedule, unit: VectorUnit) -> None:
    """Write a padded input, if there is one, as a border everywhere and then what is inside."""
    inside = find_block(sch, PADDED)
    if inside is None:
        return
    parts = [inside]
    if has_constant_border(sch, inside):
        parts.append(sch.decompose_padding(inside, sch.get_loops(inside)[0]))
    for part in parts:
        *rows, last, innermost = sch.get_loops(part)
        if len(parts) > 1 and extent(sch, innermost) < unit.lanes:
            sch.fuse(last, innermost)
        else:
            rows.append(last)
        vectorize_innermost(sch, part, unit.lanes)
        if math.prod(spatial_extents(sch, part)) >= _LEAST_PARALLEL_COPY:
            sch.parallel(sch.fuse(*rows))


def tile_output(
    sch: Schedule,
    outputs: Outputs,
    pixels: int,
    channels: int,
    unit: VectorUnit,
    choose: Choose,
    together: int | None = None,
) -> TileLoops:
    """Tile the loops of an output as `tile_loops`, and share rows and channel tiles among threads.

    They are shared if that is worth waking them. Rows that are computed together are not.
    """
    loops = tile_loops(sch, outputs, pixels, channels, unit, choose, together)
    inside = 1 if together is None else 2
    share_among_threads(sch, outputs.main, len(loops_to(sch, outputs.main, loops.tiles)) - inside)
    return loops


def tile_loops(
    sch: Schedule,
    outputs: Outputs,
    pixels: int,
    channels: int,
    unit: VectorUnit,
    choose: Choose,
    together: int | None = None,
) -> TileLoops:
    """Tile the loops of an output.

    A group is as many channels as one word holds, where signs are packed, or one vector. Of rows
    that are computed together, tiles at the same place come one after the other.
    """
    loops = sch.get_loops(outputs.main)[: len(spatial_extents(sch, outputs.main))]
    *outer, x, channel = loops
    channel_tiles, groups = sch.split(channel, [None, channels // outputs.channels_per_element])
    inner = [groups]
    if writes_in_turn(outputs):
        vector = largest_divisor(extent(sch, groups), unit.lanes)
        groups, in_group = sch.split(groups, [None, outputs.group if outputs.packed else vector])
        inner = [groups, in_group]
    x_tiles, in_x = sch.split(x, [None, pixels])
    batch, rows, tiles = outer[:1], outer[1:], [x_tiles]
    if together is not None:
        rows[-1], row = sch.split(rows[-1], [None, together])
        tiles.append(row)
    sch.reorder(*batch, channel_tiles, *rows, *tiles, in_x, *inner)
    passes = 1
    if extent(sch, channel_tiles) > 1:
        if choose("outside", ("channels", "rows")) == "rows":
            sch.reorder(*rows, channel_tiles)
        elif rows:
            passes = _halve_rows(sch, channel_tiles, rows[0])
    sch.unroll(in_x)
    return TileLoops(tiles[-1], groups, passes)


def _halve_rows(sch: Schedule, channel_tiles: LoopRV, rows: LoopRV) -> int:
    """Pass all channel tiles over one half of the rows, then over the other.

    Two threads then work on rows of their own in every layer, and find what they read in the cache
    of their core. Of an odd number of rows one thread would have more to do than the other:
    then there is one pass.

    Returns
    -------
    int
        Passes over the channel tiles.
    """
    if extent(sch, rows) % 2:
        return 1
    half, row = sch.split(rows, [2, None])
    sch.reorder(half, channel_tiles, row)
    return 2


def share_among_threads(sch: Schedule, output: SBlockRV, loops: int) -> None:
    """Share the outermost loops of an output, so many of them, if threads are worth waking."""
    if count_iterations(sch, output) >= _LEAST_PARALLEL_WORK:
        sch.parallel(sch.fuse(*sch.get_loops(output)[:loops]))


def writes_in_turn(outputs: Outputs) -> bool:
    """Tell whether all outputs of one group of channels are written before the next group."""
    several = bool(outputs.packed or outputs.results)
    return several and outputs.main_is_numbers and outputs.together


def compute_outputs(sch: Schedule, outputs: Outputs, here: LoopRV, unit: VectorUnit) -> None:
    """Write numbers and pack signs, one group of channels after the other."""
    for result in outputs.results:
        sch.reverse_compute_at(result, here, preserve_unit_loops=True)
        vectorize_innermost(sch, result, unit.lanes)
    for packed in outputs.packed:
        _compute_words(sch, outputs, packed, here, unit)
    if outputs.main_is_numbers:
        vectorize_innermost(sch, outputs.main, unit.lanes)
    if not outputs.main_is_output:
        keep_in_registers(sch, outputs.main)


def _compute_words(
    sch: Schedule, outputs: Outputs, packed: Packed, here: LoopRV, unit: VectorUnit
) -> None:
    value, pack = packed.value, packed.pack
    if writes_in_turn(outputs):
        sch.reverse_compute_at(value, here, preserve_unit_loops=True)
        sch.reverse_compute_at(pack, here, preserve_unit_loops=True)
    else:
        here = sch.get_loops(pack)[-2] if outputs.main_is_numbers else here
        sch.compute_at(value, here, preserve_unit_loops=True)
    vectorize_innermost(sch, value, unit.lanes)
    keep_in_registers(sch, value)
    if extent(sch, here) <= _MOST_UNROLLED_WORDS:
        sch.unroll(here)
    pack_words(sch, pack, unit)


def pack_words(sch: Schedule, pack: SBlockRV, unit: VectorUnit) -> None:
    """Pack with the instruction that moves a comparison's mask.

    TVM cannot tensorize a block that runs under a condition, as in rows that the tile does not
    divide; there the bits stay a loop.
    """
    if is_conditional(sch, pack):
        return
    bit = sch.get_loops(pack)[-1]
    dtype = str(sch.get(pack).reads[-1].source.dtype)
    intrinsic = unit.pack(dtype, extent(sch, bit))
    sch.decompose_reduction(pack, bit)
    sch.tensorize(bit, intrinsic)


def _accumulate_in_registers(
    sch: Schedule, here: LoopRV, vectors: int, arrange: Arrange | None
) -> None:
    """Sum the whole reduction for one tile; byte sums, if any, one chunk at a time."""
    block, partial = sch.get_sblock(ACCUMULATE), find_block(sch, PARTIAL)
    tile_axes = len(spatial_extents(sch, block))
    arrange = arrange if partial is None else None
    innermost = _reduce_tile(sch, block, here, tile_axes, vectors, arrange)
    if partial is not None:
        _reduce_tile(sch, partial, innermost, tile_axes, vectors, arrange)


def _reduce_tile(
    sch: Schedule,
    block: SBlockRV,
    here: LoopRV,
    tile_axes: int,
    vectors: int,
    arrange: Arrange | None,
) -> LoopRV:
    """Reduce in the outer loops, over an unrolled tile of vectors in the inner ones.

    Parameters
    ----------
    tile_axes : int
        The last three of so many first axes are pixels, vectors and lanes.
    vectors : int
        Those that are summed together; others come before or after them.
    arrange : callable, optional
        Orders and joins the loops of the reduction.

    Returns
    -------
    LoopRV
        The innermost loop of the reduction.
    """
    sch.compute_at(block, here, preserve_unit_loops=True)
    spatial, reduction = axis_loops(sch, block)
    pixels, all_vectors, lane = spatial[tile_axes - 3 : tile_axes]
    in_turn, together = sch.split(all_vectors, [None, vectors])
    tile = [pixels, together, lane]
    sch.reorder(in_turn, *reduction, *tile)
    if arrange is not None:
        reduction = arrange(sch, reduction)
    unroll_vectors(sch, tile)
    init = sch.decompose_reduction(block, reduction[0])
    unroll_vectors(sch, sch.get_loops(init)[-3:])
    keep_in_registers(sch, block)
    return reduction[-1]


def _find_arrangement(func: tirx.PrimFunc, unit: VectorUnit) -> Arrange | None:
    """Find how to order and join the loops of a reduction over words that are counted one by one.

    LLVM writes out a loop of four words, and then sums counts of several words before it adds
    them: 28x28x128 took 108 us of a Zen 4 so, and 104.6 in one loop of twelve.
    """
    if not unit.target.counts_words or kernel_kind(func) == "dense":
        return None
    skips_border = any(param.name == SKIPPED for param in func.params)
    return _put_columns_first if skips_border else _join_columns


def _join_columns(sch: Schedule, reduction: list[LoopRV]) -> list[LoopRV]:
    """Join short loops over words with those over one row of the filter, as they lie in memory."""
    if len(reduction) < _AXES_OF_A_ROW or extent(sch, reduction[-1]) >= _ENOUGH_WORDS:
        return reduction
    return [*reduction[:-_AXES_OF_A_ROW], sch.fuse(*reduction[-_AXES_OF_A_ROW:])]


def _put_columns_first(sch: Schedule, reduction: list[LoopRV]) -> list[LoopRV]:
    """Add one column of the filter after the other, for `skip_border` to write them out.

    Short loops over words are joined with those over a column's rows.
    """
    *rows, column, p, q, word = reduction
    sch.reorder(column, *rows, p, q, word)
    if rows and extent(sch, word) < _ENOUGH_WORDS:
        return [column, *rows[:-1], sch.fuse(rows[-1], p, q, word)]
    return [column, *rows, p, q, word]


def _split_sum(sch: Schedule, tile: Tile) -> SBlockRV | None:
    """Divide a long sum into several where a tile has too few to hide the latency of one.

    More sums also round less than one after the other.
    """
    *_, k = sch.get_loops(sch.get_sblock(ACCUMULATE))
    parts = largest_divisor(extent(sch, k), max(ENOUGH_SUMS // tile.accumulators, 1))
    return sch.rfactor(sch.split(k, [None, parts])[1], 0) if parts > 1 else None


def _keep_sums_apart(sch: Schedule, sums: SBlockRV, here: LoopRV) -> None:
    sch.compute_at(sums, here, preserve_unit_loops=True)
    part, rows, vectors, lane, k = sch.get_loops(sums)[-5:]
    sch.reorder(k, part, rows, vectors, lane)
    unroll_vectors(sch, [rows, vectors, lane])
    sch.unroll(part)
    init = sch.decompose_reduction(sums, k)
    part, *tile = sch.get_loops(init)[-4:]
    sch.unroll(part)
    unroll_vectors(sch, tile)
    keep_in_registers(sch, sums)


def unroll_vectors(sch: Schedule, tile: list[LoopRV]) -> None:
    """Write out the pixels and vectors of a tile; the last loop is that of lanes."""
    pixels, vectors, lane = tile
    unroll_all(sch, [pixels, vectors])
    sch.vectorize(lane)


def pool_at(sch: Schedule, pool: SBlockRV, here: LoopRV, unit: VectorUnit) -> None:
    """Compute a pooling where its result is used, one vector after the other."""
    sch.compute_at(pool, here, preserve_unit_loops=True)
    (*_, channel), steps = axis_loops(sch, pool)
    width = largest_divisor(extent(sch, channel), unit.lanes)
    vectors, lane = sch.split(channel, [None, width])
    sch.reorder(vectors, *steps, lane)
    sch.vectorize(lane)
    if extent(sch, vectors) <= _MOST_UNROLLED_STEPS:
        unroll_all(sch, [vectors])
    if math.prod(extent(sch, step) for step in steps) <= _MOST_UNROLLED_STEPS:
        unroll_all(sch, steps)
    init = sch.decompose_reduction(pool, steps[0])
    sch.vectorize(sch.get_loops(init)[-1])
    keep_in_registers(sch, pool)
