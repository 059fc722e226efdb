"""What the processes of MetaSchedule's builder and runner do; they import this module alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tvm
from tvm.ir import IRModule

LIBRARY = "kernel.so"


def build_kernel(mod: IRModule, target: Any, params: Any) -> Any:
    """Compile one scheduled kernel.

    MetaSchedule's own function imports every tensor intrinsic of TVM first, which takes 17 s.
    """
    return tvm.compile(mod, target=target)


def export_kernel(linker: str, executable: Any) -> str:
    """Link a kernel into a folder of its own; return the path of the library."""
    path = Path(tempfile.mkdtemp(prefix="bnn_tvm_tune_")) / LIBRARY
    executable.export_library(str(path), cc=linker)
    return str(path)


def use_one_thread() -> None:
    """Measure on one core: what the schedules of a kernel differ in is how one core works."""
    tvm.get_global_func("runtime.config_threadpool")(1, 1)
