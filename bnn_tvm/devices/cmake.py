"""Build programs with CMake, for this machine or for a board."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..errors import ToolchainError

TOOLCHAIN = "toolchain.cmake"
BUILD = "build"


def toolchain_file(architecture: str) -> str:
    """Write a toolchain file for C++ on Linux, with Debian's cross compiler."""
    return (
        "set(CMAKE_SYSTEM_NAME Linux)\n"
        f"set(CMAKE_SYSTEM_PROCESSOR {architecture})\n"
        f"set(CMAKE_CXX_COMPILER {architecture}-linux-gnu-g++)\n"
    )


def build_with_cmake(folder: Path) -> None:
    """Build what a folder's ``CMakeLists.txt`` and toolchain file describe.

    Raises
    ------
    ToolchainError
        If CMake or the cross compiler is missing, or it does not build.
    """
    build, toolchain = folder / BUILD, folder / TOOLCHAIN
    _run("-S", folder, "-B", build, "--toolchain", toolchain, "-DCMAKE_BUILD_TYPE=Release")
    _run("--build", build)


def _run(*arguments: str | Path) -> None:
    if shutil.which("cmake") is None:
        raise ToolchainError("cmake is not installed; on Debian: apt-get install cmake make")
    done = subprocess.run(["cmake", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ToolchainError(
            f"the board's program does not build: {first_lines(done.stderr)}; "
            "install the compiler that its toolchain.cmake names"
        )


def first_lines(text: str) -> str:
    """Shorten what a program said to its first lines, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:4]) or "no message"
