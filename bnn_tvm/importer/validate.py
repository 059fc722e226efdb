"""Checks that parameters and input shapes belong to the graph, before conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import ModelError
from .attributes import Attributes
from .graph import Graph, Node

NAMES_SHOWN = 8


def check_params(graph: Graph) -> None:
    """Check that the arrays are the ones that the variables ask for.

    Raises
    ------
    ModelError
        Arrays are missing, belong to no variable, or have another shape than declared.
    """
    problems = [
        _complaint("missing", graph.missing_params),
        _complaint("not in this network", graph.unknown_params),
        _complaint("of another shape", _misshapen(graph)),
    ]
    found = [problem for problem in problems if problem]
    if found:
        raise ModelError(
            f"the parameters do not fit the network: {'; '.join(found)}; "
            "name the .params file of this network with --params"
        )


def check_inputs(graph: Graph, input_shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that every data input, and nothing else, has a shape of positive sizes.

    Raises
    ------
    ModelError
        An input has no shape, a shape has no input, or a size is not positive.
    """
    if set(graph.data_inputs) != set(input_shapes):
        raise ModelError(
            f"the network has the inputs {list(graph.data_inputs)}, shapes were given for "
            f"{list(input_shapes)}; give one shape for each input, and check that the .params "
            "file belongs to this network if an input looks like a parameter"
        )
    for name, shape in input_shapes.items():
        if not shape or min(shape) < 1:
            raise ModelError(
                f"input {name!r} has the shape {tuple(shape)}; give positive sizes, "
                "such as --input-shape 1,3,224,224"
            )


def _complaint(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMES_SHOWN])}{more})"


def _misshapen(graph: Graph) -> list[str]:
    """Name the arrays whose shape contradicts the variable's ``__shape__``."""
    variables = [n for n in graph.nodes if n.is_variable and n.name in graph.params]
    return [node.name for node in variables if _contradicts(node, graph.params[node.name].shape)]


def _contradicts(node: Node, found: tuple[int, ...]) -> bool:
    declared = Attributes(node).numbers("__shape__", ())
    # A size of 0 or -1 was not known when the symbol was written.
    if not declared or min(declared) < 1:
        return False
    return declared != found
