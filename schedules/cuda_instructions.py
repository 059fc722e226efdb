"""Give scheduled kernels the instructions that no schedule primitive leads to.

`use_instructions` runs last, when device code is generated: kernels stay what they compute until
then, so that their loops can be run anywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.backend.cuda.op import cuda_func_call
from tvm.ir import Call, Expr, Op, Range
from tvm.ir.expr import TensorLoad
from tvm.s_tir import MatchBufferRegion, SBlock, SBlockRealize
from tvm.tirx import BufferStore, FloatImm, For, ForKind, IntImm

from bnn_tvm.kernels.stages import PACK, WINDOWS
from bnn_tvm.target import CudaTarget

from .cuda_wgmma import OVERLAPPED, SHOW_COPIES, wait_for_products

_IF = Op.get("prim.if_then_else")
_BARRIER, _CUDA_CALL = Op.get("tirx.tvm_storage_sync"), Op.get("tirx.cuda.func_call")
_STAGE, _ORDER = "software_pipeline_stage", "software_pipeline_order"
_ASYNC = "software_pipeline_async_stages"
_WAIT = "wait"
_WARP = 32
_COPIED_AT_ONCE = (4, 8, 16)  # bytes
_ALL_LANES = 0xFFFFFFFF

# Copies past the registers; nothing is read, and zeros are written, where the condition is false.
_COPY_OR_ZERO = """
__device__ __forceinline__ void {name}(void* to, const void* from, bool inside) {{
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.{cache}.shared.global [%0], [%1], {size}, %2;"
               :: "r"(address), "l"(from), "r"(inside ? {size} : 0) : "memory");
}}
"""


def use_instructions(func: tirx.PrimFunc, target: CudaTarget) -> tirx.PrimFunc:
    """Copy windows without passing registers, and pack signs by one vote of a warp.

    Parameters
    ----------
    func : PrimFunc
        Scheduled.
    target : CudaTarget
    """
    body = tvm_ffi.structural_map(func.body, (For, _pack_by_vote))
    if target.gpu.async_copy:
        body = tvm_ffi.structural_map(body, (For, _copy_ahead))
    body = tvm_ffi.structural_map(body, (For, _wait_a_step_later))
    return func.with_body(body)


def _wait_a_step_later(loop: For) -> For:
    """Wait for the products of a step when those of the next one are under way.

    That is one stage more of the pipeline: until then nothing is copied over what is multiplied.
    """
    if OVERLAPPED not in loop.annotations:
        return loop
    *copies, multiply = loop.body.seq
    columns = int(loop.annotations[OVERLAPPED])
    is_last = tirx.EQ(loop.loop_var, loop.extent - 1)

    def wait(block: SBlock) -> SBlock:
        if not block.match_buffers:
            return block
        sums = next(m.buffer for m in block.match_buffers if m.buffer.scope() == "local")
        after, before = (wait_for_products(sums, columns, running) for running in (0, 1))
        body = tirx.IfThenElse(is_last, after, before)
        return SBlock(
            block.iter_vars, block.reads, block.writes, _WAIT, body, None, None,
            block.match_buffers,
        )  # fmt: skip

    waiting = tvm_ffi.structural_map(multiply, (SBlock, wait))
    *first, ahead = map(int, loop.annotations[_STAGE])
    more = {_STAGE: [*first, ahead, ahead + 1], _ORDER: list(range(len(first) + 2))}
    kept = {key: value for key, value in loop.annotations.items() if key != OVERLAPPED}
    body = tirx.SeqStmt([*copies, multiply, waiting])
    return For(
        loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding,
        {**kept, **more}, loop.step,
    )  # fmt: skip


def show_copies_before_barriers(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Let threads make known to tensor cores what they copied before others are told of it.

    TVM puts the barrier behind copies in front of what reads them, with all that this begins with.

    Parameters
    ----------
    func : PrimFunc
        Lowered, with its barriers.
    """
    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.SeqStmt, _show_first)))


def _show_first(sequence: tirx.SeqStmt) -> tirx.SeqStmt:
    steps = list(sequence.seq)
    for place, (first, second) in enumerate(itertools.pairwise(sequence.seq)):
        if _calls(first, _BARRIER) and _shows(second):
            steps[place : place + 2] = second, first
    return tirx.SeqStmt(steps)


def _calls(step: tirx.Stmt, op: Op) -> bool:
    is_call = isinstance(step, tirx.Evaluate) and isinstance(step.value, Call)
    return is_call and step.value.op.same_as(op)


def _shows(step: tirx.Stmt) -> bool:
    return _calls(step, _CUDA_CALL) and str(step.value.args[0].value) == SHOW_COPIES


def _blocks_inside(loop: For) -> list[SBlockRealize]:
    """List the blocks that a loop runs directly."""
    body = loop.body
    stages = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    return [stage for stage in stages if isinstance(stage, SBlockRealize)]


