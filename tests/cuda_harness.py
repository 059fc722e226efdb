"""Looks into device code: architectures, instructions and resources of each kernel."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from bnn_tvm.schedules import RULES, cuda, schedule_kernel
from bnn_tvm.schedules.choices import Choices
from bnn_tvm.schedules.rule import Record, find_rule
from tvm import tirx
from tvm.ir import IRModule

from bnn_tvm.build import build_executable
from bnn_tvm.errors import DeviceError, ToolchainError
from bnn_tvm.gpu import find_cuda_folder, find_gpu
from bnn_tvm.kernels.signature import kernel_signature
from bnn_tvm.runtime import load_tvm_runtime
from bnn_tvm.target import CudaTarget, get_target, list_targets

_MAGIC = struct.pack("<I", 0xBA55ED50)
_USAGE = re.compile(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_ELF, _PTX = re.compile(r"\.(sm_\d+a?)\.cubin"), re.compile(r"\.(sm_\d+)\.ptx")
_FUNCTION = re.compile(r"Function : (\w+)\n(.*?)(?=\n\s*Function : |\Z)", re.DOTALL)
_PATH = os.pathsep.join([os.environ.get("PATH", ""), str(find_cuda_folder() / "bin")])


@cache
def _has_compiler() -> bool:
    from bnn_tvm.cuda.nvcc import find_nvcc

    try:
        find_nvcc()
    except ToolchainError:
        return False
    return True


needs_nvcc = pytest.mark.skipif(not _has_compiler(), reason="no nvcc; pip install 'bnn_tvm[cuda]'")
needs_cuobjdump = pytest.mark.skipif(
    shutil.which("cuobjdump", path=_PATH) is None or not _has_compiler(),
    reason="no nvcc or no cuobjdump; pip install 'bnn_tvm[dev]'",
)


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one kernel takes of a multiprocessor: registers a thread, bytes a block or thread."""

    registers: int
    stack: int
    shared: int
    local: int


def device_code(library: bytes) -> bytes:
    """Cut the one fat binary out of a shared library."""
    assert library.count(_MAGIC) == 1
    start = library.index(_MAGIC)
    header, size = struct.unpack("<HQ", library[start + 6 : start + 16])
    return library[start : start + header + size]


def choices_of(func: tirx.PrimFunc, target: str, **wanted: object) -> dict[str, str]:
    """Write down what the first rule for GPUs takes by hand, but for some choices."""
    taken = {}

    def choose(name, options):
        option = next(o for o in options if str(o) == str(wanted.get(name, options[0])))
        taken[name] = str(option)
        return option

    cuda.RULES[0].apply(func, get_target(target), choose)
    return taken


def compile_kernel(
    func: tirx.PrimFunc, target: CudaTarget, choices: Choices | None = None
) -> bytes:
    """Schedule a kernel by the compiler's rules, or with given choices; return its device code."""
    rule, _ = find_rule(RULES, func, target)
    records = {kernel_signature(func): Record(rule.name, choices)} if choices else {}
    scheduled = schedule_kernel(func, target, records).func.with_attr("global_symbol", "main")
    executable = build_executable(IRModule({"main": scheduled}), target)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernel.so"
        executable.export_library(str(library))
        return device_code(library.read_bytes())


def _cuobjdump(fatbin: bytes, folder: Path, *options: str) -> str:
    path = folder / "kernels.fatbin"
    path.write_bytes(fatbin)
    environment = {**os.environ, "PATH": _PATH}
    command = ["cuobjdump", *options, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def architectures(fatbin: bytes, folder: Path) -> tuple[set[str], set[str]]:
    """List those that there is machine code for, and those that there is PTX for."""
    listed = _cuobjdump(fatbin, folder, "-lelf", "-lptx")
    return set(_ELF.findall(listed)), set(_PTX.findall(listed))


def ptx(fatbin: bytes, folder: Path) -> str:
    """Read the PTX."""
    return _cuobjdump(fatbin, folder, "-ptx")


def usage(fatbin: bytes, folder: Path) -> dict[str, Usage]:
    """Read what each kernel takes, by its name."""
    found = _USAGE.findall(_cuobjdump(fatbin, folder, "--dump-resource-usage"))
    return {name: Usage(*map(int, numbers)) for name, *numbers in found}


def disassemble(fatbin: bytes, folder: Path) -> dict[str, str]:
    """Disassemble each kernel, by its name."""
    return dict(_FUNCTION.findall(_cuobjdump(fatbin, folder, "-sass")))


@cache
def gpu_architecture() -> str:
    """Name the target of this machine's GPU; '' without one that works."""
    load_tvm_runtime()
    for target in [t for t in list_targets() if isinstance(t, CudaTarget)]:
        try:
            find_gpu().check_runs(target.id)
        except DeviceError:
            continue
        return target.id
    return ""


def on_a_gpu() -> list[pytest.MarkDecorator]:
    """Mark tests that need a GPU; whether there is one is asked only now."""
    missing = "no NVIDIA GPU that works, of compute capability 7.5 to 9.0"
    return [
        pytest.mark.cuda,
        needs_nvcc,
        pytest.mark.skipif(not gpu_architecture(), reason=missing),
    ]
