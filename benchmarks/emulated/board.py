"""An emulated processor that runs kernels, and what they execute on it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import IRModule

from bnn_tvm.target import Target
from bnn_tvm.toolchain import find_linker

_HERE = Path(__file__).parent
_CODES = {"i": 0, "u": 1, "f": 2}
_NAME = "kernel"
# The emulator of each architecture.
EMULATORS = {"aarch64": "qemu-aarch64", "arm": "qemu-arm", "riscv64": "qemu-riscv64"}


@dataclass(frozen=True)
class Kernel:
    """A kernel, built as a program of its own.

    Attributes
    ----------
    program : Path
        Calls the kernel as often as it is told, on arrays from files.
    assembly : str
        The kernel as the compiler wrote it.
    emulator : str
    outputs : list of (shape, dtype)
        Of its last parameters.
    """

    program: Path
    assembly: str
    emulator: str
    outputs: list[tuple[tuple[int, ...], str]]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Call the kernel once and return what it writes."""
        with tempfile.TemporaryDirectory(prefix="bnn_emulated_") as folder:
            arguments = self._arguments(arrays, Path(folder))
            _call(self.emulator, self.program, "1", *arguments)
            paths = [Path(argument.split(":", 1)[1]) for argument in arguments[len(arrays) :]]
            return [
                np.fromfile(path, dtype).reshape(shape)
                for path, (shape, dtype) in zip(paths, self.outputs, strict=True)
            ]

    def count_instructions(self, arrays: Sequence[np.ndarray]) -> int:
        """Count the instructions that one call executes: those of two calls less those of one."""
        with tempfile.TemporaryDirectory(prefix="bnn_emulated_") as folder:
            arguments = self._arguments(arrays, Path(folder))
            once, twice = (self._executed(calls, arguments) for calls in (1, 2))
        return twice - once

    def _executed(self, calls: int, arguments: list[str]) -> int:
        printed = _call(
            self.emulator, "-plugin", build_plugin(), self.program, str(calls), *arguments
        )
        found = re.search(r"instructions (\d+)", printed)
        assert found is not None, "the plugin printed nothing"
        return int(found[1])

    def _arguments(self, arrays: Sequence[np.ndarray], folder: Path) -> list[str]:
        """Write inputs to files and say where outputs go."""
        arguments = []
        for i, array in enumerate(arrays):
            (folder / f"{i}").write_bytes(np.ascontiguousarray(array).tobytes())
            arguments.append(f"={_describe(array.dtype, array.shape)}:{folder / str(i)}")
        for i, (shape, dtype) in enumerate(self.outputs, len(arrays)):
            arguments.append(f"+{_describe(np.dtype(dtype), shape)}:{folder / str(i)}")
        return arguments


def build_kernel(func: tirx.PrimFunc, target: Target, inputs: int, folder: Path) -> Kernel:
    """Compile a scheduled kernel for a target and link it with a program that calls it.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
    target : Target
    inputs : int
        How many of its first parameters it reads.
    folder : Path
        Where the program is written.
    """
    named = func.with_attr("global_symbol", _NAME)
    library = tvm.compile(IRModule({_NAME: named}), target.to_tvm()).mod
    library.write_to_file(str(folder / "kernel.o"), "o")
    program = folder / "kernel"
    includes = {tvm_ffi.libinfo.find_include_path(), tvm_ffi.libinfo.find_dlpack_include_path()}
    options = ["-O1", "-static", f"-DKERNEL=__tvm_ffi_{_NAME}", *(f"-I{p}" for p in includes)]
    files: list[str | Path] = ["-o", program, _HERE / "call_kernel.c", folder / "kernel.o"]
    _call(find_linker(target), *options, *files)
    outputs = [
        (tuple(int(extent) for extent in param.shape), str(param.dtype))
        for param in func.params[inputs:]
    ]
    return Kernel(program, library.inspect_source("asm"), EMULATORS[target.architecture], outputs)


@cache
def build_plugin() -> Path:
    """Build the emulator's plugin that counts, once for a process."""
    path = Path(tempfile.mkdtemp(prefix="bnn_plugin_")) / "count_instructions.so"
    source = _HERE / "count_instructions.c"
    _call("gcc", "-O1", "-shared", "-fPIC", "-o", path, source)
    return path


def _call(*command: str | Path) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def _describe(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    return ",".join(map(str, (_CODES[dtype.kind], dtype.itemsize * 8, *shape)))
