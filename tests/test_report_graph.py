"""The graph in the manifest: what reads what, in small models and in a residual one."""

from __future__ import annotations

import pytest
from relax_harness import lower, module, random_floats, random_signs
from tvm import relax

from bnn_tvm.package.manifest import NodeInfo
from bnn_tvm.passes.pipeline import FLOAT_PASSES
from bnn_tvm.report_graph import describe_graph

TARGET = "x86-64"


def describe(body, *shapes) -> tuple[NodeInfo, ...]:
    imported = module(body, *shapes)
    divided = imported
    for apply in FLOAT_PASSES[:-1]:
        divided = apply(divided)
    return describe_graph(divided, FLOAT_PASSES[-1](divided), lower(imported, TARGET))


def residual(g, x):
    y = g.conv(x, random_floats(1, 32, 32, 1, 1), "stem")
    dot = g.conv(g.sign(y), random_signs(3, 32, 32, 1, 1), "first")
    y = g(relax.op.add(dot, y))
    dot = g.conv(g.sign(y), random_signs(4, 32, 32, 1, 1), "second")
    return g(relax.op.add(dot, y))


@pytest.fixture(scope="module")
def residual_graph():
    return describe(residual, (1, 32, 4, 4))


def named(graph, name) -> NodeInfo:
    return next(node for node in graph if node.name == name)


def test_inputs_come_first_and_every_node_reads_earlier_ones(residual_graph):
    assert residual_graph[0] == NodeInfo("x0", "input", "", "", ())
    for position, node in enumerate(residual_graph[1:], 1):
        assert node.inputs and all(index < position for index in node.inputs)


def test_a_layer_reads_the_bits_and_the_numbers_of_the_one_before(residual_graph):
    first = residual_graph.index(named(residual_graph, "first"))
    second = named(residual_graph, "second")
    assert second.inputs == (first, first)
    assert second.kind == "bitserial_conv2d" and second.kernel.startswith("bitserial_conv2d")
    assert (residual_graph[first].epilogue, second.epilogue) == ("add+sign+pack", "add")


def test_operations_without_a_kernel_of_ours_name_none(residual_graph):
    moves = [node for node in residual_graph if node.kind == "permute_dims"]
    assert moves and all(node.kernel == node.epilogue == "" for node in moves)


def test_a_region_without_a_layer_is_described_as_a_whole():
    def affine(g, x):
        return g(relax.op.nn.relu(g.affine(x, random_floats(1, 32), random_floats(2, 32))))

    (_, node) = describe(affine, (1, 32, 4, 4))
    assert (node.kind, node.epilogue, node.inputs) == ("elementwise", "scale+bias+relu", (0,))


def test_joined_tensors_name_all_they_are_made_of():
    def joined(g, a, b):
        return g(relax.op.concat([a, b, a], axis=1), "all")

    graph = describe(joined, (1, 4, 3, 3), (1, 2, 3, 3))
    assert len(named(graph, "all").inputs) == 3
