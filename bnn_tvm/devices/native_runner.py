"""`bnn_run`, the program that runs packages on boards without Python: its source, and its build.

It needs TVM's runtime library and nothing else, and is built by CMake, here or on the board.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import zipfile
from pathlib import Path

from ..device import LocalDevice
from ..package.atomic import write_folder
from .cache import Files, cached_folder, digest_files
from .cmake import TOOLCHAIN, build_with_cmake, toolchain_file
from .wheels import check_architecture, download_wheels

PROGRAM = "bnn_run"
PROGRAM_FOLDER = "bin"
"""Holds all that a board needs, once the program is built."""

# By the distributions that they come with.
_LIBRARIES = {
    "apache-tvm": "tvm/lib/libtvm_runtime.so",
    "apache-tvm-ffi": "tvm_ffi/lib/libtvm_ffi.so",
}
_HEADERS = ("apache-tvm-ffi", "tvm_ffi/include")


def collect_sources(architecture: str) -> Files:
    """Collect what the program is built from.

    Parameters
    ----------
    architecture : str
        ``aarch64`` or ``x86_64``.

    Returns
    -------
    dict of str to bytes
        By their paths in a folder.

    Raises
    ------
    TargetError, ToolchainError
        See `download_wheels`.
    """
    check_architecture(architecture)
    own = importlib.resources.files(__package__) / "runner"
    version = importlib.metadata.version("apache-tvm")
    is_native = architecture == LocalDevice.detect().architecture
    libraries = _read_installed() if is_native else _read_wheels(architecture)
    return {
        **{entry.name: entry.read_bytes() for entry in own.iterdir() if entry.is_file()},
        "tvm_version.txt": f"{version}\n".encode(),
        TOOLCHAIN: toolchain_file(architecture).encode(),
        **{f"{PROGRAM_FOLDER}/{Path(name).name}": data for name, data in libraries.items()},
        **_read_headers(),
    }


def _read_installed() -> Files:
    return {name: _installed(owner, name).read_bytes() for owner, name in _LIBRARIES.items()}


def _installed(distribution: str, name: str) -> Path:
    return Path(str(importlib.metadata.distribution(distribution).locate_file(name)))


def _read_wheels(architecture: str) -> Files:
    found: Files = {}
    for path in download_wheels(architecture):
        with zipfile.ZipFile(path) as wheel:
            names = set(_LIBRARIES.values()) & set(wheel.namelist())
            found |= {name: wheel.read(name) for name in names}
    return found


def _read_headers() -> Files:
    folder = _installed(*_HEADERS)
    return {
        f"include/{path.relative_to(folder)}": path.read_bytes() for path in folder.glob("*/**/*.h")
    }


def build_runner(architecture: str) -> Path:
    """Build the program, once for each version of it.

    Returns
    -------
    Path
        Of a folder that holds it and the libraries that it needs.

    Raises
    ------
    TargetError
        If there is no TVM runtime for the architecture.
    ToolchainError
        If CMake or the compiler is missing, or it does not build.
    """
    sources = collect_sources(architecture)

    def build(folder: Path) -> None:
        write_folder(folder, sources)
        build_with_cmake(folder)

    name = f"runner-{architecture}-{digest_files(sources)}"
    return cached_folder(name, build) / PROGRAM_FOLDER
