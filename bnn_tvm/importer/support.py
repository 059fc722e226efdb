"""Finds everything in a graph that cannot be converted, before anything is converted."""

from __future__ import annotations

from collections import defaultdict

from ..errors import ModelError
from .attributes import Attributes
from .converters import REGISTRY
from .graph import Edge, Graph, Node
from .operators import used_slots


def check_supported(graph: Graph) -> None:
    """Check the operators and attributes of every node that inference needs.

    Raises
    ------
    ModelError
        Something is not supported: one error lists it all, with counts, nodes and reasons.
    """
    problems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for index in graph.live:
        node = graph.nodes[index]
        reason = _reason_against(node)
        if reason is not None:
            problems[node.op, reason].append(node.name)
    for node, edge in _secondary_outputs(graph):
        problems[node.op, f"output {edge.output} is not supported"].append(node.name)
    if problems:
        lines = "; ".join(_describe(*key, names) for key, names in problems.items())
        raise ModelError(
            f"the model holds unsupported operators: {lines}; "
            "replace them in the network and export it again"
        )


def _reason_against(node: Node) -> str | None:
    if node.is_variable:
        return None
    converter = REGISTRY.get(node.op)
    return "no converter" if converter is None else converter.refuse(Attributes(node))


def _secondary_outputs(graph: Graph) -> list[tuple[Node, Edge]]:
    """Every use of an output other than the first: no converter makes one."""
    edges = [*graph.heads]
    for index in graph.live:
        node = graph.nodes[index]
        edges += [node.inputs[slot] for slot in used_slots(node.op, len(node.inputs))]
    return [(graph.nodes[edge.node], edge) for edge in edges if edge.output != 0]


def _describe(op: str, reason: str, names: list[str]) -> str:
    return f"{len(names)} x {op} ({', '.join(names)}): {reason}"
