"""Runs one symbol in MXNet and, imported, in TVM; writes files and graphs by hand."""

from __future__ import annotations

import json

import mxnet as mx
import numpy as np
import tvm
from tvm import relax

from bnn_tvm.importer import graph_from_text, import_graph


def run_module(module: tvm.ir.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    """Compile for this machine as TVM does by default, and run once."""
    executable = tvm.compile(module, tvm.target.Target({"kind": "llvm"}))
    outputs = relax.VirtualMachine(executable, tvm.cpu())["main"](
        *[tvm.runtime.tensor(array) for array in inputs]
    )
    return [o.numpy() for o in (outputs if isinstance(outputs, tvm.ir.Array) else [outputs])]


def run_graph(graph, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Import and run; the arrays are matched to the inputs by name."""
    module = import_graph(graph, {name: array.shape for name, array in inputs.items()})
    return run_module(module, *[inputs[name] for name in graph.data_inputs])


def run_mxnet(symbol, inputs, params) -> list[np.ndarray]:
    arrays = {name: mx.nd.array(value) for name, value in {**inputs, **params}.items()}
    states = {name: arrays.pop(name) for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), arrays, aux_states=states, grad_req="null")
    return [o.asnumpy() for o in executor.forward(is_train=False)]


def assert_same(symbol, inputs, params=None, atol=1e-5):
    """Compare every output of a symbol between MXNet and the imported module."""
    params = params or {}
    ours = run_graph(graph_from_text(symbol.tojson(), params), inputs)
    theirs = run_mxnet(symbol, inputs, params)
    assert [o.shape for o in ours] == [t.shape for t in theirs]
    for o, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(o, t, rtol=1e-5, atol=atol)


def assert_each_same(builders, inputs, atol=1e-5):
    """Compare many small symbols of the same inputs in one module; names those that differ."""
    variables = [mx.sym.var(name) for name in inputs]
    symbol = mx.sym.Group([build(*variables) for build in builders.values()])
    ours = run_graph(graph_from_text(symbol.tojson(), {}), inputs)
    theirs = run_mxnet(symbol, inputs, {})
    for name, o, t in zip(builders, ours, theirs, strict=True):
        assert o.shape == t.shape, name
        np.testing.assert_allclose(o, t, rtol=1e-5, atol=atol, err_msg=name)


def random_params(symbol, seed=0, **shapes) -> dict[str, np.ndarray]:
    """Draw a positive float32 array for every parameter of a symbol, given its input shapes."""
    rng = np.random.default_rng(seed)
    arguments, _, states = symbol.infer_shape(**shapes)
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    sizes = dict(zip(names, [*arguments, *states], strict=True))
    return {
        name: rng.uniform(0.1, 1.0, size).astype(np.float32) * (1 if "var" in name else 2) - offset
        for name, size in sizes.items()
        if name not in shapes
        for offset in [0 if "var" in name else 1]
    }


class GraphText:
    """Writes symbol JSON by hand, for operators that stock MXNet does not know."""

    def __init__(self, attribute_key: str = "attrs") -> None:
        self.nodes: list[dict] = []
        self.attribute_key = attribute_key

    def variable(self, name: str, **attributes: str) -> int:
        return self.add("null", name, [], **attributes)

    def add(self, op: str, name: str, inputs: list[int], **attributes: str) -> int:
        node = {"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs]}
        if attributes:
            node[self.attribute_key] = attributes
        self.nodes.append(node)
        return len(self.nodes) - 1

    def text(self, *heads: int) -> str:
        heads = heads or (len(self.nodes) - 1,)
        return json.dumps({"nodes": self.nodes, "heads": [[h, 0, 0] for h in heads]})


def pack_row_major(signs: np.ndarray, width: int = 32) -> np.ndarray:
    """Pack a convolution weight bit by bit, in the order that BMXNet's converters use."""
    words = []
    flat = signs.reshape(-1)
    for start in range(0, flat.size, width):
        words.append(sum(1 << j for j in range(width) if flat[start + j] >= 0))
    return np.array(words, f"u{width // 8}").view(f"f{width // 8}")


def pack_transposed(signs: np.ndarray, width: int = 32) -> np.ndarray:
    """Pack a (units, inputs) dense weight: word y * units + o holds inputs W y.. of output o."""
    units, inputs = signs.shape
    order = [signs[o, y : y + width] for y in range(0, inputs, width) for o in range(units)]
    return pack_row_major(np.concatenate(order), width)
