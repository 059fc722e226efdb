"""From a lowered module to a shared library: legalize what is left, schedule, compile, link."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm import relax, tirx
from tvm.ir import IRModule

from .errors import TargetError
from .schedules import Rule, schedule_kernel
from .target import Target
from .toolchain import find_linker


@dataclass(frozen=True)
class ScheduledModule:
    """A module whose kernels are scheduled, and by which rule each of them was."""

    mod: IRModule
    rules: dict[str, Rule]


def schedule_module(mod: IRModule, target: Target) -> ScheduledModule:
    """Schedule every kernel of a lowered module.

    Operators that no region took become kernels of TVM's operator library first.
    """
    mod = relax.transform.LegalizeOps()(mod)
    mod = relax.transform.RewriteDataflowReshape()(mod)
    mod = relax.transform.DeadCodeElimination()(mod)
    rules: dict[str, Rule] = {}
    for gvar, func in list(mod.functions.items()):
        if isinstance(func, tirx.PrimFunc):
            scheduled = schedule_kernel(func, target)
            mod.update_func(gvar, scheduled.func)
            rules[gvar.name_hint] = scheduled.rule
    return ScheduledModule(mod, rules)


def build_library(mod: IRModule, target: Target) -> bytes:
    """Compile and link a scheduled module.

    Returns
    -------
    bytes
        A shared library with the kernels, the weights and the program that runs them.

    Raises
    ------
    TargetError
        If the target has no operating system that could load a library.
    ToolchainError
        If there is no compiler to link with.
    """
    if target.is_bare_metal:
        raise TargetError(
            f"{target.id} has no operating system to load a library; "
            "choose a target of a board that has one (bnn-tvm targets)"
        )
    linker = find_linker(target)
    executable = tvm.compile(mod, target=target.to_tvm())
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        path = Path(folder) / "model.so"
        executable.export_library(str(path), options=["-s"], cc=linker)
        return path.read_bytes()
