"""The models that are timed, and how each becomes a file for each engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import bnn_tvm
from bnn_tvm.importer import Graph, import_graph

from . import networks
from .cases import (
    BATCH,
    BF16,
    BITS_LENGTH,
    BLOCKS,
    F32,
    IMAGE,
    INT8_PRECISION,
    LAYERS,
    LONG_CHAIN,
    MXNET,
    NETWORKS,
    OPENVINO,
    OURS,
    RESNET18,
    RESNET_E18,
    SHORT_CHAIN,
    Entry,
    batch_name,
    bits_name,
    chain_name,
)

Shape = tuple[int, ...]

# Our names of precisions that entries name as the peers do.
_FLOAT_PRECISIONS = {F32: "float32", BF16: "bf16", INT8_PRECISION: "int8"}


class Model(Protocol):
    """What can be written for the engines of its entries."""

    def write(self, entry: Entry, path: Path) -> None:
        """Write the file that an entry's engine reads."""
        ...


@dataclass(frozen=True)
class BinaryModel:
    """A network with binary layers.

    Attributes
    ----------
    build : callable
    shape : tuple of int
        Of its input, batch included.
    """

    build: Callable[[], Graph]
    shape: Shape

    def write(self, entry: Entry, path: Path) -> None:
        """Compile it, or convert it for OpenVINO."""
        writers = {OURS: self._write_package, OPENVINO: self._write_openvino}
        writers[entry.engine](entry, path)

    def _write_package(self, entry: Entry, path: Path) -> None:
        package = bnn_tvm.compile(
            self.build(),
            target=entry.target,
            input_shape=self.shape,
            float_precision=_FLOAT_PRECISIONS[entry.precision],
        )
        package.save(path)

    def _write_openvino(self, _: Entry, path: Path) -> None:
        import openvino

        from .openvino_model import to_openvino

        graph = self.build()
        mod = import_graph(graph, {graph.data_inputs[0]: self.shape})
        openvino.save_model(to_openvino(mod), path, compress_to_fp16=False)


@dataclass(frozen=True)
class FloatResNet:
    """ResNet-18 without binary layers, in float or quantized by the peer's own means."""

    shape: Shape

    def write(self, entry: Entry, path: Path) -> None:
        """Write ONNX, or MXNet's files."""
        quantized = entry.precision == INT8_PRECISION
        if entry.engine == MXNET:
            networks.export_resnet18(path, self.shape, quantized)
            return
        from .float_resnet import quantize, write_resnet18

        write_resnet18(path, self.shape)
        if quantized:
            source = Path(shutil.move(path, path.with_suffix(".float.onnx")))
            quantize(source, path, self.shape)
            source.unlink()


def all_models() -> dict[str, Model]:
    """Every model by its name."""
    images = dict.fromkeys(NETWORKS, (1, *IMAGE))
    return {
        **{
            chain_name(block, length): BinaryModel(
                partial(networks.residual_chain, block, length), (1, *block.shape)
            )
            for block in BLOCKS
            for length in (SHORT_CHAIN, LONG_CHAIN)
        },
        **{
            bits_name(block): BinaryModel(
                partial(networks.bits_chain, block, BITS_LENGTH), (1, *block.shape)
            )
            for block in LAYERS
        },
        **{n: BinaryModel(partial(networks.zoo_network, n), s) for n, s in images.items()},
        batch_name(RESNET_E18): BinaryModel(
            partial(networks.zoo_network, RESNET_E18), (BATCH, *IMAGE)
        ),
        RESNET18: FloatResNet((1, *IMAGE)),
    }
