"""The graph itself: what is an input, what is missing, and cutting out a part."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from importer_harness import random_params, run_graph

from bnn_tvm.errors import ModelError
from bnn_tvm.importer import graph_from_text
from bnn_tvm.importer.reshape_codes import apply_reshape_codes

SHAPE = (2, 3, 6, 6)


def small_network():
    x = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=4, name="conv0")
    x = mx.sym.BatchNorm(x, name="bn0", fix_gamma=False)
    x = mx.sym.Activation(x, act_type="tanh", name="act0")
    return mx.sym.FullyConnected(x, num_hidden=5, name="fc0")


def small_graph():
    symbol = small_network()
    return graph_from_text(symbol.tojson(), random_params(symbol, data=SHAPE))


def test_inputs_and_parameters_are_told_apart():
    graph = small_graph()
    assert graph.data_inputs == ("data",)
    assert graph.missing_params == () and graph.unknown_params == ()


def test_a_parameter_without_an_array_is_missing_not_an_input():
    weight = mx.sym.contrib.sign_ste(mx.sym.var("fc0_weight"))
    symbol = mx.sym.FullyConnected(mx.sym.var("x"), weight, num_hidden=2, no_bias=True, name="fc0")
    graph = graph_from_text(symbol.tojson(), {"other": np.ones(1)})
    assert graph.data_inputs == ("x",)
    assert graph.missing_params == ("fc0_weight",)
    assert graph.unknown_params == ("other",)


def test_a_label_is_no_input():
    symbol = mx.sym.SoftmaxOutput(mx.sym.var("x"), mx.sym.var("label"))
    assert graph_from_text(symbol.tojson(), {}).data_inputs == ("x",)


def test_extract_cuts_between_named_nodes():
    graph = small_graph()
    part = graph.extract(["conv0"], ["act0"])
    assert part.data_inputs == ("conv0",)
    assert set(part.params) == {f"bn0_{n}" for n in ("gamma", "beta", "moving_mean", "moving_var")}
    assert [n.name for n in part.nodes if not n.is_variable] == ["bn0", "act0"]


def test_parts_run_one_after_the_other_as_the_whole():
    graph = small_graph()
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    middle, early = run_graph(graph.extract(["data"], ["act0", "conv0"]), {"data": x})
    assert not np.array_equal(middle, early)
    end = run_graph(graph.extract(["act0"], ["fc0"]), {"act0": middle})[0]
    np.testing.assert_array_equal(end, run_graph(graph, {"data": x})[0])


def test_extract_of_one_node_between_itself_is_its_input():
    part = small_graph().extract(["conv0"], ["conv0"])
    assert part.data_inputs == ("conv0",) and len(part.nodes) == 1 and not part.params


def test_extract_tells_an_unknown_name():
    with pytest.raises(ModelError, match="'nothing' occurs 0 times"):
        small_graph().extract(["data"], ["nothing"])


@pytest.mark.parametrize(
    "codes, reason",
    [
        ((5, -1), "number of values"),
        ((7,), "number of values"),
        ((-1, -1), "more than once"),
        ((0, 0, 0), "too few axes"),
        ((-3, -3), "too few axes"),
        ((-4, 2), "two sizes"),
        ((-4, 0, 2, -2), "two sizes"),
        ((-5,), "unknown"),
    ],
)
def test_reshape_codes_that_do_not_fit(codes, reason):
    with pytest.raises(ValueError, match=reason):
        apply_reshape_codes((2, 3), codes)
