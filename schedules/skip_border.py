"""Run no loop where a window lies in the border, if a kernel says that nothing is counted there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, PARTIAL

from .steps import change_loop, find_block, substitute, with_body
from .tile_columns import TileColumns

# How a schedule names the part of a reduction that adds: words, or parts of their sum.
_UPDATES = (f"{PARTIAL}_update", f"{ACCUMULATE}_update")


@dataclass(frozen=True)
class _Sum:
    """What a sum adds, and when.

    Attributes
    ----------
    loops : list of For
        Around what is added, the outermost first.
    steps : list of For
        Those of the reduction.
    conditions : list of Expr
        In terms of the loops: where one does not hold, nothing is added.
    """

    loops: list[tirx.For]
    steps: list[tirx.For]
    conditions: list[Any]

    def loops_of(self, value: Any) -> list[tirx.For]:
        """List the loops that a value depends on."""
        used = tirx.analysis.undefined_vars(value, [])
        return [loop for loop in self.loops if any(loop.loop_var.same_as(var) for var in used)]

    def is_on_pixels(self, condition: Any) -> bool:
        """Tell whether a condition depends on a loop that is written out."""
        return any(loop.kind == tirx.ForKind.UNROLLED for loop in self.loops_of(condition))

    def place(self, condition: Any) -> tirx.For:
        """Return the outermost loop in which a condition is known and nothing but the sum done."""
        first, last = self.steps[0], self.loops_of(condition)[-1]
        order = [loop for loop in self.loops if loop.same_as(first) or loop.same_as(last)]
        return order[-1]


def skip_border(sch: Schedule) -> Schedule:
    """Skip what a window reads outside of an image.

    Parameters
    ----------
    sch : Schedule
        Of a layer whose reduction is decomposed, with the pixels of a tile in its innermost loops.

    Returns
    -------
    Schedule
        Of the function with conditions around loops and none in them; as it was where its sum has
        none, or where no loop over the columns of the filter is left.
    """
    found = _find_sum(sch)
    if found is None:
        return sch
    on_pixels = [c for c in found.conditions if found.is_on_pixels(c)]
    columns = _find_columns(found, on_pixels)
    if on_pixels and columns is None:
        return sch
    (func,) = sch.mod.functions.values()
    body = tvm_ffi.structural_map(func.body, (SBlockRealize, _add_always))
    for condition in found.conditions:
        if not found.is_on_pixels(condition):
            body = _skip_unless(condition, body, found.place(condition))
    if columns is not None:
        body = _allocate(change_loop(body, columns.step.loop_var, columns.write_out))
    return Schedule(func.with_body(body))


def _find_sum(sch: Schedule) -> _Sum | None:
    """Find the sum of a kernel; None if all of it is added."""
    blocks = [block for block in (find_block(sch, name) for name in _UPDATES) if block is not None]
    if not blocks:
        return None
    loops = [sch.get(loop) for loop in sch.get_loops(blocks[0])]
    single = {loop.loop_var: loop.min for loop in loops if int(loop.extent) == 1}
    values = {axis.var: substitute(value, single) for axis, value in _axes(sch, blocks[0])}
    conditions = [substitute(c, values) for c in _conditions(sch.get(blocks[0]).body)]
    reduced = [
        value
        for block in blocks
        for axis, value in _axes(sch, block)
        if axis.iter_type == tirx.IterVar.CommReduce
    ]
    found = _Sum(loops, [], conditions)
    steps = [loop for loop in loops if any(_has(found.loops_of(value), loop) for value in reduced)]
    return _Sum(loops, steps, conditions) if conditions else None


def _axes(sch: Schedule, block: SBlockRV) -> list[tuple[tirx.IterVar, Any]]:
    """List the axes of a block with their values in terms of its loops."""
    realize = sch.get(sch.get_loops(block)[-1]).body
    return list(zip(realize.block.iter_vars, realize.iter_values, strict=True))


def _conditions(body: Any) -> Iterator[Any]:
    calls: list[Call] = []
    tvm_ffi.structural_walk(body, (Call, calls.append))
    for call in calls:
        if _is_conditional(call):
            yield from _parts(call.args[0])


def _parts(condition: Any) -> Iterator[Any]:
    """Take a condition apart into those that have to hold together."""
    if isinstance(condition, tirx.And):
        yield from _parts(condition.a)
        yield from _parts(condition.b)
    else:
        yield condition


def _is_conditional(call: Call) -> bool:
    return getattr(call.op, "name", "") == "prim.if_then_else"


def _add_always(realize: SBlockRealize) -> SBlockRealize:
    """Leave the conditions of a sum out."""
    if str(realize.block.name_hint) not in _UPDATES:
        return realize
    return tvm_ffi.structural_map(
        realize, (Call, lambda call: call.args[1] if _is_conditional(call) else call)
    )


def _skip_unless(condition: Any, body: Any, place: tirx.For) -> Any:
    return change_loop(
        body,
        place.loop_var,
        lambda loop: with_body(loop, tirx.IfThenElse(condition, loop.body, None)),
    )


def _find_columns(found: _Sum, conditions: list[Any]) -> TileColumns | None:
    """Find the loops that conditions on pixels depend on; None if they are not as expected."""
    loops = [loop for loop in found.loops if any(_has(found.loops_of(c), loop) for c in conditions)]
    steps = [loop for loop in loops if _has(found.steps, loop)]
    pixels = [loop for loop in loops if loop.kind == tirx.ForKind.UNROLLED]
    tiles = [loop for loop in loops if not _has([*steps, *pixels], loop)]
    if len(steps) != 1 or len(pixels) != 1 or len(tiles) > 1:
        return None
    return TileColumns(conditions, steps[0], pixels[0], tiles[0] if tiles else None)


def _has(loops: list[tirx.For], wanted: tirx.For) -> bool:
    return any(loop.same_as(wanted) for loop in loops)


def _allocate(root: SBlockRealize) -> SBlockRealize:
    """Allocate the partial sums that copies of loops have of their own."""
    block, found = root.block, []
    tvm_ffi.structural_walk(block.body, (tirx.BufferStore, lambda s: found.append(s.buffer)))
    partials = {buffer for buffer in found if str(buffer.name) == PARTIAL}
    own = [b for b in partials if not any(b.same_as(known) for known in block.alloc_buffers)]
    allocated = SBlock(
        block.iter_vars, block.reads, block.writes, block.name_hint, block.body, block.init,
        [*block.alloc_buffers, *own], block.match_buffers, block.annotations,
    )  # fmt: skip
    return SBlockRealize(root.iter_values, root.predicate, allocated)
