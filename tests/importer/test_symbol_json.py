"""The reader of symbol JSON: every way of writing a node, and every way of getting it wrong."""

from __future__ import annotations

import json

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from importer_harness import GraphText

from bnn_tvm.errors import ModelError
from bnn_tvm.importer import Edge, graph_from_text
from bnn_tvm.importer.attributes import Attributes
from bnn_tvm.importer.graph import Node


def document(**changes):
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "relu", "name": "relu0", "inputs": [[0, 0, 0]]},
    ]
    return {"nodes": nodes, "heads": [[1, 0, 0]], **changes}


def read(value):
    return graph_from_text(json.dumps(value), {})


def test_a_symbol_that_mxnet_wrote():
    symbol = mx.sym.Pooling(mx.sym.var("data"), kernel=(2, 2), name="pool0")
    graph = graph_from_text(symbol.tojson(), {})
    assert graph.nodes[1] == Node("pool0", "Pooling", {"kernel": "(2, 2)"}, (Edge(0),))
    assert graph.heads == (Edge(1),)


@pytest.mark.parametrize("key", ["attr", "attrs", "param"])
def test_attributes_under_each_key(key):
    text = GraphText(key)
    text.variable("x", __shape__="(2,)")
    assert graph_from_text(text.text(), {}).nodes[0].attrs == {"__shape__": "(2,)"}


def test_old_nodes_have_param_and_attr_and_pairs_as_inputs():
    nodes = document()["nodes"]
    nodes[1] |= {"param": {"a": "1"}, "attr": {"b": "2"}, "inputs": [[0, 0]]}
    graph = read({"nodes": nodes, "heads": [[1, 0]]})
    assert graph.nodes[1].attrs == {"a": "1", "b": "2"} and graph.nodes[1].inputs == (Edge(0),)


def test_prefixes_of_parameter_names_are_dropped():
    params = {"arg:w": np.ones(1), "aux:m": np.ones(2), "plain": np.ones(3)}
    graph = graph_from_text(json.dumps(document()), params)
    assert {name: array.size for name, array in graph.params.items()} == {
        "w": 1,
        "m": 2,
        "plain": 3,
    }


def test_one_parameter_under_both_prefixes_is_refused():
    with pytest.raises(ModelError, match="'w' occurs twice"):
        graph_from_text(json.dumps(document()), {"arg:w": np.ones(1), "aux:w": np.ones(1)})


NODE = {"op": "relu", "name": "r", "inputs": []}
BROKEN = {
    "no object": [],
    "no nodes": {"heads": []},
    "nodes are no list": document(nodes={}),
    "node is no object": document(nodes=["x"]),
    "op is no text": document(nodes=[{**NODE, "op": 3}], heads=[[0, 0]]),
    "no name": document(nodes=[{"op": "relu", "inputs": []}], heads=[[0, 0]]),
    "no inputs": document(nodes=[{"op": "relu", "name": "r"}], heads=[[0, 0]]),
    "itself as input": document(nodes=[{**NODE, "inputs": [[0, 0, 0]]}], heads=[[0, 0]]),
    "later input": document(nodes=[{**NODE, "inputs": [[1, 0, 0]]}, NODE], heads=[[0, 0]]),
    "negative input": document(nodes=[NODE, {**NODE, "inputs": [[-1, 0, 0]]}], heads=[[0, 0]]),
    "short input": document(nodes=[NODE, {**NODE, "inputs": [[0]]}], heads=[[0, 0]]),
    "input of text": document(nodes=[NODE, {**NODE, "inputs": [["0", 0]]}], heads=[[0, 0]]),
    "input of truth": document(nodes=[NODE, {**NODE, "inputs": [[False, 0]]}], heads=[[0, 0]]),
    "attributes are a list": document(nodes=[{**NODE, "attrs": []}], heads=[[0, 0]]),
    "attribute is an object": document(nodes=[{**NODE, "attrs": {"a": {}}}], heads=[[0, 0]]),
    "head out of range": document(heads=[[2, 0, 0]]),
    "no heads": document(heads=[]),
    "heads are missing": document(heads=None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_symbol_is_a_model_error(name):
    with pytest.raises(ModelError):
        read(BROKEN[name])


def test_every_truncation_is_a_model_error():
    text = json.dumps(document())
    for size in range(len(text)):
        with pytest.raises(ModelError):
            graph_from_text(text[:size], {})


def test_deep_nesting_is_a_model_error():
    with pytest.raises(ModelError):
        graph_from_text("[" * 100_000, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(st.sampled_from(["nodes", "heads"]), JSON)
def test_any_json_in_any_place_gives_a_graph_or_a_model_error(key, value):
    try:
        read(document(**{key: value}))
    except ModelError as error:
        assert ";" in str(error)


@given(st.sampled_from(["op", "name", "inputs", "attrs", "attr", "param"]), JSON)
def test_any_json_in_any_field_gives_a_graph_or_a_model_error(field, value):
    nodes = document()["nodes"]
    nodes[1][field] = value
    try:
        read(document(nodes=nodes))
    except ModelError as error:
        assert ";" in str(error)


def attributes(**values):
    return Attributes(Node("n", "Op", values, ()))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("(64,2, 3, 3)", (64, 2, 3, 3)),
        ("[0, 0, -1]", (0, 0, -1)),
        ("(2,)", (2,)),
        ("5", (5,)),
        ("()", ()),
        (" ( 1 , 2 ) ", (1, 2)),
    ],
)
def test_shapes_are_read_however_they_are_written(text, expected):
    assert attributes(kernel=text).numbers("kernel") == expected


@pytest.mark.parametrize("text", ["(1.5, 2)", "x", "(1 2)", "(1,,2)", "", "(None,)"])
def test_a_shape_that_is_none_is_told(text):
    with pytest.raises(ModelError, match=r"node 'n'.*'kernel'"):
        attributes(kernel=text).numbers("kernel")


def test_flags_numbers_and_defaults():
    values = attributes(a="True", b="0", c="1e-3", d="None", e="7")
    assert values.flag("a") is True and values.flag("b") is False
    assert values.real("c") == 1e-3 and values.integer("e") == 7
    assert values.integer("d", 5) == 5 and values.text("f", "x") == "x"
    assert not values.is_set("d")


@pytest.mark.parametrize("read_as", ["integer", "real", "flag"])
def test_a_wrong_or_missing_value_is_told(read_as):
    with pytest.raises(ModelError, match="has the value 'maybe'"):
        getattr(attributes(a="maybe"), read_as)("a")
    with pytest.raises(ModelError, match="lacks the attribute 'b'"):
        getattr(attributes(), read_as)("b")
