"""Pass: let the kernel of a stem pool its rows before they leave the cache.

What the convolution of an image gives is the largest tensor of a network, and a pooling leaves a
quarter of it. Windows of the pooling may overlap.
"""

from __future__ import annotations

from typing import NamedTuple

from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.kernels.winograd import Filtering
from bnn_tvm.target import Target

from .binary import CONVOLUTIONS
from .dataflow import (
    Emitter,
    arguments,
    build_function,
    constant_of,
    count_uses,
    is_tensor,
    main_bindings,
    op_name,
    rebuild_main,
    shape_of,
)
from .fuse_regions import COMPOSITE, LAYER, PREFIX
from .regions import CONV
from .windows import conv_window

POOLED_LAYER = "bnn.pooled_layer"
"""Attribute of a region that pools what its anchor computes: the name of the pooling."""

_POOLING = "max_pool2d"


class _Pair(NamedTuple):
    """A stem and the pooling that alone reads it."""

    stem: relax.VarBinding
    pool: relax.VarBinding


def pool_stems(mod: IRModule, target: Target) -> IRModule:
    """Join stems that take fewer multiplications with their poolings; expects regions."""
    if not target.filters_rows:
        return mod
    pairs = {pair.pool.var: pair for pair in _find_pairs(mod)}
    stems = {pair.stem.var for pair in pairs.values()}

    def write(emitter: Emitter) -> None:
        for binding in main_bindings(mod):
            if binding.var in stems:
                continue
            value = emitter.remap(binding.value)
            if binding.var in pairs:
                value = _join(mod, emitter, pairs[binding.var])
            is_alias = isinstance(value, relax.Var)
            emitter.replace(
                binding.var, value if is_alias else emitter.emit(value, binding.var.name)
            )

    return rebuild_main(mod, write) if pairs else mod


def _find_pairs(mod: IRModule) -> list[_Pair]:
    bindings, uses = main_bindings(mod), count_uses(mod)
    stems = {b.var: b for b in bindings if _kind(mod, b) in CONV and _is_filtered(mod, b)}
    return [
        _Pair(stems[data], binding)
        for binding in bindings
        if _kind(mod, binding) == _POOLING
        and (data := binding.value.args[0]) in stems
        and uses[data] == 1
    ]


def _kind(mod: IRModule, binding: relax.VarBinding) -> str:
    """Name the kind of region that a binding runs; '' if it runs none."""
    call = binding.value
    if not (isinstance(call, relax.Call) and isinstance(call.op, relax.GlobalVar)):
        return ""
    return str(mod[call.op].attrs[COMPOSITE]).removeprefix(PREFIX)


def _bindings(function: relax.Function) -> list[relax.VarBinding]:
    return [b for block in function.body.blocks for b in block.bindings]


def _is_filtered(mod: IRModule, stem: relax.VarBinding) -> bool:
    """Tell whether a convolution of an image is filtered, and what follows it keeps rows apart."""
    bindings = _bindings(mod[stem.value.op])
    names = [op_name(binding.value) for binding in bindings]
    place = next(i for i, name in enumerate(names) if name in CONVOLUTIONS)
    conv, padded = bindings[place].value, names[place - 1] == "nn.pad"
    if "permute_dims" not in names[:place] or int(conv.attrs.groups) != 1:
        return False
    data = bindings[place - 1].value.args[0] if padded else conv.args[0]
    window = conv_window(conv, bindings[place - 1].value if padded else None)
    filtering = Filtering(window, shape_of(data)[-1])
    follow = [binding.value for binding in bindings[place + 1 :]]
    return filtering.is_worthwhile(shape_of(data)[1:-1]) and all(map(_is_by_channel, follow))


def _is_by_channel(value: relax.Expr) -> bool:
    """Tell whether an operation computes a number from that at its place and from channels'."""
    if not isinstance(value, relax.Call):
        return True
    first, *others = arguments(value)
    sizes = {constant.size for other in others if (constant := constant_of(other)) is not None}
    apart = all(constant_of(other) is not None or not is_tensor(other) for other in others)
    return isinstance(first, relax.Var) and apart and sizes <= {1, shape_of(first)[-1]}


def _join(mod: IRModule, emitter: Emitter, pair: _Pair) -> relax.Call:
    """Call one region of both."""
    stem, pool = (mod[binding.value.op] for binding in pair)
    args = [*pair.stem.value.args, *pair.pool.value.args[1:]]
    builder = relax.BlockBuilder()
    inner = Emitter(builder)
    params = [relax.Var(p.name, p.ty) for p in (*stem.params, *pool.params[1:])]
    for old, new in zip((*stem.params, *pool.params[1:]), params, strict=True):
        inner.replace(old, new)

    def body() -> list[relax.Expr]:
        inner.replace(pool.params[0], _copy(inner, stem))
        result = _copy(inner, pool)
        return list(result.fields) if isinstance(result, relax.Tuple) else [result]

    build_function(builder, "region", params, body)
    attrs = {name: stem.attrs[name] for name in (COMPOSITE, LAYER)}
    region = builder.finalize()["region"].without_attr("global_symbol")
    region = region.with_attrs({**attrs, POOLED_LAYER: pool.attrs[LAYER]})
    name = pair.stem.value.op.name_hint + "_pooled"
    return relax.Call(emitter.builder.add_func(region, name), [emitter.remap(a) for a in args])


def _copy(emitter: Emitter, region: relax.Function) -> relax.Expr:
    """Write the bindings of a region; return its result."""
    for binding in _bindings(region):
        value = emitter.remap(binding.value)
        new = value if isinstance(value, relax.Var) else emitter.emit(value, binding.var.name)
        emitter.replace(binding.var, new)
    return emitter.remap(region.body.body)
