"""Python packages for a board, downloaded as wheels by pip on another machine."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from ..errors import TargetError, ToolchainError
from .cache import cached_folder

# The architectures that TVM's runtime has wheels for.
ARCHITECTURES = ("aarch64", "x86_64")
PYTHON = "3.11"

# The oldest C libraries that wheels may ask for: Raspberry Pi OS 12 and Debian 12 have all of them.
_PLATFORMS = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)
_SECONDS = 1800.0

# TVM's own dependencies serve its compiler, which a board does not have.
_WITHOUT_DEPENDENCIES = ("apache-tvm", "apache-tvm-ffi")
_WITH_DEPENDENCIES = ("numpy", "typing-extensions", "typer", "rich")


def check_architecture(architecture: str) -> None:
    """Refuse an architecture that there is no TVM runtime for.

    Raises
    ------
    TargetError
    """
    if architecture not in ARCHITECTURES:
        raise TargetError(
            f"no TVM runtime exists for {architecture}, only for {', '.join(ARCHITECTURES)}; "
            "compile with --format c, which needs none"
        )


def download_wheels(architecture: str) -> list[Path]:
    """Download what a board needs, in the versions that are installed here, once.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.

    Returns
    -------
    list of Path
        The wheels, in a folder of the cache.

    Raises
    ------
    TargetError
        If there is no TVM runtime for the architecture.
    ToolchainError
        If pip cannot download them.
    """
    check_architecture(architecture)
    pins = [_pin(name) for name in _WITHOUT_DEPENDENCIES]
    others = [_pin(name) for name in _WITH_DEPENDENCIES]

    def download(folder: Path) -> None:
        _pip_download(architecture, folder, ["--no-deps", *pins])
        _pip_download(architecture, folder, others)

    folder = cached_folder(f"wheels-{architecture}-{'_'.join(pins + others)}", download)
    return sorted(folder.glob("*.whl"))


def _pin(name: str) -> str:
    return f"{name}=={importlib.metadata.version(name)}"


def _pip_download(architecture: str, folder: Path, what: list[str]) -> None:
    platforms = [f"--platform={name}_{architecture}" for name in _PLATFORMS]
    options = ["--quiet", "--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={folder}"]
    run_tool([sys.executable, "-m", "pip", "download", *options, *platforms, *what])


def run_tool(command: list[str]) -> None:
    """Run a program that needs no input and prints nothing of interest.

    Raises
    ------
    ToolchainError
        If it is not installed or fails; the message ends with the last thing that it said.
    """
    name = " ".join(Path(part).name for part in command[:3])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ToolchainError(f"{name} does not run: {exc}") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise ToolchainError(f"{name} failed: {said[-1]}; see that this machine reaches its source")
