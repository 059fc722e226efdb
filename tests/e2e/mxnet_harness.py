"""Runs a network in MXNet with the values before each quantizer, and counts the close calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from bnn_tvm.gluon import to_symbol
from bnn_tvm.importer import Graph, graph_from_text

# The operators that jump, and how far a value is from where they do.
JUMPS = {
    "_contrib_sign_ste": lambda values: np.abs(values),
    "_contrib_round_ste": lambda values: np.abs(np.abs(values) % 1 - 0.5),
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
    output, *values = _forward(heads, model, x)
    inside = dict(zip(names, values, strict=True))
    return Result(output, inside, sum(_count_near(inside[n], op) for n, op in jumps.items()))


def _forward(heads: mx.sym.Symbol, model: Model, x: np.ndarray) -> list[np.ndarray]:
    (data,) = model.graph.data_inputs
    block = mx.gluon.SymbolBlock(heads, mx.sym.var(data, dtype="float32"))
    for name, parameter in block.collect_params().items():
        parameter.shape = model.graph.params[name].shape
        parameter.initialize()
        parameter.set_data(mx.nd.array(model.graph.params[name]))
    outputs = block(mx.nd.array(x))
    return [o.asnumpy() for o in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def jump_sources(graph: Graph) -> dict[str, str]:
    """Name the nodes that quantizers read, and the quantizers' operators.

    Variables are left out: quantizing the parameters themselves is exact.
    """
    nodes = graph.nodes
    reads = [(nodes[n.inputs[0].node], n.op) for n in nodes if n.op in JUMPS]
    return {source.name: op for source, op in reads if not source.is_variable}


def _count_near(values: np.ndarray, op: str) -> int:
    limit = NEAR * max(1.0, float(np.abs(values).max(initial=0)))
    return int((JUMPS[op](values) <= limit).sum())


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
