"""Runs a network in MXNet with the values before each quantizer, and treats the close calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from bnn_tvm.gluon import to_symbol
from bnn_tvm.importer import Graph, graph_from_text

# The operators that jump, and the place of the jump that is nearest to a value.
JUMPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "_contrib_sign_ste": np.zeros_like,
    "_contrib_round_ste": lambda values: np.copysign(np.floor(np.abs(values)) + 0.5, values),
}
NEAR = 1e-6


@dataclass(frozen=True)
class Model:
    """A network as MXNet exports it.

    Attributes
    ----------
    symbol : mxnet.sym.Symbol
    graph : Graph
        The same network as the importer reads it.
    """

    symbol: mx.sym.Symbol
    graph: Graph


@dataclass(frozen=True)
class Result:
    """What MXNet computes.

    Attributes
    ----------
    output : numpy.ndarray
        Of the first head.
    inside : dict of str to numpy.ndarray
        First outputs of nodes by name: what each quantizer reads, and what was asked for.
    near : int
        Values within `NEAR` of where their quantizer jumps, relative to the largest of their
        tensor (at least 1).
    """

    output: np.ndarray
    inside: dict[str, np.ndarray]
    near: int


def export(net: HybridBlock, shape: tuple[int, ...]) -> Model:
    text, params = to_symbol(net, shape)
    return Model(mx.sym.load_json(text), graph_from_text(text, params))


def run_mxnet(model: Model, x: np.ndarray, also: Sequence[str] = ()) -> Result:
    """Run in inference mode; return also what is read by quantizers and what named nodes give."""
    jumps = jump_sources(model.graph)
    names = list(dict.fromkeys([*jumps, *also]))
    internals = model.symbol.get_internals()
    heads = mx.sym.Group([model.symbol[0], *(internals[f"{name}_output"] for name in names)])
    output, *values = _forward(heads, model, _inputs(model, x))
    inside = dict(zip(names, values, strict=True))
    return Result(output, inside, sum(int(_near(inside[n], op).sum()) for n, op in jumps.items()))


def run_with_exact_ties(model: Model, x: np.ndarray) -> np.ndarray:
    """Run one quantizer after the other, values within rounding of a jump moved onto it.

    Sums of products of quantized numbers often are ties, which MXNet misses by the rounding of
    its additions.
    """
    fed = _inputs(model, x)
    for name, op in jump_sources(model.graph).items():
        internals = _with_variables(model.symbol, fed).get_internals()
        (values,) = _forward(internals[f"{name}_output"], model, fed)
        fed[name] = np.where(_near(values, op), JUMPS[op](values), values).astype(np.float32)
    return _forward(_with_variables(model.symbol, fed)[0], model, fed)[0]


def _inputs(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    (data,) = model.graph.data_inputs
    return {data: x}


def _with_variables(symbol: mx.sym.Symbol, names: Mapping[str, np.ndarray]) -> mx.sym.Symbol:
    """Turn the named nodes into variables."""
    text = json.loads(symbol.tojson())
    for node in text["nodes"]:
        if node["name"] in names:
            node |= {"op": "null", "inputs": [], "attrs": {}}
    text["arg_nodes"] = [i for i, node in enumerate(text["nodes"]) if node["op"] == "null"]
    return mx.sym.load_json(json.dumps(text))


def _forward(
    heads: mx.sym.Symbol, model: Model, arrays: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Evaluate heads that depend on some of the arrays and on parameters."""
    read = [name for name in heads.list_inputs() if name in arrays]
    block = mx.gluon.SymbolBlock(heads, [mx.sym.var(name, dtype="float32") for name in read])
    for name, parameter in block.collect_params().items():
        parameter.shape = model.graph.params[name].shape
        parameter.initialize()
        parameter.set_data(mx.nd.array(model.graph.params[name]))
    outputs = block(*(mx.nd.array(arrays[name]) for name in read))
    return [o.asnumpy() for o in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def jump_sources(graph: Graph) -> dict[str, str]:
    """Name the nodes that the quantizers of data read, and the quantizers' operators."""
    nodes, on_data = graph.nodes, _depends_on_data(graph)
    sources = [(node.inputs[0].node, node.op) for node in nodes if node.op in JUMPS]
    return {nodes[place].name: op for place, op in sources if on_data[place]}


def _depends_on_data(graph: Graph) -> list[bool]:
    found: list[bool] = []
    for node in graph.nodes:
        is_data = node.is_variable and node.name in graph.data_inputs
        found.append(is_data or any(found[edge.node] for edge in node.inputs))
    return found


def _near(values: np.ndarray, op: str) -> np.ndarray:
    """Mark the values within rounding of where an operator jumps."""
    limit = NEAR * max(1.0, float(np.abs(values).max(initial=0)))
    return np.abs(values - JUMPS[op](values)) <= limit


def randomize(net: HybridBlock, shape: tuple[int, ...], seed: int) -> None:
    """Initialize; give batch norms statistics of their own and scales of both signs and 0."""
    mx.random.seed(seed)
    rng = np.random.default_rng(seed)
    net.initialize(mx.init.Xavier(magnitude=2))
    net(mx.nd.zeros(shape))
    for name, parameter in net.collect_params().items():
        if name.endswith("gamma"):
            gamma = rng.standard_normal(parameter.shape)
            gamma[0] = 0
            parameter.set_data(mx.nd.array(gamma))
        elif name.endswith(("beta", "running_mean")):
            parameter.set_data(mx.nd.array(rng.standard_normal(parameter.shape)))
        elif name.endswith("running_var"):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 2, parameter.shape)))
