"""From a lowered module to a shared library: legalize what is left, schedule, compile, link."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm import relax, tirx
from tvm.ir import IRModule

from .errors import ToolchainError
from .schedules import Rule, schedule_kernel
from .target import Target

# What TVM can link with, in its order of preference.
_COMPILERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")


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
    ToolchainError
        If there is no compiler to link with.
    """
    if not any(shutil.which(name) for name in _COMPILERS):
        raise ToolchainError(
            f"no C++ compiler to link with (looked for {', '.join(_COMPILERS)}); "
            "install one, on Debian with: apt-get install g++"
        )
    executable = tvm.compile(mod, target=target.to_tvm())
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        path = Path(folder) / "model.so"
        executable.export_library(str(path), options=["-s"])
        return path.read_bytes()
