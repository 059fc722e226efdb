"""What the importer says about models that it cannot take."""

from __future__ import annotations

import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from importer_harness import GraphText, random_params

from bnn_tvm.errors import ModelError
from bnn_tvm.importer import check_supported, graph_from_text, import_graph, load_graph

SHAPE = (1, 3, 4, 4)


def network(filters=4, name="conv0"):
    x = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=filters, name=name)
    return mx.sym.BatchNorm(x, name="bn0")


def graph_of(symbol, params_of=None):
    params = random_params(symbol if params_of is None else params_of, data=SHAPE)
    return graph_from_text(symbol.tojson(), params)


def error_of(graph, **shapes) -> str:
    with pytest.raises(ModelError) as caught:
        import_graph(graph, shapes or {"data": SHAPE})
    return str(caught.value)


def test_all_unsupported_operators_come_in_one_report():
    text = GraphText()
    x = text.variable("data")
    for i in range(7):
        x = text.add("Erf", f"erf{i}", [x])
    x = text.add("Pooling", "pool0", [x], kernel="(2, 2)", pool_type="lp")
    x = text.add("LeakyReLU", "leaky0", [x], act_type="elu")
    x = text.add("Pad", "pad0", [x], mode="reflect", pad_width="(0, 0)")
    text.add("Cast", "cast0", [x], dtype="float16")
    graph = graph_from_text(text.text(), {})
    with pytest.raises(ModelError) as caught:
        check_supported(graph)
    message = str(caught.value)
    for part in [
        "7 x Erf (erf0, erf1, erf2, erf3, erf4, erf5, erf6): no converter",
        "1 x Pooling (pool0): pool_type lp",
        "1 x LeakyReLU (leaky0): act_type elu",
        "1 x Pad (pad0): mode reflect",
        "1 x Cast (cast0): dtype float16",
    ]:
        assert part in message


@pytest.mark.parametrize(
    "op, attributes, reason",
    [
        ("QConvolution", {"num_group": "2"}, "num_group=1"),
        ("QConvolution", {"scaling_mode": "forward"}, "scaling_mode=forward"),
        ("QConvolution", {"act_bit": "2"}, "act_bit=1"),
        ("QConvolution", {"weight_bit": "4"}, "act_bit=1"),
        ("QConvolution", {"no_bias": "False"}, "bias"),
        ("QFullyConnected", {"scaling_mode": "forward"}, "scaling_mode=forward"),
        ("BinaryInferenceConvolution", {"num_group": "2"}, "num_group=1"),
        ("BinaryInferenceConvolution", {"layout": "NHWC"}, "layout NCHW"),
        ("Convolution", {"layout": "NHWC"}, "layout NHWC"),
        ("Pooling", {"pooling_convention": "same"}, "pooling_convention same"),
        ("Activation", {"act_type": "softsign"}, "act_type softsign"),
        ("BatchNorm", {"output_mean_var": "True"}, "output_mean_var"),
        ("Dropout", {"mode": "always"}, "mode always"),
        ("Reshape", {"reverse": "True", "shape": "(0, -1)"}, "reverse=True"),
        ("Reshape", {"target_shape": "(1, 1)"}, "target_shape"),
        ("softmax", {"use_length": "True"}, "use_length"),
    ],
)
def test_unsupported_attributes_are_refused_before_conversion(op, attributes, reason):
    text = GraphText()
    text.add(op, "node0", [text.variable("data")], **attributes)
    with pytest.raises(ModelError, match=f"1 x {op} .node0.: .*{reason}"):
        check_supported(graph_from_text(text.text(), {}))


def test_supported_attributes_are_not_refused():
    text = GraphText()
    text.add("QConvolution", "q0", [text.variable("data")], scaling_mode="backward", no_bias="True")
    check_supported(graph_from_text(text.text(), {}))


def test_a_secondary_output_is_refused():
    parts = mx.sym.BatchNorm(mx.sym.var("data"), name="bn0", output_mean_var=True)
    symbol = mx.sym.relu(parts[1])
    with pytest.raises(ModelError, match=r"1 x BatchNorm \(bn0\): output 1"):
        check_supported(graph_from_text(symbol.tojson(), {}))


def test_params_of_another_network_are_named():
    message = error_of(graph_of(network(name="convX"), params_of=network()))
    assert "2 missing (convX_weight, convX_bias)" in message
    assert "2 not in this network (conv0_weight, conv0_bias)" in message
    assert "--params" in message


