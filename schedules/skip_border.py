"""Run no loop where a window lies in the border, if a kernel says that nothing is counted there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import tvm_ffi
from tvm import tirx
from tvm.ir import Call
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, PARTIAL

from .steps import change_loop, find_block, substitute, with_body
from .tile_columns import TileColumns

# The stages that sum: words, or parts of their sum first.
_SUMS = (PARTIAL, ACCUMULATE)
# How a schedule names the part of a reduction that adds, and what is an instruction of it.
_UPDATES = ("_update", "_update_o")


class Conditions(NamedTuple):
    """When a sum adds something.

    Attributes
    ----------
    axes : list of Var
        Of the stage that sums.
    parts : list of Expr
        In terms of the axes: where one does not hold, nothing is added.
    """

    axes: list[tirx.Var]
    parts: list[Any]


@dataclass(frozen=True)
class _Loops:
    """Loops around what a sum adds.

    Attributes
    ----------
    all : list of For
        The outermost first.
    steps : list of For
        Those of the reduction.
    """

    all: list[tirx.For]
    steps: list[tirx.For]

    def used_by(self, value: Any) -> list[tirx.For]:
        """List the loops that a value depends on."""
        used = tirx.analysis.undefined_vars(value, [])
        return [loop for loop in self.all if any(loop.loop_var.same_as(var) for var in used)]

    def place(self, condition: Any) -> tirx.For:
        """Return the outermost loop in which a condition is known and nothing but the sum done."""
        known = [*self.used_by(condition), self.steps[0]]
        return next(loop for loop in reversed(self.all) if _has(known, loop))

    def is_pixels(self, loop: tirx.For) -> bool:
        """Tell whether a loop is written out that is not of the reduction."""
        return loop.kind == tirx.ForKind.UNROLLED and not _has(self.steps, loop)

    def are_pixels_in(self, condition: Any) -> bool:
        """Tell whether a condition depends on which pixel of a tile it is."""
        return any(map(self.is_pixels, self.used_by(condition)))


def take_conditions(func: tirx.PrimFunc) -> tuple[tirx.PrimFunc, Conditions]:
    """Take the conditions off a sum that is not scheduled yet, for `skip_border` to put back."""
    blocks: list[SBlock] = []
    tvm_ffi.structural_walk(func.body, (SBlock, blocks.append))
    for block in filter(_is_sum, blocks):
        if parts := _conditions_in(block):
            body = tvm_ffi.structural_map(func.body, (SBlock, _add_always))
            return func.with_body(body), Conditions([axis.var for axis in block.iter_vars], parts)
    return func, Conditions([], [])


def skip_border(sch: Schedule, conditions: Conditions) -> Schedule:
    """Skip what a window reads outside of an image.

    Parameters
    ----------
    sch : Schedule
        Of a layer whose reduction is decomposed, with the pixels of a tile in its innermost loops.
    conditions : Conditions

    Returns
    -------
    Schedule
        Of the function with conditions around loops; as it was where there are none.
    """
    if not conditions.parts:
        return sch
    loops, parts = _find_loops(sch, conditions)
    columns = _find_columns(loops, parts)
    (func,) = sch.mod.functions.values()
    body = func.body
    for part in parts:
        if columns is None or not loops.are_pixels_in(part):
            body = _skip_unless(part, body, loops.place(part))
    if columns is not None:
        body = _allocate(change_loop(body, columns.step.loop_var, columns.write_out))
    return Schedule(func.with_body(body))


def _is_sum(block: SBlock) -> bool:
    return str(block.name_hint) in _SUMS


def _conditions_in(block: SBlock) -> list[Any]:
    """List the conditions of a sum, each once: two words of a place have the same."""
    calls: list[Call] = []
    tvm_ffi.structural_walk(block.body, (Call, calls.append))
    parts = [part for call in calls if _is_conditional(call) for part in _parts(call.args[0])]
    return [part for nth, part in enumerate(parts) if not _has_equal(parts[:nth], part)]


def _has_equal(parts: list[Any], wanted: Any) -> bool:
    return any(tvm_ffi.structural_equal(part, wanted) for part in parts)


def _is_conditional(call: Call) -> bool:
    """Tell whether a number is 0 where a condition does not hold."""
    if getattr(call.op, "name", "") != "prim.if_then_else":
        return False
    return isinstance(call.args[2], tirx.IntImm) and int(call.args[2]) == 0


def _parts(condition: Any) -> list[Any]:
    """Take a condition apart into those that have to hold together."""
    if isinstance(condition, tirx.And):
        return [*_parts(condition.a), *_parts(condition.b)]
    return [condition]


def _add_always(block: SBlock) -> SBlock:
    """Leave out the conditions of a sum."""

    def always(call: Call) -> Any:
        return call.args[1] if _is_conditional(call) else call

    return tvm_ffi.structural_map(block, (Call, always)) if _is_sum(block) else block


def _find_loops(sch: Schedule, conditions: Conditions) -> tuple[_Loops, list[Any]]:
    """Find the loops of a sum, and its conditions in terms of them."""
    names = [stage + update for stage in _SUMS for update in _UPDATES]
    blocks = [block for block in (find_block(sch, name) for name in names) if block is not None]
    loops = [sch.get(loop) for loop in sch.get_loops(blocks[0])]
    single = {loop.loop_var: loop.min for loop in loops if int(loop.extent) == 1}
    values = [substitute(value, single) for _, value in _axes(sch, blocks[0])]
    known = dict(zip(conditions.axes, values, strict=True))
    axes = [axis for block in blocks for axis in _axes(sch, block)]
    reduced = [value for axis, value in axes if axis.iter_type == tirx.IterVar.CommReduce]
    found = _Loops(loops, [])
    steps = [loop for loop in loops if any(_has(found.used_by(value), loop) for value in reduced)]
    return _Loops(loops, steps), [substitute(part, known) for part in conditions.parts]


def _axes(sch: Schedule, block: SBlockRV) -> list[tuple[tirx.IterVar, Any]]:
    """List the axes of a block with their values in terms of its loops."""
    realize = sch.get(sch.get_loops(block)[-1]).body
    return list(zip(realize.block.iter_vars, realize.iter_values, strict=True))


def _find_columns(loops: _Loops, parts: list[Any]) -> TileColumns | None:
    """Find the loops that conditions on pixels depend on; None where they are not as expected."""
    on_pixels = [part for part in parts if loops.are_pixels_in(part)]
    used = [loop for loop in loops.all if any(_has(loops.used_by(c), loop) for c in on_pixels)]
    steps = [loop for loop in used if _has(loops.steps, loop)]
    pixels = [loop for loop in used if loops.is_pixels(loop)]
    tiles = [loop for loop in used if not _has([*steps, *pixels], loop)]
    if len(steps) != 1 or len(pixels) != 1 or len(tiles) > 1:
        return None
    return TileColumns(on_pixels, steps[0], pixels[0], tiles[0] if tiles else None)


def _has(loops: list[tirx.For], wanted: tirx.For) -> bool:
    return any(loop.same_as(wanted) for loop in loops)


def _skip_unless(condition: Any, body: Any, place: tirx.For) -> Any:
    return change_loop(
        body,
        place.loop_var,
        lambda loop: with_body(loop, tirx.IfThenElse(condition, loop.body, None)),
    )


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
