"""Reads MXNet and BMXNet models and converts them to TVM Relax.

Reading needs numpy only: TVM is loaded when something is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .files import load_graph
from .graph import Edge, Graph, Node
from .symbol_json import graph_from_text

if TYPE_CHECKING:
    import tvm

__all__ = [
    "Edge",
    "Graph",
    "Node",
    "check_supported",
    "graph_from_text",
    "import_graph",
    "load_graph",
]


def check_supported(graph: Graph) -> None:
    """Check every node; see :func:`bnn_tvm.importer.support.check_supported`."""
    from . import support

    support.check_supported(graph)


def import_graph(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]]) -> tvm.ir.IRModule:
    """Convert to Relax; see :func:`bnn_tvm.importer.convert.import_graph`."""
    from . import convert

    return convert.import_graph(graph, input_shapes)
