"""Pass: let the kernel of a stem pool its rows before they leave the cache.

What the convolution of an image gives is the largest tensor of a network, and a pooling leaves a
quarter of it. Windows of the pooling may overlap.
"""

from __future__ import annotations

from typing import NamedTuple

from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.target import Target

from .binary import CONVOLUTIONS
from .dataflow import (
    Emitter,
    arguments,
    bindings_of,
    build_function,
    constant_of,
    count_uses,
    is_per_channel,
    is_tensor,
    main_bindings,
    op_name,
    rebuild_main,
    results_of,
    shape_of,
)
from .float_conv import find_filtering
from .fuse_regions import LAYER, region_kind
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
    pairs = {pair.pool.var: pair for pair in _find_pairs(mod, target)}
    stems = {pair.stem.var for pair in pairs.values()}

    def write(emitter: Emitter) -> None:
        for binding in main_bindings(mod):
            if binding.var in stems:
                continue
            value = emitter.remap(binding.value)
            if binding.var in pairs:
                stem, pool = pairs[binding.var]
                value = join_pooling(mod, emitter, stem.value, 0, pool.value)
            emitter.rebind(binding.var, value)

    return rebuild_main(mod, write) if pairs else mod


def _find_pairs(mod: IRModule, target: Target) -> list[_Pair]:
    bindings, uses = main_bindings(mod), count_uses(mod)
    stems = {
        b.var: b
        for b in bindings
        if region_kind(mod, b.value) in CONV and _is_filtered(mod, b, target)
    }
    return [
        _Pair(stems[data], binding)
        for binding in bindings
        if region_kind(mod, binding.value) == _POOLING
        and (data := binding.value.args[0]) in stems
        and uses[data] == 1
    ]


def _is_filtered(mod: IRModule, stem: relax.VarBinding, target: Target) -> bool:
    """Tell whether a convolution of an image is filtered, and what follows it keeps rows apart."""
    bindings = bindings_of(mod[stem.value.op])
    names = [op_name(binding.value) for binding in bindings]
    place = next(i for i, name in enumerate(names) if name in CONVOLUTIONS)
    conv, padded = bindings[place].value, names[place - 1] == "nn.pad"
    if "permute_dims" not in names[:place]:
        return False
    data = bindings[place - 1].value.args[0] if padded else conv.args[0]
    window = conv_window(conv, bindings[place - 1].value if padded else None)
    filtering = find_filtering(target, window, shape_of(data), int(conv.attrs.groups))
    follow = [binding.value for binding in bindings[place + 1 :]]
    return filtering is not None and all(map(_is_by_channel, follow))


def _is_by_channel(value: relax.Expr) -> bool:
    """Tell whether an operation computes a number from that at its place and from channels'."""
    if not isinstance(value, relax.Call):
        return True
    first, *others = arguments(value)
    tensors = [constant_of(other) for other in others if is_tensor(other)]
    by_channel = all(tensor is not None and is_per_channel(tensor) for tensor in tensors)
    return isinstance(first, relax.Var) and by_channel


def join_pooling(
    mod: IRModule, emitter: Emitter, layer: relax.Call, pooled: int, pool: relax.Call
) -> relax.Call:
    """Call one region of a layer and of a pooling that alone reads one of its results.

    Returns
    -------
    relax.Call
        Its results are the others of the layer, then those of the pooling.
    """
    regions = mod[layer.op], mod[pool.op]
    params = [*regions[0].params, *regions[1].params[1:]]
    builder = relax.BlockBuilder()
    inner = Emitter(builder)
    copies = [relax.Var(param.name, param.ty) for param in params]
    for old, new in zip(params, copies, strict=True):
        inner.replace(old, new)

    def body() -> list[relax.Expr]:
        others = _copy(inner, regions[0])
        inner.replace(regions[1].params[0], others.pop(pooled))
        return [*others, *_copy(inner, regions[1])]

    build_function(builder, "region", copies, body)
    attrs = {**dict(regions[0].attrs.items()), POOLED_LAYER: regions[1].attrs[LAYER]}
    region = builder.finalize()["region"].without_attr("global_symbol").with_attrs(attrs)
    callee = emitter.builder.add_func(region, layer.op.name_hint + "_pooled")
    return relax.Call(callee, [emitter.remap(arg) for arg in (*layer.args, *pool.args[1:])])


def _copy(emitter: Emitter, region: relax.Function) -> list[relax.Expr]:
    """Write the bindings of a region; return its results."""
    for binding in bindings_of(region):
        emitter.rebind(binding.var, emitter.remap(binding.value))
    return [emitter.remap(result) for result in results_of(region)]
