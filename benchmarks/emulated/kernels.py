"""The kernels that are counted, lowered from small networks as the compiler lowers them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import relax, tirx
from tvm.ir import IRModule

from bnn_tvm.kernels.stages import KERNEL, NUM_OUTPUTS
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.pipeline import FLOAT_PASSES
from bnn_tvm.target import Target

op = relax.op
_RANDOM = np.random.default_rng(0)
# Channels of the small layers around the one that is counted.
_FEW = 8
IMAGE = 3
"""Channels of an image."""


@dataclass(frozen=True)
class Layer:
    """A square convolution of as many outputs as inputs, padded to keep the size.

    Attributes
    ----------
    size, channels, kernel : int
    """

    size: int
    channels: int
    kernel: int = 3

    @property
    def macs(self) -> int:
        """Count the multiply-accumulates."""
        return self.size**2 * self.channels**2 * self.kernel**2

    def __str__(self) -> str:
        return f"{self.size}x{self.size}x{self.channels}"


class _Writer:
    """Writes the operators of a network of signs and convolutions."""

    def __init__(self, builder: relax.BlockBuilder):
        self._emit = builder.emit

    def sign(self, x: relax.Expr) -> relax.Expr:
        negative = self._emit(op.less(x, relax.const(0.0)))
        return self._emit(op.where(negative, relax.const(-1.0), relax.const(1.0)))

    def conv(self, x: relax.Expr, weight: np.ndarray, **options: int) -> relax.Expr:
        return self._emit(op.nn.conv2d(x, relax.const(weight), **options))

    def binary(self, x: relax.Expr, inputs: int, outputs: int, kernel: int) -> relax.Expr:
        edge = kernel // 2
        bits = self._emit(
            op.nn.pad(self.sign(x), [0, 0, 0, 0, edge, edge, edge, edge], pad_value=-1.0)
        )
        return self.conv(bits, np.sign(_floats(outputs, inputs, kernel, kernel)))

    def affine(self, x: relax.Expr, channels: int) -> relax.Expr:
        scale, shift = (relax.const(_floats(channels, 1, 1)) for _ in range(2))
        return self._emit(op.add(self._emit(op.multiply(x, scale)), shift))

    def dense(self, x: relax.Expr, weight: np.ndarray, bias: np.ndarray) -> relax.Expr:
        product = self._emit(op.matmul(x, relax.const(weight)))
        return self._emit(op.add(product, relax.const(bias)))

    def add(self, x: relax.Expr, y: relax.Expr) -> relax.Expr:
        return self._emit(op.add(x, y))


Body = Callable[[_Writer, relax.Expr], list[relax.Expr]]


def _floats(*shape: int) -> np.ndarray:
    return _RANDOM.standard_normal(shape).astype(np.float32)


def binary_layer(layer: Layer, with_signs: bool, target: Target) -> tirx.PrimFunc:
    """Lower a binary convolution with its affine: float output, or shortcut, floats and signs.

    Parameters
    ----------
    layer : Layer
    with_signs : bool
        Whether a shortcut is added, and signs are packed of the sum.
    target : Target
    """
    channels = layer.channels

    def body(write: _Writer, x: relax.Expr) -> list[relax.Expr]:
        x = write.conv(x, _floats(channels, _FEW, 1, 1))
        y = write.affine(write.binary(x, channels, channels, layer.kernel), channels)
        if not with_signs:
            return [y]
        y = write.add(y, x)
        return [y, write.binary(y, channels, _FEW, 3)]

    lowered = _lower(body, (1, _FEW, layer.size, layer.size), target)
    return _kernel_of_channels(lowered, "bitserial_conv2d", channels)


def float_layer(
    layer: Layer, inputs: int, kernel: int, stride: int, target: Target
) -> tirx.PrimFunc:
    """Lower a float convolution of a layer's outputs, with bias.

    Parameters
    ----------
    layer : Layer
        Its size is that of the output.
    inputs : int
        `IMAGE` for an image, which lies in planes; else those that another layer computed, of
        another number than the outputs.
    kernel, stride : int
    target : Target
    """

    def body(write: _Writer, x: relax.Expr) -> list[relax.Expr]:
        if inputs != IMAGE:
            x = write.conv(x, _floats(inputs, IMAGE, 1, 1))
        weight = _floats(layer.channels, inputs, kernel, kernel)
        y = write.conv(x, weight, strides=stride, padding=kernel // 2)
        return [write.affine(y, layer.channels)]

    size = layer.size * stride
    lowered = _lower(body, (1, IMAGE, size, size), target)
    return _kernel_of_channels(lowered, "conv2d", layer.channels)


def float_dense(inputs: int, outputs: int, target: Target) -> tirx.PrimFunc:
    """Lower a float dense layer of one image, with bias."""

    def body(write: _Writer, x: relax.Expr) -> list[relax.Expr]:
        return [write.dense(x, _floats(inputs, outputs), _floats(outputs))]

    return _kernel_of_channels(_lower(body, (1, inputs), target), "dense", outputs)


def packing(layer: Layer, target: Target) -> tirx.PrimFunc:
    """Lower the packing of a float tensor of a layer's size, before its signs are convolved."""

    def body(write: _Writer, x: relax.Expr) -> list[relax.Expr]:
        return [write.binary(x, layer.channels, _FEW, 1)]

    lowered = _lower(body, (1, layer.channels, layer.size, layer.size), target)
    return _kernel_of_channels(lowered, "bitpack", layer.channels // target.word_bits)


def _lower(body: Body, shape: tuple[int, ...], target: Target) -> IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            results = body(_Writer(builder), x)
            output = builder.emit_output(relax.Tuple(results) if results[1:] else results[0])
        builder.emit_func_output(output)
    mod = builder.get()
    for apply in FLOAT_PASSES:
        mod = apply(mod)
    return lower_regions(mod, target)


def _kernel_of_channels(lowered: IRModule, kind: str, channels: int) -> tirx.PrimFunc:
    """Find the kernel of a kind whose last output has so many channels or words."""
    (func,) = (
        func
        for func in lowered.functions.values()
        if isinstance(func, tirx.PrimFunc)
        and func.attrs.get(KERNEL) == kind
        and _first_output(func).shape[-1] == channels
    )
    return func


def _first_output(func: tirx.PrimFunc) -> tirx.Var:
    return func.params[count_inputs(func)]


def count_inputs(func: tirx.PrimFunc) -> int:
    """Count the parameters that a kernel reads."""
    return len(func.params) - int(func.attrs[NUM_OUTPUTS])


def random_inputs(params: Sequence[tirx.Var]) -> list[np.ndarray]:
    """Make an array for each parameter that a kernel reads."""
    return [_random(param) for param in params]


def _random(param: tirx.Var) -> np.ndarray:
    shape, dtype = tuple(int(extent) for extent in param.shape), np.dtype(str(param.dtype))
    if dtype.kind == "f":
        return _floats(*shape)
    words = _RANDOM.bytes(dtype.itemsize * math.prod(shape))
    return np.frombuffer(words, dtype).reshape(shape)
