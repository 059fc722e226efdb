"""Pass: let kernels write over an operand that nothing reads afterwards.

A residual layer adds to numbers of the shape of its result. Written over them, each cache line is
fetched once and written back once, where two tensors cost two of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tvm_ffi
from tvm import relax, tirx
from tvm.ir import GlobalVar, IRModule, TensorLoad
from tvm.s_tir import SBlock

from bnn_tvm.kernels.stages import NUM_OUTPUTS

from .dataflow import Emitter, arguments, called_kernel, main_bindings, main_result, rewrite_calls

_Tensor = tuple[relax.Var, int]
"""A result of a kernel: the variable that its call is bound to, and which field of it."""


def write_in_place(mod: IRModule) -> IRModule:
    """Write the first result of kernels over an operand of its shape and dtype, where that is safe.

    Expects scheduled kernels. It is safe where a kernel computed the operand, every call of this
    kernel is the last to read it, and each of its elements is read only to compute the one that
    takes its place. Kernels that do so have one parameter less.
    """
    positions = _find_operands(mod)
    merged = {name: _merge(mod[name], i) for name, i in positions.items()}
    kept = {g: f for g, f in mod.functions.items() if g.name_hint not in merged}
    callees: dict[str, GlobalVar] = {}

    def rewrite(emitter: Emitter, value: relax.Call, _: str) -> relax.Call | None:
        name = called_kernel(value)
        if name not in merged:
            return None
        if name not in callees:
            callees[name] = emitter.builder.add_func(merged[name], name)
        return _call_in_place(callees[name], value, positions[name])

    return rewrite_calls(IRModule(kept), rewrite)


def _merge(func: tirx.PrimFunc, position: int) -> tirx.PrimFunc:
    """Read an operand where the first result is written; it is no parameter any more."""
    return func.specialize({func.params[position]: _first_result(func)})


def _call_in_place(callee: GlobalVar, call: relax.Call, position: int) -> relax.Call:
    """Pass an operand behind the others, where the first result was."""
    operands = list(call.args[1].fields)
    operands.append(operands.pop(position))
    (ty,) = call.ty_args
    types = list(ty.fields) if isinstance(ty, relax.TupleType) else [ty]
    written = [len(operands) - 1] + [-1] * (len(types) - 1)
    return relax.op.call_tir_inplace(callee, relax.Tuple(operands), written, types)


def _find_operands(mod: IRModule) -> dict[str, int]:
    """Find the position of the operand that a kernel can write over, for each that has one."""
    reads = _Reads(mod)
    found = {
        name: [p for p in _replaced_operands(mod[name]) if all(reads.ends(c, p) for c in calls)]
        for name, calls in reads.calls.items()
    }
    return {name: positions[0] for name, positions in found.items() if positions}


class _Reads:
    """Knows who reads what kernels compute.

    Attributes
    ----------
    calls : dict of str to list of relax.Call
        The calls of each kernel.
    """

    def __init__(self, mod: IRModule):
        self.calls: dict[str, list[relax.Call]] = {}
        self._tensors: dict[relax.Expr, _Tensor] = {}
        self._last: dict[_Tensor, relax.Call] = {}
        # What is returned, or may have a second name, such as the result of a reshape.
        self._kept: set[_Tensor] = set()
        for binding in main_bindings(mod):
            self._note(binding.var, binding.value)
        self._keep(main_result(mod))

    def ends(self, call: relax.Call, position: int) -> bool:
        """Tell whether a call, the last one to do so, reads an operand once."""
        tensors = [self._tensors.get(operand) for operand in call.args[1].fields]
        tensor = tensors[position]
        if tensor is None or tensor in self._kept or tensors.count(tensor) > 1:
            return False
        return bool(call.same_as(self._last[tensor]))

    def _note(self, var: relax.Var, value: Any) -> None:
        name = called_kernel(value)
        if name:
            self.calls.setdefault(name, []).append(value)
            operands = [self._tensors.get(operand) for operand in value.args[1].fields]
            self._last.update((tensor, value) for tensor in operands if tensor is not None)
            self._tensors[var] = (var, 0)
        elif isinstance(value, relax.TupleGetItem):
            self._tensors[var] = (value.tuple_value, int(value.index))
        elif isinstance(value, relax.Call):
            self._keep(arguments(value))
        else:
            self._keep([value])

    def _keep(self, values: Iterable[relax.Expr]) -> None:
        self._kept.update(self._tensors[value] for value in values if value in self._tensors)


def _replaced_operands(func: tirx.PrimFunc) -> list[int]:
    """List the operands whose elements a kernel reads only to put a result in their place."""
    if NUM_OUTPUTS not in func.attrs:
        return []
    result = _first_result(func)
    operands = list(func.params[: -int(func.attrs[NUM_OUTPUTS])])
    return [i for i, operand in enumerate(operands) if _is_replaced(func, operand, result)]


def _first_result(func: tirx.PrimFunc) -> tirx.Var:
    return func.params[len(func.params) - int(func.attrs[NUM_OUTPUTS])]


def _is_replaced(func: tirx.PrimFunc, operand: tirx.Var, result: tirx.Var) -> bool:
    """Tell whether one statement writes a result and alone reads the operand, at its place."""
    stores = [s for s in _find(func.body, tirx.BufferStore) if s.buffer.same_as(result)]
    if _form(operand) != _form(result) or len(stores) != 1:
        return False
    loads = [x for x in _find(stores[0].value, TensorLoad) if x.source.same_as(operand)]
    blocks = _find(func.body, SBlock)
    announced = [r for b in blocks for r in b.reads if r.source.same_as(operand)]
    mentions = [var for var in _find(func.body, tirx.Var) if var.same_as(operand)]
    if not loads or len(mentions) != len(loads) + len(announced):
        return False
    return all(_is_same_place(load.indices, stores[0].indices, operand) for load in loads)


def _find(root: Any, kind: type) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(root, (kind, found.append))
    return found


def _form(param: tirx.Var) -> tuple[str, tuple[int, ...]]:
    return str(param.dtype), tuple(int(extent) for extent in param.shape)


def _is_same_place(first: Iterable[Any], second: Iterable[Any], tensor: tirx.Var) -> bool:
    """Compare two indices; an axis of one element has one place however it is written."""
    return all(
        int(extent) == 1 or tvm_ffi.structural_equal(one, other)
        for one, other, extent in zip(first, second, tensor.shape, strict=True)
    )
