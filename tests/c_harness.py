"""Compiles C packages, builds their example, and runs it here or under an emulator."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from relax_harness import Body, module

import bnn_tvm
from bnn_tvm.build import schedule_module
from bnn_tvm.embed.library import build_c_library
from bnn_tvm.package import CPackage
from bnn_tvm.package.manifest import Manifest, TensorInfo
from bnn_tvm.package.recording import Recording
from bnn_tvm.report import describe_kernels
from bnn_tvm.target import get_target

MODELS = Path(__file__).parents[1] / "examples" / "models"
LENET, LENET_SHAPE = MODELS / "lenet-1bit-symbol.json", (1, 1, 28, 28)
PATTERN = np.arange(-9, 14, dtype=np.int8)
WARNINGS = ("-std=c99", "-pedantic", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror")

MPS2 = (
    *("-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"),
    *("-semihosting-config", "enable=on,target=native", "-kernel"),
)


@dataclass(frozen=True)
class Board:
    """A target, the compiler that makes programs for it, and what runs them here."""

    target: str
    compiler: str
    emulator: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.target

    def need(self) -> None:
        need(self.compiler, *self.emulator[:1])


HOST = Board("host", "gcc")
AARCH64 = Board(
    "cortex-a72", "aarch64-linux-gnu-gcc", ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
)
ARMV7 = Board(
    "armv7-neon", "arm-linux-gnueabihf-gcc", ("qemu-arm", "-L", "/usr/arm-linux-gnueabihf")
)
CORTEX_M4 = Board(
    "cortex-m4",
    "arm-none-eabi-gcc",
    ("qemu-system-arm", *MPS2),
    ("-mcpu=cortex-m4", "-mfloat-abi=hard", "--specs=rdimon.specs", "-Tboard.ld"),
)


def need(*tools: str) -> None:
    """Skip the test where a tool is not installed."""
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")


@cache
def lenet(target: str) -> CPackage:
    return bnn_tvm.compile_c(LENET, target=target, input_shape=LENET_SHAPE)


def library_of(body: Body, shape: tuple[int, ...], board: Board, output: np.ndarray) -> CPackage:
    """Compile a few operators; the self-test claims that they give `output` for a pattern."""
    target, mod = get_target(board.target), module(body, shape)
    scheduled = schedule_module(mod, target)
    tensors = [TensorInfo("x", shape, "float32", ""), TensorInfo("y", output.shape, "float32", "")]
    manifest = Manifest(
        *(1, "small", {"bnn_tvm": "1"}, target.info(), tensors[:1], tensors[1:]),
        *(describe_kernels(scheduled, ()), (), 0, ()),
    )
    recording = Recording(PATTERN, (output,), 1e-3)
    return CPackage(manifest, build_c_library(scheduled.mod, manifest, target, recording))


def build(package: CPackage, folder: Path, board: Board = HOST, *flags: str) -> Path:
    """Unpack a package and build its example with one command, warnings being errors."""
    package.unpack(folder)
    sources = sorted(name for name in package.files if name.endswith((".c", ".o")))
    command = [board.compiler, *WARNINGS, *board.flags, *flags, *sources, "-lm", "-o", "check"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "check"


def execute(program: Path, board: Board, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program in its folder: semihosting has little room for long paths."""
    bare_metal = "-kernel" in board.emulator
    given = ["-append", " ".join(options)] if bare_metal and options else list(options)
    command = [*board.emulator, f"./{program.name}", *given]
    return subprocess.run(command, cwd=program.parent, capture_output=True, text=True, timeout=300)


def report(program: Path, board: Board, *options: str) -> dict:
    """Run a program whose self-test must pass; return what it prints."""
    done = execute(program, board, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["self_test"]["passed"]
    return found


def run_outputs(program: Path, board: Board, x: np.ndarray, outputs: int) -> list[np.ndarray]:
    """Run a program on an array that holds one or more batches."""
    np.save(program.parent / "x.npy", x)
    names = [f"y{i}.npy" for i in range(outputs)]
    options = [word for name in names for word in ("--output", name)]
    report(program, board, "--input", "x.npy", *options)
    return [np.load(program.parent / name) for name in names]


def run_array(program: Path, board: Board, x: np.ndarray) -> np.ndarray:
    """Run a program of one output."""
    return run_outputs(program, board, x, 1)[0]


def symbols(path: Path, tool: str, *options: str) -> Sequence[str]:
    done = subprocess.run([tool, *options, path], capture_output=True, text=True, check=True)
    return [line.split()[-1] for line in done.stdout.splitlines() if line.strip()]
