"""Runs the code that is generated for GPUs on the processor, a thread for each of its threads.

What `cuda_serial_harness` leaves out is in it: waiting for copies, barriers, what lanes tell each
other, and how tensor cores find their operands. Instructions are replaced by what their
description says (`cuda_emulation.h`); an emulator written by the same hand proves no more.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import tvm_ffi
from bnn_tvm.schedules import cuda
from bnn_tvm.schedules.choices import follow
from cuda_harness import choices_of
from tvm import tirx
from tvm.ir import IRModule

from bnn_tvm.build import build_executable
from bnn_tvm.cuda import code_generator
from bnn_tvm.target import CudaTarget, get_target

_HEADER = Path(__file__).with_name("cuda_emulation.h")
_ASM = re.compile(r"asm(?: volatile)?\((.*?)\);", re.DOTALL)
_OPERAND = re.compile(r'"[+=]?[rlnf]"\((.*?)\)(?=\s*[,:]|\s*$)', re.DOTALL)
_KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\((\d+)\) (\w+)\(([^)]*)\) \{')
_DYNAMIC = "extern __shared__ __align__(64) uchar buf_dyn_shmem_ptr[];"
_STATIC = re.compile(r"__shared__ alignas\(64\) (\w+) (\w+)\[(\d+)\];")
_CUDA_HEADER = re.compile(r"#include <(cuda\w*|math_constants)\.h>")
_DOTS = {"b1.b1": "count", "f16.f16": "multiply<half>", "tf32.tf32": "multiply<float>"}
# What holds for machine code of sm_90a only.
_WARPGROUPS = "__CUDA_ARCH_FEAT_SM90_ALL"


def run_emulated(
    func: tirx.PrimFunc,
    arrays: Sequence[np.ndarray],
    folder: Path,
    target: str = "sm_90",
    copies_early: bool = False,
    has_warpgroups: bool = True,
    **wanted: object,
) -> list[np.ndarray]:
    """Schedule a kernel, run its device code and return what it writes.

    Parameters
    ----------
    func : PrimFunc
    arrays : sequence of numpy.ndarray
        What it reads.
    folder : Path
        For what is compiled.
    target : str
    copies_early : bool
        Whether copies past registers are made at once, and not when they are waited for.
    has_warpgroups : bool
        Whether the code is compiled as for Hopper, or as PTX for later cards is.
    wanted
        Choices of the rule that are not those by hand.
    """
    gpu, choices = get_target(target), choices_of(func, target, **wanted)
    schedule = follow(lambda choose: cuda.RULES[0].apply(func, gpu, choose), choices)
    (scheduled,) = schedule.mod.functions.values()
    code = _generate(scheduled, gpu)
    buffers, launches = _write_launches(scheduled, code)
    library = ctypes.CDLL(str(compile_emulated(code, launches, folder, has_warpgroups)))
    memory = {f"{name}_ptr": array for name, array in _allocate(scheduled, arrays).items()}
    pointers = [memory[name].ctypes.data_as(ctypes.c_void_p) for name in buffers]
    library.run((ctypes.c_void_p * len(pointers))(*pointers), copies_early)
    return list(memory.values())[len(arrays) : len(func.params)]


def _generate(scheduled: tirx.PrimFunc, gpu: CudaTarget) -> str:
    """Let TVM write CUDA code."""
    sources: list[str] = []

    def note(source: str, _: CudaTarget) -> bytes:
        sources.append(source)
        return b"none"

    module = IRModule({"main": scheduled.with_attr("global_symbol", "main")})
    with mock.patch.object(code_generator, "compile_fatbin", note):
        build_executable(module, gpu)
    (source,) = sources
    return source


def _allocate(scheduled: tirx.PrimFunc, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Make memory for all operands, and for what one launch leaves to another."""
    buffers = [*scheduled.params, *scheduled.body.block.alloc_buffers]
    memory = {str(buffer.name): _zeros(buffer) for buffer in buffers}
    for param, array in zip(scheduled.params, arrays, strict=False):
        memory[str(param.name)] = np.ascontiguousarray(array)
    return memory


def _zeros(buffer: tirx.Var) -> np.ndarray:
    return np.zeros(tuple(int(extent) for extent in buffer.shape), str(buffer.dtype))


