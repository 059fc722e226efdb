"""Count the parameters and multiply-accumulates (MACs) of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import mxnet as mx
from mxnet.gluon import HybridBlock, Parameter
from mxnet.gluon import nn as stock_nn

from ..errors import InputError

_FULL_PRECISION = 32
_BINARY_MACS_PER_FLOP = 64
_CONVOLUTIONS = (stock_nn.Conv1D, stock_nn.Conv2D, stock_nn.Conv3D)
_MULTIPLYING = (*_CONVOLUTIONS, stock_nn.Dense)


@dataclass(frozen=True)
class LayerSummary:
    """What one layer stores and computes.

    Attributes
    ----------
    name, kind : str
        Name of the Gluon block, and of its class.
    weight_bits : int
        Bit width of the weights; biases and BatchNorm always have 32.
    weights, full_precision : int
        Number of weights of a convolution or dense layer with fewer than 32 bits, and of all other
        learned numbers. BatchNorm's moving statistics do not count: they can be folded into its
        scale and offset.
    output_shape : tuple of int
        For the given input shape; empty for layers without MACs.
    macs : int
        Multiply-accumulates of one forward pass; 0 for layers other than convolutions and dense.
    """

    name: str
    kind: str
    weight_bits: int
    weights: int
    full_precision: int
    output_shape: tuple[int, ...]
    macs: int

    @property
    def is_binary(self) -> bool:
        """Whether the weights have one bit."""
        return self.weight_bits == 1

    @property
    def is_dense(self) -> bool:
        """Whether the output has no spatial axes."""
        return len(self.output_shape) == 2

    @property
    def bytes(self) -> float:
        """Size of the parameters when each takes no more bits than it needs."""
        bits = self.weight_bits * self.weights + _FULL_PRECISION * self.full_precision
        return bits / 8


@dataclass(frozen=True)
class NetworkSummary:
    """The layers that hold parameters, from input to output, and their totals."""

    layers: tuple[LayerSummary, ...]

    @property
    def binary_parameters(self) -> int:
        """Number of weights of one bit."""
        return sum(layer.weights for layer in self.layers if layer.is_binary)

    @property
    def full_precision_parameters(self) -> int:
        """Number of learned numbers of 32 bits."""
        return sum(layer.full_precision for layer in self.layers)

    @property
    def binary_macs(self) -> int:
        """MACs with weights of one bit."""
        return sum(layer.macs for layer in self.layers if layer.is_binary)

    @property
    def convolution_macs(self) -> int:
        """MACs of all other convolutions; dense layers are left out."""
        others = (layer for layer in self.layers if not layer.is_binary and not layer.is_dense)
        return sum(layer.macs for layer in others)

    @property
    def flops(self) -> float:
        """Equivalent operations as BMXNet v2 counts them.

        MACs of the convolutions, of which 64 with one bit count as one. (arXiv:2001.05936; dense
        layers in full precision are left out there too.)
        """
        return self.convolution_macs + self.binary_macs / _BINARY_MACS_PER_FLOP

    @property
    def bytes(self) -> float:
        """Size of all parameters when each takes no more bits than it needs."""
        return sum(layer.bytes for layer in self.layers)


def summarize(net: HybridBlock, input_shape: tuple[int, ...]) -> NetworkSummary:
    """Count what a network stores and computes, without running it.

    Parameters
    ----------
    net : HybridBlock
        Its parameters need no values, but must have shapes.
    input_shape : tuple of int
        Such as (1, 3, 224, 224); the MACs are those of this whole batch.

    Raises
    ------
    InputError
        The network cannot take inputs of that shape.
    """
    shapes = _output_shapes(net, input_shape)
    return NetworkSummary(tuple(_summary(layer, shapes) for layer in _layers(net)))


def _output_shapes(net: HybridBlock, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    internals = net(mx.sym.var("data")).get_internals()
    try:
        _, shapes, _ = internals.infer_shape(data=input_shape)
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise InputError(
            f"Input shape {input_shape} does not fit the network: {reason}. "
            "Give the shape that the network was made for."
        ) from error
    return dict(zip(internals.list_outputs(), shapes, strict=True))


def _layers(block: HybridBlock) -> Iterator[HybridBlock]:
    """Every block that owns parameters, in the order in which they were added."""
    if block._reg_params:
        yield block
    for child in block._children.values():
        yield from _layers(child)


def _summary(layer: HybridBlock, shapes: dict[str, tuple[int, ...]]) -> LayerSummary:
    learned = [p for p in layer._reg_params.values() if p.grad_req != "null"]
    bits = getattr(layer, "bits", _FULL_PRECISION)
    low = [layer.weight] if bits < _FULL_PRECISION else []
    total, weights = (sum(map(_size, parameters)) for parameters in (learned, low))
    output = shapes[f"{layer.name}_fwd_output"] if isinstance(layer, _MULTIPLYING) else ()
    macs = prod(output) * prod(layer.weight.shape[1:]) if output else 0
    kind = type(layer).__name__
    return LayerSummary(layer.name, kind, bits, weights, total - weights, output, macs)


def _size(parameter: Parameter) -> int:
    return prod(parameter.shape)
