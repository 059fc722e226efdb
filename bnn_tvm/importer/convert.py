"""Builds the Relax module of a graph: float semantics, standard operators, parameters bound."""

from __future__ import annotations

from collections.abc import Mapping

import tvm
from tvm import relax

from .converters import REGISTRY, Context, Emitter, Value
from .converters.registry import constant, shape_of
from .graph import Graph
from .operators import used_slots
from .support import check_supported
from .validate import check_inputs, check_params


def import_graph(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]]) -> tvm.ir.IRModule:
    """Convert a graph to a Relax module with the one function ``main``.

    Parameters
    ----------
    graph : the model
    input_shapes : shape of every data input, batch included

    Returns
    -------
    ``main`` takes the float32 data inputs under their names, in the order of the graph, and
    returns the head, or a tuple of the heads. It is one dataflow block; a node's result is
    bound to a variable of the node's name.

    Raises
    ------
    ModelError
        An operator is not supported, parameters are missing or do not fit, or the input
        shapes do not.
    """
    check_supported(graph)
    check_params(graph)
    check_inputs(graph, input_shapes)
    parameters = {
        name: relax.Var(name, relax.TensorType(tuple(input_shapes[name]), "float32"))
        for name in graph.data_inputs
    }
    emitter = Emitter(frozenset(n.name for n in graph.nodes if not n.is_variable))
    heads = _convert_nodes(graph, parameters, emitter)
    return _make_module(list(parameters.values()), emitter.bindings, heads)


def _convert_nodes(
    graph: Graph, parameters: Mapping[str, relax.Var], emitter: Emitter
) -> list[relax.Expr]:
    values: dict[int, Value] = {}
    for index in graph.live:
        node = graph.nodes[index]
        if node.is_variable:
            fed = node.name in parameters
            values[index] = parameters[node.name] if fed else graph.params[node.name]
        else:
            slots = used_slots(node.op, len(node.inputs))
            inputs = tuple(values[node.inputs[slot].node] for slot in slots)
            values[index] = _convert_node(Context(node, inputs, emitter))
    return [_as_expr(values[head.node]) for head in graph.heads]


def _convert_node(ctx: Context) -> relax.Expr:
    try:
        return REGISTRY[ctx.node.op].convert(ctx)
    except (tvm.error.InternalError, ValueError, TypeError) as error:
        shapes = [shape_of(ctx.expr(slot)) for slot in range(len(ctx.values))]
        raise ctx.error(f"its inputs of the shapes {shapes} do not fit") from error


def _make_module(
    parameters: list[relax.Var], bindings: list[relax.VarBinding], heads: list[relax.Expr]
) -> tvm.ir.IRModule:
    """Close the one dataflow block; a lone head stays itself, several become a tuple."""
    result = relax.BlockBuilder().normalize(heads[0] if len(heads) == 1 else relax.Tuple(heads))
    output = relax.Var("output", result.ty)
    block = relax.DataflowBlock([*bindings, relax.VarBinding(output, result)])
    main = relax.Function(parameters, relax.SeqExpr([block], output), result.ty)
    module = tvm.IRModule({"main": main.with_attr("global_symbol", "main")})
    return relax.transform.Normalize()(module)


def _as_expr(value: Value) -> relax.Expr:
    return value if isinstance(value, relax.Expr) else constant(value)
