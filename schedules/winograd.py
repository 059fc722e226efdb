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
    ROWS,
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
    keep_in_registers,
    loops_to,
    spatial_extents,
)
from .tiles import Tile, rank_float_tiles
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
# Numbers of threads that share bands evenly divide this.
_THREADS = 4


def tile_points(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Sum a tile of groups times channel vectors in registers, point after point.

    The sums of a row at all points wait in L1 for the results to be read off, if it holds them: the
    weights of a point are then read once a row (0.97 of the time of once a tile, on the Xeon of
    `x86`, while others use its caches). Rows are brought to the points one after the other,
    before. Where results are pooled, a band of rows waits in L2.
    """
    if not is_layer(func):
        return None
    sch = Schedule(func)
    outputs, transformed = find_outputs(sch), find_block(sch, TRANSFORMED)
    if outputs is None or transformed is None:
        return None
    sums = sch.get_sblock(ACCUMULATE)
    *_, groups, blocks, lanes = spatial_extents(sch, sums)
    rows = find_block(sch, ROWS)
    step = 1 if rows is not None else max(outputs.group // lanes, 1)
    tile = choose("tile", rank_float_tiles(groups, blocks, step, unit.target))
    vectors = max(tile.vectors, step)
    band = None
    if rows is None:
        pixels = tile.pixels * RESULTS
        tiles, inside, _ = tile_output(sch, outputs, pixels, vectors * lanes, unit, choose)
        row = loops_to(sch, outputs.main, tiles)[-2]
        sch.compute_inline(sch.get_sblock(COMBINED))
        compute_outputs(sch, outputs, inside, unit)
    else:
        band = _pool_in_bands(sch, outputs, unit, choose)
        sch.compute_inline(sch.get_sblock(COMBINED))
        tiles = _pool_each_row(sch, rows, band, tile, unit)
        row = loops_to(sch, rows, tiles)[-2]
    row_bytes = math.prod(spatial_extents(sch, sums)[-4:-2]) * vectors * lanes * _BYTES
    here = row if row_bytes <= unit.target.l1_kib * 1024 * _SHARE_OF_L1 else tiles
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

    Threads share the bands: where possible, there is a multiple of four.
    """
    count = extent(sch, pooled)
    _, height, *row = spatial_extents(sch, sch.get_sblock(NARROWED))
    room = unit.target.l2_kib * 1024 // 2
    of_one = math.prod(row) * _BYTES * height / count
    heights = [size for size in range(1, count + 1) if count % size == 0]

    def rank(size: int) -> tuple[bool, bool, float]:
        return size * of_one > room, count // size % _THREADS > 0, -size

    return sorted(heights, key=rank)


def _pool_each_row(
    sch: Schedule, rows: SBlockRV, band: LoopRV, tile: Tile, unit: VectorUnit
) -> LoopRV:
    """Pool each row of a band along itself while L1 holds it; return the loop around a tile."""
    narrowed = sch.get_sblock(NARROWED)
    sch.compute_at(narrowed, band, preserve_unit_loops=True)
    *_, row, pixel, channel = sch.get_loops(narrowed)
    channels, vectors, lane = sch.split(channel, [None, tile.vectors, unit.lanes])
    sch.reorder(channels, row, pixel, vectors, lane)
    sch.unroll(vectors)
    sch.vectorize(lane)
    sch.compute_at(rows, row, preserve_unit_loops=True)
    *_, pixel, channel = sch.get_loops(rows)
    pixels, in_tile = sch.split(pixel, [None, tile.pixels * RESULTS])
    vectors, lane = sch.split(channel, [None, unit.lanes])
    unroll_vectors(sch, [in_tile, vectors, lane])
    return pixels


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
    *rows, point, channel, vector, lane, tap = sch.get_loops(transformed)[-count:]
    sch.reorder(channel, vector, point, tap, lane)
    sch.unroll(tap)
    sch.vectorize(lane)
    row = sch.fuse(*rows)
    if band is None:
        sch.parallel(row)
    divided = sch.get_sblock(DIVIDED)
    sch.compute_at(divided, row, preserve_unit_loops=True)
    place, plane, neighbour = sch.get_loops(divided)[-3:]
    sch.reorder(plane, neighbour, place)
    # LLVM writes short loops out before it sees vectors in them, and then gathers numbers.
    sch.fuse(plane, neighbour)
    sch.unroll(place)
    padded = sch.get_sblock(PADDED)
    sch.compute_at(padded, row, preserve_unit_loops=True)
    sch.annotate(sch.get_loops(padded)[-1], "pragma_loop_partition_hint", 1)
    sch.decompose_reduction(transformed, tap)
