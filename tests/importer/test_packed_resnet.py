"""Whole packed networks of BMXNet v1 and v2, compiled, against the float graph in MXNet."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from bmxnet_networks import BinaryResNet, Form, NetworkText, ResNetE
from importer_harness import GraphText

import bnn_tvm
from bnn_tvm import reference as ref
from bnn_tvm.errors import ModelError
from bnn_tvm.importer import graph_from_text

TARGET = "x86-64-vpopcntdq"
PACKED = (Form.WORDS_32, Form.WORDS_64)


def image(size: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 3, size, size)).astype(np.float32)


def resnet_e18(form: Form) -> ResNetE:
    return ResNetE(form, (64, 128, 256, 512), units=4, classes=1000)


def binary_resnet(form: Form) -> BinaryResNet:
    return BinaryResNet(form, (64, 128), classes=10)


def run_compiled(network: NetworkText, x: np.ndarray) -> np.ndarray:
    package = bnn_tvm.compile(network.graph(), target=TARGET, input_shape=x.shape)
    binary = [layer for layer in package.manifest.layers if layer.weight_bits == 1]
    packed = [node for node in network.text.nodes if node["op"].startswith(("Binary", "QConv"))]
    assert len(binary) == len(packed) > 0
    assert all(layer.lowered for layer in binary)
    return package.run(x)


def test_the_graph_is_that_of_the_published_file():
    symbol = json.loads(resnet_e18(Form.WORDS_32).json())
    assert len(symbol["nodes"]) == 195
    assert Counter(node["op"] for node in symbol["nodes"]) == {
        "null": 111, "BatchNorm": 22, "Pad": 16, "BinaryInferenceConvolution": 16,
        "elemwise_add": 16, "Pooling": 5, "Convolution": 4, "Activation": 2, "Flatten": 1,
        "FullyConnected": 1, "softmax": 1,
    }  # fmt: skip
    (first,) = [n for n in symbol["nodes"] if n["name"] == "resnete10_stage1_qconv0_weight"]
    assert first["attrs"]["__shape__"] == "(64,2, 3, 3)"


@pytest.mark.parametrize("size", [64, pytest.param(224, marks=pytest.mark.slow)])
def test_resnet_e18_of_bmxnet_v2(size):
    x = image(size)
    y = run_compiled(resnet_e18(Form.WORDS_32), x)
    expected = resnet_e18(Form.FLOAT).run_mxnet(x)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-5)


def test_words_of_64_bits_hold_the_same_network():
    graphs = [resnet_e18(form).graph() for form in PACKED]
    sizes = [
        {name: array.nbytes for name, array in g.params.items() if "qconv" in name} for g in graphs
    ]
    assert sizes[0] == sizes[1]
    x = image(32)
    small = [ResNetE(form, (64, 128), units=1, classes=10) for form in Form]
    packed_32, packed_64 = (run_compiled(n, x) for n in small if n.form is not Form.FLOAT)
    np.testing.assert_array_equal(packed_32, packed_64)
    np.testing.assert_allclose(packed_32, small[0].run_mxnet(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", PACKED)
def test_binary_resnet_of_bmxnet_v1(form):
    x = image(18)
    y = run_compiled(binary_resnet(form), x)
    expected = binary_resnet(Form.FLOAT).run_mxnet(x)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-5)


def v2_layer(scaled: bool) -> str:
    """A layer without offset as BMXNet v2 exports it before its converter, scaled or not."""
    text = GraphText()
    cancelled = text.add("_contrib_gradcancel", "qact0_gc", [text.variable("data")], threshold="1")
    signs = text.add("det_sign", "qact0_det_sign0", [cancelled])
    border = {"mode": "constant", "constant_value": "-1", "pad_width": "[0,0,0,0,1,1,1,1]"}
    padded = text.add("Pad", "qconv0_pad0", [signs], **border)
    weight = text.variable("qconv0_weight", __shape__="(6,5, 3, 3)")
    binary = text.add("det_sign", "qconv0_det_sign0", [weight])
    sizes = {"kernel": "(3, 3)", "num_filter": "6", "no_bias": "True"}
    y = text.add("Convolution", "qconv0_fwd", [padded, binary], **sizes)
    if scaled:
        size = text.add("abs", "qconv0_abs0", [weight])
        mean = {"axis": "0", "exclude": "True", "keepdims": "True"}
        alpha = text.add("mean", "qconv0_mean0", [size], **mean)
        alpha = text.add("transpose", "qconv0_transpose0", [alpha], axes="(1, 0, 2, 3)")
        y = text.add("broadcast_mul", "qconv0_mul0", [y, alpha])
    return text.text(y)


@pytest.mark.parametrize("scaled", (False, True))
def test_no_offset_and_scaling_which_the_converter_of_bmxnet_v2_gets_wrong(scaled):
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((6, 5, 3, 3)).astype(np.float32)
    x = rng.standard_normal((2, 5, 7, 6)).astype(np.float32)
    graph = graph_from_text(v2_layer(scaled), {"arg:qconv0_weight": weight})
    package = bnn_tvm.compile(graph, target=TARGET, input_shape=x.shape)
    assert [layer.lowered for layer in package.manifest.layers] == [True]
    x_sign, w_sign = (ref.det_sign(a).transpose(0, 2, 3, 1) for a in (x, weight))
    dot = 2 * ref.binary_conv2d(x_sign, w_sign, padding=(1, 1, 1, 1)) - w_sign[0].size
    factor = np.abs(weight).mean(axis=(1, 2, 3)) if scaled else 1.0
    expected = (dot * factor).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(package.run(x), expected, rtol=1e-6 if scaled else 0)


def test_one_error_lists_every_node_that_is_not_supported():
    text = GraphText()
    x = text.variable("data")
    for i in range(6):
        offsets = text.variable(f"offsets{i}")
        x = text.add("_contrib_DeformableConvolution", f"deformable{i}", [x, offsets])
    for i in range(7):
        attributes = {"scaling_mode": "forward", "binarized_weights_only": "True"}
        slots = [x, text.variable(f"w{i}")]
        x = text.add("QConvolution", f"scaled{i}", slots, num_filter="1", **attributes)
    learned = [n["name"] for n in text.nodes if n["op"] == "null" and n["name"] != "data"]
    graph = graph_from_text(text.text(), dict.fromkeys(learned, np.zeros(1, np.float32)))
    with pytest.raises(ModelError) as caught:
        bnn_tvm.compile(graph, target=TARGET, input_shape=(1, 1, 4, 4))
    message = str(caught.value)
    for part in (
        "6 x _contrib_DeformableConvolution (deformable0, deformable1, deformable2, deformable3, "
        "deformable4, deformable5): no converter",
        "7 x QConvolution (scaled0, scaled1, scaled2, scaled3, scaled4, scaled5, scaled6): "
        "scaling_mode=forward is not supported",
    ):
        assert part in message
