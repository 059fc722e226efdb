"""Networks of Gluon layers, binary and stock, against the same network in MXNet."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from importer_harness import run_graph

from bnn_tvm.gluon import nn, to_symbol
from bnn_tvm.importer import graph_from_text, load_graph
from bnn_tvm.zoo.lenet import lenet


def digits(*shape):
    return np.random.default_rng(0).uniform(-2, 2, shape).astype(np.float32)


def assert_imported_alike(net, shape, atol):
    """Compare with the network's own forward pass; an atol of 0 means bit for bit."""
    mx.random.seed(0)
    net.initialize(mx.init.Xavier(magnitude=2))
    x = digits(*shape)
    expected = net(mx.nd.array(x)).asnumpy()
    y = run_graph(graph_from_text(*to_symbol(net)), {"data": x})[0]
    np.testing.assert_allclose(y, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "bits, method",
    [
        (1, "det_sign"),
        (1, "sign_approx_sign"),
        (1, "round"),
        (2, "round"),
        (3, "dorefa"),
        (32, "identity"),
        (32, "approx_sign"),
        (32, "relu"),
        (32, "clip"),
        (32, "leaky_clip"),
    ],
)
def test_every_activation_method(bits, method):
    assert_imported_alike(nn.QActivation(bits=bits, method=method), (2, 3, 4, 5), atol=1e-6)


def binary_stack(layer, **activation):
    net = nn.HybridSequential()
    net.add(nn.QActivation(**activation), layer)
    return net


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: nn.QConv1D(4, 3, padding=1, strides=2), (2, 3, 7)),
        (lambda: nn.QConv2D(4, 3, padding=1, strides=2), (2, 5, 6, 7)),
        (lambda: nn.QConv2D(4, 3, padding=2, dilation=2, groups=2), (2, 4, 6, 7)),
        (lambda: nn.QConv2D(4, 3, quantization="sign_approx_sign"), (2, 3, 6, 5)),
        (lambda: nn.QConv2D(4, 3, no_offset=True), (2, 3, 6, 5)),
        (lambda: nn.QConv3D(4, 3, padding=1, strides=2), (1, 3, 5, 4, 5)),
        (lambda: nn.QDense(4), (2, 3, 5)),
        (lambda: nn.QDense(4, flatten=False), (2, 3, 5)),
        (lambda: nn.QDense(4, no_offset=True), (2, 9)),
    ],
)
def test_binary_layers_bit_for_bit(layer, shape):
    assert_imported_alike(binary_stack(layer()), shape, atol=0)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.QConv2D(4, 3, padding=1, apply_scaling=True),
        lambda: nn.QConv2D(4, 3, bits=2, quantization="dorefa", in_channels=3),
        lambda: nn.QConv2D(4, 3, bits=32, quantization="identity"),
    ],
)
def test_scaled_and_wider_layers(layer):
    assert_imported_alike(binary_stack(layer()), (2, 3, 6, 5), atol=1e-5)


@pytest.mark.parametrize("approximation", ["", "binet", "xnor"])
def test_blocks_of_each_approximation(approximation):
    with nn.set_binary_layer_config(approximation=approximation):
        block = nn.activated_conv(4, kernel_size=3, stride=1, padding=1, in_channels=3)
    assert_imported_alike(block, (2, 3, 6, 6), atol=1e-5)


def test_a_graph_traced_before_its_shapes_were_known():
    layer = nn.QConv2D(4, 3, prefix="qconv0_")
    text = layer(mx.sym.var("data")).tojson()
    layer.initialize(mx.init.Xavier(magnitude=2))
    x = np.sign(digits(2, 5, 6, 7))
    expected = layer(mx.nd.array(x)).asnumpy()
    params = {"qconv0_weight": layer.weight.data().asnumpy()}
    y = run_graph(graph_from_text(text, params), {"data": x})[0]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("bits", [1, 32])
def test_lenet(bits):
    assert_imported_alike(lenet(bits), (1, 1, 28, 28), atol=1e-4)


def test_a_stock_network_exported_to_files(tmp_path):
    net = mx.gluon.nn.HybridSequential()
    net.add(
        mx.gluon.nn.Conv2D(4, 3, padding=1, activation="relu"),
        mx.gluon.nn.BatchNorm(),
        mx.gluon.nn.MaxPool2D(),
        mx.gluon.nn.AvgPool2D(2, 1, 1, ceil_mode=True),
        mx.gluon.nn.Dropout(0.5),
        mx.gluon.nn.GlobalAvgPool2D(),
        mx.gluon.nn.Dense(5),
    )
    net.initialize(mx.init.Xavier())
    net.hybridize()
    x = digits(2, 3, 8, 6)
    expected = net(mx.nd.array(x)).asnumpy()
    net.export(str(tmp_path / "stock"), epoch=3)
    y = run_graph(load_graph(tmp_path / "stock-symbol.json"), {"data": x})[0]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
