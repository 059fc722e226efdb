"""Schedules for ARM processors with NEON, of 64 and 32 bits.

Instructions for 128 bit-multiply-accumulates of a whole 3x3 layer with affine and float output,
counted under emulation, and cycles of its inner loop in llvm-mca's model of the core (docs/arm.md
has more; at 7x7x512 padding is not read):

=============================  ========  =========  =========  =======  ======
bits                           56x56x64  28x28x128  14x14x256  7x7x512  cycles
=============================  ========  =========  =========  =======  ======
cortex-a72, in LLVM's order    3.58      3.38       3.36       2.79     1.54
cortex-a53, written out        3.67      3.32       3.30       3.01     3.43
armv7-neon, written out        4.67      4.35       4.31       4.54     (none)
=============================  ========  =========  =========  =======  ======

Cycles of the inner loop for a multiply-add of four floats, which takes at least one:

===========================  =====  ====  =====
floats                       stem   1x1   3x3
===========================  =====  ====  =====
cortex-a72, in LLVM's order  1.01   1.05  1.05
cortex-a53, written out      1.17   1.25  1.25
===========================  =====  ====  =====

pack_rows takes 0.39 instructions a float.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm import tirx
from tvm.ir import TensorLoad
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.sym import detect_linear_equation

from bnn_tvm.kernels.stages import ACCUMULATE, PACK, PARTIAL, VALUE, WEIGHT
from bnn_tvm.target import Target

from . import arm32_intrinsics, arm32_tile, arm_tile
from .arm_code import Code
from .arm_floats import tile_floats
from .arm_intrinsics import count_run, pack_intrinsic
from .arm_packing import FLOATS_AT_ONCE, pack_row
from .arm_step import Step, count_step
from .choices import Choose
from .outputs import Outputs, find_outputs
from .rule import Rule, is_layer, kernel_kind
from .skip_border import skip_border, take_conditions
from .steps import (
    axis_loops,
    extent,
    find_block,
    keep_in_registers,
    spatial_extents,
    unroll_all,
    vectorize_innermost,
)
from .streams import flatten, stream
from .tiles import Tile
from .vectors import (
    VectorUnit,
    fill_padded,
    pack_words,
    rule_for,
    share_among_threads,
    tile_layer,
    unroll_vectors,
    writes_in_turn,
)
from .winograd import tile_points

Write = Callable[[Step], Code | None]

# Sums of a register, and words of a register.
_SUMS, _WORDS = 8, 4
# Axes of the reduction that say which run of a position is counted, and the last of its positions.
_AXES_OF_A_RUN = 4
# Registers that hold neither sums nor weights: what is counted, and the tree of its sums.
_SPARE_REGISTERS = 10


def _vector_unit(target: Target) -> VectorUnit | None:
    pack = {"aarch64": pack_intrinsic, "arm": arm32_intrinsics.pack_intrinsic}
    packs = pack.get(target.architecture)
    return None if packs is None or not target.counts_along_k else VectorUnit(target, packs)


def _tile_bits(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Keep 16-bit sums of a tile of pixels times eights of outputs in registers.

    Numbers are written one tile after the other, and signs packed when the numbers of whole words
    are there. The weights of those outputs stay in L1 while all pixels pass.
    """
    if not is_layer(func):
        return None
    func, conditions = take_conditions(func)
    sch, target = Schedule(func), unit.target
    counted = find_block(sch, PARTIAL) or sch.get_sblock(ACCUMULATE)
    outputs = find_outputs(sch)
    if outputs is None or str(sch.get(counted).writes[0].source.dtype) != "uint16":
        return None
    *outer, x, blocks, lanes = spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    depth = next(int(param.shape[-1]) for param in func.params if param.name == WEIGHT)
    multiple = outputs.group // lanes if outputs.group > 1 else blocks
    if target.architecture == "arm":
        # What is written out holds two pixels of a row; rows of a dense layer may lie apart.
        tiles = [Tile(pixels, 1) for pixels in (2, 1) if x % pixels == 0 and (outer or pixels == 1)]
    else:
        tiles = _rank_tiles(x, multiple, lanes, depth, target)
    tile = choose("tile", tiles)
    here = _tile_outputs(sch, outputs, tile, lanes, unit, choose)
    _count_in_registers(sch, here, depth, target)
    fill_padded(sch, unit)
    return skip_border(sch, conditions)


