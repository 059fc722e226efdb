"""Pass: let a kernel pool what it computes, where memory for the values between is scarce.

The largest tensor of a small network is what its first convolution gives, of which pooling leaves a
quarter. A kernel that does both needs memory for no more than one window of it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

from tvm import relax, tirx
from tvm.ir import GlobalVar, IRModule
from tvm.s_tir import Schedule

from bnn_tvm.kernels.stages import ACCUMULATE, KERNEL, NUM_OUTPUTS

from .dataflow import (
    MAIN,
    Emitter,
    build_function,
    count_uses,
    main_bindings,
    op_name,
    rebuild_main,
    shape_of,
)
from .lower_regions import KERNEL_OF_LAYER
from .regions import AVG_POOL, CONV, MAX_POOL

MERGED_KERNELS = "bnn.merged_kernels"
"""Attribute of a module: for each kernel that is part of another now, the name of that one."""

_FUSED = "fused"


class _Pair(NamedTuple):
    """A convolution and the pooling that alone reads it."""

    conv: relax.VarBinding
    pool: relax.VarBinding


def fuse_pooling(mod: IRModule) -> IRModule:
    """Merge float convolutions with poolings whose windows do not overlap; expects kernels.

    A kernel that several layers share stays as it is.
    """
    pairs = _find_pairs(mod)
    convs, pools = {pair.conv.var for pair in pairs}, {pair.pool.var: pair for pair in pairs}
    merged: dict[str, str] = {}

    def write(emitter: Emitter) -> None:
        for binding in main_bindings(mod):
            if binding.var in pools:
                merged.update(_emit_pair(mod, emitter, pools[binding.var]))
            elif binding.var not in convs:
                value = emitter.remap(binding.value)
                emitter.replace(binding.var, emitter.emit(value, binding.var.name))

    fused = rebuild_main(mod, write)
    used = {gvar: func for gvar, func in fused.functions.items() if gvar.name_hint not in merged}
    layers = {str(layer): str(name) for layer, name in mod.attrs[KERNEL_OF_LAYER].items()}
    moved = {layer: merged.get(name, name) for layer, name in layers.items()}
    return IRModule(used).with_attrs({KERNEL_OF_LAYER: moved, MERGED_KERNELS: merged})


def _find_pairs(mod: IRModule) -> list[_Pair]:
    bindings = [b for b in main_bindings(mod) if op_name(b.value) == "call_tir"]
    calls = Counter(_kernel(binding) for binding in bindings)
    uses = count_uses(mod)
    convs = {b.var: b for b in bindings if _kind(mod, b) in CONV}
    pairs = [
        _Pair(convs[_data(binding)], binding)
        for binding in bindings
        if _kind(mod, binding) in (*MAX_POOL, *AVG_POOL) and _data(binding) in convs
    ]
    return [
        pair
        for pair in pairs
        if uses[pair.conv.var] == 1
        and calls[_kernel(pair.conv)] == calls[_kernel(pair.pool)] == 1
        and not _overlaps(mod, pair.pool)
    ]


def _kernel(binding: relax.VarBinding) -> GlobalVar:
    return binding.value.args[0]


def _kind(mod: IRModule, binding: relax.VarBinding) -> str:
    return str(mod[_kernel(binding)].attrs[KERNEL])


def _data(binding: relax.VarBinding) -> relax.Expr:
    return binding.value.args[1].fields[0]


def _overlaps(mod: IRModule, pool: relax.VarBinding) -> bool:
    """Tell whether windows of a pooling may read a value twice; padding counts as if they did."""
    sch = Schedule(mod[_kernel(pool)])
    axes = sch.get(sch.get_sblock(ACCUMULATE)).iter_vars
    return math.prod(int(var.dom.extent) for var in axes) > math.prod(shape_of(_data(pool)))


def _emit_pair(mod: IRModule, emitter: Emitter, pair: _Pair) -> dict[str, str]:
    """Call one kernel for both; return its name for those of the old ones."""
    old = [_kernel(binding) for binding in pair]
    name = "_".join(gvar.name_hint for gvar in old)
    callee = emitter.builder.add_func(_fuse(mod, pair), name)
    operands = [emitter.remap(arg) for arg in _operands(pair)]
    call = relax.call_tir(callee, operands, _results(pair.pool))
    emitter.replace(pair.pool.var, emitter.emit(call, pair.pool.var.name))
    return {gvar.name_hint: name for gvar in old}


def _operands(pair: _Pair) -> list[relax.Expr]:
    """List what the convolution reads, then what the pooling reads beside its result."""
    return [*pair.conv.value.args[1].fields, *pair.pool.value.args[1].fields[1:]]


def _fuse(mod: IRModule, pair: _Pair) -> tirx.PrimFunc:
    """Make one function of both kernels, with what lies between in scratch memory."""
    kernels = {_kernel(binding): mod[_kernel(binding)] for binding in pair}
    builder = relax.BlockBuilder(IRModule(kernels))
    params = [relax.Var(f"argument{i}", arg.ty) for i, arg in enumerate(_operands(pair))]
    count = len(pair.conv.value.args[1].fields)

    def body() -> list[relax.Expr]:
        emitter = Emitter(builder)
        between = emitter.emit(_call(pair.conv, params[:count]), pair.conv.var.name)
        return [emitter.emit(_call(pair.pool, [between, *params[count:]]), pair.pool.var.name)]

    build_function(builder, _FUSED, params, body)
    whole = builder.get()
    gvar = whole.get_global_var(_FUSED)
    whole.update_func(gvar, whole[gvar].without_attr("global_symbol").with_attr("Primitive", True))
    builder = relax.BlockBuilder(whole)
    outer = [relax.Var(param.name, param.ty) for param in params]
    build_function(builder, MAIN, outer, lambda: [Emitter(builder).emit(gvar(*outer), _FUSED)])
    func = relax.transform.FuseTIR()(builder.get())[_FUSED].without_attr("global_symbol")
    attrs = {
        KERNEL: mod[_kernel(pair.conv)].attrs[KERNEL],
        NUM_OUTPUTS: mod[_kernel(pair.pool)].attrs[NUM_OUTPUTS],
    }
    return func.with_attrs(attrs)


def _call(binding: relax.VarBinding, operands: list[relax.Expr]) -> relax.Call:
    return relax.call_tir(_kernel(binding), operands, _results(binding))


def _results(binding: relax.VarBinding) -> list[relax.Type]:
    ty = binding.var.ty
    return list(ty.fields) if isinstance(ty, relax.TupleType) else [ty]
