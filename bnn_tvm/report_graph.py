"""The operations of a lowered model and what each of them reads, for pictures of it."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax, tirx
from tvm.ir import GlobalVar, IRModule

from .epilogue import describe_epilogue
from .kernels.stages import PACK
from .package.manifest import INPUT, NodeInfo
from .passes.dataflow import MAIN, arguments, main_bindings, op_name
from .passes.fuse_regions import LAYER, region_kind
from .passes.lower_regions import KERNEL_OF_LAYER
from .passes.regions import divide_into_regions


def describe_graph(divided: IRModule, fused: IRModule, lowered: IRModule) -> tuple[NodeInfo, ...]:
    """Describe the graph of a model: its inputs, then one node a region or other operation.

    Parameters
    ----------
    divided : IRModule
        Just before its regions are outlined: tells what each region does.
    fused : IRModule
        With outlined regions: its bindings are the nodes.
    lowered : IRModule
        Tells which kernel computes each region.
    """
    return _GraphReport(divided, fused, lowered).describe()


class _GraphReport:
    def __init__(self, divided: IRModule, fused: IRModule, lowered: IRModule):
        self._fused = fused
        self._regions = {region.anchor.name: region for region in divide_into_regions(divided)}
        self._kernels = {str(k): str(v) for k, v in lowered.attrs[KERNEL_OF_LAYER].items()}
        self._functions = {g.name_hint: f for g, f in lowered.functions.items()}
        self._index: dict[relax.Expr, int] = {}
        self._nodes: list[NodeInfo] = []

    def describe(self) -> tuple[NodeInfo, ...]:
        for param in self._fused[MAIN].params:
            self._add(param, NodeInfo(param.name, INPUT, "", "", ()))
        for binding in main_bindings(self._fused):
            value = binding.value
            if isinstance(value, relax.Call):
                self._add(binding.var, self._node(binding.var.name, value))
            elif isinstance(value, relax.TupleGetItem | relax.Var):
                source = value.tuple_value if isinstance(value, relax.TupleGetItem) else value
                self._index[binding.var] = self._index[source]
        return tuple(self._nodes)

    def _add(self, var: relax.Var, node: NodeInfo) -> None:
        self._index[var] = len(self._nodes)
        self._nodes.append(node)

    def _node(self, name: str, call: relax.Call) -> NodeInfo:
        inputs = self._inputs(arguments(call))
        kind = region_kind(self._fused, call)
        if not kind:
            return NodeInfo(name, op_name(call).removeprefix("nn."), "", "", inputs)
        assert isinstance(call.op, GlobalVar)
        layer = str(self._fused[call.op].attrs[LAYER])
        kernel = self._kernels[layer]
        epilogue = describe_epilogue(self._regions[layer], packs(self._functions[kernel]))
        return NodeInfo(layer, kind, kernel, epilogue, inputs)

    def _inputs(self, args: Iterable[relax.Expr]) -> tuple[int, ...]:
        return tuple(self._index[arg] for arg in args if arg in self._index)


def packs(func: tirx.PrimFunc) -> bool:
    """Tell whether a kernel writes bits."""
    return any(param.name == PACK for param in func.params)
