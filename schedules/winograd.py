"""Schedule of convolutions in Winograd's form, on processors with vectors."""

from __future__ import annotations

import math

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.kernels.stages import (
    ACCUMULATE,
    COMBINED,
    DIVIDED,
    NARROWED,
    PADDED,
    POOLED,
    TRANSFORMED,
)
from bnn_tvm.kernels.winograd import RESULTS

from .choices import Choose
from .outputs import Outputs, count_channels, find_outputs
from .rule import is_layer
from .steps import (
    REGISTERS,
    axis_loops,
    extent,
    find_block,
    find_blocks,
    keep_in_registers,
    largest_divisor,
    loops_to,
    spatial_extents,
)
from .tiles import Tile, rank_small_tiles
from .vectors import (
    VectorUnit,
    compute_outputs,
    pool_at,
    tile_loops,
    tile_output,
    unroll_vectors,
)

# Of a number.
_BYTES = 4
# Of L1 for the sums that wait: the weights of a point and the data there need the rest.
_SHARE_OF_L1 = 0.8
# Pooled pixels of a row that are worth their code.
_MOST_UNROLLED_PIXELS = 28
# Numbers of threads that share bands evenly divide this.
_THREADS = 4


def tile_points(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Sum a tile of groups times channel vectors in registers, point after point.

    The sums of a row at all points wait in L1 for the results to be read off, if it holds them: the
    weights of a point are then read once a row (0.97 of the time of once a tile, on the Xeon of
    `x86`, while others use its caches). Rows are brought to the points one after the other,
    before. Where results are pooled, a band of rows waits in L2, and sums always are a row's.
    """
    if not is_layer(func):
        return None
    sch = Schedule(func)
    outputs, transformed = find_outputs(sch), find_block(sch, TRANSFORMED)
    if outputs is None or transformed is None:
        return None
    sums = sch.get_sblock(ACCUMULATE)
    *_, groups, blocks, lanes = spatial_extents(sch, sums)
    narrowed = find_block(sch, NARROWED)
    step = 1 if narrowed is not None else max(outputs.group // lanes, 1)
    tile = choose("tile", rank_small_tiles(groups, blocks, step, unit.target))
    vectors = max(tile.vectors, step)
    row_bytes = math.prod(spatial_extents(sch, sums)[-4:-2]) * vectors * lanes * _BYTES
    band = None
    if narrowed is None:
        pixels = tile.pixels * RESULTS
        tiles, inside, _ = tile_output(sch, outputs, pixels, vectors * lanes, unit, choose)
        row = loops_to(sch, outputs.main, tiles)[-2]
        sch.compute_inline(sch.get_sblock(COMBINED))
        compute_outputs(sch, outputs, inside, unit)
        here = row if row_bytes <= unit.target.l1_kib * 1024 * _SHARE_OF_L1 else tiles
    else:
        band = _pool_in_bands(sch, outputs, unit, choose)
        sch.compute_inline(sch.get_sblock(COMBINED))
        here = _pool_each_row(sch, narrowed, band, vectors * lanes, unit)
    _sum_point_by_point(sch, sums, here, tile)
    _transform_rows(sch, transformed, band)
    return sch


def _pool_in_bands(sch: Schedule, outputs: Outputs, unit: VectorUnit, choose: Choose) -> LoopRV:
    """Pool some rows after the other; return the loop around what these need.

    A band computes anew what the one before it has read too: few rows, if it is high.
    """
    channels = count_channels(sch, outputs)
    here, inside, _ = tile_loops(sch, outputs, 1, channels, unit, choose)
    row = sch.get_loops(outputs.main)[2]
    band, _ = sch.split(row, [None, choose("band", _rank_bands(sch, row, unit))])
    around = sch.fuse(*loops_to(sch, outputs.main, band))
    sch.parallel(around)
    compute_outputs(sch, outputs, inside, unit)
    pool_at(sch, sch.get_sblock(POOLED), here, unit)
    return around


def _rank_bands(sch: Schedule, pooled: LoopRV, unit: VectorUnit) -> list[int]:
    """List how many pooled rows a band may have; first the most whose data takes half of L2.

    Threads share the bands: where possible, there is a multiple of four. Fewer than four are not
    offered: a search on one thread takes a single band for 4 % of the stem, and leaves two threads
    ResNetE18 in 1/1.48 of its time instead of 1/1.9.
    """
    count = extent(sch, pooled)
    _, height, *row = spatial_extents(sch, sch.get_sblock(NARROWED))
    room = unit.target.l2_kib * 1024 // 2
    of_one = math.prod(row) * _BYTES * height / count
    heights = [size for size in range(1, count + 1) if count % size == 0]
    shared = [size for size in heights if count // size >= _THREADS]

    def rank(size: int) -> tuple[bool, bool, float]:
        return size * of_one > room, count // size % _THREADS > 0, -size

    return sorted(shared or heights, key=rank)


def _pool_each_row(
    sch: Schedule, narrowed: SBlockRV, band: LoopRV, channels: int, unit: VectorUnit
) -> LoopRV:
    """Pool each row of a band along itself as it is read off; return the loop around a row.

    Neighbouring windows share what they read off where their loop is written out: 0.96 of the time
    of a stem that writes its rows to L1 first.
    """
    sch.compute_at(narrowed, band, preserve_unit_loops=True)
    *_, row, pixel, channel = sch.get_loops(narrowed)
    tiles, vectors, lane = sch.split(channel, [None, channels // unit.lanes, unit.lanes])
    pixels = largest_divisor(extent(sch, pixel), _MOST_UNROLLED_PIXELS)
    in_turn, pixel = sch.split(pixel, [None, pixels])
    sch.reorder(tiles, row, in_turn, pixel, vectors, lane)
    unroll_vectors(sch, [pixel, vectors, lane])
    return row


def _sum_point_by_point(sch: Schedule, sums: SBlockRV, here: LoopRV, tile: Tile) -> None:
    """Sum the whole reduction in registers at one point, keep the sums, and go on to the next."""
    kept = sch.cache_write(sums, 0, REGISTERS)
    sch.compute_at(kept, here, preserve_unit_loops=True)
    keep_in_registers(sch, kept)
    point, groups, vectors, lane = sch.get_loops(kept)[-4:]
    tiles, groups = sch.split(groups, [None, tile.pixels])
    in_turn, together = sch.split(vectors, [None, tile.vectors])
    sch.reorder(in_turn, point, tiles, groups, together, lane)
    unroll_vectors(sch, [groups, together, lane])
    sch.compute_at(sums, tiles, preserve_unit_loops=True)
    spatial, reduction = axis_loops(sch, sums)
    sch.reorder(*reduction, *spatial[-3:])
    unroll_vectors(sch, spatial[-3:])
    start = sch.decompose_reduction(sums, reduction[0])
    unroll_vectors(sch, sch.get_loops(start)[-3:])


def _transform_rows(sch: Schedule, transformed: SBlockRV, band: LoopRV | None) -> None:
    """Bring one row after the other to the points, vectors of groups at once: of a band, or all.

    What is inside of a padded row is a loop without conditions.
    """
    if band is not None:
        sch.compute_at(transformed, band, preserve_unit_loops=True)
    count = len(sch.get(transformed).iter_vars)
    batch, point, *rows, channel, vector, lane = sch.get_loops(transformed)[-count:]
    sch.reorder(batch, *rows, channel, vector, point, lane)
    sch.unroll(point)
    sch.vectorize(lane)
    row = sch.fuse(batch, *rows)
    if band is None:
        sch.parallel(row)
    for divided in reversed(find_blocks(sch, DIVIDED)):
        _divide_row(sch, divided, row)
    padded = sch.get_sblock(PADDED)
    sch.compute_at(padded, row, preserve_unit_loops=True)
    sch.annotate(sch.get_loops(padded)[-1], "pragma_loop_partition_hint", 1)


def _divide_row(sch: Schedule, divided: SBlockRV, row: LoopRV) -> None:
    """Take a row apart in one pass over its numbers."""
    (source,) = sch.get_producers(divided)
    before = spatial_extents(sch, source)[-3]
    sch.compute_at(divided, row, preserve_unit_loops=True)
    part, channel, place = sch.get_loops(divided)[-3:]
    new, old = sch.split(part, [None, before])
    # LLVM writes short loops out before it sees vectors in them, and then gathers numbers.
    numbers = sch.fuse(channel, place)
    sch.reorder(old, numbers, new)
    sch.unroll(new)
