"""A 64-bit ARM board on this machine: Debian's arm64 Python with our bundle, under qemu-user."""

from __future__ import annotations

import compileall
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import TargetError, ToolchainError
from ..package.atomic import write_folder
from .cache import Files, cached_folder, digest_files
from .runtime_bundle import PROGRAM, ROOT, collect_files
from .wheels import PYTHON, run_tool

ARCHITECTURES = ("aarch64",)
_DEBIAN_NAME = "arm64"
_DEBIAN_PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6")
_EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
_START = "from bnn_tvm.cli import main; raise SystemExit(main())"

# qemu-user shows this machine's own file, in which a program looks for what the processor can do.
_CPUINFO = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer\t: 0x41
CPU architecture: 8
model name\t: qemu-user
"""


def emulator_command(architecture: str, arguments: Sequence[str]) -> list[str]:
    """Prepare an emulated board, once, and say how to run `bnn-tvm` on it.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.
    arguments : sequence of str
        Of `bnn-tvm`.

    Returns
    -------
    list of str
        A command for this machine.

    Raises
    ------
    TargetError
        If the architecture is another.
    ToolchainError
        If the emulator, or a tool to prepare its files, is missing or fails.
    """
    if architecture not in ARCHITECTURES:
        raise TargetError(
            f"cannot emulate {architecture}, only {', '.join(ARCHITECTURES)}; other boards run the "
            "C package, which bnn-tvm bench --runner takes to an emulator of yours"
        )
    emulator = _find_emulator()
    system = cached_folder(f"debian-{_DEBIAN_NAME}-{PYTHON}", _install_debian)
    files = collect_files(architecture)
    bundle = cached_folder(
        f"board-{architecture}-{digest_files(files)}", lambda folder: _unpack(files, folder)
    )
    site = bundle / ROOT / "python"
    # One thread of numpy's own: forked sessions do not inherit the others.
    variables = (f"PYTHONPATH={site}", "OPENBLAS_NUM_THREADS=1")
    settings = [part for variable in variables for part in ("-E", variable)]
    python = str(system / "usr" / "bin" / f"python{PYTHON}")
    return [emulator, "-L", str(system), *settings, python, "-c", _START, *arguments]


def _find_emulator() -> str:
    for name in _EMULATORS:
        if path := shutil.which(name):
            return path
    raise ToolchainError("the emulator qemu-aarch64 is not installed; apt-get install qemu-user")


def _install_debian(folder: Path) -> None:
    """Unpack Debian's arm64 Python and what it depends on; needs no root."""
    with tempfile.TemporaryDirectory(prefix="bnn_tvm-apt-") as scratch:
        state, cache = Path(scratch) / "lists", Path(scratch) / "cache"
        (state / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        apt = ["apt-get", "-qq", *_apt_options(state, cache)]
        run_tool([*apt, "update"])
        run_tool(
            [*apt, "install", "-y", "--download-only", "--no-install-recommends", *_DEBIAN_PACKAGES]
        )
        for package in sorted((cache / "archives").glob("*.deb")):
            run_tool(["dpkg-deb", "-x", str(package), str(folder)])
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(_CPUINFO)
    _compile_python(folder)


def _apt_options(state: Path, cache: Path) -> list[str]:
    """Let apt work beside the system: its own lists, its own cache, nothing installed."""
    settings = {
        "Dir::State::lists": state,
        "Dir::State::status": "/dev/null",
        "Dir::Cache": cache,
        "APT::Architecture": _DEBIAN_NAME,
        "APT::Architectures": _DEBIAN_NAME,
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _unpack(files: Files, folder: Path) -> None:
    write_folder(folder, files)
    (folder / PROGRAM).chmod(0o755)
    _compile_python(folder)


def _compile_python(folder: Path) -> None:
    """Let Python of the same version start much sooner under the emulator."""
    compileall.compile_dir(folder, quiet=2, workers=1)
