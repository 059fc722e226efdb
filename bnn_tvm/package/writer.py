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
SELF_TEST = "selftest"
C_SOURCE = "c"


def package_bytes(manifest: Manifest, library: bytes, selftest: Mapping[str, bytes]) -> bytes:
    """Make a package file's content; `manifest.files` is filled in.

    Parameters
    ----------
    manifest : Manifest
    library : bytes
        The shared library that TVM exported.
    selftest : mapping of str to bytes
        The files of the self-test, by name.
    """
    return pack_files(manifest, {LIBRARY: {LIBRARY_NAME: library}, SELF_TEST: selftest})


def pack_files(manifest: Manifest, files: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """Make a package file's content of any files, by role and name."""
    entries = tuple(
        FileInfo(name, role, len(content), hashlib.sha256(content).hexdigest())
        for role, members in files.items()
        for name, content in members.items()
    )
    full = dataclasses.replace(manifest, files=entries)
    content = {name: data for members in files.values() for name, data in members.items()}
    return pack({MANIFEST_NAME: full.to_json().encode(), **content})
