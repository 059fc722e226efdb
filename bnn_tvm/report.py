"""What became of every layer and kernel, for the manifest and for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from tvm import relax, tirx
from tvm.ir import IRModule

from .build import ScheduledModule
from .epilogue import describe_epilogue
from .kernels.stages import KERNEL, NUM_OUTPUTS, WEIGHT
from .package.manifest import KernelInfo, LayerInfo, NodeInfo, TensorInfo
from .passes.binary import (
    CONVOLUTIONS,
    data_levels,
    padding_before,
    padding_value,
    reason_not_binary,
)
from .passes.dataflow import (
    constant_of,
    count_calls,
    dtype_of,
    main_bindings,
    op_name,
    shape_of,
)
from .passes.fuse_pooling import MERGED_KERNELS
from .passes.levels import weight_levels
from .passes.lower_regions import KERNEL_OF_LAYER
from .passes.regions import divide_into_regions
from .passes.sign import Lookup
from .report_graph import packs

_BITS_OF_FLOAT = 32
_BITS_OF_NARROW = {"int8": 8, "uint8": 8, "bfloat16": 16}


def describe_layers(
    imported: IRModule, divided: IRModule, lowered: IRModule
) -> tuple[LayerInfo, ...]:
    """Describe every convolution and dense layer of a model, in order.

    Parameters
    ----------
    imported : IRModule
        As the importer made it: gives the shapes as the model has them.
    divided : IRModule
        Just before its regions are outlined: tells which layers are binary, and why others
        are not.
    lowered : IRModule
        Tells which kernel computes each layer.
    """
    bindings = main_bindings(imported)
    lookup = {b.var: b.value for b in bindings}.get
    model_shapes = {b.var.name: _shapes(b, lookup) for b in bindings if _is_layer(b.value)}
    return _LayerReport(divided, lowered).describe(model_shapes)


def _is_layer(call: relax.Expr) -> bool:
    return op_name(call) in (*CONVOLUTIONS, "matmul")


def _shapes(binding: relax.VarBinding, lookup: Lookup) -> tuple[tuple[int, ...], ...]:
    data, weight = binding.value.args
    weight_shape = shape_of(weight)
    if op_name(binding.value) == "matmul":
        weight_shape = weight_shape[::-1]
    return shape_of(_before_padding(data, lookup)), shape_of(binding.var), weight_shape


def _before_padding(data: relax.Expr, lookup: Lookup) -> relax.Expr:
    """Look past a padding of space alone; the model's channels are its second axis."""
    pad = lookup(data)
    if op_name(pad) != "nn.pad" or any(int(width) for width in pad.attrs.pad_width[:4]):
        return data
    return pad.args[0]


class _LayerReport:
    def __init__(self, divided: IRModule, lowered: IRModule):
        self._bindings = main_bindings(divided)
        self._values = {b.var: b.value for b in self._bindings}
        self._regions = {region.anchor.name: region for region in divide_into_regions(divided)}
        self._kernels = {str(k): str(v) for k, v in lowered.attrs[KERNEL_OF_LAYER].items()}
        self._functions = {g.name_hint: f for g, f in lowered.functions.items()}

    def describe(self, shapes: Mapping[str, tuple[tuple[int, ...], ...]]) -> tuple[LayerInfo, ...]:
        layers = [b for b in self._bindings if _is_layer(b.value) and b.var.name in shapes]
        return tuple(self._layer(binding, *shapes[binding.var.name]) for binding in layers)

    def _layer(
        self,
        binding: relax.VarBinding,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        weight_shape: tuple[int, ...],
    ) -> LayerInfo:
        call, name = binding.value, binding.var.name
        reason = reason_not_binary(call, self._values.get)
        data = data_levels(call, self._values.get)
        weight = None if reason else weight_levels(constant_of(call.args[1]))
        func = self._functions.get(self._kernels.get(name, ""))
        region = self._regions.get(name)
        return LayerInfo(
            name=name,
            op=CONVOLUTIONS.get(op_name(call), "dense"),
            lowered=not reason,
            reason=reason,
            kernel=self._kernels.get(name, ""),
            input_shape=input_shape,
            output_shape=output_shape,
            weight_shape=weight_shape,
            weight_bits=weight.bits if weight else _bits_of(call.args[1]),
            activation_bits=data.bits if data else _bits_of(call.args[0]),
            macs=math.prod(output_shape) * math.prod(weight_shape[1:]),
            weight_bytes=_weight_bytes(func) or 4 * math.prod(weight_shape),
            padding=_padding(call, self._values.get),
            epilogue=describe_epilogue(region, packs(func)) if region and func else "",
        )


