"""The model as it was read: MXNet's nodes and the arrays of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import ModelError
from .operators import VARIABLE, data_slots, used_slots


class Edge(NamedTuple):
    """One output of one node."""

    node: int
    output: int = 0


@dataclass(frozen=True)
class Node:
    """One operator of the network, or a variable when ``op`` is ``"null"``.

    Attributes
    ----------
    attrs : attributes as MXNet writes them, every value a string; absent means the default
    inputs : what each input slot reads
    """

    name: str
    op: str
    attrs: Mapping[str, str]
    inputs: tuple[Edge, ...]

    @property
    def is_variable(self) -> bool:
        """Whether the node is an input or a parameter."""
        return self.op == VARIABLE


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, the outputs of the network, and its parameters.

    Attributes
    ----------
    heads : the outputs, in order
    params : name to array, with the bits of the file; names without ``arg:`` or ``aux:``
    """

    nodes: tuple[Node, ...]
    heads: tuple[Edge, ...]
    params: Mapping[str, np.ndarray]

    @property
    def live(self) -> tuple[int, ...]:
        """Indices of the nodes that inference needs, in topological order."""
        return self._reach(used_slots)

    @property
    def data_inputs(self) -> tuple[str, ...]:
        """Names of the variables that have no array and are fed by the user."""
        return self._free_variables(self._reach(data_slots))

    @property
    def missing_params(self) -> tuple[str, ...]:
        """Names of the variables that only parameters can be, and that have no array."""
        inputs = set(self.data_inputs)
        return tuple(n for n in self._free_variables(self.live) if n not in inputs)

    @property
    def unknown_params(self) -> tuple[str, ...]:
        """Names of the arrays that no variable of the graph asks for."""
        asked = {node.name for node in self.nodes if node.is_variable}
        return tuple(name for name in self.params if name not in asked)

    def extract(self, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
        """Cut out the part between the first outputs of named nodes.

        Parameters
        ----------
        inputs : nodes whose output becomes a data input of the same name
        outputs : nodes whose output becomes a head, in this order

        Returns
        -------
        The nodes that the outputs need, and only their parameters.

        Raises
        ------
        ModelError
            A name is unknown or ambiguous.
        """
        fed = {self._index_of(name) for name in inputs}
        heads = tuple(Edge(self._index_of(name)) for name in outputs)
        nodes = tuple(_as_variable(n) if i in fed else n for i, n in enumerate(self.nodes))
        fed_names = {nodes[i].name for i in fed}
        params = {name: array for name, array in self.params.items() if name not in fed_names}
        return Graph(nodes, heads, params)._without_dead_nodes()

    def _reach(self, slots: Callable[[str, int], range]) -> tuple[int, ...]:
        found: set[int] = set()
        pending = [head.node for head in self.heads]
        while pending:
            index = pending.pop()
            if index in found:
                continue
            found.add(index)
            node = self.nodes[index]
            pending += [node.inputs[slot].node for slot in slots(node.op, len(node.inputs))]
        return tuple(sorted(found))

    def _free_variables(self, indices: Sequence[int]) -> tuple[str, ...]:
        variables = (self.nodes[i].name for i in indices if self.nodes[i].is_variable)
        return tuple(dict.fromkeys(name for name in variables if name not in self.params))

    def _index_of(self, name: str) -> int:
        found = [i for i, node in enumerate(self.nodes) if node.name == name]
        if len(found) != 1:
            raise ModelError(
                f"node {name!r} occurs {len(found)} times in the graph, not once; "
                "name one of the nodes that `bnn-tvm inspect` lists"
            )
        return found[0]

    def _without_dead_nodes(self) -> Graph:
        kept = self._reach(lambda _, count: range(count))
        place = {old: new for new, old in enumerate(kept)}
        nodes = tuple(_renumber(self.nodes[old], place) for old in kept)
        names = {node.name for node in nodes if node.is_variable}
        params = {name: array for name, array in self.params.items() if name in names}
        heads = tuple(Edge(place[head.node], head.output) for head in self.heads)
        return Graph(nodes, heads, params)


def _as_variable(node: Node) -> Node:
    return Node(node.name, VARIABLE, {}, ())


def _renumber(node: Node, place: Mapping[int, int]) -> Node:
    inputs = tuple(Edge(place[edge.node], edge.output) for edge in node.inputs)
    return Node(node.name, node.op, node.attrs, inputs)
