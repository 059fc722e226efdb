"""What the processes of MetaSchedule's builder and runner do."""

from __future__ import annotations

import functools
import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm
from tvm.ir import IRModule

from ..build import build_executable
from ..gpu import load_cuda_library
from ..target import CudaTarget, Target
from ..toolchain import find_linker

LIBRARY = "kernel.so"


def register_operators() -> None:
    """Import what registers our operators, before the first kernel with one is received."""
    importlib.import_module("bnn_tvm.schedules")


def build_kernel(mod: IRModule, target: Any, params: Any) -> Any:
    """Compile one scheduled kernel.

    MetaSchedule's own function imports every tensor intrinsic of TVM first, which takes 17 s.
    """
    return tvm.compile(mod, target=target)


def build_device_kernel(device: CudaTarget, mod: IRModule, target: Any, params: Any) -> Any:
    """Compile one scheduled kernel for a GPU, ahead."""
    return build_executable(
        IRModule({"main": mod["main"].with_attr("global_symbol", "main")}), device
    )


def exporter(target: Target) -> Callable[[Any], str]:
    """Make what links kernels for a target.

    Raises
    ------
    ToolchainError
        If there is no compiler to link with.
    """
    return functools.partial(export_kernel, find_linker(target))


def export_kernel(linker: str, executable: Any) -> str:
    """Link a kernel into a folder of its own; return the path of the library."""
    path = Path(tempfile.mkdtemp(prefix="bnn_tvm_tune_")) / LIBRARY
    executable.export_library(str(path), cc=linker)
    return str(path)


def load_gpu() -> None:
    """Load what drives the GPU, if TVM did not find the CUDA runtime by itself."""
    load_cuda_library()


def use_one_thread() -> None:
    """Run kernels on one thread, and leave it on the cores that this process was given.

    TVM would bind it to the first core of the machine.
    """
    os.environ.update(TVM_NUM_THREADS="1", TVM_BIND_THREADS="0")
    tvm.get_global_func("runtime.config_threadpool")(1, 1)
