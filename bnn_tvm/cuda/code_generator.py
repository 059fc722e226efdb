"""Make TVM's CUDA code generator emit device code on machines with and without a GPU.

Where the driver's library is missing, TVM's own CUDA library does not load, and TVM then embeds
source instead of device code without a word. A library of that name whose functions all fail is
enough for compiling.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tvm_ffi

from ..errors import ToolchainError
from ..gpu import load_cuda_library
from ..target import CudaTarget, detect_host
from ..toolchain import find_linker
from .nvcc import compile_fatbin, find_nvcc

_COMPILE = "tvm_callback_cuda_compile"
_DRIVER = "libcuda.so.1"
# What TVM's CUDA library asks of the driver's.
_DRIVER_FUNCTIONS = (
    "cuDeviceGetName",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuLaunchKernelEx",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuTensorMapEncodeTiled",
)
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@contextlib.contextmanager
def device_code(target: CudaTarget) -> Iterator[None]:
    """Compile what TVM generates for the target ahead, for the time of a block.

    Raises
    ------
    ToolchainError
        If nvcc, the CUDA runtime or a compiler for this machine is missing.
    """
    find_nvcc()
    _load_code_generator()
    before = tvm_ffi.get_global_func(_COMPILE, allow_missing=True)
    failures: list[ToolchainError] = []

    def compile_source(source: str) -> bytes:
        try:
            return compile_fatbin(source, target)
        except ToolchainError as exc:
            failures.append(exc)
            raise

    _set_compiler(compile_source)
    try:
        yield
    except RuntimeError as exc:
        # What is raised inside TVM comes out of it as something else.
        raise failures[0] if failures else exc from exc
    finally:
        if before is not None:
            _set_compiler(before)


def _set_compiler(function: object) -> None:
    tvm_ffi.register_global_func(_COMPILE, function, override=True)


@cache
def _load_code_generator() -> None:
    """Load TVM's CUDA library, with a stand-in for a driver that is missing."""
    try:
        load_cuda_library()
        return
    except OSError as exc:
        missing = str(exc)
    if _DRIVER in missing:
        _load_stand_in()
    try:
        load_cuda_library()
    except OSError as exc:
        raise ToolchainError(
            f"TVM's CUDA library does not load: {exc}; pip install 'bnn_tvm[cuda]'"
        ) from exc


def _load_stand_in() -> None:
    """Build and load a driver library whose functions say that there is no device."""
    bodies = (f'extern "C" int {name}() {{ return {_NO_DEVICE}; }}' for name in _DRIVER_FUNCTIONS)
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        source, library = Path(folder) / "driver.cc", Path(folder) / _DRIVER
        source.write_text("\n".join(bodies))
        name = f"-Wl,-soname,{_DRIVER}"
        command = [find_linker(detect_host()), "-shared", "-fPIC", name, "-o", str(library)]
        done = subprocess.run([*command, str(source)], capture_output=True, text=True)
        if done.returncode:
            raise ToolchainError(f"cannot build a stand-in for {_DRIVER}: {done.stderr.strip()}")
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