def test_params_of_a_network_of_another_size_are_named():
    assert "'conv0'" in error_of(graph_of(network(8), params_of=network(4)))


def test_a_batch_norm_of_another_size_is_named():
    graph = graph_of(network())
    graph.params["bn0_beta"] = np.zeros(5, np.float32)
    assert "'bn0' (BatchNorm): input 2 has the shape (5,), not (4,)" in error_of(graph)


def test_a_negative_variance_is_named():
    graph = graph_of(network())
    graph.params["bn0_moving_var"] = np.full(4, -1, np.float32)
    assert "'bn0' (BatchNorm): the moving variance" in error_of(graph)


def test_a_shape_other_than_declared_is_named():
    text = GraphText()
    data, weight = text.variable("data"), text.variable("w", __shape__="(2,3)")
    text.add("broadcast_add", "sum0", [data, weight])
    graph = graph_from_text(text.text(), {"w": np.ones((3, 2))})
    assert "1 of another shape (w)" in error_of(graph, data=(2, 3))


@pytest.mark.parametrize("declared", ["(0, 3)", "(-1, 3)", "None"])
def test_a_shape_that_was_unknown_declares_nothing(declared):
    text = GraphText()
    data, weight = text.variable("data"), text.variable("w", __shape__=declared)
    text.add("broadcast_add", "sum0", [data, weight])
    import_graph(graph_from_text(text.text(), {"w": np.ones((2, 3))}), {"data": (2, 3)})


def test_input_channels_that_do_not_fit_the_weight():
    message = error_of(graph_of(network()), data=(1, 1, 4, 4))
    assert "(4, 3, 3, 3), but 1 input channels need (4, 1, 3, 3)" in message


@pytest.mark.parametrize("shapes", [{}, {"data": SHAPE, "x": (1,)}, {"image": SHAPE}])
def test_input_names_must_match(shapes):
    with pytest.raises(ModelError, match=r"inputs \['data'\]"):
        import_graph(graph_of(network()), shapes)


@pytest.mark.parametrize("shape", [(), (1, 0, 2, 2), (-1, 3, 4, 4)])
def test_input_sizes_must_be_positive(shape):
    assert "positive sizes" in error_of(graph_of(network()), data=shape)


def test_an_input_of_the_wrong_rank_is_named():
    assert "'conv0' (Convolution): the input has 2 dimensions" in error_of(
        graph_of(network()), data=(1, 3)
    )


@pytest.fixture
def exported(tmp_path):
    symbol = network()
    params = {f"arg:{n}": mx.nd.array(a) for n, a in random_params(symbol, data=SHAPE).items()}
    symbol.save(str(tmp_path / "net-symbol.json"))
    mx.nd.save(str(tmp_path / "net-0000.params"), params)
    return tmp_path


def test_params_are_found_beside_the_symbol(exported):
    (exported / "network-0001.params").write_bytes(b"of another prefix")
    graph = load_graph(exported / "net-symbol.json")
    assert set(graph.params) >= {"conv0_weight", "bn0_moving_var"}


def test_several_params_must_be_chosen_from(exported):
    (exported / "net-0007.params").write_bytes((exported / "net-0000.params").read_bytes())
    with pytest.raises(ModelError, match=r"net-0000.params, net-0007.params.*--params"):
        load_graph(exported / "net-symbol.json")
    load_graph(exported / "net-symbol.json", exported / "net-0007.params")


def test_missing_params_and_missing_symbol(exported):
    (exported / "net-0000.params").unlink()
    with pytest.raises(ModelError, match=r"found none.*--params"):
        load_graph(exported / "net-symbol.json")
    with pytest.raises(ModelError, match=r"other-symbol\.json cannot be read"):
        load_graph(exported / "other-symbol.json")


def test_a_symbol_of_another_name_needs_params(exported):
    (exported / "net-symbol.json").rename(exported / "net.json")
    with pytest.raises(ModelError, match="--params"):
        load_graph(exported / "net.json")
    load_graph(exported / "net.json", exported / "net-0000.params")


def test_a_symbol_that_is_no_text_and_truncated_params(exported):
    params = exported / "net-0000.params"
    params.write_bytes(params.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"net-0000\.params: it ends inside"):
        load_graph(exported / "net-symbol.json")
    (exported / "net-symbol.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="is not text"):
        load_graph(exported / "net-symbol.json")


def test_reading_loads_neither_tvm_nor_mxnet():
    code = (
        "import sys, bnn_tvm.importer\nassert not {'tvm', 'mxnet'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