def _rank_tiles(pixels: int, blocks: int, lanes: int, depth: int, target: Target) -> list[Tile]:
    """List the tiles that fit the registers; first the one that loads least for what it counts.

    Parameters
    ----------
    pixels : int
        Positions in a row; tiles divide it, because conditions have no instruction of ours.
    blocks : int
        Blocks of outputs, of one word if signs are packed; tiles divide them.
    lanes : int
        Outputs of a block.
    depth : int
        Words of a run. One of four fills a register by one load, shorter ones are repeated.
    target : Target
    """
    weights, sums = lanes * depth // _WORDS, lanes // _SUMS
    loads_of_pixel = 1 if depth == _WORDS else 2
    room = target.vector_registers - _SPARE_REGISTERS
    tiles = [
        Tile(width, vectors)
        for vectors in range(1, blocks + 1)
        for width in range(1, pixels + 1)
        if blocks % vectors == 0
        and pixels % width == 0
        and (width * sums + weights) * vectors <= room
    ]

    def loads(tile: Tile) -> float:
        # Weights are loaded in pairs of registers.
        each_step = tile.vectors * weights / 2 + tile.pixels * loads_of_pixel
        return each_step / (tile.accumulators * weights)

    return sorted(tiles or [Tile(1, 1)], key=lambda tile: (loads(tile), tile.vectors))


def _tile_outputs(
    sch: Schedule, outputs: Outputs, tile: Tile, lanes: int, unit: VectorUnit, choose: Choose
) -> LoopRV:
    """Tile the loops of the outputs; return the loop around one tile of numbers."""
    around = _tile_main(sch, outputs, tile, lanes, choose)
    numbers = outputs.main
    if not outputs.main_is_numbers:
        numbers = outputs.packed[0].value
        sch.compute_at(numbers, around, preserve_unit_loops=True)
        keep_in_registers(sch, numbers)
    here = _tile_numbers(sch, numbers, tile, lanes)
    for result in outputs.results:
        sch.reverse_compute_at(result, around, preserve_unit_loops=True)
        vectorize_innermost(sch, result, lanes)
    if not outputs.main_is_output:
        keep_in_registers(sch, numbers)
    for packed in outputs.packed:
        value, pack = packed.value, packed.pack
        if writes_in_turn(outputs):
            sch.reverse_compute_at(value, around, preserve_unit_loops=True)
            sch.reverse_compute_at(pack, around, preserve_unit_loops=True)
        if value != numbers:
            sch.compute_at(value, sch.get_loops(pack)[-2], preserve_unit_loops=True)
            vectorize_innermost(sch, value, 16)
            keep_in_registers(sch, value)
        pack_words(sch, pack, unit)
    return here


def _tile_main(sch: Schedule, outputs: Outputs, tile: Tile, lanes: int, choose: Choose) -> LoopRV:
    """Split the loops of the main output; return that around a row of pixels and its channels.

    The channels are those of a word, where signs are packed of the numbers, or of a tile.
    """
    loops = sch.get_loops(outputs.main)[: len(spatial_extents(sch, outputs.main))]
    *outer, x, channel = loops
    in_turn = writes_in_turn(outputs) and outputs.packed
    channels = outputs.group if in_turn else tile.vectors * lanes
    tiles, inner = sch.split(channel, [None, channels if outputs.main_is_numbers else 1])
    x_tiles, in_x = sch.split(x, [None, tile.pixels])
    batch, rows = outer[:1], outer[1:]
    sch.reorder(*batch, tiles, *rows, x_tiles, in_x, inner)
    if extent(sch, tiles) > 1 and choose("outside", ("channels", "rows")) == "rows":
        sch.reorder(*rows, tiles)
    share_among_threads(sch, outputs.main, len(batch) + 1 + len(rows))
    return x_tiles


