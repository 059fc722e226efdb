"""LeNet for 28 x 28 digits, binary or in full precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mxnet.gluon import HybridBlock

from ..gluon import nn

_FULL_PRECISION = 32


def _inner_conv(bits: int) -> list[HybridBlock]:
    if bits == _FULL_PRECISION:
        return [nn.Conv2D(64, 5, in_channels=64, use_bias=False)]
    return [nn.QActivation(), nn.QConv2D(64, 5, in_channels=64)]


def _inner_dense(bits: int) -> list[HybridBlock]:
    if bits == _FULL_PRECISION:
        return [nn.Dense(1000, in_units=1024, use_bias=False)]
    return [nn.QActivation(), nn.QDense(1000, in_units=1024)]


@dataclass(frozen=True)
class LeNetConfig:
    """What decides the structure of a LeNet, except for the bit width.

    Attributes
    ----------
    classes : int
        Number of outputs.
    """

    classes: int = 10


def lenet(
    bits: int = 1, classes: int = 10, prefix: str = "lenet_", params: Any = None
) -> HybridBlock:
    """Build the LeNet of BMXNet v2's MNIST example.

    Parameters
    ----------
    bits : int
        1 for binary inner layers (first and last layer stay in full precision), 32 for the same
        network with stock layers, 2 to 31 for quantized inner layers.
    classes : int
        Number of outputs.
    prefix, params
        Of a Gluon block. The fixed prefix gives an exported file the same names every time.

    Returns
    -------
    HybridBlock
        Maps (N, 1, 28, 28) in [0, 1] to logits (N, classes).
    """
    with nn.set_binary_layer_config(bits=bits, bits_a=bits):
        return build_lenet(LeNetConfig(classes), prefix, params)


def build_lenet(config: LeNetConfig, prefix: str | None = None, params: Any = None) -> HybridBlock:
    """Build a LeNet with the bit widths of the binary layers' configuration; see :func:`lenet`."""
    bits = nn.binary_layer_config.bits
    net = nn.HybridSequential(prefix=prefix or "lenet_", params=params)
    with net.name_scope():
        net.add(
            nn.Conv2D(64, 5, in_channels=1),
            nn.Activation("tanh"),
            nn.MaxPool2D(2, 2),
            nn.BatchNorm(in_channels=64),
            *_inner_conv(bits),
            nn.BatchNorm(in_channels=64),
            nn.MaxPool2D(2, 2),
            nn.Flatten(),
            *_inner_dense(bits),
            nn.BatchNorm(in_channels=1000),
            nn.Activation("tanh"),
            nn.Dense(config.classes, in_units=1000),
        )
    return net
