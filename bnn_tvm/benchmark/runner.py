"""Time a C package on a board without Python: through ssh, or under an emulator."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DeviceError, ToolchainError
from ..package.c_package import CPackage
from ..package.manifest import KernelInfo, Manifest
from .bench import BenchReport, ModelReport, NumberCheck
from .environment import Environment
from .layers import KernelReport
from .measure import Spread

MAX_ROUNDS = 100
"""Samples that the program of a package has room for."""

_SECONDS = 600.0
# Receives the program on standard input, so that nothing but a shell is needed there.
_ON_BOARD = (
    'folder=$(mktemp -d) && trap "rm -rf $folder" EXIT && cat > $folder/check && '
    "chmod +x $folder/check && $folder/check"
)
_SAME = Spread(1.0, 1.0, 1.0, 1.0)


def bench_with_runner(path: Path, runner: str, rounds: int) -> BenchReport:
    """Build the program of a C package here, copy it to a board, check it and time it there.

    Parameters
    ----------
    path : Path
        A C package.
    runner : str
        A command that the program is given to: ``ssh pi@board``, or an emulator with its options.
    rounds : int
        Samples, at most `MAX_ROUNDS`.

    Returns
    -------
    BenchReport
        Its times are the board's, its `check` is the self-test.

    Raises
    ------
    PackageError
        If the file is no C package.
    ToolchainError
        If CMake or the cross compiler is missing, or the program does not build.
    DeviceError
        If the runner does not run the program, or its numbers are wrong.
    """
    package = CPackage.load(path)
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        program = build_program(package, Path(folder))
        options = ["--repeats", str(min(rounds, MAX_ROUNDS))]
        found = run_program(package.manifest, program, runner, options)
    return _report(path.name, package.manifest, runner, found)


def build_program(package: CPackage, folder: Path) -> Path:
    """Unpack a C package and build its example with CMake; return the program.

    Raises
    ------
    ToolchainError
        If CMake or the cross compiler is missing, or the program does not build.
    """
    package.unpack(folder)
    build = folder / "build"
    toolchain = folder / "toolchain.cmake"
    _build_step("-S", folder, "-B", build, "--toolchain", toolchain, "-DCMAKE_BUILD_TYPE=Release")
    _build_step("--build", build)
    return next(build.glob("bnn_*_check"))


def _build_step(*arguments: str | Path) -> None:
    if shutil.which("cmake") is None:
        raise ToolchainError("cmake is not installed; on Debian: apt-get install cmake make")
    done = subprocess.run(["cmake", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ToolchainError(
            f"the package's program does not build: {_first_error(done.stderr)}; "
            "install the compiler that its toolchain.cmake names"
        )


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:4]) or "no message"


def run_program(
    manifest: Manifest, program: Path, runner: str, options: Sequence[str]
) -> dict[str, Any]:
    """Run a package's program and read what it prints.

    Raises
    ------
    ToolchainError
        If the runner is not installed.
    DeviceError
        If it fails, takes too long, or the program's numbers are wrong.
    """
    command, standard_input = _command(manifest, program, runner, options)
    try:
        done = subprocess.run(command, input=standard_input, capture_output=True, timeout=_SECONDS)
    except FileNotFoundError as exc:
        raise ToolchainError(f"{command[0]} is not installed; it is what --runner names") from exc
    except subprocess.TimeoutExpired as exc:
        raise DeviceError(f"{runner} did not end within {_SECONDS:.0f} s") from exc
    try:
        found = json.loads(done.stdout)
    except ValueError as exc:
        message = _first_error(done.stderr.decode(errors="replace"))
        raise DeviceError(
            f"{runner} gave no report (exit status {done.returncode}): {message}"
        ) from exc
    if not found["self_test"]["passed"]:
        raise DeviceError(
            f"the package's numbers are wrong on {runner}: they differ from the recorded ones by "
            f"{found['self_test']['largest_difference']:.3g}; was it compiled for this processor?"
        )
    return found


def _command(
    manifest: Manifest, program: Path, runner: str, options: Sequence[str]
) -> tuple[list[str], bytes | None]:
    """Make the command line and its standard input."""
    words = shlex.split(runner)
    if Path(words[0]).name == "ssh":
        return [*words, f"{_ON_BOARD} {shlex.join(options)}"], program.read_bytes()
    if "none" in manifest.target.triple.split("-"):
        # Emulators of whole machines take the program's arguments as one.
        return [*words, str(program), "-append", shlex.join(options)], None
    return [*words, str(program), *options], None


def _report(label: str, manifest: Manifest, runner: str, found: dict[str, Any]) -> BenchReport:
    steps = found["steps"]
    whole = Spread.of(map(sum, zip(*(step["seconds"] for step in steps), strict=True)))
    difference = float(found["self_test"]["largest_difference"])
    target = manifest.target
    return BenchReport(
        name=manifest.name,
        target=target.id,
        environment=Environment(
            f"{target.cpu} behind {runner}",
            target.triple.split("-")[0],
            1,
            1,
            "",
            manifest.versions,
        ),
        models=(ModelReport(label, whole, _SAME, 0.0, 1.0),),
        kernels=tuple(_kernel(kernel, steps) for kernel in _in_order(manifest, steps)),
        check=NumberCheck("the machine that compiled it", difference),
        kernel_timing="one after the other in whole runs",
    )


def _in_order(manifest: Manifest, steps: Sequence[dict[str, Any]]) -> list[KernelInfo]:
    return [manifest.kernel(name) for name in dict.fromkeys(step["kernel"] for step in steps)]


def _kernel(kernel: KernelInfo, steps: Sequence[dict[str, Any]]) -> KernelReport:
    """Describe one call of a kernel by the samples of all its calls."""
    mine = [step["seconds"] for step in steps if step["kernel"] == kernel.name]
    seconds = Spread.of(sample for samples in mine for sample in samples)
    return KernelReport(
        kernel=kernel.name,
        kind=kernel.kind,
        rule=kernel.rule,
        source=kernel.source,
        layers=kernel.layers,
        macs=kernel.macs,
        binary=kernel.binary,
        seconds=seconds,
        gops=2 * kernel.macs / seconds.median / 1e9 if seconds.median else 0.0,
        speedups={},
    )
