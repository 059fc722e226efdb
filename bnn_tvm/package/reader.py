"""Read a package and trust none of it: names, sizes and digests are checked first."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import PackageError
from .archive import MAX_MEMBER_BYTES, MAX_PACKAGE_BYTES, Archive, check_name
from .manifest import FileInfo, Manifest
from .writer import C_SOURCE, LIBRARY, MANIFEST_NAME, SELF_TEST

MAX_MANIFEST_BYTES = 16 << 20

T = TypeVar("T")


def read_package(path: str | os.PathLike[str]) -> tuple[Manifest, bytes, dict[str, bytes]]:
    """Read a package file.

    Returns
    -------
    manifest : Manifest
    library : bytes
    selftest : dict of str to bytes
        The files of the self-test, by name.

    Raises
    ------
    PackageError
        If the file cannot be read, is damaged, or does not hold what it says.
    """
    return _parse_file(path, parse_package)


def read_files(path: str | os.PathLike[str], role: str) -> tuple[Manifest, dict[str, bytes]]:
    """Read a package file whose members all have one role.

    Returns
    -------
    manifest : Manifest
    files : dict of str to bytes
        Content by name.

    Raises
    ------
    PackageError
        As `read_package` does.
    """
    return _parse_file(path, lambda data: parse_files(data, role))


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a package file of any kind; see `read_package` for the errors."""
    return _parse_file(path, lambda data: _open(data)[1])


def _parse_file(path: str | os.PathLike[str], parse: Callable[[bytes], T]) -> T:
    """Read a file of bounded size and parse it; errors name the file."""
    file = Path(path)
    try:
        if file.stat().st_size > MAX_PACKAGE_BYTES:
            raise PackageError(f"package {file} is larger than {MAX_PACKAGE_BYTES} bytes")
        data = file.read_bytes()
    except OSError as exc:
        raise PackageError(
            f"cannot read the package {file}: {exc.strerror}; make one with bnn-tvm compile"
        ) from exc
    try:
        return parse(data)
    except PackageError as exc:
        raise PackageError(f"{file}: {exc}") from exc


def parse_package(data: bytes) -> tuple[Manifest, bytes, dict[str, bytes]]:
    """Read the content of a package file; see `read_package`."""
    archive, manifest = _open(data)
    library = _library(manifest.files)
    selftest = [file for file in manifest.files if file.role == SELF_TEST]
    return (
        manifest,
        _read_file(archive, library),
        {file.path: _read_file(archive, file) for file in selftest},
    )


def parse_files(data: bytes, role: str) -> tuple[Manifest, dict[str, bytes]]:
    """Read the content of a package file whose members all have one role."""
    archive, manifest = _open(data)
    if other := [file for file in manifest.files if file.role != role]:
        raise PackageError(f"member {other[0].path!r} has the role {other[0].role!r}, not {role!r}")
    return manifest, {file.path: _read_file(archive, file) for file in manifest.files}


def _open(data: bytes) -> tuple[Archive, Manifest]:
    archive = Archive(data)
    manifest = _read_manifest(archive)
    _check_members(archive.names, manifest.files)
    return archive, manifest


def _read_manifest(archive: Archive) -> Manifest:
    raw = archive.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PackageError(f"the manifest is not UTF-8 ({exc.reason})") from exc
    return Manifest.from_json(text)


def _check_members(names: frozenset[str], files: tuple[FileInfo, ...]) -> None:
    listed = [check_name(file.path) for file in files]
    if len(set(listed)) != len(listed):
        raise PackageError("the manifest lists one file twice")
    if extra := sorted(names - set(listed) - {MANIFEST_NAME}):
        raise PackageError(f"the package holds {extra[0]!r}, which its manifest does not list")


def _library(files: tuple[FileInfo, ...]) -> FileInfo:
    roles = [file.role for file in files if file.role != SELF_TEST]
    if set(roles) == {C_SOURCE}:
        raise PackageError(
            "the package is a C library, which this command cannot load; unpack it with unzip and "
            "build it with CMake, or time it with bnn-tvm bench --runner"
        )
    if roles != [LIBRARY]:
        raise PackageError(
            f"a package must list exactly one file of the role {LIBRARY!r}, and no others but "
            f"{SELF_TEST!r}"
        )
    return next(file for file in files if file.role == LIBRARY)


def _read_file(archive: Archive, file: FileInfo) -> bytes:
    content = archive.read(file.path, min(file.size, MAX_MEMBER_BYTES))
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        raise PackageError(f"member {file.path!r} is not what the manifest says it is")
    return content
