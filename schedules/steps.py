"""Scheduling steps that several rules are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import FloatImm, IntImm

from bnn_tvm.kernels.stages import ACCUMULATE

# Where a kernel keeps what it hands from one stage to the next: a stack slot, then registers.
REGISTERS = "global"
# The type of an axis that is not reduced.
_SPATIAL = 0


def find_block(sch: Schedule, name: str) -> SBlockRV | None:
    """Return the block of a stage, None if the kernel has no such stage."""
    names = {sch.get(block).name_hint for block in sch.get_child_blocks(sch.get_sblock("root"))}
    return sch.get_sblock(name) if name in names else None


def find_blocks(sch: Schedule, stage: str) -> list[SBlockRV]:
    """List the blocks of a stage that is computed in parts, in their order."""
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    return [block for block in blocks if sch.get(block).name_hint.startswith(stage)]


def is_conditional(sch: Schedule, block: SBlockRV) -> bool:
    """Tell whether a block, alone in its innermost loop, skips what lies past a partial tile."""
    realize = sch.get(sch.get_loops(block)[-1]).body
    return not (isinstance(realize.predicate, IntImm) and int(realize.predicate))


def has_constant_border(sch: Schedule, padded: SBlockRV) -> bool:
    """Tell whether the border of a padded input is one number."""
    value = sch.get(padded).body.value
    return len(getattr(value, "args", ())) == 3 and isinstance(value.args[2], IntImm | FloatImm)


def extent(sch: Schedule, loop: LoopRV) -> int:
    """Read how often a loop runs."""
    return int(sch.get(loop).extent)


def spatial_extents(sch: Schedule, block: SBlockRV) -> list[int]:
    """List the extents of a block's axes that are not reduced."""
    return [
        int(var.dom.extent) for var in sch.get(block).iter_vars if int(var.iter_type) == _SPATIAL
    ]


def axis_loops(sch: Schedule, block: SBlockRV) -> tuple[list[LoopRV], list[LoopRV]]:
    """List the loops of a block's own axes: those that are not reduced, and those that are."""
    axes = sch.get(block).iter_vars
    loops = list(zip(axes, sch.get_loops(block)[-len(axes) :], strict=True))
    spatial = [loop for axis, loop in loops if int(axis.iter_type) == _SPATIAL]
    return spatial, [loop for axis, loop in loops if int(axis.iter_type) != _SPATIAL]


def loops_to(sch: Schedule, block: SBlockRV, last: LoopRV) -> list[LoopRV]:
    """List the loops around a block from the outermost to one of them."""
    loops = sch.get_loops(block)
    inner = sch.get(last).loop_var
    place = next(i for i, loop in enumerate(loops) if sch.get(loop).loop_var.same_as(inner))
    return list(loops[: place + 1])


def count_iterations(sch: Schedule, output: SBlockRV) -> int:
    """Count the elements that a kernel sums, or those of its output if it sums none."""
    return max(
        math.prod(int(var.dom.extent) for var in sch.get(block).iter_vars)
        for block in find_blocks(sch, ACCUMULATE) or [output]
    )


def keep_in_registers(sch: Schedule, block: SBlockRV) -> None:
    """Put what a block writes where registers come from."""
    for index in range(len(sch.get(block).writes)):
        sch.set_scope(block, index, REGISTERS)


def largest_divisor(number: int, at_most: int) -> int:
    """Return the largest divisor that does not exceed a bound."""
    return next(d for d in range(min(number, at_most), 0, -1) if number % d == 0)


def vectorize_innermost(sch: Schedule, block: SBlockRV, lanes: int) -> None:
    """Compute vectors along the last loop, of the most lanes that divide it."""
    loop = sch.get_loops(block)[-1]
    width = largest_divisor(extent(sch, loop), lanes)
    if width > 1:
        sch.vectorize(sch.split(loop, [None, width])[1])


def unroll_all(sch: Schedule, loops: list[LoopRV]) -> None:
    """Unroll loops."""
    for loop in loops:
        sch.unroll(loop)


def substitute(node: Any, values: Mapping[tirx.Var, Any]) -> Any:
    """Replace variables in a statement or expression."""
    return tvm_ffi.structural_map(node, (tirx.Var, lambda var: values.get(var, var)))


def change_loop(body: Any, variable: tirx.Var, change: Callable[[tirx.For], tirx.Stmt]) -> Any:
    """Replace the loop over a variable, wherever in a statement it is."""

    def visit(loop: tirx.For) -> tirx.Stmt:
        return change(loop) if loop.loop_var.same_as(variable) else loop

    return tvm_ffi.structural_map(body, (tirx.For, visit))


def with_body(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    """Give a loop another body."""
    return tirx.For(
        loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding,
        loop.annotations, loop.step,
    )  # fmt: skip
