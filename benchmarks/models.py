"""The networks that are timed, as graphs that look trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from bnn_tvm.gluon import nn, to_symbol
from bnn_tvm.importer import Graph, graph_from_text
from bnn_tvm.zoo import get_model

from .cases import BLOCKS, LONG_CHAIN, SHORT_CHAIN, Block, chain_name

IMAGE = (3, 224, 224)
Shape = tuple[int, ...]


class Residual(HybridBlock):
    """Sign, binary convolution and BatchNorm beside a shortcut: (N, C, H, W) to the same."""

    def __init__(self, block: Block):
        super().__init__()
        channels = block.channels
        convolution = nn.activated_conv(
            channels, kernel_size=block.kernel, padding=block.kernel // 2, in_channels=channels
        )
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(convolution, nn.BatchNorm(in_channels=channels))

    def hybrid_forward(self, F: Any, x: mx.nd.NDArray) -> mx.nd.NDArray:  # noqa: N803
        """Add the block's features to its input."""
        return x + self.body(x)


@dataclass(frozen=True)
class Model:
    """How a model is made.

    Attributes
    ----------
    build : callable
    shape : tuple of int
        Of its input, batch included.
    """

    build: Callable[[], Graph]
    shape: Shape


def all_models() -> dict[str, Model]:
    """Every model by its name."""
    return {
        chain_name(block, length): Model(partial(chain, block, length), (1, *block.shape))
        for block in BLOCKS
        for length in (SHORT_CHAIN, LONG_CHAIN)
    }


def chain(block: Block, length: int) -> Graph:
    """Put several equal blocks, each with weights of its own, in a row.

    The chain starts and ends in numbers: its last block gives no bits.
    """

    def build() -> HybridBlock:
        net = nn.HybridSequential()
        net.add(*(Residual(block) for _ in range(length)))
        return net

    return as_trained(build, (1, *block.shape))


def network(name: str, batch: int = 1) -> Graph:
    """Build a network of the zoo for images of 224 x 224."""
    return as_trained(lambda: get_model(name), (batch, *IMAGE))


def as_trained(build: Callable[[], HybridBlock], shape: Shape) -> Graph:
    """Initialize a network, always with the same numbers, and give it the look of a trained one.

    BatchNorms have scales of both signs and the statistics of a real forward pass, so that
    signs are as mixed as in a trained network.
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
        output = net(mx.nd.array(rng.standard_normal((2, *shape[1:]))))
    # On CPUs, MXNet stores the statistics on the way back.
    output.backward()
    mx.nd.waitall()
    return graph_from_text(*to_symbol(net, shape))


def _forget_statistics(block: HybridBlock) -> None:
    """Let a BatchNorm take the statistics of the next batch as they are."""
    if isinstance(block, mx.gluon.nn.BatchNorm):
        block._kwargs["momentum"] = 0
