"""Networks in Gluon that look trained: chains of blocks, the zoo's, and float ResNet-18."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from bnn_tvm.gluon import nn, to_symbol
from bnn_tvm.importer import Graph, graph_from_text
from bnn_tvm.zoo import get_model

from .cases import IMAGE, Block

_BATCH_FOR_STATISTICS = 2
_CALIBRATION_IMAGES = 4


class Residual(HybridBlock):
    """Sign, binary convolution and BatchNorm beside a shortcut: (N, C, H, W) to the same."""

    def __init__(self, block: Block):
        super().__init__()
        with self.name_scope():
            self.body = _binary_layer(block)

    def hybrid_forward(self, F: Any, x: mx.nd.NDArray) -> mx.nd.NDArray:  # noqa: N803
        """Add the block's features to its input."""
        return x + self.body(x)


def _binary_layer(block: Block) -> HybridBlock:
    """Return sign, binary convolution and BatchNorm that keep an image's shape."""
    channels = block.channels
    layer = nn.HybridSequential()
    layer.add(
        nn.activated_conv(
            channels, kernel_size=block.kernel, padding=block.kernel // 2, in_channels=channels
        ),
        nn.BatchNorm(in_channels=channels),
    )
    return layer


@lru_cache(maxsize=1)
def residual_chain(block: Block, length: int) -> Graph:
    """Put residual blocks, each with weights of its own, in a row.

    The chain starts and ends in numbers: its last block gives no bits.
    """
    return as_trained(lambda: _row(Residual(block) for _ in range(length)), (1, *block.shape))


@lru_cache(maxsize=1)
def bits_chain(block: Block, length: int) -> Graph:
    """Put layers without shortcuts in a row; all but the first and the last need bits only."""
    return as_trained(lambda: _row(_binary_layer(block) for _ in range(length)), (1, *block.shape))


def _row(blocks: Any) -> HybridBlock:
    net = nn.HybridSequential()
    net.add(*blocks)
    return net


@lru_cache(maxsize=1)
def zoo_network(name: str) -> Graph:
    """Build a network of the zoo for images of 224 x 224."""
    return as_trained(lambda: get_model(name), (1, *IMAGE))


def as_trained(build: Callable[[], HybridBlock], shape: tuple[int, ...]) -> Graph:
    """Initialize a network, always with the same numbers, and give it the look of a trained one.

    BatchNorms have scales of both signs and the statistics of a real forward pass, so that
    signs are as mixed as in a trained network.

    Parameters
    ----------
    build : callable
    shape : tuple of int
        Of an input; any batch.
    """
    mx.random.seed(0)
    rng = np.random.default_rng(0)
    net = build()
    net.initialize(mx.init.Xavier(magnitude=2))
    net(mx.nd.zeros((1, *shape[1:])))
    for name, parameter in net.collect_params().items():
        if name.endswith("gamma"):
            size = rng.uniform(0.5, 1.5, parameter.shape)
            parameter.set_data(mx.nd.array(size * rng.choice((-1, 1), parameter.shape)))
        elif name.endswith("beta"):
            parameter.set_data(mx.nd.array(rng.standard_normal(parameter.shape) / 4))
    net.apply(_forget_statistics)
    with mx.autograd.record():
        output = net(mx.nd.array(rng.standard_normal((_BATCH_FOR_STATISTICS, *shape[1:]))))
    # On CPUs, MXNet stores the statistics on the way back.
    output.backward()
    mx.nd.waitall()
    return graph_from_text(*to_symbol(net, shape))


def _forget_statistics(block: HybridBlock) -> None:
    """Let a BatchNorm take the statistics of the next batch as they are."""
    if isinstance(block, mx.gluon.nn.BatchNorm):
        block._kwargs["momentum"] = 0


def export_resnet18(symbol: Path, shape: tuple[int, ...], quantized: bool) -> None:
    """Export Gluon's ResNet-18, in float or quantized by MXNet, with its params file.

    Parameters
    ----------
    symbol : path
        ``*-symbol.json``.
    shape : tuple of int
        Of its input, batch included.
    quantized : bool
    """
    from mxnet.contrib.quantization import quantize_net
    from mxnet.gluon.model_zoo import vision

    mx.random.seed(0)
    net = vision.resnet18_v1()
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros(shape))
    if quantized:
        images = mx.nd.random.normal(shape=(_CALIBRATION_IMAGES, *shape[1:]))
        net = quantize_net(
            net,
            quantized_dtype="auto",
            calib_data=mx.io.NDArrayIter(images, batch_size=shape[0]),
            calib_mode="naive",
            num_calib_examples=_CALIBRATION_IMAGES,
            quantize_mode="smart",
            ctx=mx.cpu(),
        )
        net.hybridize()
        net(mx.nd.zeros(shape)).wait_to_read()
    net.export(str(symbol).removesuffix("-symbol.json"))