def _to_cpp(code: str) -> str:
    """Replace what only a compiler for GPUs takes."""
    code = _ASM.sub(lambda asm: _instruction(asm[1]), _CUDA_HEADER.sub("", code))
    code = code.replace(_DYNAMIC, "uchar* buf_dyn_shmem_ptr = shared_memory;")
    used = "dynamic_bytes"

    def place(array: re.Match[str]) -> str:
        nonlocal used
        dtype, name, length = array.groups()
        at, used = used, f"{used} + {length} * sizeof({dtype})"
        return f"{dtype}* {name} = reinterpret_cast<{dtype}*>(shared_memory + {at});"

    return f'#include "{_HEADER}"\n{_STATIC.sub(place, code)}'


def _instruction(asm: str) -> str:
    """Write the call that does what an instruction does."""
    operands = _OPERAND.findall(asm)
    if "cp.async.wait_group" in asm:
        return f"wait_for_copies({re.search(r'wait_group (.)', asm)[1]});"
    if "cp.async.commit_group" in asm:
        return "commit_copies();"
    if "cp.async" in asm:
        to, of, read = operands
        written = re.search(r"(\d+), %2;", asm)
        return f"copy({to}, {of}, {written[1] if written else read}, {read});"
    if "wgmma.mma_async" in asm:
        width = re.search(r"m64n(\d+)k256", asm)
        return f"multiply_group(c, {width[1]}, {operands[-2]}, {operands[-1]});"
    if "wgmma.commit_group" in asm or "wgmma.wait_group" in asm:
        commit = "commit_products();" if "commit_group" in asm else ""
        left = re.search(r"wait_group.sync.aligned (\d)", asm)
        return commit + (f"wait_for_products({left[1]});" if left else "")
    if "cvt.rna.tf32" in asm:
        return "rounded = round_to_tf32(bits);"
    if "mma.sync" in asm:
        dot = next(dot for form, dot in _DOTS.items() if form in asm)
        return f"multiply_warp(c, {dot}, {', '.join(operands[4:])});"
    assert "fence" in asm, asm
    return ""


def _write_launches(scheduled: tirx.PrimFunc, code: str) -> tuple[list[str], str]:
    """Write a function that runs all kernels; list the buffers that it takes."""
    body = scheduled.body.block.body
    stages = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    buffers: list[str] = []
    calls = []
    kernels = sorted(_KERNEL.findall(code), key=lambda kernel: kernel[1])
    for stage, (threads, name, params) in zip(stages, kernels, strict=True):
        arguments = []
        for param in params.split(", "):
            dtype, buffer = _parameter(param)
            buffers += [] if buffer in buffers else [buffer]
            arguments.append(f"static_cast<{dtype}>(memory[{buffers.index(buffer)}])")
        run = f"[=] {{ {name}({', '.join(arguments)}); }}"
        block = f"{{warp_size, {threads} / warp_size, 1}}"
        calls.append(f"launch({{{_blocks_of(stage)}}}, {block}, {run});")
    head = 'extern "C" void run(void** memory, bool early) { copies_early = early; '
    return buffers, f"{head}{' '.join(calls)} }}"


def _blocks_of(stage: tirx.Stmt) -> str:
    """Read how many blocks of threads there are along each axis."""
    extents = {f"blockIdx.{axis}": 1 for axis in "xyz"}

    def note(loop: tirx.For) -> None:
        if loop.kind == tirx.ForKind.THREAD_BINDING:
            extents[str(loop.thread_binding.thread_tag)] = int(loop.extent)

    tvm_ffi.structural_walk(stage, (tirx.For, note))
    return ", ".join(str(extents[f"blockIdx.{axis}"]) for axis in "xyz")


def compile_emulated(code: str, launches: str, folder: Path, has_warpgroups: bool = True) -> Path:
    """Compile device code, and what launches it, for the processor; return the library."""
    source = folder / f"kernel{len(list(folder.glob('*.cpp')))}.cpp"
    library = source.with_suffix(".so")
    source.write_text(_to_cpp(code) + launches)
    options = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread"]
    defined = [f"-D{_WARPGROUPS}"] if has_warpgroups else []
    command = ["g++", *options, *defined, "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


def list_kernels(code: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """List the kernels of device code by name, with the dtypes and names of their parameters."""
    return [
        (name, [_parameter(param) for param in params.split(", ")])
        for _, name, params in _KERNEL.findall(code)
    ]


def _parameter(text: str) -> tuple[str, str]:
    dtype, name = text.replace("__restrict__ ", "").rsplit(" ", 1)
    return dtype, name
