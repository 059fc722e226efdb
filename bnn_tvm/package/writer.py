"""Turn a manifest and the files that it describes into the bytes of a package."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

from .archive import pack
from .manifest import FileInfo, Manifest

MANIFEST_NAME = "manifest.json"
LIBRARY_NAME = "lib/model.so"
LIBRARY = "library"
C_SOURCE = "c"


def package_bytes(manifest: Manifest, library: bytes) -> bytes:
    """Make a package file's content; `manifest.files` is filled in.

    Parameters
    ----------
    manifest : Manifest
    library : bytes
        The shared library that TVM exported.
    """
    return pack_files(manifest, {LIBRARY_NAME: library}, LIBRARY)


def pack_files(manifest: Manifest, files: Mapping[str, bytes], role: str) -> bytes:
    """Make a package file's content of any files, by name, that have the same role."""
    entries = tuple(
        FileInfo(name, role, len(content), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    )
    full = dataclasses.replace(manifest, files=entries)
    return pack({MANIFEST_NAME: full.to_json().encode(), **files})
