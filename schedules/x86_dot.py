"""Steps for layers whose neighbouring products one x86 instruction sums.

A lane sums four bytes (``vpdpbusd``) or two bfloat16 numbers (``vdpbf16ps``): as many neighbouring
inputs are broadcast to all lanes and meet the weights of one output in each.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from bnn_tvm.kernels.stages import ACCUMULATE, WEIGHT
from bnn_tvm.target import Target

from .steps import REGISTERS, axis_loops, unroll_all
from .x86_dot_intrinsics import DOT, DOT_SOURCE

# By the dtype of the weights; a bfloat16 is stored as its bits.
_INSTRUCTIONS = {"int8": "vpdpbusd", "uint16": "vdpbf16ps"}


@dataclass(frozen=True)
class DotInstruction:
    """How one processor sums neighbouring products.

    Attributes
    ----------
    intrinsic : str
        Name of the tensor intrinsic.
    source : str
        LLVM code of a function that it calls; '' if it calls none.
    """

    intrinsic: str
    source: str


def find_dot(func: tirx.PrimFunc, target: Target) -> DotInstruction | None:
    """Find the instruction for a kernel; None if the target lacks it or there is none."""
    dtypes = [str(param.dtype) for param in func.params if param.name == WEIGHT]
    name = next((_INSTRUCTIONS[dtype] for dtype in dtypes if dtype in _INSTRUCTIONS), "")
    if name not in target.dot_instructions:
        return None
    key = name, target.vector_bits
    return DotInstruction(DOT[key], DOT_SOURCE.get(key, ""))


def accumulate_dots(sch: Schedule, here: LoopRV, dot: DotInstruction) -> None:
    """Sum the whole reduction for one tile, a group of neighbouring products an instruction."""
    block = sch.get_sblock(ACCUMULATE)
    sch.compute_at(block, here, preserve_unit_loops=True)
    (*_, pixels, vectors, lane), (*reduction, part) = axis_loops(sch, block)
    sch.reorder(*reduction, pixels, vectors, lane, part)
    unroll_all(sch, [pixels, vectors])
    init = sch.decompose_reduction(block, reduction[0])
    *_, in_x, in_channel, in_lane = sch.get_loops(init)
    unroll_all(sch, [in_x, in_channel])
    sch.vectorize(in_lane)
    sch.set_scope(block, 0, REGISTERS)
    sch.tensorize(lane, dot.intrinsic)
    if dot.source:
        sch.annotate(here, "pragma_import_llvm", dot.source)
