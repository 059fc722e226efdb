"""Schedules for processors without vectors and with little memory: microcontrollers."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.target import Target

from .choices import Choose
from .rule import Rule, kernel_kind
from .steps import spatial_extents

_BITS_OF_A_NUMBER = 32


def _pixel_by_pixel(func: tirx.PrimFunc, target: Target, choose: Choose) -> Schedule | None:
    """Compute one pixel after the other, all channels of it, with scratch memory for one pixel.

    What the sums of a pixel read is gathered once for all of its channels, padding included.
    """
    if target.vector_bits > _BITS_OF_A_NUMBER or not kernel_kind(func):
        return None
    sch = Schedule(func)
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    outputs = sch.get_output_blocks(sch.get_sblock("root"))
    first = [_name(sch, block) for block in blocks].index(_name(sch, outputs[0]))
    main, behind = blocks[first], blocks[first + 1 :]
    if len(outputs) > 2 or len(spatial_extents(sch, main)) < 2 or not _follow(sch, main, behind):
        return None
    pixel = _pixel_loop(sch, main)
    if _fill_words(sch, main, behind[:-1]):
        for block in behind:
            sch.reverse_compute_at(block, pixel, preserve_unit_loops=True)
    else:
        _compute_before(sch, behind[:-1], _pixel_loop(sch, behind[-1]))
    _compute_before(sch, blocks[:first], pixel)
    return sch


def _pixel_loop(sch: Schedule, block: SBlockRV) -> LoopRV:
    """Return the loop over an output's last place, around that over its channels or words."""
    return sch.get_loops(block)[len(spatial_extents(sch, block)) - 2]


def _compute_before(sch: Schedule, blocks: list[SBlockRV], pixel: LoopRV) -> None:
    for block in reversed(blocks):
        sch.compute_at(block, pixel, preserve_unit_loops=True)


def _fill_words(sch: Schedule, main: SBlockRV, values: list[SBlockRV]) -> bool:
    """Tell whether signs are those of the numbers, with none between the last and a word's end."""
    return all(spatial_extents(sch, block) == spatial_extents(sch, main) for block in values)


def _follow(sch: Schedule, main: SBlockRV, others: list[SBlockRV]) -> bool:
    """Tell whether blocks can be computed behind an output, from its numbers alone."""
    known = {_name(sch, main)}
    for block in others:
        if not {_name(sch, producer) for producer in sch.get_producers(block)} <= known:
            return False
        if spatial_extents(sch, block)[:-1] != spatial_extents(sch, main)[:-1]:
            return False
        known.add(_name(sch, block))
    return True


def _name(sch: Schedule, block: SBlockRV) -> str:
    return str(sch.get(block).name_hint)


RULES = (Rule("scalar.pixel_by_pixel", "hand", _pixel_by_pixel),)
"""Before the portable rule."""
