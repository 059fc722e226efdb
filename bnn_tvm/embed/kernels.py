"""Turn scheduled kernels into plain C functions on raw pointers.

TVM's own calling convention hands over descriptors of tensors, checks them, and asks the runtime
for memory and threads. Functions that this module makes get one pointer a tensor, a pointer to
scratch memory, and which iterations of a parallel loop they shall run:

    void part(void *argument0, ..., void *workspace, int32_t begin, int32_t end);

A kernel is one of them or several, to be called one after the other: each parallel loop is a part,
and so is what lies between two of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import DataType, tirx
from tvm.ir import Call, IRModule, PointerType, PrimType

from ..target import Target
from .memory import round_up

# What gives functions TVM's calling convention.
_CALLING_CONVENTION = (
    "tirx.MakePackedAPI",
    "tirx.SplitHostDevice",
    "tirx.FP8StorageLegalize",
    "tirx.BF16StorageLegalize",
)


@dataclass(frozen=True)
class Part:
    """A part of a kernel, with the calling convention above.

    Attributes
    ----------
    func : tirx.PrimFunc
        Without ``global_symbol``.
    tasks : int
        Iterations of its parallel loop; 1 if it has none.
    """

    func: tirx.PrimFunc
    tasks: int


@dataclass(frozen=True)
class PlainKernel:
    """A kernel in parts.

    Attributes
    ----------
    parts : tuple of Part
        In order.
    workspace : int
        Bytes of scratch memory, which the parts share.
    """

    parts: tuple[Part, ...]
    workspace: int


def lower_kernels(mod: IRModule, target: Target) -> dict[str, PlainKernel]:
    """Lower every kernel of a scheduled module.

    Returns
    -------
    dict of str to PlainKernel
        By the kernels' names in the module.
    """
    device = target.to_tvm()
    kernels = {
        gvar: func.without_attr("global_symbol")
        for gvar, func in mod.functions.items()
        if isinstance(func, tirx.PrimFunc)
    }
    bound = tirx.transform.BindTarget(device.with_host(device))(IRModule(kernels))
    with tvm.transform.PassContext(disabled_pass=list(_CALLING_CONVENTION)):
        lowered = tirx.get_default_tir_pipeline(device)[0](bound)
    limit = _stack_limit(target)
    return {g.name_hint: _Lowering(func, limit).run() for g, func in lowered.functions.items()}


def part_name(kernel: str, index: int) -> str:
    """Name a part of a kernel."""
    return f"{kernel}_part{index}"


def _stack_limit(target: Target) -> int:
    """Bytes of a buffer that may lie on the stack: a few tiles, which are made to fit registers."""
    return 4 * target.vector_registers * target.vector_bits // 8


class _Lowering:
    """Divides one function, whose parameters are buffers, into parts that get pointers."""

    def __init__(self, func: tirx.PrimFunc, stack_limit: int):
        statements = _statements(func.body)
        self._func = func
        self._stack_limit = stack_limit
        self._pointers = {p: _pointer(p.name, p.ty.dtype) for p in func.params}
        self._memory = _pointer("workspace", PrimType("uint8"))
        self._bytes = tirx.decl_buffer((1,), "uint8", "workspace_bytes")
        self._used = 0
        self._views = [s for s in statements if isinstance(s, tirx.DeclBuffer)]
        self._buffers = [s for s in statements if isinstance(s, tirx.AllocBuffer)]
        self._runs = _split_at_parallel_loops(statements)

    def run(self) -> PlainKernel:
        shared = self._place_shared()
        parts = tuple(self._part(run, shared) for run in self._runs)
        return PlainKernel(parts, self._used)

    def _place_shared(self) -> list[Any]:
        """Give scratch memory to the buffers that are large or that several parts use."""
        return [
            self._in_workspace(stmt)
            for stmt in self._buffers
            if self._is_large(stmt) or len(self._users(stmt)) > 1
        ]

    def _users(self, stmt: tirx.AllocBuffer) -> list[list[Any]]:
        """List the parts that use a buffer; what has another view of it may be any of them."""
        if any(_uses(view, stmt.buffer) for view in self._views):
            return self._runs
        return [run for run in self._runs if _uses(_sequence(run), stmt.buffer)]

    def _part(self, run: list[Any], shared: list[Any]) -> Part:
        placed = {stmt.buffer for stmt in shared}
        own = [s for s in self._buffers if s.buffer not in placed and run in self._users(s)]
        used_before = self._used
        body = [self._rewrite(stmt) for stmt in run]
        tasks = 1
        # Scratch memory that each iteration needs for itself exists once.
        if _is_parallel(run[0]) and self._used == used_before:
            tasks, body = int(run[0].extent), [self._divided(body[0])]
        views = [self._rewrite(view) for view in self._views]
        memory = tirx.DeclBuffer(self._bytes, data=self._memory)
        whole = tirx.SeqStmt([memory, *shared, *own, *views, *body])
        return Part(self._function(whole), tasks)

    def _function(self, body: tirx.SeqStmt) -> tirx.PrimFunc:
        params = [*self._pointers.values(), self._memory, *_RANGE]
        attrs = dict(self._func.attrs.items())
        return tirx.PrimFunc(params, body).with_attrs(attrs)

    def _rewrite(self, stmt: Any) -> Any:
        """Bind parameters to pointers, large buffers to scratch memory, and run loops in order."""
        if isinstance(stmt, tirx.SeqStmt):
            return tirx.SeqStmt([self._rewrite(part) for part in stmt.seq])
        if isinstance(stmt, tirx.For):
            return _serial(stmt, stmt.min, stmt.extent, self._rewrite(stmt.body))
        if isinstance(stmt, tirx.IfThenElse):
            rest = None if stmt.else_case is None else self._rewrite(stmt.else_case)
            return tirx.IfThenElse(stmt.condition, self._rewrite(stmt.then_case), rest)
        if isinstance(stmt, tirx.AttrStmt):
            return tirx.AttrStmt(stmt.node, stmt.attr_key, stmt.value, self._rewrite(stmt.body))
        if isinstance(stmt, tirx.DeclBuffer):
            return self._bind_parameter(stmt)
        if isinstance(stmt, tirx.AllocBuffer) and self._is_large(stmt):
            return self._in_workspace(stmt)
        return stmt

    def _bind_parameter(self, stmt: tirx.DeclBuffer) -> tirx.DeclBuffer:
        names_buffer = isinstance(stmt.data, Call) and stmt.data.op.name == "tirx.buffer_data"
        pointer = self._pointers.get(stmt.data.args[0]) if names_buffer else None
        return stmt if pointer is None else tirx.DeclBuffer(stmt.buffer, data=pointer)

    def _is_large(self, stmt: tirx.AllocBuffer) -> bool:
        """Tell whether a buffer is too large for the stack, where it could become registers."""
        return _size_of(stmt.buffer) > self._stack_limit

    def _in_workspace(self, stmt: tirx.AllocBuffer) -> tirx.DeclBuffer:
        first = tirx.BufferLoad(self._bytes, [self._used])
        self._used += round_up(_size_of(stmt.buffer))
        address = tirx.call_intrin(stmt.buffer.data.ty, "tirx.address_of", first)
        return tirx.DeclBuffer(stmt.buffer, data=address)

    def _divided(self, loop: tirx.For) -> tirx.For:
        begin, end = _RANGE
        return _serial(loop, begin, end - begin, loop.body)


_RANGE = (tirx.Var("begin", "int32"), tirx.Var("end", "int32"))


def _split_at_parallel_loops(statements: list[Any]) -> list[list[Any]]:
    """Make a run of each parallel loop, and of what lies between two; all one where it must be."""
    runs: list[list[Any]] = []
    for stmt in statements:
        if isinstance(stmt, tirx.DeclBuffer | tirx.AllocBuffer):
            continue
        if not runs or _is_parallel(stmt) or _is_parallel(runs[-1][0]):
            runs.append([])
        runs[-1].append(stmt)
    names = [(run, stmt.var) for run in runs for stmt in run if isinstance(stmt, tirx.Bind)]
    across = any(
        _uses(_sequence(other), var) for run, var in names for other in runs if other is not run
    )
    return [[stmt for run in runs for stmt in run]] if across else runs


def _uses(stmt: Any, var: tirx.Var) -> bool:
    return any(used.same_as(var) for used in tirx.analysis.undefined_vars(stmt, []))


def _is_parallel(stmt: Any) -> bool:
    """Tell whether a statement is a parallel loop that starts at 0."""
    is_loop = isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.PARALLEL
    return is_loop and int(stmt.min) == 0


def _serial(loop: tirx.For, start: Any, extent: Any, body: Any) -> tirx.For:
    """Run a loop over some iterations, one after the other if it was parallel."""
    is_parallel = loop.kind == tirx.ForKind.PARALLEL
    kind = tirx.ForKind.SERIAL if is_parallel else loop.kind
    return tirx.For(loop.loop_var, start, extent, kind, body, None, loop.annotations, loop.step)


def _statements(body: Any) -> list[Any]:
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _sequence(statements: list[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)


def _pointer(name: str, dtype: PrimType) -> tirx.Var:
    return tirx.Var(name, PointerType(dtype))


def _size_of(buffer: tirx.Buffer) -> int:
    dtype = DataType(str(buffer.dtype))
    elements = math.prod(int(extent) for extent in buffer.shape) * dtype.lanes
    return elements * -(-dtype.bits // 8)
