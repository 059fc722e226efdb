"""Places the nodes of a graph in rows and lanes: what reads comes below what it reads.

Layered drawing after Sugiyama, made simple by the shape of these networks. One longest path, the
trunk, runs down lane 0; branches get lanes beside it, and so do edges that pass rows: all long
edges from one node share one wire. Long graphs are cut into columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..package.manifest import NodeInfo

BITSERIAL = "bitserial_"

_FEWEST_ROWS = 18
# So that a picture of many columns is about as wide as high.
_ROWS_PER_ROOT = 2.6
# A cut may move this far from an even division to where fewer edges pass.
_CUT_SLACK = 3


@dataclass(frozen=True)
class Layout:
    """Where each node and each long edge goes.

    Attributes
    ----------
    rows, lanes : tuple of int
        Of each node.
    wires : dict of (int, int) to int
        Node and row to the lane in which the node's long edges pass that row.
    columns : tuple of range
        The rows of each column.
    """

    rows: tuple[int, ...]
    lanes: tuple[int, ...]
    wires: dict[tuple[int, int], int]
    columns: tuple[range, ...]


def lay_out(graph: Sequence[NodeInfo]) -> Layout:
    """Place the nodes of a graph, given in an order in which they can run."""
    rows = _rows(graph)
    last_use = _last_use(graph, rows)
    lanes, wires = _assign_lanes(graph, rows, last_use)
    return Layout(tuple(rows), tuple(lanes), wires, _columns(graph, rows))


def _rows(graph: Sequence[NodeInfo]) -> list[int]:
    rows: list[int] = []
    for node in graph:
        rows.append(1 + max((rows[index] for index in node.inputs), default=-1))
    return rows


def _last_use(graph: Sequence[NodeInfo], rows: Sequence[int]) -> list[int]:
    """Find the last row in which each node is read."""
    last = list(rows)
    for node, row in zip(graph, rows, strict=True):
        for index in node.inputs:
            last[index] = max(last[index], row)
    return last


def _trunk(graph: Sequence[NodeInfo], rows: Sequence[int]) -> set[int]:
    """Pick a longest path, through binary layers where there is a choice."""
    index = max(range(len(graph)), key=rows.__getitem__)
    trunk = {index}
    while graph[index].inputs:
        above = [i for i in graph[index].inputs if rows[i] == rows[index] - 1]
        index = max(above, key=lambda i: graph[i].kind.startswith(BITSERIAL))
        trunk.add(index)
    return trunk


def _assign_lanes(
    graph: Sequence[NodeInfo], rows: Sequence[int], last_use: Sequence[int]
) -> tuple[list[int], dict[tuple[int, int], int]]:
    trunk = _trunk(graph, rows)
    lanes = [0] * len(graph)
    wires: dict[tuple[int, int], int] = {}
    for row in range(max(rows) + 1):
        taken = {0}
        passing = [i for i in range(len(graph)) if rows[i] < row < last_use[i]]
        # Wires that go straight on come first, then nodes, then wires that begin.
        for index in sorted(passing, key=lambda i: rows[i] == row - 1):
            if (index, row - 1) in wires:
                wires[index, row] = _take_lane(taken, wires[index, row - 1])
        for index in (i for i in range(len(graph)) if rows[i] == row and i not in trunk):
            inputs = graph[index].inputs
            lanes[index] = _take_lane(taken, lanes[inputs[0]] if inputs else 1)
        for index in passing:
            if (index, row) not in wires:
                wires[index, row] = _take_lane(taken, max(taken) + 1)
    return lanes, wires


def _take_lane(taken: set[int], wanted: int) -> int:
    """Take the free lane nearest to the wanted one."""
    free = (lane for lane in range(1, max(wanted, *taken, 1) + 2) if lane not in taken)
    lane = min(free, key=lambda lane: abs(lane - wanted))
    taken.add(lane)
    return lane


def edges_across(graph: Sequence[NodeInfo], rows: Sequence[int], cut: int) -> int:
    """Count the edges that come from above a row and end in or below it."""
    edges = ((source, target) for target, node in enumerate(graph) for source in node.inputs)
    return sum(rows[source] < cut <= rows[target] for source, target in edges)


def _columns(graph: Sequence[NodeInfo], rows: Sequence[int]) -> tuple[range, ...]:
    count = max(rows) + 1
    most = max(_FEWEST_ROWS, round(_ROWS_PER_ROOT * math.sqrt(count)))
    columns = math.ceil(count / most)
    cuts = [0]
    for number in range(1, columns):
        even = round(number * count / columns)
        near = range(max(cuts[-1] + 1, even - _CUT_SLACK), min(count, even + _CUT_SLACK + 1))
        costs = {cut: (edges_across(graph, rows, cut), abs(cut - even)) for cut in near}
        cuts.append(min(near, key=costs.__getitem__))
    return tuple(range(start, end) for start, end in zip(cuts, [*cuts[1:], count], strict=True))
