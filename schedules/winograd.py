"""Schedule of convolutions in Winograd's form, on processors with vectors."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, COMBINED, PADDED, TRANSFORMED
from bnn_tvm.kernels.winograd import RESULTS

from .choices import Choose
from .outputs import find_outputs
from .rule import is_layer
from .steps import (
    REGISTERS,
    extent,
    find_block,
    keep_in_registers,
    largest_divisor,
    spatial_extents,
)
from .tiles import Tile, rank_float_tiles
from .vectors import VectorUnit, compute_outputs, tile_output, unroll_vectors


def tile_points(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Sum a tile of groups times channel vectors in registers, point after point.

    The sums of all points of a tile wait in L1 for the results to be read off. Rows are brought to
    the points one after the other, before.
    """
    if not is_layer(func):
        return None
    sch = Schedule(func)
    outputs, transformed = find_outputs(sch), find_block(sch, TRANSFORMED)
    if outputs is None or transformed is None:
        return None
    sums = sch.get_sblock(ACCUMULATE)
    *_, groups, blocks, lanes = spatial_extents(sch, sums)
    step = max(outputs.group // lanes, 1)
    tile = choose("tile", rank_float_tiles(groups, blocks, step, unit.target))
    vectors = max(tile.vectors, step)
    pixels = tile.pixels * RESULTS
    here, inside = tile_output(sch, outputs, pixels, vectors * lanes, unit, choose)
    sch.compute_inline(sch.get_sblock(COMBINED))
    compute_outputs(sch, outputs, inside, unit)
    _sum_point_by_point(sch, sums, here, tile)
    _transform_rows(sch, transformed, unit)
    return sch


def _sum_point_by_point(sch: Schedule, sums: SBlockRV, here: LoopRV, tile: Tile) -> None:
    kept = sch.cache_write(sums, 0, REGISTERS)
    sch.compute_at(kept, here, preserve_unit_loops=True)
    keep_in_registers(sch, kept)
    point, groups, vectors, lane = sch.get_loops(kept)[-4:]
    in_turn, together = sch.split(vectors, [None, tile.vectors])
    sch.reorder(in_turn, point, groups, together, lane)
    unroll_vectors(sch, [groups, together, lane])
    sch.compute_at(sums, point, preserve_unit_loops=True)
    axes = sch.get_loops(sums)[-len(sch.get(sums).iter_vars) :]
    spatial = len(spatial_extents(sch, sums))
    tile_loops, reduction = axes[spatial - 3 : spatial], axes[spatial:]
    sch.reorder(*reduction, *tile_loops)
    unroll_vectors(sch, tile_loops)
    start = sch.decompose_reduction(sums, reduction[0])
    unroll_vectors(sch, sch.get_loops(start)[-3:])


def _transform_rows(sch: Schedule, transformed: SBlockRV, unit: VectorUnit) -> None:
    """Bring one row after the other to the points, vectors of groups at once."""
    *rows, point, channel, group, tap = sch.get_loops(transformed)
    lanes = largest_divisor(extent(sch, group), unit.lanes)
    vector, lane = sch.split(group, [None, lanes])
    sch.reorder(channel, vector, point, tap, lane)
    sch.unroll(tap)
    sch.vectorize(lane)
    row = sch.fuse(*rows)
    padded = sch.get_sblock(PADDED)
    sch.compute_at(padded, row, preserve_unit_loops=True)
    place, neighbour = sch.get_loops(padded)[-2:]
    sch.reorder(neighbour, place)
    sch.unroll(place)
    sch.parallel(row)
    sch.decompose_reduction(transformed, tap)
