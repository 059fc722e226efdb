"""All that a 64-bit board needs to run packages, in one archive: only Python 3.11 must be there.

It holds TVM's runtime library without the compiler, numpy, what the command line uses, and the
parts of this package that run and time packages.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.resources
import io
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from .cache import Files
from .wheels import PYTHON, download_wheels

ROOT = "bnn-tvm"
PROGRAM = f"{ROOT}/bnn-tvm"
_SITE = f"{ROOT}/python"

# The parts of bnn_tvm that import neither the compiler nor MXNet.
_EDGE = ("benchmark", "cli", "devices", "package", "targets")
_EDGE_FILES = ("__init__.py", "device.py", "errors.py", "gpu.py", "runtime.py", "target.py")

# What runs no package: compilers, headers, sources, tests, type stubs.
_UNUSED = re.compile(
    r"tvm/(?!lib/libtvm_runtime\.so$)"
    r"|tvm_ffi/(3rdparty|cython|include|share|src)"
    r"|numpy/(.*/)?(tests|include|lib/lib.*\.a|f2py|distutils)(/|$)"
    r"|.*\.(pyi|pyx|pxd|pxi|a|h|cc)$"
    r"|[^/]*\.data/"
)

_LAUNCHER = f"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
PYTHONPATH="$here/python" exec python{PYTHON} -c \\
  'from bnn_tvm.cli import main; raise SystemExit(main())' "$@"
"""


def collect_files(architecture: str) -> Files:
    """Collect the bundle's files.

    Parameters
    ----------
    architecture : str
        ``aarch64`` or ``x86_64``.

    Returns
    -------
    dict of str to bytes
        By their paths in the archive.

    Raises
    ------
    TargetError, ToolchainError
        See `download_wheels`.
    """
    files: Files = {PROGRAM: _LAUNCHER.encode()}
    for wheel in download_wheels(architecture):
        files |= {f"{_SITE}/{name}": content for name, content in _read_wheel(wheel)}
    files |= {f"{_SITE}/{name}": content for name, content in _read_own_files()}
    return files


def _read_wheel(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if not name.endswith("/") and not _UNUSED.match(name):
                yield name, wheel.read(name)


def _read_own_files() -> Iterator[tuple[str, bytes]]:
    package = importlib.resources.files("bnn_tvm")
    for name in _EDGE_FILES:
        yield f"bnn_tvm/{name}", package.joinpath(name).read_bytes()
    for part in _EDGE:
        yield from _read_folder(importlib.resources.files(f"bnn_tvm.{part}"), f"bnn_tvm/{part}")
    distribution = importlib.metadata.distribution("bnn_tvm")
    # An editable installation keeps its facts under the second name.
    facts = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    yield f"bnn_tvm-{distribution.version}.dist-info/METADATA", facts.encode()


def _read_folder(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = f"{prefix}/{entry.name}"
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _read_folder(entry, name)
        elif entry.name.endswith((".py", ".toml")):
            yield name, entry.read_bytes()


def pack_files(files: Files) -> bytes:
    """Make a ``.tar.gz`` of files; the same bytes every time."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name == PROGRAM else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def measure_parts(files: Files) -> dict[str, int]:
    """Sum up the bytes of each part of a bundle, largest first."""
    sizes: Counter[str] = Counter()
    for name, content in files.items():
        sizes[_part(name)] += len(content)
    return dict(sizes.most_common())


def _part(name: str) -> str:
    """Name the part that a file belongs to: what stands at the top of the Python path."""
    top = name.removeprefix(f"{_SITE}/").split("/")[0]
    return "licences and other facts" if top.endswith(".dist-info") else top
