"""From a lowered module to a shared library: legalize what is left, schedule, compile, link."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.ir import IRModule

from .errors import TargetError
from .passes.lend_outputs import lend_outputs
from .schedules import NO_RECORDS, Records, Scheduled, schedule_kernel
from .target import CudaTarget, Target
from .toolchain import find_linker

# The name of the passes for GPUs' kernels.
_KERNELS = "bnn.cuda"


@dataclass(frozen=True)
class ScheduledModule:
    """A module whose kernels are scheduled, and how each of them was, by name."""

    mod: IRModule
    kernels: dict[str, Scheduled]


def legalize(mod: IRModule) -> IRModule:
    """Make kernels of TVM's operator library of the operators that no region took."""
    mod = relax.transform.LegalizeOps()(mod)
    mod = relax.transform.RewriteDataflowReshape()(mod)
    return relax.transform.DeadCodeElimination()(mod)


def schedule_module(
    mod: IRModule, target: Target, records: Records = NO_RECORDS
) -> ScheduledModule:
    """Schedule every kernel of a lowered module; those that have a record, by what it says."""
    mod = legalize(mod)
    kernels: dict[str, Scheduled] = {}
    for gvar, func in list(mod.functions.items()):
        if isinstance(func, tirx.PrimFunc):
            scheduled = schedule_kernel(func, target, records)
            mod.update_func(gvar, scheduled.func)
            kernels[gvar.name_hint] = scheduled
    return ScheduledModule(mod, kernels)


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
        If there is no compiler to link with, or to compile device code.
    """
    if target.is_bare_metal:
        raise TargetError(
            f"{target.id} has no operating system to load a library; "
            "choose a target of a board that has one (bnn-tvm targets)"
        )
    linker = find_linker(target)
    executable = build_executable(mod, target)
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        path = Path(folder) / "model.so"
        executable.export_library(str(path), options=["-s"], cc=linker)
        return path.read_bytes()


def build_executable(mod: IRModule, target: Target) -> relax.VMExecutable:
    """Compile a scheduled module without linking it."""
    if not isinstance(target, CudaTarget):
        return tvm.compile(mod, target=target.to_tvm())
    from .cuda.code_generator import device_code
    from .schedules.cuda_instructions import use_instructions

    tirx.register_tir_pipeline(_KERNELS, _lower_kernels)
    use = tirx.transform.prim_func_pass(lambda f, *_: use_instructions(f, target), opt_level=0)
    config = {"relax.backend.use_cuda_graph": True, "tirx.use_async_copy": target.gpu.async_copy}
    with device_code(target), tvm.transform.PassContext(opt_level=3, config=config):
        return tvm.compile(
            use(mod),
            target=target.to_tvm(),
            relax_pipeline=lower_to_graph(),
            tir_pipeline=_KERNELS,
        )


def _lower_kernels() -> tuple[Any, Any, Any]:
    """Make TVM's pipeline for kernels, with what has to follow its barriers."""
    from .schedules.cuda_instructions import show_copies_before_barriers

    lower, finalize_host, finalize_device = tirx.get_tir_pipeline("default")
    show = tirx.transform.prim_func_pass(lambda f, *_: show_copies_before_barriers(f), opt_level=0)
    return lower, finalize_host, lambda: tvm.transform.Sequential([show, finalize_device()])


def lower_to_graph() -> tvm.transform.Pass:
    """List the passes behind scheduling for GPUs; TVM's own list would fuse and schedule anew.

    All kernels of ``main`` are captured as one CUDA graph in its first run, with the addresses of
    the inputs and, behind them, of the memory for the results: later runs must pass the same.
    """
    steps = relax.transform
    lend = tvm.transform.module_pass(lambda mod, _: lend_outputs(mod), opt_level=0)
    return tvm.transform.Sequential(
        [
            steps.ToNonDataflow(),
            steps.RemovePurityChecking(),
            steps.CallTIRRewrite(),
            steps.StaticPlanBlockMemory(),
            lend,
            steps.RewriteCUDAGraph(),
            steps.LowerAllocTensor(),
            steps.KillAfterLastUse(),
            steps.LowerRuntimeBuiltin(),
            steps.ComputePrimValue(),
            steps.VMShapeLower(),
            steps.AttachGlobalSymbol(),
        ]
    )