def _tile_numbers(sch: Schedule, numbers: SBlockRV, tile: Tile, lanes: int) -> LoopRV:
    """Compute numbers tile by tile; return the loop around one."""
    *_, in_x, channel = sch.get_loops(numbers)
    here, vectors, lane = sch.split(channel, [None, tile.vectors, lanes])
    sch.reorder(here, in_x, vectors, lane)
    unroll_all(sch, [in_x, vectors])
    sch.vectorize(lane)
    return here


def _count_in_registers(sch: Schedule, here: LoopRV, depth: int, target: Target) -> None:
    """Count the whole reduction for one tile; in parts, if they are weighed or would overflow."""
    block, partial = sch.get_sblock(ACCUMULATE), find_block(sch, PARTIAL)
    if partial is None:
        _reduce_tile(sch, block, here, depth, target)
        return
    sch.compute_at(block, here, preserve_unit_loops=True)
    (*_, pixels, vectors, lane), reduction = axis_loops(sch, block)
    sch.reorder(*reduction, pixels, vectors, lane)
    unroll_vectors(sch, [pixels, vectors, lane])
    unroll_vectors(sch, sch.get_loops(sch.decompose_reduction(block, reduction[0]))[-3:])
    keep_in_registers(sch, block)
    _reduce_tile(sch, partial, reduction[-1], depth, target)


def _reduce_tile(sch: Schedule, block: SBlockRV, here: LoopRV, depth: int, target: Target) -> None:
    """Count run after run for each pixel and block of outputs of a tile."""
    tile_axes = len(spatial_extents(sch, sch.get_sblock(ACCUMULATE)))
    sch.compute_at(block, here, preserve_unit_loops=True)
    spatial, reduction = axis_loops(sch, block)
    tile = spatial[tile_axes - 3 : tile_axes]
    run = [reduction.pop()] if depth > 1 else []
    step = None
    if extent(sch, tile[1]) == 1:
        step = _find_step(sch, block, tile_axes - 3, depth, _writer(target))
    if step is None:
        _count_runs(sch, block, tile, reduction, run)
    else:
        _count_steps(sch, block, tile, reduction, run, *step)


def _writer(target: Target) -> Write:
    """Choose who writes steps; nobody does where LLVM's order of instructions is as good."""
    if target.architecture == "arm":
        return arm32_tile.write_step
    return arm_tile.write_step if target.in_order else lambda step: None


def _count_runs(
    sch: Schedule,
    block: SBlockRV,
    tile: list[LoopRV],
    reduction: list[LoopRV],
    run: list[LoopRV],
) -> None:
    """Count a run of one pixel after the other, in an order that LLVM chooses."""
    *pixels_and_blocks, lane = tile
    depth = extent(sch, run[0]) if run else 1
    sch.reorder(*reduction, *tile, *run)
    unroll_all(sch, pixels_and_blocks)
    _clear_tile(sch, block, reduction[0])
    sch.tensorize(lane, count_run(extent(sch, lane), depth))
    if depth < _WORDS and len(reduction) > _AXES_OF_A_RUN:
        # Neighbouring positions repeat the same runs.
        sch.unroll(reduction[-_AXES_OF_A_RUN])


def _count_steps(
    sch: Schedule,
    block: SBlockRV,
    tile: list[LoopRV],
    reduction: list[LoopRV],
    run: list[LoopRV],
    step: Step,
    code: Code,
) -> None:
    """Count runs of all pixels at the positions of a row of the window, in an order of ours."""
    pixels, blocks, lane = tile
    row = [reduction.pop(-_AXES_OF_A_RUN)] if step.positions > 1 else []
    inside = [*row, pixels, lane, *run]
    turning = [loop for loop in inside if extent(sch, loop) > 1]
    single = [loop for loop in inside if extent(sch, loop) == 1]
    sch.reorder(*reduction, blocks, *single, *turning)
    _clear_tile(sch, block, reduction[0])
    sch.tensorize(turning[0], count_step(step, code))


