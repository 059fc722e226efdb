"""The converter for OpenVINO: its models compute what ours do."""

from __future__ import annotations

import numpy as np
import pytest
from mxnet.gluon import HybridBlock

import bnn_tvm
from bnn_tvm.errors import ModelError
from bnn_tvm.gluon import nn
from bnn_tvm.importer import Graph, import_graph
from bnn_tvm.runtime import Session

openvino = pytest.importorskip("openvino")

from benchmarks.cases import Block  # noqa: E402
from benchmarks.networks import Residual, as_trained  # noqa: E402
from benchmarks.openvino_model import to_openvino  # noqa: E402

SHAPE = (1, 32, 12, 12)


class Improved(HybridBlock):
    """Concatenation, and an addition to a slice of it."""

    def __init__(self):
        super().__init__()
        self.new = nn.activated_conv(32, kernel_size=3, padding=1, in_channels=32)
        self.better = nn.activated_conv(32, kernel_size=3, padding=1, in_channels=64)

    def hybrid_forward(self, F, x):  # noqa: N803
        x = F.concat(x, self.new(x), dim=1)
        newest = F.slice_axis(x, axis=1, begin=32, end=64) + self.better(x)
        return F.concat(F.slice_axis(x, axis=1, begin=0, end=32), newest, dim=1)


def residual_network() -> HybridBlock:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(32, 3, padding=1, in_channels=32), nn.BatchNorm(in_channels=32))
    net.add(nn.Activation("relu"), nn.MaxPool2D(2, 2), Residual(Block(6, 32, 3)))
    net.add(nn.AvgPool2D(2, 2), nn.Flatten(), nn.Dense(10, in_units=288))
    return net


def normalized_network() -> HybridBlock:
    """BatchNorm straight before sign, which becomes thresholds of both directions."""
    net = nn.HybridSequential()
    net.add(nn.BatchNorm(in_channels=32), Improved(), nn.BatchNorm(in_channels=64))
    net.add(nn.activated_conv(16, kernel_size=3, stride=2, padding=1, in_channels=64))
    return net


def run_openvino(graph: Graph, x: np.ndarray) -> np.ndarray:
    model = to_openvino(import_graph(graph, {graph.data_inputs[0]: x.shape}))
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", config)(x)[0]


@pytest.mark.parametrize("build", [residual_network, normalized_network])
def test_outputs_equal_ours(build):
    graph = as_trained(build, SHAPE)
    x = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    ours = Session(bnn_tvm.compile(graph, input_shape=SHAPE)).run(x)
    np.testing.assert_allclose(run_openvino(graph, x), ours, rtol=1e-3, atol=1e-3)


def test_binary_layers_run_on_packed_bits():
    graph = as_trained(normalized_network, SHAPE)
    model = to_openvino(import_graph(graph, {graph.data_inputs[0]: SHAPE}))
    layers = [node for node in model.get_ops() if node.get_type_name() == "BinaryConvolution"]
    assert len(layers) == 3
    assert {str(layer.input(1).get_element_type().get_type_name()) for layer in layers} == {"u1"}


def test_an_unknown_operator_is_refused_by_name():
    graph = as_trained(lambda: nn.Dense(2, activation="tanh", in_units=4608), SHAPE)
    with pytest.raises(ModelError, match="tanh"):
        to_openvino(import_graph(graph, {graph.data_inputs[0]: SHAPE}))


def test_a_trained_look_mixes_signs():
    graph = as_trained(residual_network, SHAPE)
    means = [array for name, array in graph.params.items() if name.endswith("running_mean")]
    assert all(np.abs(mean).max() > 0 for mean in means)
    scales = np.concatenate([a for name, a in graph.params.items() if name.endswith("gamma")])
    assert 0.2 < (scales > 0).mean() < 0.8
