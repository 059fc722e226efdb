"""Compare the numbers of LeNet's binary layers with MXNet's: each layer alone, and end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import bnn_tvm
from bnn_tvm.gluon.baseline import MXNetModel
from bnn_tvm.importer import Graph

INPUT_SHAPE = (1, 1, 28, 28)
NEAR = 1e-6  # a pre-sign value so close to 0 may get the other sign by rounding

_BATCH = 100  # digits that MXNet runs at once


@dataclass(frozen=True)
class BinaryLayer:
    """Names of the nodes around one binary layer.

    Attributes
    ----------
    name : str
        The layer itself.
    pre_sign : str
        What is binarized; its threshold is 0.
    signs : str
        The layer's input, -1 or +1.
    counts : str
        The layer's integer output, (dot + n) / 2.
    """

    name: str
    pre_sign: str
    signs: str
    counts: str


BINARY_LAYERS = (
    BinaryLayer(
        "lenet_qconv0_fwd",
        "lenet_batchnorm0_fwd",
        "lenet_qactivation0__plus0",
        "lenet_qconv0__divscalar0",
    ),
    BinaryLayer(
        "lenet_qdense0_fwd",
        "lenet_flatten0_flatten0",
        "lenet_qactivation1__plus0",
        "lenet_qdense0__divscalar0",
    ),
)

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LayerMatch:
    """How the numbers of one binary layer compare with MXNet's.

    Attributes
    ----------
    outputs, different_alone : int
        Integer outputs, and how many differ if the layer is fed MXNet's own pre-sign values.
    inputs, near : int
        Pre-sign values of MXNet, and how many lie within `NEAR` of their threshold.
    compared_bits, different_bits : int
        Signs compared end to end: those that are not near, in digits whose earlier layers have
        none that is near.
    compared_counts, different_counts : int
        Integer outputs compared end to end, in digits that have no near value so far.
    """

    layer: str
    outputs: int
    different_alone: int
    inputs: int
    near: int
    compared_bits: int
    different_bits: int
    compared_counts: int
    different_counts: int


def run_each(run: Callable[[np.ndarray], Any], data: np.ndarray) -> np.ndarray:
    """Run a session of batch 1 on each row; join the outputs."""
    return np.concatenate([run(data[i : i + 1]) for i in range(len(data))])


def run_in_batches(run: Callable[[np.ndarray], np.ndarray], data: np.ndarray) -> np.ndarray:
    """Run MXNet on batches of any size; join the outputs."""
    starts = range(0, len(data), _BATCH)
    return np.concatenate([run(data[i : i + _BATCH]) for i in starts])


def probe_mxnet(model: MXNetModel, images: np.ndarray) -> dict[str, np.ndarray]:
    """Collect MXNet's values before, at and after each binary layer."""
    names = [n for layer in BINARY_LAYERS for n in (layer.pre_sign, layer.signs, layer.counts)]
    starts = range(0, len(images), _BATCH)
    parts = [model.internals(images[i : i + _BATCH], names) for i in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def probe_packages(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """Collect our values at and after each binary layer, from compiles that end there.

    All kernels before the cut are those of the whole network.
    """
    names = [n for layer in BINARY_LAYERS for n in (layer.signs, layer.counts)]
    return {name: run_part(graph, "data", name, images) for name in names}


def run_part(graph: Graph, first: str, last: str, data: np.ndarray) -> np.ndarray:
    """Compile what lies between two nodes and run it on the first one's values."""
    part = bnn_tvm.compile(graph.extract([first], [last]), input_shape=(1, *data.shape[1:]))
    return run_each(part.session().run, data)


def count_differences_alone(graph: Graph, layer: BinaryLayer, theirs: Values) -> int:
    """Feed one binary layer alone MXNet's values, and count the integers that differ."""
    counts = run_part(graph, layer.pre_sign, layer.counts, theirs[layer.pre_sign])
    return int(np.sum(counts != theirs[layer.counts]))


def compare_end_to_end(
    ours: Values, theirs: Values, different_alone: Sequence[int]
) -> tuple[list[LayerMatch], np.ndarray]:
    """Compare signs and integers wherever no value lies near its threshold.

    Returns
    -------
    matches : list of LayerMatch
    clear : numpy.ndarray
        (N,) bool: the digits that have no near value in any layer.
    """
    matches = []
    clear = np.ones(len(theirs[BINARY_LAYERS[0].signs]), bool)
    for layer, alone in zip(BINARY_LAYERS, different_alone, strict=True):
        far = np.abs(theirs[layer.pre_sign]) > NEAR
        compared_bits = far & clear.reshape(-1, *[1] * (far.ndim - 1))
        clear = clear & far.reshape(len(far), -1).all(axis=1)
        bits = ours[layer.signs] != theirs[layer.signs]
        counts = ours[layer.counts] != theirs[layer.counts]
        matches.append(
            LayerMatch(
                layer=layer.name,
                outputs=counts.size,
                different_alone=alone,
                inputs=far.size,
                near=int(np.sum(~far)),
                compared_bits=int(np.sum(compared_bits)),
                different_bits=int(np.sum(bits & compared_bits)),
                compared_counts=counts[clear].size,
                different_counts=int(np.sum(counts[clear])),
            )
        )
    return matches, clear


def compare_layers(
    graph: Graph, mxnet: MXNetModel, images: np.ndarray
) -> tuple[list[LayerMatch], np.ndarray]:
    """Compare each binary layer with MXNet's, alone and end to end; see `compare_end_to_end`."""
    theirs = probe_mxnet(mxnet, images)
    alone = [count_differences_alone(graph, layer, theirs) for layer in BINARY_LAYERS]
    return compare_end_to_end(probe_packages(graph, images), theirs, alone)
