"""Build the kernel of one region: its anchor, its epilogue, and its outputs as numbers or bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import Expr

from bnn_tvm.kernels import bits, bitserial, floating
from bnn_tvm.kernels.elementwise import SCALAR_OPS
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.stages import RESULT, VALUE, WEIGHT
from bnn_tvm.target import Target

from . import regions
from .dataflow import constant_of, dtype_of, is_tensor, op_name, shape_of
from .sign import sign_operand

Element = Callable[..., Expr]
"""Gives one element of a tensor at an index."""


@dataclass(frozen=True)
class RegionKernel:
    """A kernel and what to call it with.

    Attributes
    ----------
    func : tvm.tirx.PrimFunc
        Takes the operands, then the outputs: floats first, then words.
    operands : tuple of int or numpy.ndarray
        The position of a parameter of the region's function, or a constant.
    """

    func: tirx.PrimFunc
    operands: tuple[int | np.ndarray, ...]


def build_region_kernel(
    function: relax.Function, kind: str, floats: list[int], packed: list[int], target: Target
) -> RegionKernel:
    """Build the kernel of a region.

    Parameters
    ----------
    function : relax.Function
        The region's float semantics, as `fuse_regions` outlines it.
    kind : str
        The kind of region.
    floats, packed : list of int
        Which results of the function are wanted as numbers, and which as packed signs.
    target : Target
        Gives the vector width that weights are blocked for and the width of words.
    """
    return _KernelBuilder(function, kind, target, bool(packed)).build(floats, packed)


@dataclass
class _Operands:
    """Placeholders of a kernel with what they stand for, in order of first use."""

    tensors: list[te.Tensor] = field(default_factory=list)
    sources: list[int | np.ndarray] = field(default_factory=list)

    def parameter(self, position: int, shape: tuple[int, ...], dtype: str) -> te.Tensor:
        return self._add(position, te.placeholder(shape, dtype, f"argument{position}"))

    def constant(self, array: np.ndarray, name: str = "") -> te.Tensor:
        name = name or f"constant{len(self.tensors)}"
        return self._add(array, te.placeholder(array.shape, str(array.dtype), name))

    def _add(self, source: int | np.ndarray, tensor: te.Tensor) -> te.Tensor:
        self.tensors.append(tensor)
        self.sources.append(source)
        return tensor


class _KernelBuilder:
    def __init__(self, function: relax.Function, kind: str, target: Target, packs: bool):
        self._kind = kind
        self._word_bits = target.word_bits
        element_bits = self._word_bits if kind in regions.ON_BITS else 32
        self._lanes = target.vector_bits // element_bits
        # Bits are packed in groups of 32 channels: then there are that many to compute.
        self._multiple = 32 if packs else self._lanes
        self._bindings = [b for block in function.body.blocks for b in block.bindings]
        self._values = {b.var: b.value for b in self._bindings}
        self._results = self._resolve(function.body.body)
        self._operands = _Operands()
        self._elements: dict[relax.Var, Element] = {}
        self._words: dict[relax.Var, te.Tensor] = {}
        self._count: te.Tensor | None = None
        self._written: set[relax.Var] = set()
        self._read_params(function)

    def _resolve(self, result: relax.Expr) -> list[relax.Var]:
        while isinstance(self._values.get(result), relax.Var | relax.Tuple):
            result = self._values[result]
        return list(result.fields) if isinstance(result, relax.Tuple) else [result]

    def _lookup(self, expr: relax.Expr) -> Any:
        return self._values.get(expr) if isinstance(expr, relax.Var) else None

    def _read_params(self, function: relax.Function) -> None:
        for position, param in enumerate(function.params):
            shape, dtype = shape_of(param), dtype_of(param)
            if self._kind in regions.ON_BITS and position == 0:
                words = bits.word_count(shape[-1], self._word_bits)
                shape, dtype = (*shape[:-1], words), bits.word_dtype(self._word_bits)
                self._words[param] = self._operands.parameter(position, shape, dtype)
            else:
                self._elements[param] = self._operands.parameter(position, shape, dtype)

    def build(self, floats: list[int], packed: list[int]) -> RegionKernel:
        for binding in self._bindings:
            if isinstance(binding.value, relax.Call):
                self._define(binding)
        outputs = [self._float_output(self._results[i]) for i in floats]
        outputs += [self._packed_output(self._results[i]) for i in packed]
        func = te.create_prim_func([*self._operands.tensors, *outputs])
        return RegionKernel(func, tuple(self._operands.sources))

    def _define(self, binding: relax.VarBinding) -> None:
        call, name = binding.value, op_name(binding.value)
        if name in ("nn.pad", "reshape"):
            return
        anchors = {
            regions.BITSERIAL_CONV2D: self._bitserial_conv2d,
            regions.BITSERIAL_DENSE: self._bitserial_dense,
            regions.BITSERIAL_MAX_POOL2D: self._bitserial_max_pool2d,
            regions.CONV2D: self._conv2d,
            regions.DENSE: self._dense,
            regions.MAX_POOL2D: self._max_pool2d,
            regions.AVG_POOL2D: self._avg_pool2d,
        }
        if name in ("nn.conv2d", "matmul", "nn.max_pool2d", "nn.avg_pool2d"):
            anchors[self._kind](binding.var, call)
        else:
            self._elements[binding.var] = self._elementwise(binding.var, call)

    def _source(self, call: relax.Call) -> tuple[relax.Expr, relax.Call | None]:
        """Return what an anchor reads, past the padding or flattening inside the region."""
        before = self._lookup(call.args[0])
        return (call.args[0], None) if before is None else (before.args[0], before)

    def _weight(self, weight: np.ndarray) -> te.Tensor:
        blocked = bits.block_outputs(weight, self._lanes, self._multiple)
        return self._operands.constant(blocked, WEIGHT)

    def _packed_weight(self, signs: np.ndarray) -> te.Tensor:
        return self._weight(bits.pack_signs(signs, self._word_bits))

    def _bitserial_conv2d(self, var: relax.Var, call: relax.Call) -> None:
        source, pad = self._source(call)
        packed = self._packed_weight(constant_of(call.args[1]))
        pad_bit = int(pad is not None and float(pad.attrs.pad_value) > 0)
        channels = shape_of(call.args[1])[-1]
        data = self._words[source]
        window = _conv_window(call, pad)
        self._count = bitserial.bitserial_conv2d(data, packed, window, channels, pad_bit)
        self._elements[var] = self._dot(call)

    def _bitserial_dense(self, var: relax.Var, call: relax.Call) -> None:
        source, _ = self._source(call)
        *inputs, channels = shape_of(source)[1:]
        rows = constant_of(call.args[1]).T.reshape(-1, *inputs, channels)
        packed = self._packed_weight(rows)
        self._count = bitserial.bitserial_dense(self._words[source], packed)
        self._elements[var] = self._dot(call)

    def _dot(self, call: relax.Call) -> Element:
        """Turn counted disagreements m into the dot product K - 2 m, as float32."""
        fan_in = _fan_in(call)
        count = self._blocked(self._count)
        return lambda *index: (fan_in - 2 * count(*index)).astype("float32")

    def _blocked(self, accumulated: te.Tensor) -> Element:
        """View (..., blocks, lanes) as (..., channels)."""
        lanes = self._lanes
        return lambda *index: accumulated(*index[:-1], index[-1] // lanes, index[-1] % lanes)

    def _bitserial_max_pool2d(self, var: relax.Var, call: relax.Call) -> None:
        data, (_, rows, columns, _) = self._words[call.args[0]], shape_of(var)
        window = _pool_window(call)
        self._words[var] = bitserial.bitserial_max_pool2d(data, window, rows, columns)

    def _conv2d(self, var: relax.Var, call: relax.Call) -> None:
        source, pad = self._source(call)
        blocked = self._weight(constant_of(call.args[1]))
        value = 0.0 if pad is None else float(pad.attrs.pad_value)
        window = _conv_window(call, pad)
        self._elements[var] = self._blocked(
            floating.conv2d(self._elements[source], blocked, window, value)
        )

    def _dense(self, var: relax.Var, call: relax.Call) -> None:
        blocked = self._weight(constant_of(call.args[1]).T)
        self._elements[var] = self._blocked(floating.dense(self._elements[call.args[0]], blocked))

    def _max_pool2d(self, var: relax.Var, call: relax.Call) -> None:
        data, (_, rows, columns, _) = self._elements[call.args[0]], shape_of(var)
        self._elements[var] = floating.max_pool2d(data, _pool_window(call), rows, columns)

    def _avg_pool2d(self, var: relax.Var, call: relax.Call) -> None:
        data, (_, rows, columns, _) = self._elements[call.args[0]], shape_of(var)
        counts_padding = bool(call.attrs.count_include_pad)
        sums, divisor = floating.avg_pool2d(data, _pool_window(call), rows, columns, counts_padding)
        self._elements[var] = lambda *index: sums(*index) / divisor(*index)

    def _elementwise(self, var: relax.Var, call: relax.Call) -> Element:
        @functools.cache
        def operands() -> list[Element]:
            """Find the operands at first use: a folded operation asks for no constants."""
            dtype = [lambda *_: dtype_of(var)] if op_name(call) == "astype" else []
            return [self._operand(arg) for arg in call.args] + dtype

        apply = SCALAR_OPS[op_name(call)]
        return lambda *index: apply(*(operand(*index) for operand in operands()))

    def _operand(self, arg: relax.Expr) -> Element:
        array = constant_of(arg)
        if array is not None:
            return self._constant_element(array)
        if not is_tensor(arg):
            return lambda *_: tirx.const(float(arg.value), "float32")
        return _broadcasting(self._elements[arg], shape_of(arg))

    def _constant_element(self, array: np.ndarray) -> Element:
        if array.size == 1:
            scalar = tirx.const(array.item(), str(array.dtype))
            return lambda *_: scalar
        if array.size == array.shape[-1]:
            vector = self._operands.constant(np.ascontiguousarray(array.reshape(-1)))
            return lambda *index: vector(index[-1])
        return _broadcasting(self._operands.constant(array), array.shape)

    def _float_output(self, var: relax.Var) -> te.Tensor:
        """Write numbers; what comes after them in the region reads them from there."""
        result = te.compute(shape_of(var), self._elements[var], name=RESULT)
        self._elements[var] = result
        self._written.add(var)
        return result

    def _packed_output(self, var: relax.Var) -> te.Tensor:
        if var in self._words:
            return self._words[var]
        *outer, channels = shape_of(var)
        groups = bits.word_count(channels, self._word_bits) * self._word_bits
        threshold = None if self._written else self._integer_threshold(var, groups)
        if threshold is None:
            operand = sign_operand(self._values[var], self._lookup)
            source = self._elements[var if var in self._written else operand]
            return bits.pack_elements(source, shape_of(var), self._word_bits)
        value = te.compute((*outer, groups), threshold, name=VALUE)
        return bits.bitpack(value, self._word_bits)

    def _integer_threshold(self, var: relax.Var, groups: int) -> Element | None:
        """Compare the count itself where the sign is that of a dot product less a constant.

        ``K - 2 m >= t`` is ``floor((K - ceil(t)) / 2) - m >= 0`` in integers.
        """
        margin = self._lookup(sign_operand(self._values[var], self._lookup))
        if self._count is None or op_name(margin) != "subtract":
            return None
        layer, limits = self._lookup(margin.args[0]), constant_of(margin.args[1])
        is_layer = op_name(layer) in ("nn.conv2d", "matmul")
        if not is_layer or limits is None or limits.size not in (1, *limits.shape[-1:]):
            return None
        channels = np.broadcast_to(limits.reshape(-1), shape_of(var)[-1:])
        count = self._blocked(self._count)
        table = _count_limits(channels, _fan_in(layer), groups)
        limit = self._operands.constant(table)
        return lambda *index: limit(index[-1]) - count(*index)


def _count_limits(limits: np.ndarray, fan_in: int, groups: int) -> np.ndarray:
    """Turn least dot products for +1 into most disagreements, -1 (never) past the last."""
    most = np.floor((fan_in - np.ceil(limits.astype(np.float64))) / 2)
    table = np.full(groups, -1, np.int32)
    table[: limits.size] = np.clip(most, -1, fan_in)
    return table


def _broadcasting(tensor: te.Tensor, shape: tuple[int, ...]) -> Element:
    """Read a tensor at an index of the result, 0 along axes of extent 1."""

    def element(*index: Expr) -> Expr:
        own = index[len(index) - len(shape) :]
        return tensor(*(i if extent > 1 else 0 for i, extent in zip(own, shape, strict=True)))

    return element


def _fan_in(call: relax.Call) -> int:
    weight = shape_of(call.args[1])
    return math.prod(weight[1:]) if op_name(call) == "nn.conv2d" else weight[0]


def _conv_window(call: relax.Call, pad: relax.Call | None) -> Window:
    _, height, width, _ = shape_of(call.args[1])
    top, left, bottom, right = (int(extent) for extent in call.attrs.padding)
    if pad is not None:
        _, _, top, bottom, left, right, _, _ = (int(extent) for extent in pad.attrs.pad_width)
    padding = (top, left, bottom, right)
    return Window((height, width), _pair(call.attrs.strides), _pair(call.attrs.dilation), padding)


def _pool_window(call: relax.Call) -> Window:
    attrs = call.attrs
    top, left, bottom, right = (int(extent) for extent in attrs.padding)
    padding = (top, left, bottom, right)
    return Window(_pair(attrs.pool_size), _pair(attrs.strides), _pair(attrs.dilation), padding)


def _pair(values: tuple[Expr, Expr]) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second