def _clear_tile(sch: Schedule, block: SBlockRV, outermost: LoopRV) -> None:
    """Set the sums of a tile to 0 before the loops of the reduction."""
    unroll_vectors(sch, sch.get_loops(sch.decompose_reduction(block, outermost))[-3:])
    keep_in_registers(sch, block)


def _find_step(
    sch: Schedule, block: SBlockRV, axis: int, depth: int, write: Write
) -> tuple[Step, Code] | None:
    """Write out a step of the reduction for a tile: a row of the window, or else one position.

    Parameters
    ----------
    axis : int
        That of the pixels, among those of the block; blocks and outputs of a block follow.
    """
    row = _describe_row(sch, block, axis, depth)
    steps = (row, replace(row, positions=1))
    written = ((step, write(step)) for step in steps)
    return next(((step, code) for step, code in written if code is not None), None)


def _describe_row(sch: Schedule, block: SBlockRV, axis: int, depth: int) -> Step:
    counted = sch.get(block)
    reads = {read.source.name == WEIGHT: read for read in counted.reads}
    pixel, weight = reads[False], reads[True]
    reduced = counted.iter_vars[len(spatial_extents(sch, block)) :]
    if depth > 1:
        reduced = reduced[:-1]
    moving = [counted.iter_vars[axis], *reduced[-_AXES_OF_A_RUN : 1 - _AXES_OF_A_RUN]]
    every, *rest = detect_linear_equation(pixel.region[-2].min, [axis.var for axis in moving])
    return Step(
        positions=int(moving[1].dom.extent) if moving[1:] else 1,
        pixels=extent(sch, sch.get_loops(block)[axis - len(counted.iter_vars)]),
        outputs=int(weight.source.shape[-2]),
        depth=depth,
        runs=int(weight.source.shape[-3]),
        words=int(pixel.source.shape[-1]),
        every=int(every),
        dilation=int(rest[0]) if moving[1:] else 1,
    )


def _tile_floats(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    fits = unit.target.in_order and unit.target.architecture == "aarch64"
    return tile_floats(func, unit, choose) if fits else None


def _pack_rows(func: tirx.PrimFunc, _: VectorUnit, __: Choose) -> Schedule | None:
    """Pack a tensor of floats row by row, of whole words and blocks."""
    if kernel_kind(func) != "bitpack":
        return None
    sch = Schedule(func)
    pack, value = sch.get_sblock(PACK), sch.get_sblock(VALUE)
    pixels, words = spatial_extents(sch, pack)[-2:]
    copied = sch.get(value).body.value
    is_copy = isinstance(copied, TensorLoad) and str(copied.ty.dtype) == "float32"
    whole = pixels * words * 32 % FLOATS_AT_ONCE == 0
    if not (is_copy and whole) or spatial_extents(sch, value)[-2:] != [pixels, words * 32]:
        return None
    sch.compute_inline(value)
    *rows, pixel, _, _ = sch.get_loops(pack)
    share_among_threads(sch, pack, len(rows))
    clear = sch.decompose_reduction(pack, pixel)
    sch.fuse(*sch.get_loops(clear)[-2:])
    vectorize_innermost(sch, clear, _WORDS)
    unroll_all(sch, sch.get_loops(clear)[-2:-1])
    sch.tensorize(pixel, pack_row(pixels, words))
    return sch


RULES = tuple(
    Rule(f"arm.{name}", "hand", rule_for(_vector_unit, schedule))
    for name, schedule in (
        ("bits", _tile_bits),
        ("winograd", tile_points),
        ("floats", _tile_floats),
        ("register_tile", tile_layer),
        ("pack_rows", _pack_rows),
        ("flatten", flatten),
        ("stream", stream),
    )
)
"""In order; the first that fits is taken."""
