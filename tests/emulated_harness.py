"""Runs lowered modules kernel by kernel on an emulated processor."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tvm import relax, tirx
from tvm.ir import IRModule

from benchmarks.emulated.board import EMULATORS, Kernel, build_kernel
from bnn_tvm.build import schedule_module
from bnn_tvm.passes.dataflow import constant_of, main_bindings, main_result, op_name, shape_of
from bnn_tvm.target import get_target


def needs_emulator(*targets: str) -> pytest.MarkDecorator:
    """Skip a test where the cross compiler or the emulator of a target is missing."""
    wanted = [get_target(name) for name in targets]
    tools = [f"{target.toolchain}-gcc" for target in wanted]
    tools += [EMULATORS[target.architecture] for target in wanted]
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class EmulatedModule:
    """A lowered module whose kernels are programs for an emulated processor.

    Parameters
    ----------
    lowered : IRModule
        As `lower_regions` makes it.
    target : str
    folder : Path
        Where the programs are kept.
    """

    def __init__(self, lowered: IRModule, target: str, folder: Path):
        board = get_target(target)
        scheduled = schedule_module(lowered, board)
        self.rules = {name: kernel.rule for name, kernel in scheduled.kernels.items()}
        self._bindings = main_bindings(scheduled.mod)
        self._result = main_result(scheduled.mod)
        self._params = list(scheduled.mod["main"].params)
        self._kernels: dict[str, Kernel] = {}
        for gvar, func in scheduled.mod.functions.items():
            if isinstance(func, tirx.PrimFunc):
                place = folder / gvar.name_hint
                place.mkdir()
                self._kernels[gvar.name_hint] = build_kernel(func, board, self._inputs(gvar), place)

    def _inputs(self, gvar) -> int:
        calls = [b.value for b in self._bindings if op_name(b.value) == "call_tir"]
        return next(len(call.args[1].fields) for call in calls if call.args[0] == gvar)

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run ``main``."""
        values = dict(zip(self._params, arrays, strict=True))
        for binding in self._bindings:
            if isinstance(binding.value, relax.Call | relax.TupleGetItem):
                values[binding.var] = self._evaluate(binding, values)
        return [self._value(head, values) for head in self._result]

    def _evaluate(self, binding, values):
        call = binding.value
        if isinstance(call, relax.TupleGetItem):
            return values[call.tuple_value][call.index]
        if op_name(call) == "call_tir":
            arrays = [self._value(arg, values) for arg in call.args[1].fields]
            outputs = self._kernels[call.args[0].name_hint].run(arrays)
            return outputs if len(outputs) > 1 else outputs[0]
        assert "reshape" in op_name(call) or op_name(call) == "call_pure_packed", op_name(call)
        return self._value(call.args[0], values).reshape(shape_of(binding.var))

    @staticmethod
    def _value(expr, values):
        constant = constant_of(expr)
        return values[expr] if constant is None else constant


def run_emulated(
    lowered: IRModule, arrays: Sequence[np.ndarray], target: str, folder: Path
) -> list[np.ndarray]:
    """Run a lowered module once on an emulated processor."""
    return EmulatedModule(lowered, target, folder).run(arrays)
