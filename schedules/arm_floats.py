"""Float layers on 64-bit ARM processors that execute in order: their products are written out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.ir import TensorRegion
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV
from tvm.sym import detect_linear_equation

from bnn_tvm.kernels.stages import ACCUMULATE, WEIGHT

from .arm_multiply import MOST_STEPS, Plan, plan_run, write_run
from .arm_run import Loop, Run, multiply_run
from .choices import Choose
from .outputs import find_outputs
from .prefetch import prefetch_weights
from .steps import axis_loops, extent, keep_in_registers, loops_to, spatial_extents, unroll_all
from .tiles import Tile
from .vectors import VectorUnit, compute_outputs, fill_padded, tile_output


@dataclass(frozen=True)
class _Option:
    """A tile, and how its products are written out."""

    tile: Tile
    run: Run
    plan: Plan


def tile_floats(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    """Keep sums of a tile in registers while code of ours multiplies; None if it cannot."""
    if not any(param.name == WEIGHT and str(param.dtype) == "float32" for param in func.params):
        return None
    sch = Schedule(func)
    outputs = find_outputs(sch)
    if outputs is None:
        return None
    *_, blocks, lanes = spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    step = max(outputs.group // lanes, 1)
    options = {option.tile: option for option in _rank_tiles(sch, step)}
    if not options:
        return None
    tile = choose("tile", list(options))
    vectors = max(tile.vectors, step)
    here, inside, passes = tile_output(sch, outputs, tile.pixels, vectors * lanes, unit, choose)
    around = loops_to(sch, outputs.main, here)
    compute_outputs(sch, outputs, inside, unit)
    _multiply_tile(sch, here, options[tile])
    fill_padded(sch, unit)
    return prefetch_weights(sch, around, blocks // vectors, passes)


def _rank_tiles(sch: Schedule, step: int) -> list[_Option]:
    """List the tiles that divide the pixels of a row and the outputs, the fastest first."""
    one = _describe_run(sch)
    if one is None:
        return []
    *_, x, blocks, _ = spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    options = []
    for pixels, vectors in ((p, v) for p in _divisors(x) for v in _divisors(blocks)):
        run = replace(one, vectors=vectors, pixels=replace(one.pixels, extent=pixels))
        plan = plan_run(run)
        if plan is not None and pixels > 1 and (vectors % step == 0 or step % vectors == 0):
            options.append(_Option(Tile(pixels, vectors), run, plan))
    return sorted(options, key=lambda option: option.plan.cycles)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _describe_run(sch: Schedule) -> Run | None:
    """Describe the innermost products of one sum; None if places in the data are not linear."""
    block = sch.get_sblock(ACCUMULATE)
    spatial, axes = len(spatial_extents(sch, block)), sch.get(block).iter_vars
    data, weight = sorted(sch.get(block).reads, key=lambda read: read.source.name == WEIGHT)
    summed = [axis for axis in axes[spatial:] if int(axis.dom.extent) > 1][-2:]
    if summed and int(summed[-1].dom.extent) > MOST_STEPS:
        summed = summed[-1:]
    named = dict(zip("pvo", axes[spatial - 3 : spatial], strict=True))
    named |= zip("SR", reversed(summed), strict=False)
    moves = {name: _moves(data, axis) for name, axis in named.items()}
    if not summed or not all(moves.values()) or any(moves["v"]) or any(moves["o"]):
        return None
    first = next(i for i, move in enumerate(zip(*moves.values(), strict=True)) if any(move))
    loops = {name: Loop(int(axis.dom.extent), moves[name][first:]) for name, axis in named.items()}
    weighed = {name: _moves(weight, axis) for name, axis in named.items() if name != "p"}
    return Run(
        vectors=1,
        pixels=replace(loops["p"], extent=1),
        rows=loops.get("R", Loop(1, (0,) * (len(data.region) - first))),
        steps=loops["S"],
        weight_axes="".join(
            next((name for name, move in weighed.items() if move and move[i]), "-")
            for i in range(len(weight.region))
        ),
        data_strides=_strides(data)[first:],
        weight_strides=_strides(weight),
    )


def _moves(read: TensorRegion, axis: tirx.IterVar) -> tuple[int, ...]:
    """Say how far a turn of an axis goes along each axis of what is read; () if not linear."""
    found = [detect_linear_equation(part.min, [axis.var]) for part in read.region]
    return tuple(int(terms[0]) for terms in found) if all(found) else ()


def _strides(read: TensorRegion) -> tuple[int, ...]:
    """Count the elements from one to the next along each axis."""
    shape = [int(length) for length in read.source.shape]
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _multiply_tile(sch: Schedule, here: LoopRV, option: _Option) -> None:
    """Sum the whole reduction for one tile, of which the innermost products are written out."""
    block = sch.get_sblock(ACCUMULATE)
    sch.compute_at(block, here, preserve_unit_loops=True)
    (*_, pixels, vectors, lane), reduction = axis_loops(sch, block)
    in_turn, together = sch.split(vectors, [None, option.tile.vectors])
    written = [loop for loop in reduction if extent(sch, loop) > 1]
    written = written[-2:] if option.run.rows.extent > 1 else written[-1:]
    tile = [*written, *(loop for loop in (pixels, together, lane) if extent(sch, loop) > 1)]
    around = [loop for loop in [*reduction, pixels, together] if loop not in tile]
    sch.reorder(in_turn, *around, *tile)
    clear = sch.decompose_reduction(block, [*around, *tile][0])
    *unrolled, innermost = sch.get_loops(clear)[-3:]
    unroll_all(sch, unrolled)
    sch.vectorize(innermost)
    keep_in_registers(sch, block)
    sch.tensorize(tile[0], multiply_run(option.run, write_run(option.run, option.plan)))