def _pack_by_vote(loop: For) -> For:
    """Let each thread of a warp tell one sign of a word; all of them then know the word."""
    is_warp = loop.kind == ForKind.THREAD_BINDING and int(loop.extent) == _WARP
    if not is_warp or not any(_packs(realize) for realize in _blocks_inside(loop)):
        return loop

    def vote(realize: SBlockRealize) -> SBlockRealize:
        return _vote(realize) if _packs(realize) else realize

    body = tvm_ffi.structural_map(loop.body, (SBlockRealize, vote))
    return _with_body(loop, body)


def _packs(realize: SBlockRealize) -> bool:
    return str(realize.block.name_hint).startswith(PACK)


def _vote(realize: SBlockRealize) -> SBlockRealize:
    """Replace ``word += select(x < 0, 0, 1 << lane)`` by a vote of ``x >= 0``."""
    block = realize.block
    store = block.body
    bit = store.value.b
    is_set = tirx.Not(bit.condition)
    word = tirx.call_extern("uint32", "__ballot_sync", tirx.const(_ALL_LANES, "uint32"), is_set)
    axes = [tirx.IterVar(a.dom, a.var, tirx.IterVar.DataPar) for a in block.iter_vars]
    reads = [read for read in block.reads if not read.source.same_as(store.buffer)]
    voted = SBlock(
        axes, reads, block.writes, block.name_hint, BufferStore(store.buffer, word, store.indices)
    )
    return SBlockRealize(realize.iter_values, realize.predicate, voted)


def _copy_ahead(loop: For) -> For:
    """Copy past the registers where TVM waits for it: in loops that copy while they multiply."""
    if _ASYNC not in loop.annotations:
        return loop
    return _with_body(loop, tvm_ffi.structural_map(loop.body, (For, _copy_past_registers)))


def _copy_past_registers(loop: For) -> For | SBlockRealize:
    """Make one asynchronous copy of a vector of windows that are zero past their border."""
    if loop.kind != ForKind.VECTORIZED or not isinstance(loop.body, SBlockRealize):
        return loop
    realize = loop.body
    store = realize.block.body
    if realize.block.name_hint != WINDOWS or not _is_load_or_zero(store.value):
        return loop
    inside, load, _ = store.value.args
    size = int(loop.extent) * np.dtype(str(store.buffer.dtype)).itemsize
    if size not in _COPIED_AT_ONCE:
        return loop
    first = (tirx.Var, _at_zero(loop.loop_var))
    values = [tvm_ffi.structural_map(value, first) for value in realize.iter_values]
    predicate = tvm_ffi.structural_map(realize.predicate, first)
    return SBlockRealize(values, predicate, _copy_block(realize.block, store, load, inside, size))


def _is_load_or_zero(value: Expr) -> bool:
    if not isinstance(value, Call) or not value.op.same_as(_IF):
        return False
    _, load, otherwise = value.args
    is_zero = isinstance(otherwise, IntImm | FloatImm) and float(otherwise.value) == 0
    return isinstance(load, TensorLoad) and is_zero


def _at_zero(zero: tirx.Var) -> Callable[[tirx.Var], Expr]:
    return lambda var: tirx.const(0, str(var.ty.dtype)) if var.same_as(zero) else var


def _copy_block(
    block: SBlock, store: BufferStore, load: TensorLoad, inside: Expr, size: int
) -> SBlock:
    name = f"bnn_copy_or_zero_{size}"
    source = _COPY_OR_ZERO.format(name=name, size=size, cache="cg" if size == 16 else "ca")
    elements = size // np.dtype(str(store.buffer.dtype)).itemsize
    to, to_region = _vector(store.buffer, store.indices, elements)
    of, of_region = _vector(load.source, load.indices, elements)
    call = cuda_func_call(name, to.access_ptr("w"), of.access_ptr("r"), inside, source_code=source)
    matches = [MatchBufferRegion(to, to_region), MatchBufferRegion(of, of_region)]
    return SBlock(
        block.iter_vars, [of_region], [to_region], block.name_hint, tirx.Evaluate(call), None,
        None, matches,
    )  # fmt: skip


def _vector(
    buffer: tirx.Var, indices: list[Expr], elements: int
) -> tuple[tirx.Var, tirx.BufferRegion]:
    """Describe neighbouring elements from one on."""
    *outer, last = indices
    ranges = [*(Range.from_min_extent(i, 1) for i in outer), Range.from_min_extent(last, elements)]
    dtype, scope = str(buffer.dtype), buffer.scope()
    view = tirx.decl_buffer((elements,), dtype, "vector", scope=scope, offset_factor=1)
    return view, tirx.BufferRegion(buffer, ranges)


def _with_body(loop: For, body: tirx.Stmt) -> For:
    return For(
        loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding,
        loop.annotations, loop.step,
    )  # fmt: skip
