"""Counts what training learned beside the weights of convolutions and dense layers."""

from __future__ import annotations

from collections.abc import Iterator

from .attributes import Attributes
from .graph import Graph, Node
from .operators import FIRST_PARAMETER, data_slots, used_slots

_NORMALIZATIONS = ("BatchNorm", "BatchNorm_v1")
_GAMMA, _BETA = 1, 2
_WEIGHT = 1


def count_other_parameters(graph: Graph) -> int:
    """Count the learned numbers that are no layer's weights: biases, gammas and betas.

    Moving statistics and a gamma that ``fix_gamma`` sets to 1 are not learned. A weight is what a
    layer's weight slot is computed from, however it is quantized or scaled on the way.
    """
    read = {name for index in graph.live for name in _learned_slots(graph, graph.nodes[index])}
    weights = {name for index in graph.live for name in _weights(graph, graph.nodes[index])}
    return sum(graph.params[name].size for name in read - weights)


def _learned_slots(graph: Graph, node: Node) -> Iterator[str]:
    """Name the parameters that a node reads itself, less those that are not learned."""
    for slot in used_slots(node.op, len(node.inputs)):
        source = graph.nodes[node.inputs[slot].node]
        if source.name in graph.params and _is_learned(node, slot):
            yield source.name


def _is_learned(node: Node, slot: int) -> bool:
    if node.op not in _NORMALIZATIONS:
        return True
    is_fixed = Attributes(node).flag("fix_gamma", True)
    return slot == _BETA or (slot == _GAMMA and not is_fixed)


def _weights(graph: Graph, node: Node) -> Iterator[str]:
    """Name the parameters from which a layer's weights are computed."""
    is_layer = node.op in FIRST_PARAMETER and node.op not in _NORMALIZATIONS
    pending = [node.inputs[_WEIGHT].node] if is_layer else []
    while pending:
        source = graph.nodes[pending.pop()]
        if source.name in graph.params:
            yield source.name
        pending += [source.inputs[slot].node for slot in data_slots(source.op, len(source.inputs))]
