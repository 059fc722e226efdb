"""The compilers that link for a target: this machine's own, or a cross compiler of GNU."""

from __future__ import annotations

import platform
import shutil

from .device import LocalDevice
from .errors import ToolchainError
from .target import Target

# What links for this machine, in TVM's order of preference.
_NATIVE = ("g++", "gcc", "clang++", "clang", "c++", "cc")


def find_linker(target: Target) -> str:
    """Find the compiler driver that links for a target.

    Parameters
    ----------
    target : Target

    Returns
    -------
    str
        Path of one of this machine's compilers if it is of the target's architecture, else of
        ``<toolchain>-gcc``.

    Raises
    ------
    ToolchainError
        If there is none; the message names the Debian package to install.
    """
    names, package = _candidates(target)
    for name in names:
        if path := shutil.which(name):
            return path
    raise ToolchainError(
        f"no compiler to link for {target.id} with (looked for {', '.join(names)}); "
        f"install one, on Debian with: apt-get install {package}"
    )


def _candidates(target: Target) -> tuple[tuple[str, ...], str]:
    """Name the compilers that link for a target, and a Debian package that has one."""
    is_native = target.architecture == LocalDevice.detect().architecture
    if is_native and not target.is_bare_metal and platform.system() == "Linux":
        return _NATIVE, "g++"
    # Debian's package names have no underscores, but its commands do (x86_64).
    return (f"{target.toolchain}-gcc",), f"gcc-{target.toolchain.replace('_', '-')}"


def c_compiler(target: Target) -> str:
    """Name the C compiler for a target's programs, as a build file may name it."""
    return f"{target.toolchain}-gcc"


def abi_flags(target: Target) -> tuple[str, ...]:
    """List the options that make a C compiler call functions as the target's kernels expect it.

    Compilers for operating systems do so anyway; those for bare metal serve many processors.
    """
    if not target.is_bare_metal:
        return ()
    abi = ("-mfloat-abi=hard",) if target.triple.endswith("hf") else ()
    return (f"-mcpu={target.mcpu}", *abi)