def _bits_of(operand: relax.Expr) -> int:
    """Count the bits of a number that a layer multiplies: 32 unless its precision was lowered."""
    return _BITS_OF_NARROW.get(dtype_of(operand), _BITS_OF_FLOAT)


def _weight_bytes(func: tirx.PrimFunc | None) -> int:
    """Size of a kernel's weights as the package stores them; 0 if it has none."""
    params = [] if func is None else func.params
    return sum(_tensor_info(param).nbytes for param in params if param.name == WEIGHT)


def _padding(call: relax.Call, lookup: Lookup) -> str:
    """Say how much a convolution pads before each axis, and with what."""
    value = padding_value(call, lookup)
    if value is None:
        return ""
    pad = padding_before(call, lookup)
    widths = call.attrs.padding if pad is None else pad.attrs.pad_width[2:-2:2]
    rank = len(call.attrs.strides)
    return f"{','.join(str(int(width)) for width in widths[:rank])} value {value:g}"


Described = TypeVar("Described", LayerInfo, NodeInfo)


def follow_merges(records: tuple[Described, ...], mod: IRModule) -> tuple[Described, ...]:
    """Name the kernels that others were merged into, where kernels were merged."""
    merges = mod.attrs[MERGED_KERNELS] if mod.attrs and MERGED_KERNELS in mod.attrs else {}
    names = {str(old): str(new) for old, new in merges.items()}
    return tuple(replace(one, kernel=names.get(one.kernel, one.kernel)) for one in records)


def describe_kernels(
    scheduled: ScheduledModule, layers: tuple[LayerInfo, ...]
) -> tuple[KernelInfo, ...]:
    """Describe every kernel of a scheduled module."""
    kernels = [
        (gvar.name_hint, func)
        for gvar, func in scheduled.mod.functions.items()
        if isinstance(func, tirx.PrimFunc)
    ]
    calls = count_calls(scheduled.mod)
    return tuple(
        _kernel(name, func, scheduled, layers, calls[name]) for name, func in sorted(kernels)
    )


def _kernel(
    name: str,
    func: tirx.PrimFunc,
    scheduled: ScheduledModule,
    layers: tuple[LayerInfo, ...],
    calls: int,
) -> KernelInfo:
    mine = [layer for layer in layers if layer.kernel == name]
    schedule = scheduled.kernels[name]
    return KernelInfo(
        name=name,
        kind=str(func.attrs[KERNEL]) if KERNEL in func.attrs else name.rstrip("0123456789_"),
        layers=tuple(layer.name for layer in mine),
        arguments=tuple(_tensor_info(param) for param in func.params),
        # A kernel of TVM's operator library writes its last parameter.
        num_outputs=int(func.attrs[NUM_OUTPUTS]) if NUM_OUTPUTS in func.attrs else 1,
        macs=sum(layer.macs for layer in mine) // calls,
        binary=bool(mine) and mine[0].lowered,
        rule=schedule.rule,
        source=schedule.source,
        note=schedule.note,
        calls=calls,
    )


def _tensor_info(param: tirx.Var) -> TensorInfo:
    shape = tuple(int(extent) for extent in param.shape)
    return TensorInfo(str(param.name), shape, str(param.dtype), "")
