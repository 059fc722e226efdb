"""Records and replays CUDA graphs on a processor."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import tvm
import tvm_ffi
from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.build import lower_to_graph
from bnn_tvm.passes.dataflow import bindings_of
from bnn_tvm.target import get_target

RUN_OR_CAPTURE = "vm.builtin.cuda_graph.run_or_capture"
_GET_MEMORY = "vm.builtin.cuda_graph.get_cached_alloc"


class Graphs:
    """Does what TVM's library for GPUs does, which does not load without a driver.

    Attributes
    ----------
    recorded : dict
        The calls of each graph and what the first of them returned.
    """

    def __init__(self):
        self._invoke = tvm.get_global_func("vm.builtin.invoke_closure")
        self._memory = {}
        self.recorded = {}

    def run_or_capture(self, machine, function, arguments, index):
        """Run on the tensors of the first call, wherever those of this one lie."""
        if index not in self.recorded:
            call = functools.partial(self._invoke, machine, function, *arguments)
            self.recorded[index] = (call, call())
        call, results = self.recorded[index]
        call()
        return results

    def get_cached_alloc(self, machine, function, index):
        if index not in self._memory:
            self._memory[index] = self._invoke(machine, function)
        return self._memory[index]


@contextmanager
def graphs_here() -> Iterator[Graphs]:
    """Put other functions in the place of TVM's own, if those are there."""
    ours = Graphs()
    functions = {RUN_OR_CAPTURE: ours.run_or_capture, _GET_MEMORY: ours.get_cached_alloc}
    theirs = {name: tvm.get_global_func(name, allow_missing=True) for name in functions}
    for name, function in functions.items():
        tvm.register_global_func(name, function, override=True)
    try:
        yield ours
    finally:
        for name, function in theirs.items():
            tvm_ffi.registry.remove_global_func(name)
            if function is not None:
                tvm.register_global_func(name, function)


def compile_as_graph(scheduled: IRModule, target: str) -> relax.VMExecutable:
    """Compile kernels for a processor, and what calls them as for a GPU."""
    with _graph_config():
        return tvm.compile(scheduled, get_target(target).to_tvm(), relax_pipeline=lower_to_graph())


def launches(scheduled: IRModule) -> list[str]:
    """Name what ``main`` calls that runs kernels: these by themselves, or graphs."""
    with _graph_config():
        calls = [b.value for b in bindings_of(lower_to_graph()(scheduled)["main"])]
    calls = [call for call in calls if isinstance(call, relax.Call)]
    kernels = [call.op.name_hint for call in calls if isinstance(call.op, tvm.ir.GlobalVar)]
    return kernels + [RUN_OR_CAPTURE for call in calls if RUN_OR_CAPTURE in str(call)]


def _graph_config() -> tvm.transform.PassContext:
    return tvm.transform.PassContext(opt_level=3, config={"relax.backend.use_cuda_graph": True})
