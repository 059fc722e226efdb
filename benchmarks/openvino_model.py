"""Writes a model for OpenVINO, in the form in which OpenVINO runs it fastest.

Binary convolutions become its ``BinaryConvolution`` on packed weights, fed by a ``FakeQuantize``
to 0 and 1, which is what its CPU plugin packs into bits. Chains of per-channel arithmetic are
folded, into the thresholds of that ``FakeQuantize`` where only its sign is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import op, opset1
from openvino import opset15 as ops
from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.errors import ModelError
from bnn_tvm.passes.canonicalize_sign import canonicalize_sign
from bnn_tvm.passes.dataflow import (
    MAIN,
    arguments,
    constant_of,
    main_bindings,
    main_result,
    op_name,
    shape_of,
)
from bnn_tvm.passes.fold_constants import fold_constants
from bnn_tvm.passes.pool_mean import pool_mean
from bnn_tvm.passes.sign import sign_operand
from bnn_tvm.passes.squeeze_pad import squeeze_pad


def to_openvino(mod: IRModule) -> ov.Model:
    """Convert an imported module of images of the layout NCHW.

    Parameters
    ----------
    mod : IRModule
        As `bnn_tvm.importer.import_graph` makes it.

    Raises
    ------
    ModelError
        If it has an operator that no network of the benchmarks has.
    """
    for run in (canonicalize_sign, fold_constants, squeeze_pad, pool_mean):
        mod = run(mod)
    return _Writer(mod).write()


@dataclass(frozen=True)
class _Scaled:
    """``node * scale + shift``, not yet written; both are float64 and broadcast to the node."""

    node: ov.Node
    scale: np.ndarray
    shift: np.ndarray

    def then(self, scale: np.ndarray, shift: np.ndarray) -> _Scaled:
        return _Scaled(self.node, self.scale * scale, self.shift * scale + shift)


@dataclass(frozen=True)
class _Bits:
    """Signs as 0 and 1, and the border of signs around them."""

    node: ov.Node
    before: tuple[int, ...] = (0, 0)
    after: tuple[int, ...] = (0, 0)
    border: float = 0.0


class _Writer:
    def __init__(self, mod: IRModule):
        self._mod = mod
        self._values: dict[relax.Var, Any] = {}
        self._calls = {b.var: b.value for b in main_bindings(mod)}
        self._written: dict[relax.Var, ov.Node] = {}

    def write(self) -> ov.Model:
        parameters = []
        for param in self._mod[MAIN].params:
            node = ops.parameter(shape_of(param), np.float32, name=param.name)
            parameters.append(node)
            self._values[param] = _unscaled(node)
        for binding in main_bindings(self._mod):
            self._values[binding.var] = self._convert(binding.value)
        heads = [ops.result(self._node(head)) for head in main_result(self._mod)]
        return ov.Model(heads, parameters, "model")

    def _convert(self, value: relax.Expr) -> Any:
        if isinstance(value, relax.Var):
            return self._values[value]
        name = op_name(value)
        if name == "less":
            return None  # read by the `where` behind it
        if name in _ARITHMETIC:
            return self._arithmetic(name, *value.args)
        if name not in _CONVERTERS:
            raise ModelError(f"the converter for OpenVINO has no operator {name!r}; add it there")
        return _CONVERTERS[name](self, value)

    def _node(self, expr: relax.Expr) -> ov.Node:
        """Write what an expression stands for, once."""
        constant = constant_of(expr)
        if constant is not None:
            return _constant(constant)
        if expr not in self._written:
            value = self._values[expr]
            if not isinstance(value, _Scaled):
                raise ModelError("the converter for OpenVINO reads signs in convolutions only")
            self._written[expr] = _write(value)
        return self._written[expr]

    def _arithmetic(self, name: str, left: relax.Expr, right: relax.Expr) -> _Scaled:
        constant = constant_of(right)
        if constant is None:
            return _unscaled(_ARITHMETIC[name].write(self._node(left), self._node(right)))
        scale, shift = _ARITHMETIC[name].fold(constant.astype(np.float64))
        return self._values[left].then(scale, shift)

    def where(self, call: relax.Call) -> _Bits:
        operand = sign_operand(call, self._calls.get)
        if operand is None:
            raise ModelError("the converter for OpenVINO knows `where` only as a sign")
        return _Bits(_binarize(self._values[operand]))

    def pad(self, call: relax.Call) -> Any:
        value = self._values[call.args[0]]
        if not isinstance(value, _Bits):
            raise ModelError("the converter for OpenVINO pads signs only")
        widths = [int(width) for width in call.attrs.pad_width][4:]
        return _Bits(value.node, (*widths[0::2],), (*widths[1::2],), float(call.attrs.pad_value))

    def conv2d(self, call: relax.Call) -> _Scaled:
        data = self._values[call.args[0]]
        convolve = _binary_convolution if isinstance(data, _Bits) else self._float_convolution
        return _unscaled(convolve(call, data))

    def _float_convolution(self, call: relax.Call, _: _Scaled) -> ov.Node:
        attrs, weight = call.attrs, constant_of(call.args[1])
        data, before, after = self._node(call.args[0]), attrs.padding[:2], attrs.padding[2:]
        placing = (*map(_integers, (attrs.strides, before, after, attrs.dilation)),)
        if attrs.groups == 1:
            return ops.convolution(data, _constant(weight), *placing)
        grouped = weight.reshape(int(attrs.groups), -1, *weight.shape[1:])
        return ops.group_convolution(data, _constant(grouped), *placing)

    def pool(self, call: relax.Call) -> _Scaled:
        attrs, data = call.attrs, self._node(call.args[0])
        window = [*map(_integers, (attrs.padding[:2], attrs.padding[2:], attrs.pool_size))]
        strides, rounding = _integers(attrs.strides), "ceil" if attrs.ceil_mode else "floor"
        if op_name(call) == "nn.max_pool2d":
            return _unscaled(opset1.max_pool(data, strides, *window, rounding))
        excluded = not attrs.count_include_pad
        return _unscaled(opset1.avg_pool(data, strides, *window, excluded, rounding))

    def relu(self, call: relax.Call) -> _Scaled:
        return _unscaled(ops.relu(self._node(call.args[0])))

    def reshape(self, call: relax.Call) -> _Scaled:
        shape = np.array(shape_of(call), np.int64)
        return _unscaled(ops.reshape(self._node(call.args[0]), op.Constant(shape), False))

    def matmul(self, call: relax.Call) -> _Scaled:
        data, weight = map(self._node, call.args)
        return _unscaled(ops.matmul(data, weight, False, False))

    def concat(self, call: relax.Call) -> _Scaled:
        fields = [self._node(field) for field in arguments(call)]
        return _unscaled(ops.concat(fields, int(call.attrs.axis)))

    def strided_slice(self, call: relax.Call) -> _Scaled:
        axes, begin, end, *strides = (_fields(argument) for argument in call.args[1:])
        step = strides[0] if strides else np.ones_like(axes)
        places = (op.Constant(array) for array in (begin, end, step, axes))
        return _unscaled(ops.slice(self._node(call.args[0]), *places))


@dataclass(frozen=True)
class _Arithmetic:
    """How two tensors are combined, and a constant as (scale, shift) of the other operand."""

    write: Callable[[ov.Node, ov.Node], ov.Node]
    fold: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


_ONE, _ZERO = np.ones(()), np.zeros(())
_ARITHMETIC = {
    "add": _Arithmetic(ops.add, lambda c: (_ONE, c)),
    "subtract": _Arithmetic(ops.subtract, lambda c: (_ONE, -c)),
    "multiply": _Arithmetic(ops.multiply, lambda c: (c, _ZERO)),
    "divide": _Arithmetic(ops.divide, lambda c: (1 / c, _ZERO)),
}

_CONVERTERS: dict[str, Callable[[_Writer, relax.Call], Any]] = {
    "where": _Writer.where,
    "nn.pad": _Writer.pad,
    "nn.conv2d": _Writer.conv2d,
    "nn.max_pool2d": _Writer.pool,
    "nn.avg_pool2d": _Writer.pool,
    "nn.relu": _Writer.relu,
    "reshape": _Writer.reshape,
    "matmul": _Writer.matmul,
    "concat": _Writer.concat,
    "strided_slice": _Writer.strided_slice,
}


def _unscaled(node: ov.Node) -> _Scaled:
    return _Scaled(node, _ONE, _ZERO)


def _write(value: _Scaled) -> ov.Node:
    node = value.node
    if (value.scale != 1).any():
        node = ops.multiply(node, _constant(value.scale))
    if (value.shift != 0).any():
        node = ops.add(node, _constant(value.shift))
    return node


def _binarize(value: _Scaled) -> ov.Node:
    """Write the comparison of ``node * scale + shift`` with 0 as one of the node itself.

    FakeQuantize gives its low output at the threshold and the high one above it. So the
    threshold is the number below ``-shift / scale`` where the scale is positive; where it is
    negative, the threshold is that number and the outputs change places.
    """
    scale, shift = np.broadcast_arrays(value.scale, value.shift)
    if not scale.all():
        raise ModelError("the converter for OpenVINO cannot take the sign of 0 times a tensor")
    threshold = (-shift / scale).astype(np.float32)
    below = np.where(threshold == 0, -np.finfo(np.float32).tiny, _next_below(threshold))
    low = _constant(np.where(scale > 0, below, threshold))
    negative = _constant(scale < 0)
    return ops.fake_quantize(value.node, low, low, negative, _constant(scale > 0), 2)


def _next_below(values: np.ndarray) -> np.ndarray:
    return np.nextafter(values, np.float32(-np.inf))


def _binary_convolution(call: relax.Call, data: _Bits) -> ov.Node:
    if call.attrs.groups != 1 or any(_integers(call.attrs.padding)):
        raise ModelError("the converter for OpenVINO has no groups and no zeros in binary layers")
    strides, dilation = _integers(call.attrs.strides), _integers(call.attrs.dilation)
    weight, before, after = _packed(constant_of(call.args[1])), [*data.before], [*data.after]
    return opset1.binary_convolution(
        data.node, weight, strides, before, after, dilation, "xnor-popcount", data.border
    )


def _packed(weight: np.ndarray) -> ov.Node:
    """Pack signs into a constant of bits, the least significant bit of each byte first."""
    bits = np.packbits(weight.ravel() > 0, bitorder="little")
    tensor = ov.Tensor(bits, ov.Shape(weight.shape), ov.Type.u1)
    return op.Constant(tensor, shared_memory=False)


def _constant(array: np.ndarray) -> ov.Node:
    """Copy an array into a float32 constant of its own memory."""
    return op.Constant(np.ascontiguousarray(array, np.float32))


def _integers(values: Any) -> list[int]:
    return [int(value) for value in values]


def _fields(argument: relax.Expr) -> np.ndarray:
    return np.array([int(field.value) for field in argument.fields], np.int64)
