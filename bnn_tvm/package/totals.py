"""What a network stores and computes in all, counted as the papers on BMXNet v2 count."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .manifest import LayerInfo, Manifest

_FULL_BITS = 32
_BINARY_MACS_PER_FLOP = 64
_DENSE = "dense"


@dataclass(frozen=True)
class Totals:
    """Parameters and multiply-accumulates (MACs) of a network.

    A layer counts with the bits that its weights take as it runs: one that is not lowered has 32.

    Attributes
    ----------
    binary_parameters, multibit_parameters : int
        Weights of 1 bit, and of 2 to 8 bits.
    reduced_parameters : int
        Weights of other layers that run in bf16 or int8 by choice.
    full_precision_parameters : int
        Other weights, biases, and BatchNorm's gamma and beta.
    parameter_bytes : float
        Of all of these, when each takes no more bits than it needs.
    binary_macs, multibit_macs : int
        MACs of layers with weights of 1 bit, and of 2 to 8 bits.
    convolution_macs, dense_macs : int
        MACs of the other convolutions, and of the other dense layers.
    flops : float
        Equivalent operations as BMXNet v2 counts them: 64 binary MACs are one, MACs of all other
        convolutions count whole, and dense layers in full precision do not (arXiv:2001.05936).
    """

    binary_parameters: int
    multibit_parameters: int
    reduced_parameters: int
    full_precision_parameters: int
    parameter_bytes: float
    binary_macs: int
    multibit_macs: int
    convolution_macs: int
    dense_macs: int
    flops: float

    @classmethod
    def of(cls, manifest: Manifest) -> Totals:
        """Count the layers of a manifest."""
        layers = manifest.layers
        binary = [layer for layer in layers if layer.weight_bits == 1]
        multibit = [layer for layer in layers if layer.lowered and layer.weight_bits > 1]
        others = [layer for layer in layers if not layer.lowered]
        reduced = [layer for layer in others if layer.weight_bits < _FULL_BITS]
        convolution_macs = _total(others, lambda layer: layer.macs * (layer.op != _DENSE))
        beside = manifest.other_parameters
        bits = _FULL_BITS * beside + _total(layers, lambda layer: layer.weight_bits * _size(layer))
        binary_macs = _total(binary, _macs)
        multibit_macs = _total(multibit, _macs)
        return cls(
            binary_parameters=_total(binary, _size),
            multibit_parameters=_total(multibit, _size),
            reduced_parameters=_total(reduced, _size),
            full_precision_parameters=_total(others, _size) - _total(reduced, _size) + beside,
            parameter_bytes=bits / 8,
            binary_macs=binary_macs,
            multibit_macs=multibit_macs,
            convolution_macs=convolution_macs,
            dense_macs=_total(others, _macs) - convolution_macs,
            flops=convolution_macs + multibit_macs + binary_macs / _BINARY_MACS_PER_FLOP,
        )


def _total(layers: list[LayerInfo] | tuple[LayerInfo, ...], of: Callable[[LayerInfo], int]) -> int:
    return sum(map(of, layers))


def _size(layer: LayerInfo) -> int:
    return math.prod(layer.weight_shape)


def _macs(layer: LayerInfo) -> int:
    return layer.macs
