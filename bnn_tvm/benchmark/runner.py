"""Time a package on a board without Python: through ssh, or under an emulator."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..devices.cmake import build_with_cmake, first_lines
from ..devices.native_runner import PROGRAM, build_runner
from ..errors import DeviceError, ToolchainError
from ..package import CPackage, Package, load_package
from ..package.manifest import KernelInfo, Manifest
from .bench import BenchReport, ModelReport, NumberCheck
from .environment import Environment
from .layers import KernelReport, describe_kernel
from .measure import Spread

MAX_ROUNDS = 100
"""Samples that the program of a C package has room for."""

_SECONDS = 600.0
# Receives an archive on standard input, so that nothing but a shell and tar is needed there.
_ON_BOARD = (
    'folder=$(mktemp -d) && trap "rm -rf $folder" EXIT && tar xf - -C $folder && cd $folder && ./'
)
_SAME = Spread(1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Program:
    """What runs on a board.

    Attributes
    ----------
    files : tuple of Path
        The program, then what it is given as its first arguments.
    libraries : tuple of Path
        What must lie beside it.
    """

    files: tuple[Path, ...]
    libraries: tuple[Path, ...] = ()


def bench_with_runner(path: Path, runner: str, rounds: int, per_layer: bool) -> BenchReport:
    """Build the program for a package here, copy both to a board, check and time them there.

    Parameters
    ----------
    path : Path
        A package of either kind.
    runner : str
        A command that the program is given to: ``ssh pi@board``, or an emulator with its options.
    rounds : int
        Samples, at most `MAX_ROUNDS`.
    per_layer : bool
        Whether to report the time of each kernel too.

    Returns
    -------
    BenchReport
        Its times are the board's, its `check` is the self-test.

    Raises
    ------
    PackageError
        If the package cannot be read.
    TargetError
        If there is no TVM runtime for its architecture, and it needs one.
    ToolchainError
        If CMake or the cross compiler is missing, or the program does not build.
    DeviceError
        If the runner does not run the program, or its numbers are wrong.
    """
    package = load_package(path)
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        program = build_program(package, Path(folder))
        options = ["--repeats", str(min(rounds, MAX_ROUNDS))]
        found = run_program(package.manifest, program, runner, options)
    report = _report(path.name, package.manifest, runner, found)
    return report if per_layer else replace(report, kernels=())


def build_program(package: Package | CPackage, folder: Path) -> Program:
    """Build what runs a package: the example of a C package, or `bnn_run`.

    Raises
    ------
    TargetError
        If there is no TVM runtime for its architecture, and it needs one.
    ToolchainError
        If CMake or the cross compiler is missing, or the program does not build.
    """
    if isinstance(package, CPackage):
        package.unpack(folder)
        build_with_cmake(folder)
        return Program(tuple((folder / "build").glob("bnn_*_check")))
    place = build_runner(package.manifest.target.triple.split("-")[0])
    package.save(folder / "model.bnn")
    return Program((place / PROGRAM, folder / "model.bnn"), tuple(place.glob("*.so")))


def run_program(
    manifest: Manifest, program: Program, runner: str, options: Sequence[str]
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
        message = first_lines(done.stderr.decode(errors="replace"))
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
    manifest: Manifest, program: Program, runner: str, options: Sequence[str]
) -> tuple[list[str], bytes | None]:
    """Make the command line and its standard input."""
    words = shlex.split(runner)
    if Path(words[0]).name == "ssh":
        call = shlex.join([*(path.name for path in program.files), *options])
        return [*words, _ON_BOARD + call], _pack(program)
    files = [str(path) for path in program.files]
    if "none" in manifest.target.triple.split("-"):
        # Emulators of whole machines take the program's arguments as one.
        return [*words, *files, "-append", shlex.join(options)], None
    return [*words, *files, *options], None


def _pack(program: Program) -> bytes:
    """Make a ``.tar`` of a program and what belongs to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in (*program.files, *program.libraries):
            archive.add(path, path.name)
    return buffer.getvalue()


def _report(label: str, manifest: Manifest, runner: str, found: dict[str, Any]) -> BenchReport:
    steps = found["steps"]
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
        models=(ModelReport(label, Spread.of(found["seconds"]), _SAME, 0.0, 1.0),),
        kernels=tuple(_kernel(kernel, steps) for kernel in _in_order(manifest, steps)),
        check=NumberCheck("the machine that compiled it", difference),
        kernel_timing="one after the other in whole runs",
    )


def _in_order(manifest: Manifest, steps: Sequence[dict[str, Any]]) -> list[KernelInfo]:
    return [manifest.kernel(name) for name in dict.fromkeys(step["kernel"] for step in steps)]


def _kernel(kernel: KernelInfo, steps: Sequence[dict[str, Any]]) -> KernelReport:
    """Describe one call of a kernel by the samples of all its calls."""
    mine = [step["seconds"] for step in steps if step["kernel"] == kernel.name]
    return describe_kernel(kernel, Spread.of(s for samples in mine for s in samples), {})
